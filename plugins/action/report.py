# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prints the status of the whole fleet, as one table or as JSON, and writes it to a file when asked."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.decant.flask.plugins.module_utils import health_page, layout
from ansible_collections.decant.flask.plugins.plugin_utils import fleet, reports, settings


class ActionModule(ActionBase):
    """Takes app, found (host -> the answer of the module status), format, file and page. Printed by itself and not as a result:
    a result's lines would be quoted or indented, as the callback likes it."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = settings.plain(self._task.args)
        found = fleet.report(arguments["app"], arguments["found"], layout.now())
        document = json.dumps(found, indent=2)
        Display().display(document if arguments.get("format") == "json" else fleet.text(found))
        if arguments.get("file") and not self._task.check_mode:
            reports.write(arguments["file"], f"{document}\n", "status_file")
        if arguments.get("page") and not self._task.check_mode:
            views = [
                view(arguments["app"], host, answer, told)
                for (host, answer), told in zip(arguments["found"].items(), found["hosts"])
            ]
            reports.write(arguments["page"], health_page.render_fleet(views, time.time()), "status_page")
        result["changed"] = False
        result["drifts"] = found["drifts"]
        return result


def view(app: str, host: str, answer: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """What the page of a host shows, or why there is nothing to show."""
    if answer.get("view"):
        return dict(answer["view"])
    why = (
        " ".join(told["drift"])
        if told["state"] in ("unreachable", "unreadable")
        else "nothing was checked there yet (health_timer_enabled)"
    )
    return {"app": app, "host": host, "error": why}
