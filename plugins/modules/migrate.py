#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the migration unit of a staged release."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: migrate
short_description: Runs the migrations of a staged release
version_added: 0.1.0
description:
  - Writes the oneshot unit, when it is given it, and starts it. C(<name>-migrate@<id>) works as the backend's user, with the release's
    environment, in the service's sandbox, under a lock that is held in the database itself. Its journal is the evidence.
  - When something is pending, the unit lists it, backs the database up, rehearses the upgrade on a copy (SQLite always), refuses
    what would lose something, and only then runs C(flask db upgrade).
  - Changed only when the unit was written or the database's revision changed.
author: The Decant maintainers (!UNKNOWN)
extends_documentation_fragment: [decant.flask.backend, decant.flask.backend.units]
options:
  id:
    description: The staged release.
    type: str
    required: true
  timeout:
    description: Limit for the whole run, in seconds; the unit is stopped past it.
    type: int
    default: 600
attributes:
  check_mode:
    description: Runs nothing; what is pending is only known to the new release's own code.
    support: full
  diff_mode:
    description: Shows the unit, and the revision before and after.
    support: full
"""

EXAMPLES = r"""
- name: Migrate the database
  decant.flask.migrate:
    name: projects
    root: /srv/projects
    id: 20261122T101500Z-3f2a9c1
"""

RETURN = r"""
before:
  description: Revisions of the database before the run.
  returned: when the unit ran
  type: list
  elements: str
after:
  description: Revisions of the database after the run.
  returned: when the unit ran
  type: list
  elements: str
pending:
  description: The revisions that ran, each with revision and title, in that order.
  returned: when the unit ran
  type: list
  elements: dict
destructive:
  description: What they lost, in sentences; they were allowed to.
  returned: when something was pending
  type: list
  elements: str
backup:
  description: Id of the backup that was taken before; empty when there was nothing to back up yet.
  returned: when something was pending
  type: str
database:
  description: Which database it was, without user and password.
  returned: when the unit ran
  type: str
fingerprint:
  description: A short hash of RV(database), for the comparison with the database that the workers resolve.
  returned: when the unit ran
  type: str
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("migrate")
