# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a task reaches the host: all modules of the collection go under one name, so that a run packs them once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase


class HostAction(ActionBase):
    """An action whose module is code of module_utils/modules."""

    def on_host(self, task_vars: dict[str, Any] | None, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run the task's module on the host; with these arguments in place of the task's."""
        name = self._task.action.rpartition(".")[2]
        given = dict(self._task.args if arguments is None else arguments)
        words = given if name == "on_host" else {"module": name, "arguments": given}
        return self._execute_module("decant.flask.on_host", module_args=words, task_vars=task_vars)
