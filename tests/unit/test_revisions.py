# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Revisions of a source, read without running it, and what a database lacks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.plugin_utils import revisions

VERSIONS = Path(__file__).resolve().parents[2] / "examples/backend/api/migrations/versions"


def entry(revision: str, *after: str) -> dict[str, Any]:
    return {"revision": revision, "after": list(after), "subject": ""}


def source(**files: str) -> dict[str, bytes]:
    return {f"migrations/versions/{name}.py": text.encode() for name, text in files.items()}


def test_the_example_backend():
    files = {f"migrations/versions/{path.name}": path.read_bytes() for path in VERSIONS.glob("*.py")}
    found = revisions.read(files, "migrations")
    assert found is not None
    assert [(e["revision"], e["after"]) for e in found] == [("0001", []), ("0002", ["0001"]), ("0003", ["0002"])]
    assert all(e["subject"] for e in found)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('revision = "b"\ndown_revision = "a"\n', entry("b", "a")),
        ('revision: str = "b"\ndown_revision: Union[str, None] = "a"\n', entry("b", "a")),
        ('revision = "a"\ndown_revision = None\n', entry("a")),
        ('revision = "m"\ndown_revision = ("a", "b")\ndepends_on = ["c"]\n', entry("m", "a", "b", "c")),
        ('"""Add tags\n\nRevision ID: b\n"""\nrevision = "b"\n', {**entry("b"), "subject": "Add tags"}),
        ('raise SystemExit("never run")\nrevision = "b"\n', entry("b")),
        ("revision: str\n", None),
        ("x = 1\n", None),
    ],
)
def test_one_file(text: str, wanted: dict[str, Any] | None):
    assert revisions.one(text.encode()) == wanted


@pytest.mark.parametrize("text", ["revision = make()\n", 'revision = "b"\ndown_revision = LAST\n', "def (:\n", "\0"])
def test_what_would_have_to_be_run_is_not_known(text: str):
    assert revisions.read(source(good='revision = "a"\n', bad=text), "migrations") is None


def test_only_the_files_of_the_directory():
    files = source(a='revision = "a"\n', __init__="revision = make()\n") | {
        "migrations/env.py": b"revision = make()",
        "migrations/versions/README": b"?",
        "migrations/versions/old/x.py": b"revision = make()",
        "other/versions/x.py": b"revision = make()",
    }
    assert revisions.read(files, "migrations/") == [entry("a")]
    assert revisions.read(files, "nothing") == []


LINE = [entry("a"), entry("b", "a"), entry("c", "b")]
FORK = [entry("a"), entry("c", "a"), entry("b", "a"), entry("m", "b", "c")]


@pytest.mark.parametrize(
    ("found", "now", "pending", "foreign"),
    [
        (LINE, ["c"], [], []),
        (LINE, ["a"], ["b", "c"], []),
        (LINE, [], ["a", "b", "c"], []),
        (LINE, ["x"], ["a", "b", "c"], ["x"]),
        (FORK, ["b"], ["c", "m"], []),
        (FORK, ["b", "c"], ["m"], []),
        (FORK, ["a"], ["b", "c", "m"], []),
        ([entry("z"), entry("a", "z")], [], ["z", "a"], []),
        ([entry("a", "gone")], [], ["a"], []),
        ([entry("a", "b"), entry("b", "a")], [], ["a", "b"], []),  # a circle, which Alembic refuses
    ],
)
def test_pending(found: list[dict[str, Any]], now: list[str], pending: list[str], foreign: list[str]):
    answer = revisions.pending(found, now)
    assert [e["revision"] for e in answer["pending"]] == pending
    assert answer["foreign"] == foreign
