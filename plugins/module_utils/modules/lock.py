# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""One deploy, rollback or restore of a backend at a time, whichever controller runs it."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import lease
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["held", "released", "broken"], "default": "held"},
    "owner": {"type": "str", "default": ""},
    "host": {"type": "str", "default": ""},
    "pid": {"type": "int", "default": 0},
    "token": {"type": "str", "default": "", "no_log": False},
    "controller": {"type": "str", "default": ""},
    "event": {"type": "str", "default": "deploy"},
    "note": {"type": "str", "default": ""},
    "lease_seconds": {"type": "int", "default": 3600},
    "wait_seconds": {"type": "int", "default": 0},
    "allow_missing": {"type": "list", "elements": "str", "default": []},
    "root": {"type": "path", "default": ""},
    "reason": {"type": "str", "default": ""},
    "stale_token": {"type": "str", "default": "", "no_log": False},
}


def main(module: AnsibleModule) -> None:
    p = module.params
    layout = Layout(p["name"], p["root"])
    path = layout.lock_file
    answer: dict[str, Any] = {"held_by": {}, "taken_over": {}, "broken": {}, "missing": False}
    if module.check_mode:
        module.exit_json(changed=False, **answer)
    if p["state"] == "held":
        answer.update(lease.take(path, {**p, "message": p["note"]}))
    else:
        found = lease.give_back(path, p["token"], whoevers=p["state"] == "broken")
        answer["broken"] = found if p["state"] == "broken" else {}
    if answer["broken"] and p["root"] and os.path.isdir(p["root"]):
        whose = {key: answer["broken"].get(key, "") for key in ("owner", "host", "pid", "since")}
        layout.audit(event="unlock", who=p["owner"], reason=p["reason"], lock=whose)
    # A lock that is taken and given back within a run is no change of the host.
    module.exit_json(changed=bool(answer["broken"]), **answer)
