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
author: The Decant maintainers (!UNKNOWN)
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
  note:
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
    note: the release of Thursday
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

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("lock")
