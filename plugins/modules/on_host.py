#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""All modules of the collection that work on a host, under one name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: on_host
short_description: Runs a module of the collection on a host
version_added: 0.1.0
description:
  - What a task that names M(decant.flask.switch) or another module of the collection sends to the host.
  - Ansible packs each module anew in each run; under one name they are packed once.
  - A play has no need to name it.
author: The Decant maintainers (!UNKNOWN)
options:
  module:
    description: Name of the module, without the collection's.
    type: str
    required: true
  arguments:
    description: The module's options.
    type: dict
    required: true
attributes:
  check_mode:
    description: As the module that is named.
    support: full
  diff_mode:
    description: As the module that is named.
    support: full
"""

EXAMPLES = r"""
- name: Read the host
  decant.flask.on_host:
    module: host_state
    arguments:
      name: projects
      root: /srv/projects
      user: projects
"""

RETURN = r"""
anything:
  description: What the module that is named returns.
  returned: always
  type: raw
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import dispatch

if __name__ == "__main__":
    dispatch()
