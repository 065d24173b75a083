# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which release a rollback goes to, and which it never does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.module_utils import readers
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout
from ansible_collections.decant.flask.plugins.module_utils.modules import releases


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("projects", str(tmp_path))


def add(layout: Layout, name: str, outcome: str, live_at: str = "", venv: bool = True, **record: Any) -> None:
    os.makedirs(f"{layout.release(name)}/venv/bin")
    if venv:
        Path(layout.release(name), "venv/bin/python").write_text("")
    record |= {"outcome": outcome, "live_at": live_at}
    Path(layout.release(name), "release.json").write_text(json.dumps(record))


def listed(layout: Layout) -> list[dict[str, Any]]:
    return [readers.describe(layout, name) for name in layout.release_ids()]


def test_the_good_one_that_served_last_not_the_newest(layout: Layout):
    add(layout, "r1", "retired", "2026-01-03T00:00:00Z")  # served again after r2
    add(layout, "r2", "retired", "2026-01-02T00:00:00Z")
    add(layout, "r3", "live", "2026-01-04T00:00:00Z")
    assert releases.last_good(listed(layout), "r3") == "r1"


@pytest.mark.parametrize("outcome", ["failed", "rolled-back", "staged", ""])
def test_never_one_that_was_bad_or_unfinished(layout: Layout, outcome: str):
    add(layout, "r1", "retired", "2026-01-01T00:00:00Z")
    add(layout, "r2", outcome, "2026-01-02T00:00:00Z")
    add(layout, "r3", "live", "2026-01-03T00:00:00Z")
    assert releases.last_good(listed(layout), "r3") == "r1"
    said = releases.problem(layout, listed(layout), "r2", "r3", "r2")
    assert said.startswith(f"r2 is marked {outcome}, so nothing goes back to it. It can go back to: r1.")


def test_none_is_left(layout: Layout):
    add(layout, "r1", "live", "2026-01-01T00:00:00Z")
    assert releases.last_good(listed(layout), "r1") == ""
    assert "There is no earlier good release on this host (r1 serves)" in releases.problem(
        layout, listed(layout), "", "r1", ""
    )


@pytest.mark.parametrize(
    ("target", "current", "says"),
    [
        ("r1", "", "Nothing serves yet"),
        ("r9", "r2", "release_id is 'r9', and this host has no such release. It can go back to: r1."),
        ("r2", "r2", "release_id is 'r2', which serves already. It can go back to: r1."),
        ("r1", "r2", ""),
    ],
)
def test_problems(layout: Layout, target: str, current: str, says: str):
    add(layout, "r1", "retired", "2026-01-01T00:00:00Z")
    add(layout, "r2", "live", "2026-01-02T00:00:00Z")
    said = releases.problem(layout, listed(layout), target, current, target)
    assert said == says if not says else says in said


def test_an_environment_that_is_gone(layout: Layout):
    add(layout, "r1", "retired", "2026-01-01T00:00:00Z", venv=False)
    assert "The virtual environment of r1 is gone" in releases.problem(layout, listed(layout), "r1", "r2", "r1")


def test_a_line_of_the_list(layout: Layout):
    name = "20260101T000000Z-3f2a9c1"
    add(
        layout,
        name,
        "failed",
        reason="gate: boom",
        source={"version": "v1"},
        parts={"commit": "3f2a9c1" * 5},
        migration={"after": ["0003"]},
    )
    found = readers.describe(layout, name)
    assert (found["outcome"], found["version"], found["commit"], found["schema"], found["reason"]) == (
        *("failed", "v1", "3f2a9c13f2a9", "0003"),
        "gate: boom",
    )
    assert found["age_seconds"] > 0 and not found["current"]
