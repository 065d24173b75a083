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
author: The Decant maintainers
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

import os
import pwd
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import database
from ansible_collections.decant.flask.plugins.module_utils.host import CommandError, journal, run, systemctl
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout, file_digest
from ansible_collections.decant.flask.plugins.module_utils.readers import migrates


def find(records: list[dict[str, Any]], backup_id: str) -> dict[str, Any]:
    """The record of a backup; empty when there is none of that name."""
    return next((record for record in records if record["id"] == backup_id), {})


def problem(layout: Layout, record: dict[str, Any]) -> str:
    """Why a backup cannot be restored."""
    if record and file_digest(f"{layout.root}/backups/{record['file']}") != record.get("sha256"):
        return f"{record['file']} is not what its record says (sha256). Choose another backup."
    return ""


def start(layout: Layout, unit: str, release_id: str) -> str:
    """Run a oneshot unit; why it failed, or an empty text."""
    done = run(["systemctl", "start", unit], check=False)
    if done.returncode == 0:
        return ""
    text = journal(unit, 200, layout, release_id)
    systemctl("reset-failed", unit, check=False)
    said = database.TROUBLE.findall(text)
    lines = [line for line in text.splitlines() if line.strip()]
    return (said or lines or [done.stdout.strip()])[-1]


def listed(layout: Layout, p: dict[str, Any]) -> dict[str, Any]:
    """What is there, and what speaks against a restore."""
    current, records = layout.current_id(), database.backups(layout)
    record = find(records, p["id"])
    after = layout.manifest(p["release"] or current).get("migration", {}).get("after")
    shown = database.show(layout, p["user"], current) if current and migrates(layout, current) else {}
    return {
        "backups": records,
        "current": current,
        "database": shown.get("database", ""),
        "has": bool(record),
        "problem": problem(layout, record),
        "schema": {"backup": record.get("revision"), "release": after},
    }


def restored(layout: Layout, p: dict[str, Any]) -> str:
    """Hand the file to the unit, run it, and take the file away again; why it failed, or an empty text."""
    record = find(database.backups(layout), p["id"])
    wrong = problem(layout, record) or ("" if record else f"there is no backup {p['id']} on this host")
    if wrong:
        return wrong
    copy = f"{layout.root}/backups/incoming/{p['id']}.restore"
    try:
        shutil.copyfile(f"{layout.root}/backups/{record['file']}", copy)
        owner = pwd.getpwnam(p["user"])
        os.chmod(copy, 0o600)
        os.chown(copy, owner.pw_uid, owner.pw_gid)
        return start(layout, f"{layout.name}-restore@{p['id']}.service", layout.current_id())
    except OSError as error:
        return str(error)
    finally:
        if os.path.lexists(copy):
            os.unlink(copy)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["listed", "taken", "restored"], "default": "listed"},
            "id": {"type": "str", "default": ""},
            "release": {"type": "str", "default": ""},
            "kind": {"type": "str", "choices": ["manual", "safety"], "default": "manual"},
            "who": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    p = module.params
    layout = Layout(p["name"], p["root"])
    current = layout.current_id()
    if p["state"] == "listed":
        try:
            module.exit_json(changed=False, **listed(layout, p))
        except (CommandError, OSError, ValueError) as error:
            module.fail_json(msg=f"The database cannot be asked with {current}: {error} Nothing was changed.")
    before = database.backups(layout)
    if module.check_mode:
        module.exit_json(changed=True, backups=before, current=current)
    why = (
        restored(layout, p)
        if p["state"] == "restored"
        else start(layout, f"{layout.name}-backup@{p['kind']}.service", current)
    )
    if p["state"] == "restored":
        outcome = {"outcome": "failed", "reason": why} if why else {"outcome": "restored"}
        layout.audit(event="restore", release=current, backup=p["id"], who=p["who"], **outcome)
    if why:
        what = {
            "taken": "The backup failed",
            "restored": f"The restore of {p['id']} failed, and the database is as it was",
        }
        module.fail_json(msg=f"{what[p['state']]}: {why}")
    after = database.backups(layout)
    known = {record["id"] for record in before}
    taken = [record for record in after if record["id"] not in known]
    module.exit_json(changed=True, backups=after, current=current, taken=(taken or [{}])[-1])


if __name__ == "__main__":
    main()
