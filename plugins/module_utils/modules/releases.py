# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The releases of a host, and the one that a rollback would go to."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils.database import backups
from ansible_collections.decant.flask.plugins.module_utils.host import CommandError
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout
from ansible_collections.decant.flask.plugins.module_utils.readers import database_revision, describe
from ansible_collections.decant.flask.plugins.module_utils.retention import GOOD


def last_good(releases: list[dict[str, Any]], current: str) -> str:
    """The good release that served last, other than the one that serves; empty when there is none."""
    good = [r for r in releases if r["outcome"] in GOOD and r["id"] != current and r["live_at"]]
    return max(good, key=lambda r: (r["live_at"], r["id"]))["id"] if good else ""


def problem(layout: Layout, releases: list[dict[str, Any]], target: str, current: str, wanted: str) -> str:
    """Why a release cannot be gone back to."""
    known = {r["id"]: r for r in releases}
    choices = ", ".join(r["id"] for r in releases if r["outcome"] in GOOD and r["id"] != current) or "none"
    if not current:
        return "Nothing serves yet, so there is nothing to go back from. Run deploy.yml."
    if not target:
        return f"There is no earlier good release on this host ({current} serves). Deploy the version that you want instead."
    if target not in known:
        return f"release_id is '{wanted}', and this host has no such release. It can go back to: {choices}."
    if target == current:
        return f"release_id is '{wanted}', which serves already. It can go back to: {choices}."
    if known[target]["outcome"] not in GOOD:
        why = f" ({known[target]['reason']})" if known[target]["reason"] else ""
        return f"{target} is marked {known[target]['outcome']}{why}, so nothing goes back to it. It can go back to: {choices}."
    if not os.path.exists(f"{layout.release(target)}/venv/bin/python"):
        return f"The virtual environment of {target} is gone. Deploy that version instead."
    return ""


def way_back(records: list[dict[str, Any]], revision: list[str] | None) -> str:
    """Id of the newest backup at a revision; empty when there is none."""
    found = [record["id"] for record in records if revision is not None and record.get("revision") == revision]
    return found[-1] if found else ""


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "wanted": {"type": "str", "default": ""},
}


def main(module: AnsibleModule) -> None:
    p = module.params
    layout = Layout(p["name"], p["root"])
    current = layout.current_id()
    releases = [describe(layout, release_id) for release_id in layout.release_ids()]
    target = p["wanted"] or last_good(releases, current)
    trouble = problem(layout, releases, target, current, p["wanted"])
    schema: dict[str, Any] = {"database": None, "target": None, "backup": ""}
    if not trouble:
        try:
            schema["database"] = database_revision(layout, p["user"], current)
        except (CommandError, OSError, ValueError) as error:
            module.fail_json(
                msg=f"The revision of the database cannot be read with {current}: {error} Nothing was changed."
            )
        schema["target"] = layout.manifest(target).get("migration", {}).get("after")
        schema["backup"] = way_back(backups(layout), schema["target"])
    module.exit_json(changed=False, releases=releases, current=current, target=target, problem=trouble, schema=schema)
