# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says who this run is, waits for somebody else's lock, and knows which locks of its own controller are left behind."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import time
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.utils.display import Display
from ansible_collections.decant.flask.plugins.plugin_utils import locking
from ansible_collections.decant.flask.plugins.plugin_utils.host_actions import HostAction

POLL_SECONDS = 2.0


class ActionModule(HostAction):
    """The module's own options; the identity of the run is added here."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = {**identity(), **{k: v for k, v in self._task.args.items() if v not in (None, "")}}
        host = (task_vars or {})["inventory_hostname"]
        began, patience = time.monotonic(), int(arguments.get("wait_seconds", 0))
        while True:
            try:
                answer = self.on_host(task_vars, arguments)
            except AnsibleConnectionFailure as error:
                if host in arguments.get("allow_missing", []):
                    Display().warning(
                        f"{host} is away, and release_allow_missing names it: this run goes on without it."
                    )
                    return {**result, "changed": False, "missing": True}
                raise AnsibleConnectionFailure(
                    f"{str(error).rstrip('. ')}. No host was changed. Mend that, or go without the host: release_allow_missing: [{host}]"
                    if arguments.get("state", "held") == "held"
                    else str(error)
                ) from None
            holder = answer.get("held_by") or {}
            if not holder:
                break
            if locking.process_is_gone(holder, arguments["controller"]):
                arguments["stale_token"] = holder["token"]
                continue
            wait = locking.patience(holder, patience)
            if time.monotonic() - began >= wait:
                raise AnsibleActionFail(locking.refusal(arguments["name"], host, holder, wait))
            time.sleep(POLL_SECONDS)
        if answer.get("taken_over"):
            Display().warning(locking.takeover(host, answer["taken_over"]))
        result.update(answer)
        return result


def identity() -> dict[str, Any]:
    """Who this run is. A task runs in a child of ansible-playbook, which is the process that holds the lock."""
    pid = os.getppid()
    controller = locking.controller()
    token = hashlib.sha256(f"{controller} {pid} {locking.started(pid)}".encode()).hexdigest()[:20]
    user = os.environ.get("SUDO_USER") or getpass.getuser()
    name = socket.gethostname()
    return {"owner": f"{user}@{name}", "host": name, "pid": pid, "token": token, "controller": controller}
