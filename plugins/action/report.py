# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prints the status of the whole fleet, as one table or as JSON, and writes it to a file when asked."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.decant.flask.plugins.module_utils import layout
from ansible_collections.decant.flask.plugins.plugin_utils import fleet, settings

MODE = 0o600  # host names, people's names and what went wrong are nobody else's business


class ActionModule(ActionBase):
    """Takes app, found (host -> the answer of the module status), format and file. Printed by itself and not as a result:
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
            write(arguments["file"], document)
        result["changed"] = False
        result["drifts"] = found["drifts"]
        return result


def write(path: str, document: str) -> None:
    """Keep the report on the controller, whole or not at all."""
    full = os.path.abspath(os.path.expanduser(path))
    try:
        layout.atomic_write(full, f"{document}\n".encode(), MODE, os.getuid(), os.getgid())
    except OSError as error:
        raise AnsibleActionFail(
            f"status_file is '{path}', and {full} cannot be written on the controller: {error.strerror}. "
            "Name a file in a directory that is there and that you may write to."
        ) from None
