# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes when each task of a run began and how each host ended it, for bin/bench: a JSON object per line of $DECANT_BENCH_TIMES."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: bench_times
type: aggregate
short_description: Times of tasks, for bin/bench
version_added: 0.1.0
author: The Decant maintainers
description:
  - What the callback profile_tasks of a collection does, for a controller that has ansible-core alone.
"""


class CallbackModule(CallbackBase):
    """A line per event."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "bench_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.stream = open(os.environ["DECANT_BENCH_TIMES"], "w", encoding="utf-8", buffering=1)  # noqa: SIM115

    def write(self, **event: Any) -> None:
        self.stream.write(json.dumps({"at": time.monotonic(), **event}) + "\n")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.write(event="task", task=task.get_name(), action=task.resolved_action or task.action)

    def ended(self, result: Any, outcome: str) -> None:
        self.write(
            event="host",
            host=result.host.get_name(),
            action=result.task.resolved_action or result.task.action,
            outcome=outcome,
            changed=bool(result.result.get("changed")),
            asked=bool(result.result.get("asked", True)),
        )

    def v2_runner_on_ok(self, result: Any) -> None:
        self.ended(result, "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self.ended(result, "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self.ended(result, "skipped")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self.write(event="end")
