# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings the source's tar to the host and runs the release module on it, as one task."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.decant.flask.plugins.plugin_utils.host_actions import HostAction


class ActionModule(HostAction):
    """`tar` is a path on the controller; the module sees the path of its copy on the host."""

    TRANSFERS_FILES = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if not self._task.check_mode:
            folder = self._make_tmp_path()
            remote = self._connection._shell.join_path(folder, "source.tar.gz")
            self._transfer_file(os.fspath(arguments["tar"]), remote)
            self._fixup_perms2((folder, remote))
            arguments["tar"] = remote
        result.update(self.on_host(task_vars, arguments))
        self._remove_tmp_path(self._connection._shell.tmpdir)
        return result
