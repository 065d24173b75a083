# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges a review of production, prints it, and writes it to files when asked."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.decant.flask.plugins.module_utils import layout
from ansible_collections.decant.flask.plugins.plugin_utils import readiness, reports, settings


class ActionModule(ActionBase):
    """Takes found: host -> the answer of the module readiness."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        found: Mapping[str, Any] = settings.plain(self._task.args["found"])
        v = settings.load(task_vars or {}, self._templar, self._loader)
        others = {path: digests(path) for path in v.get("readiness_other_reports") or []}
        lines = [line for host in found for line in readiness.host_lines(host, found, v, others)]
        lines = readiness.waived(lines, v.get("readiness_waivers") or [], datetime.date.today())
        keys = [
            (answer.get("review") or {}).get("config", {}).get("key", {}).get("digest", "") for answer in found.values()
        ]
        document = readiness.report(v["app_name"], lines, v, layout.now(), keys)
        text = json.dumps(document, indent=2)
        Display().display(text if v.get("readiness_format") == "json" else readiness.text(document))
        if not self._task.check_mode:
            for name, content in (("readiness_file", f"{text}\n"), ("readiness_page", readiness.page(document))):
                if v.get(name):
                    reports.write(v[name], content, name)
        return {**result, "changed": False, **{key: document[key] for key in ("worst", "fails", "counts")}}


def digests(path: str) -> list[str]:
    """Digests of the SECRET_KEYs in the report of another environment."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as stream:
            return [str(digest) for digest in json.load(stream)["secret_keys"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnsibleActionFail(
            f"readiness_other_reports has '{path}', which is no report of readiness.yml ({type(error).__name__}). Write one there with "
            f"-e readiness_file={path} in that environment, or take it off the list."
        ) from None
