#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The releases of a host, and the one that a rollback would go to."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: releases
short_description: Lists the releases of a host and chooses the one to go back to
version_added: 0.1.0
description:
  - Reads, and changes nothing.
  - A release is good when it has served and was neither failed nor rolled back from. The one to go back to is the good one that
    served last before the one that serves now.
  - Compares the revision of the database with the one the chosen release left behind, before anything is touched.
author: The Decant maintainers (!UNKNOWN)
extends_documentation_fragment: [decant.flask.backend, decant.flask.backend.user]
options:
  wanted:
    description: The release to go back to; empty for the last good one.
    type: str
    default: ""
attributes:
  check_mode:
    description: Reads only, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Choose the release to go back to
  decant.flask.releases:
    name: projects
    root: /srv/projects
    user: projects
"""

RETURN = r"""
releases:
  description: Every release, oldest first.
  returned: always
  type: list
  elements: dict
  sample: [{id: 20261122T101500Z-3f2a9c1, outcome: retired, schema: "0003"}]
current:
  description: The one that serves.
  returned: always
  type: str
target:
  description: The one to go back to; empty when there is none.
  returned: always
  type: str
problem:
  description: Why it cannot be gone back to; empty when it can.
  returned: always
  type: str
schema:
  description: Revisions that the database has and that the target left behind, and the newest backup at the latter.
  returned: always
  type: dict
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("releases")
