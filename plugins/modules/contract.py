#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of an action, which runs on the controller: plugins/action/contract.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: contract
short_description: Holds the inventory against the contract, on the controller
version_added: 0.1.0
description:
  - Checks every input of every role at once - names, types, and what a type cannot say - before a host is touched.
  - Also that the collections which those roles use are installed on the controller.
  - Runs on the controller alone; the inputs are the roles' own variables.
author: The Decant maintainers (!UNKNOWN)
options:
  roles:
    description: Roles of Decant that run, by their short names. They decide which inputs are required.
    type: list
    elements: str
    default: [app, release, venv, dotenv, migrate, gunicorn, nginx, health]
attributes:
  check_mode:
    description: Changes nothing, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Hold the inventory against the contract
  decant.flask.contract:
"""

RETURN = r"""
{}
"""
