# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Leaves a host alone whose certificate is as it must be, by what the run has read of it."""

from __future__ import annotations

from typing import Any

from ansible_collections.decant.flask.plugins.module_utils import certificates
from ansible_collections.decant.flask.plugins.plugin_utils.host_actions import HostAction


class ActionModule(HostAction):
    """The module's own options. Files that the host has by itself are looked at each time: their key may have changed."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        info = (task_vars or {}).get("__app_host", {}).get("state", {}).get("certificate") or {}
        if not self._task.args.get("certificate_path") and certificates.as_wanted(self._task.args, info):
            return {**result, "changed": False, "info": info, "asked": False}
        result["asked"] = True
        result.update(self.on_host(task_vars))
        return result
