# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the migration unit of a staged release."""

from __future__ import annotations

import re
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import database
from ansible_collections.decant.flask.plugins.module_utils.files import FilesError, with_units
from ansible_collections.decant.flask.plugins.module_utils.host import journal, run, systemctl, unit_properties
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout

RESULT = ("before", "after", "pending", "destructive", "backup", "database", "fingerprint")
# The line that tells most, first match wins: Alembic's own word, a database driver's, then any exception.
CAUSES = (
    re.compile(r"^((?:\w+\.)*(?:ImportError|ModuleNotFoundError): .*)$", re.MULTILINE),
    re.compile(
        r"^.*(?:alembic\.util\.exc\.CommandError|FAILED|ERROR \[(?:flask_migrate|alembic)[^\]]*\]).*$", re.MULTILINE
    ),
    re.compile(r"^.*sqlalchemy\.exc\.\w+.*$", re.MULTILINE),
    re.compile(r"^(?:\w+\.)*\w+(?:Error|Exception|NoAppException)\b.*$", re.MULTILINE),
)


def cause(text: str) -> str:
    """The one line of a failed run that says why."""
    said = database.TROUBLE.findall(text)
    if said and said[-1].startswith("The rehearsal"):
        return f"{cause(database.TROUBLE.sub('', text))}. {said[-1]}"
    if said and not CAUSES[0].search(text):
        return said[-1].strip()
    for pattern in CAUSES:
        found = pattern.findall(text)
        if found:
            return found[-1].strip()
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "the journal is empty"


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "id": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "dict", "default": []},
    "pending": {"type": "path", "default": ""},
    "timeout": {"type": "int", "default": 600},
}


def main(module: AnsibleModule) -> None:
    p = module.params
    layout = Layout(p["name"], p["root"])
    unit = layout.migrate_unit(p["id"])
    units = with_units(p["files"], p["pending"], module.check_mode)
    try:
        units.make()
    except FilesError as error:
        layout.failed(p["id"], "migrate", str(error).splitlines()[-1])
        module.fail_json(msg=f"The migration unit of release {p['id']} cannot be written. {error}\n{layout.serving()}")
    if module.check_mode:
        module.exit_json(changed=True, diff=units.diff)
    try:
        code = run(["systemctl", "start", unit], check=False, timeout=p["timeout"] + 30).returncode
    except subprocess.TimeoutExpired:
        systemctl("stop", unit, check=False)
        code = 1
    result = unit_properties(unit, "Result").get("Result", "")
    text = journal(unit, 1000, layout, p["id"])
    answer = {key: value for key, value in database.answer(text).items() if key in RESULT}
    if code != 0 or "after" not in answer:
        why = f"it took longer than migrate_timeout_seconds ({p['timeout']} s)" if result == "timeout" else cause(text)
        layout.failed(p["id"], "migrate", why)
        if "Can't locate revision" in why:
            why += "\nThe database is newer than this release's migrations: deploy the release that migrated it, or a later one."
        if answer.get("backup"):
            why += f"\nThe backup {answer['backup']} was taken before."
        systemctl("reset-failed", unit, check=False)
        module.fail_json(
            msg=f"The migration of release {p['id']} failed: {why}\n{layout.serving()} Mend it and deploy again. "
            f"The whole run: journalctl -u {unit}",
            journal=text.splitlines()[-15:],
        )
    record = {key: value for key, value in answer.items() if key in ("before", "after", "backup", "fingerprint")}
    layout.record(p["id"], migration=record)
    diff = {"before": "\n".join(answer["before"]) + "\n", "after": "\n".join(answer["after"]) + "\n"}
    module.exit_json(changed=units.changed or answer["before"] != answer["after"], diff=[*units.diff, diff], **answer)
