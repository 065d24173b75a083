#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""One deploy, rollback or restore of a backend at a time, whichever controller runs it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: lock
short_description: Takes and gives back the lock of a backend on a host
version_added: 0.1.0
description:
  - The lock is C(/run/decant/<name>.lock), a record of who holds it and until when. It is there before the backend's own directory
    is, and a reboot of the host ends it.
  - It is a lease. A lock whose time is over is stale and is taken over. So is one whose process has ended, when it was started on the
    same controller, which alone can tell; that judgement is the action plugin's.
  - Taking a lock that this run holds already renews it.
author: The Decant maintainers
options:
  name:
    description: The backend's name.
    type: str
    required: true
  state:
    description: V(held) takes or renews it, V(released) gives back one's own, V(broken) removes whoever's it is.
    type: str
    choices: [held, released, broken]
    default: held
  owner:
    description: Who this is; C(user@host) of the controller is the action plugin's answer.
    type: str
    default: ""
  host:
    description: Name of the controller.
    type: str
    default: ""
  pid:
    description: Process id of the run on its controller.
    type: int
    default: 0
  token:
    description: What tells this run from every other one.
    type: str
    default: ""
  controller:
    description: What tells this controller, since its last boot, from every other one.
    type: str
    default: ""
  event:
    description: What the lock is taken for.
    type: str
    default: deploy
  message:
    description: A note for whoever finds the lock.
    type: str
    default: ""
  lease_seconds:
    description: How long the lock is good without being renewed, in seconds.
    type: int
    default: 3600
  wait_seconds:
    description: How long to wait for somebody else's lock, in seconds. Done by the action plugin.
    type: int
    default: 0
  allow_missing:
    description: Hosts that may be away. One of them that cannot be reached is no failure. Done by the action plugin.
    type: list
    elements: str
    default: []
  root:
    description: The backend's directory, for a line in its audit log when a lock is broken.
    type: path
    default: ""
  reason:
    description: Why a lock is broken.
    type: str
    default: ""
  stale_token:
    description: A lock with this token may be taken over, since its process has ended.
    type: str
    default: ""
attributes:
  check_mode:
    description: Takes and removes nothing.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Take the lock
  decant.flask.lock:
    name: projects
    message: the release of Thursday
"""

RETURN = r"""
held_by:
  description: The lock of somebody else, when it was not to be had.
  returned: always
  type: dict
  sample: {owner: ops@control, host: control, pid: 4711, since: "2026-11-22T10:15:00Z", expires: "2026-11-22T11:15:00Z"}
taken_over:
  description: The stale lock that this one replaced.
  returned: always
  type: dict
missing:
  description: Whether the host is away, and may be.
  returned: always
  type: bool
broken:
  description: The lock that was removed.
  returned: always
  type: dict
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import lease
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["held", "released", "broken"], "default": "held"},
            "owner": {"type": "str", "default": ""},
            "host": {"type": "str", "default": ""},
            "pid": {"type": "int", "default": 0},
            "token": {"type": "str", "default": "", "no_log": False},
            "controller": {"type": "str", "default": ""},
            "event": {"type": "str", "default": "deploy"},
            "message": {"type": "str", "default": ""},
            "lease_seconds": {"type": "int", "default": 3600},
            "wait_seconds": {"type": "int", "default": 0},
            "allow_missing": {"type": "list", "elements": "str", "default": []},
            "root": {"type": "path", "default": ""},
            "reason": {"type": "str", "default": ""},
            "stale_token": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    p = module.params
    layout = Layout(p["name"], p["root"])
    path = layout.lock_file
    answer: dict[str, Any] = {"held_by": {}, "taken_over": {}, "broken": {}, "missing": False}
    if module.check_mode:
        module.exit_json(changed=False, **answer)
    if p["state"] == "held":
        answer.update(lease.take(path, p))
    else:
        found = lease.give_back(path, p["token"], whoevers=p["state"] == "broken")
        answer["broken"] = found if p["state"] == "broken" else {}
    if answer["broken"] and p["root"] and os.path.isdir(p["root"]):
        whose = {key: answer["broken"].get(key, "") for key in ("owner", "host", "pid", "since")}
        layout.audit(event="unlock", who=p["owner"], reason=p["reason"], lock=whose)
    # A lock that is taken and given back within a run is no change of the host.
    module.exit_json(changed=bool(answer["broken"]), **answer)


if __name__ == "__main__":
    main()
