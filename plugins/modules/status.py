#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host serves, and everything that shows whether it is as it should be, read in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: status
short_description: Reads what a host serves and how it is
version_added: 0.1.0
description:
  - Reads, and changes nothing. Asks the release that serves for its health and for the revision of its database.
  - Whether that is as it should be is said on the controller, by M(decant.flask.report).
author: The Decant maintainers (!UNKNOWN)
extends_documentation_fragment: [decant.flask.backend, decant.flask.backend.user]
options:
  schema:
    description: Whether to read the revision of the database.
    type: bool
    default: true
  history:
    description: How many of the last lines of deploys.jsonl to return.
    type: int
    default: 0
  page:
    description: Whether to return what the host's health page shows.
    type: bool
    default: false
attributes:
  check_mode:
    description: Reads only, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Read what the host serves
  decant.flask.status:
    name: projects
    root: /srv/projects
    user: projects
"""

RETURN = r"""
status:
  description: What was found.
  returned: always
  type: dict
  sample: {id: 20261122T101500Z-3f2a9c1, running: true, schema: {now: ["0003"], heads: ["0003"], error: ""}}
view:
  description: What the host's health page shows; empty where nothing was checked yet.
  returned: with O(page)
  type: dict
  sample: {app: projects, host: web, health: healthy}
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("status")
