# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lists, takes and restores the backups of a backend's database."""

from __future__ import annotations

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


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["listed", "taken", "restored"], "default": "listed"},
    "id": {"type": "str", "default": ""},
    "release": {"type": "str", "default": ""},
    "kind": {"type": "str", "choices": ["manual", "safety"], "default": "manual"},
    "who": {"type": "str", "default": ""},
}


def main(module: AnsibleModule) -> None:
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
