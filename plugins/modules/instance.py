#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Starts an instance of a release beside the one that serves, and lets it be judged on its own socket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: instance
short_description: Starts a release's instance and gates it on its own socket
version_added: 0.1.0
description:
  - Starts C(<name>@<id>.socket) and C(<name>@<id>.service). The service's start succeeds only when the probe does, with the release's
    real environment and user, on its private socket. No traffic reaches it.
  - Writes the release's units first, when it is given them.
  - A candidate that fails is stopped and its release marked failed. The one that serves is never touched.
author: The Decant maintainers (!UNKNOWN)
extends_documentation_fragment: [decant.flask.backend, decant.flask.backend.units]
options:
  id:
    description: The release to start.
    type: str
    required: true
  event:
    description: What the start is part of. A release that fails in a rollback is not marked failed, since it was good before.
    type: str
    choices: [deploy, rollback]
    default: deploy
  timeout:
    description: Limit for the start, gate included, in seconds.
    type: int
    default: 120
  migration:
    description:
      - What the migration of this release answered. The database that the workers say they resolve must be the one that was migrated.
      - Recorded in the manifest of a host on which the migration itself did not run.
    type: dict
    default: {}
  state:
    description: V(stopped) stops every instance of the backend, one that drains included, so that nothing uses the database.
    type: str
    choices: [started, stopped]
    default: started
attributes:
  check_mode:
    description: Says whether the instance would be started.
    support: full
  diff_mode:
    description: Shows the files.
    support: full
"""

EXAMPLES = r"""
- name: Start the candidate
  decant.flask.instance:
    name: projects
    root: /srv/projects
    id: 20261122T101500Z-3f2a9c1
"""

RETURN = r"""
health:
  description: The probe's line.
  returned: when the instance was started
  type: str
  sample: "healthy: 3 of 3 answers 200 in 0.04 s"
database:
  description: The database that the workers serve, without user and password; empty when they did not say.
  returned: when the instance was started
  type: str
  sample: sqlite:////srv/projects/shared/projects.db
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("instance")
