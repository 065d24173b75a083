# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A run without banners says its errors, on stderr, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.callback import bare

RESULT = SimpleNamespace(result={"msg": "no"}, host=SimpleNamespace(get_name=lambda: "web"), name="")


@pytest.fixture
def said() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def callback(said: list[tuple[str, dict[str, Any]]]) -> bare.CallbackModule:
    made = bare.CallbackModule()
    made._display = SimpleNamespace(display=lambda text, **how: said.append((text, how)))
    return made


def test_errors_go_to_stderr(callback: bare.CallbackModule, said: list[Any]):
    callback.v2_runner_on_failed(RESULT)
    callback.v2_runner_on_unreachable(RESULT)
    assert said == [("web: no", {"stderr": True})] * 2


def test_nothing_else_is_said(callback: bare.CallbackModule, said: list[Any]):
    callback.v2_runner_on_failed(RESULT, ignore_errors=True)
    callback.v2_runner_on_ok(RESULT)
    callback.v2_playbook_on_play_start(RESULT)
    callback.v2_playbook_on_stats(RESULT)
    assert said == []
