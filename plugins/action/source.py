# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Resolves a backend's source on the controller: one revision, one tar, one id for every host."""

from __future__ import annotations

import getpass
import os
import socket
import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.decant.flask.plugins.module_utils.requirements_txt import RequirementsError
from ansible_collections.decant.flask.plugins.plugin_utils import locks, revisions, settings, sources


class ActionModule(ActionBase):
    """Runs on the controller alone; the roles call it once for all hosts."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        v = settings.load(task_vars or {}, self._templar, self._loader)
        try:
            result["source"] = resolve(v, plan_only=self._task.check_mode)
        except (sources.SourceError, RequirementsError) as error:
            raise AnsibleActionFail(f"{error}\nNo host was changed.") from None
        result["changed"] = False
        return result


def resolve(v: dict[str, Any], plan_only: bool = False) -> dict[str, Any]:
    """Fetch, check and pack the source that the settings name.

    :param plan_only: also read the revisions of its migrations, which a plan names and a deploy finds out by running them.
    """
    cache = os.path.expanduser(v["release_cache"])
    if v.get("app_repo"):
        found = sources.from_git(
            v["app_repo"],
            str(v["app_version"]),
            cache,
            os.path.expanduser(v.get("app_deploy_key") or ""),
            os.path.expanduser(v.get("app_known_hosts") or ""),
        )
    elif v.get("app_path"):
        found = sources.from_directory(v["app_path"], v["release_exclude"])
    else:
        found = sources.from_archive(v["app_archive"], v["app_archive_checksum"])
    entries = found.pop("entries")
    files = locks.files_under(entries, v["app_subdir"])
    locks.check_code(files, v)
    tar, digest, size = sources.store(entries, cache, v["app_name"])
    lock = locks.describe(files, v, digest)
    revision = found["commit"] or digest
    return {
        **found,
        "tar": tar,
        "digest": digest,
        "bytes": size,
        "lock": lock,
        "revisions": revisions.read(files, str(v["migrate_directory"])) if plan_only and v["migrate_enabled"] else None,
        "revision": revision,
        "id": f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{revision[:7]}",
        "who": v.get("release_author") or f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}",
    }
