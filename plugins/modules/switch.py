#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Moves the traffic to a release with one rename, and lets the old instance drain."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: switch
short_description: Moves the traffic to a healthy release
version_added: 0.1.0
description:
  - Enables the release's units, renames C(current), disables the others, and schedules the stop of every other running instance.
  - nginx connects through C(current), so one rename(2) moves code, environment, static files and traffic together, without a reload.
  - The stop is a transient timer on the host, so a controller that dies does not leave two instances running.
author: The Decant maintainers
extends_documentation_fragment: [decant.flask.backend]
options:
  id:
    description: The release to switch to; its instance must be up.
    type: str
    required: true
  drain_seconds:
    description: How long another instance still answers after the switch, in seconds.
    type: float
    default: 3
  event:
    description:
      - What the switch is part of. V(rollback) marks the release that it leaves, so that nothing goes back to it.
      - V(revert) ends a deploy or a rollback that failed after its switch. It starts the release that served before, when it has
        been drained already, and marks the one that it leaves as failed. Where that release serves still, the candidate is stopped.
    type: str
    choices: [deploy, rollback, revert]
    default: deploy
  candidate:
    description: For V(revert), the release of the run that failed.
    type: str
    default: ""
  reason:
    description: For V(revert), why the release that is left failed.
    type: str
    default: ""
  keep:
    description: Good releases to keep, this one included. The rest goes after the switch, but never the one before it.
    type: int
    default: 5
  who:
    description: Who deploys, for the record.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says whether a switch would happen.
    support: full
  diff_mode:
    description: Shows the release before and after.
    support: full
"""

EXAMPLES = r"""
- name: Switch
  decant.flask.switch:
    name: projects
    root: /srv/projects
    id: 20261122T101500Z-3f2a9c1
"""

RETURN = r"""
previous:
  description: The release that served before; empty on the first switch.
  returned: always
  type: str
pruned:
  description: Ids of the releases that were removed.
  returned: when something was switched
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import retention
from ansible_collections.decant.flask.plugins.module_utils.host import CommandError, active_instances, systemctl
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout
from ansible_collections.decant.flask.plugins.module_utils.switching import switch


def withdraw(layout: Layout, candidate: str, reason: str) -> bool:
    """Stop a candidate that will not be switched to, since another host failed; whether there was one."""
    if candidate == layout.current_id() or candidate not in active_instances(layout):
        return False
    systemctl("stop", layout.service_unit(candidate), layout.socket_unit(candidate), check=False)
    if layout.manifest(candidate).get("outcome") == "staged":  # one that a rollback would have gone to stays good
        layout.failed(candidate, "fleet", reason)
    return True


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "id": {"type": "str", "required": True},
            "drain_seconds": {"type": "float", "default": 3},
            "event": {"type": "str", "choices": ["deploy", "rollback", "revert"], "default": "deploy"},
            "candidate": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
            "keep": {"type": "int", "default": 5},
            "who": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    p = module.params
    layout = Layout(p["name"], p["root"])
    previous = layout.current_id()
    diff = {"before": f"{previous}\n", "after": f"{p['id']}\n"}
    if module.check_mode:
        module.exit_json(changed=previous != p["id"], previous=previous, diff=diff)
    if p["event"] == "revert":
        if previous == p["id"]:
            module.exit_json(changed=withdraw(layout, p["candidate"], p["reason"]), previous=previous)
        # A drain that is about to stop it must not; a start that fails is told below.
        systemctl("stop", f"{layout.drain_unit(p['id'])}.timer", f"{layout.drain_unit(p['id'])}.service", check=False)
        systemctl("start", layout.socket_unit(p["id"]), layout.service_unit(p["id"]), check=False)
    if systemctl("is-active", layout.service_unit(p["id"]), check=False) != "active":
        module.fail_json(
            msg=f"{layout.service_unit(p['id'])} is not up, so nothing was switched. {layout.serving()} Run the deploy again."
        )
    try:
        switch(layout, p["id"], p["drain_seconds"], p["who"], p["event"], p["reason"])
    except (CommandError, OSError) as error:
        module.fail_json(
            msg=f"The switch to {p['id']} did not end: {error}. {layout.serving()} Run the deploy again: it does what is left."
        )
    pruned = [] if p["event"] == "revert" else retention.prune(layout, p["keep"])
    module.exit_json(changed=True, previous=previous, pruned=pruned, diff=diff)


if __name__ == "__main__":
    main()
