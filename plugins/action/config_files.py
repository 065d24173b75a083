# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Leaves a host alone whose files are as they must be, by what the run has read of it: a remote call costs a third of a second."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ansible_collections.decant.flask.plugins.plugin_utils.host_actions import HostAction


class ActionModule(HostAction):
    """The module's own options. The module decides again whenever anything differs, or was not read."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        # Tasks of one's own run between the reading and the writing, and may do anything.
        read = (
            {} if variables.get("release_hooks") else variables.get("__app_host", {}).get("state", {}).get("files", {})
        )
        if as_wanted(self._task.args, read):
            return {**result, "changed": False, "paths": [], "diff": [], "asked": False}
        result["asked"] = True
        result.update(self.on_host(task_vars))
        return result


def as_wanted(wanted: Mapping[str, Any], read: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether all of a change is known to stand on the host already. What was not read is not known."""
    pending = wanted.get("pending") or ""
    nothing = [*(wanted.get("absent") or []), *([pending] if pending else [])]
    files, links = wanted.get("files") or [], wanted.get("links") or []
    return (
        all(read.get(path) == {} for path in nothing)
        and all((read.get(item["path"]) or {}).get("target") == item["target"] for item in links)
        and all(read.get(item["path"]) == record(item) for item in files)
    )


def record(item: Mapping[str, Any]) -> dict[str, str]:
    """What host_state reads of a file that is as it must be. Other owners than root are ids of the host: the module knows them."""
    if item.get("owner", "root") != "root" or item.get("group", "root") != "root":
        return {"owner": "not root"}
    digest = hashlib.sha256(str(item["content"]).encode()).hexdigest()
    return {"sha256": digest, "mode": f"{int(str(item.get('mode', '0644')), 8):04o}", "uid": "0", "gid": "0"}
