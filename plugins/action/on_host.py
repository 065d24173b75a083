# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The action of every module that works on a host and has no other: their files are links to this one."""

from __future__ import annotations

from typing import Any

from ansible_collections.decant.flask.plugins.plugin_utils.host_actions import HostAction


class ActionModule(HostAction):
    """The options of the module that the task names."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        result.update(self.on_host(task_vars))
        return result
