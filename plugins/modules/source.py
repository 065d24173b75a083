#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of an action, which runs on the controller: plugins/action/source.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: source
short_description: Resolves the backend's source on the controller
version_added: 0.1.0
description:
  - Fetches the revision, checks requirements, factory and migrations, and packs one deterministic tar for all hosts. Changes no host.
  - Runs on the controller alone; the inputs are the roles' own variables.
author: The Decant maintainers (!UNKNOWN)
options: {}
attributes:
  check_mode:
    description: Changes nothing, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Resolve the source on the controller
  decant.flask.source:
  register: source
  run_once: true
"""

RETURN = r"""
source:
  description: Revision, tar, lock and the id of the release that would be made.
  returned: success
  type: dict
  sample: {kind: git, version: v1.4.0, id: 20261122T101500Z-3f2a9c1}
"""
