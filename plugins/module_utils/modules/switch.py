# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Moves the traffic to a release with one rename, and lets the old instance drain."""

from __future__ import annotations

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


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "id": {"type": "str", "required": True},
    "drain_seconds": {"type": "float", "default": 3},
    "event": {"type": "str", "choices": ["deploy", "rollback", "revert"], "default": "deploy"},
    "candidate": {"type": "str", "default": ""},
    "reason": {"type": "str", "default": ""},
    "keep": {"type": "int", "default": 5},
    "who": {"type": "str", "default": ""},
}


def main(module: AnsibleModule) -> None:
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
