#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lists, takes and restores the backups of a backend's database."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup
short_description: Lists, takes and restores backups of a backend's database
version_added: 0.1.0
description:
  - V(listed) reads, and changes nothing. With O(id), it checks that backup, too.
  - V(taken) starts the unit C(<name>-backup@<kind>), which works as the backend's user in the service's sandbox.
  - V(restored) starts C(<name>-restore@<id>), which makes the content of a backup the content of the database, all of it or nothing.
    Stop what uses the database first.
author: The Decant maintainers (!UNKNOWN)
extends_documentation_fragment: [decant.flask.backend, decant.flask.backend.user]
options:
  state:
    description: What to do.
    type: str
    choices: [listed, taken, restored]
    default: listed
  id:
    description: The backup to check or to restore.
    type: str
    default: ""
  release:
    description: The release that is to serve after a restore; empty for the one that serves now.
    type: str
    default: ""
  kind:
    description: Why a backup is taken.
    type: str
    choices: [manual, safety]
    default: manual
  who:
    description: Who asks for it, for the audit log.
    type: str
    default: ""
attributes:
  check_mode:
    description: Takes and restores nothing.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Back up
  decant.flask.backup:
    name: projects
    root: /srv/projects
    user: projects
    state: taken
"""

RETURN = r"""
backups:
  description: The records of the backups that are there, oldest first.
  returned: always
  type: list
  elements: dict
  sample: [{id: 20261122T101500Z-migration, at: "2026-11-22T10:15:00Z", revision: ["0003"], bytes: 40960}]
current:
  description: The release that serves.
  returned: always
  type: str
database:
  description: The database that it serves, without user and password.
  returned: when listed
  type: str
has:
  description: Whether this host has the backup O(id).
  returned: when listed
  type: bool
problem:
  description: Why O(id) cannot be restored; empty when it can, or when this host does not have it.
  returned: when listed
  type: str
schema:
  description: Revisions of the backup, and those that the release that is to serve left behind.
  returned: when listed
  type: dict
taken:
  description: The record of the new backup.
  returned: when taken
  type: dict
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("backup")
