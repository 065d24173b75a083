# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a status reads of a host: the parts that need no booted one."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.filter import quoting
from ansible_collections.decant.flask.plugins.module_utils import database, host, readers
from ansible_collections.decant.flask.plugins.module_utils.host import CommandError
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout
from ansible_collections.decant.flask.plugins.module_utils.modules import status

R1 = "20261122T101500Z-3f2a9c1"


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    (tmp_path / "units").mkdir()
    (tmp_path / "backups").mkdir()
    monkeypatch.setattr(status, "SYSTEMD_UNITS", str(tmp_path / "units"))
    found = Layout("projects", str(tmp_path))
    found.lock_file = str(tmp_path / "projects.lock")
    return found


# --- files that others write ---------------------------------------------------------------------


def test_no_lock(layout: Layout):
    assert status.lock(layout) is None


def test_a_lock(layout: Layout):
    Path(layout.lock_file).write_text('{"owner": "ada", "pid": 7, "more": 1}')
    found = status.lock(layout)
    assert found == {**dict.fromkeys(status.LOCK_KEYS, ""), "owner": "ada", "pid": 7}


@pytest.mark.parametrize("text", ["", "{", "[]", "7"])
def test_a_lock_that_cannot_be_read_is_still_one(layout: Layout, text: str):
    Path(layout.lock_file).write_text(text)
    assert status.lock(layout) == dict.fromkeys(status.LOCK_KEYS, "")


def test_the_newest_backup(layout: Layout):
    for name, text in (
        ("a", '{"id": "a", "at": "2026-03-01T00:00:00Z"}'),
        ("b", '{"id": "b", "at": "2026-10-01T00:00:00Z", "kind": "sqlite"}'),
        ("c", '{"id": "c", "at": 7}'),
        ("d", "{"),
    ):
        Path(layout.root, "backups", f"{name}.json").write_text(text)
    found = status.last_backup(layout)
    assert found is not None
    assert (found["id"], found["kind"], found["dialect"]) == ("b", "sqlite", "")


def test_no_backup(layout: Layout):
    assert status.last_backup(layout) is None
    os.rmdir(f"{layout.root}/backups")
    assert status.last_backup(layout) is None


def test_the_history(layout: Layout):
    assert status.history(layout, 5) == []
    lines = [json.dumps({"release": str(number)}) for number in range(4)]
    Path(layout.audit_log).write_text("\n".join([*lines, '{"cut', "[]"]) + "\n")
    assert [entry["release"] for entry in status.history(layout, 4)] == ["2", "3"]
    assert status.history(layout, 0) == []
    assert len(status.history(layout, 99)) == 4


def test_notes_of_killed_runs(layout: Layout):
    for name in (".pending-nginx", ".pending-health", ".other"):
        Path(layout.root, name).write_text("")
    assert status.notes(layout) == [".pending-health", ".pending-nginx"]


# --- the probe -----------------------------------------------------------------------------------


def unit(layout: Layout, command: str) -> None:
    text = f"[Service]\nExecStart=/x -m gunicorn\nExecStartPost={command}\n"
    Path(status.SYSTEMD_UNITS, f"projects@{R1}.service").write_text(text)


def test_the_probe_asks_what_the_gate_asked_on_the_socket_that_nginx_uses(layout: Layout):
    words = quoting.probe_words(
        {
            "path": "/api/health",
            "host": "a.example.org",
            "status": 200,
            "json": {"ok": "50% of $x"},
            "header": {"X-A": 'say "b"'},
        }
    )
    asked = " ".join(quoting.systemd_value(word) for word in words)
    unit(
        layout,
        f"/usr/bin/python3 -I /srv/projects/bin/decant-probe --unix /run/projects/{R1}.sock {asked} "
        "--successes 3 --interval 0.1 --deadline 30 --pid $MAINPID",
    )
    assert status.probe_command(layout, R1) == [
        *(
            "/usr/bin/python3",
            "-I",
            f"{layout.root}/bin/decant-probe",
            "--unix",
            f"{layout.root}/current/gunicorn.sock",
        ),
        *words,
    ]


@pytest.mark.parametrize("command", ["/bin/true", "", '/usr/bin/python3 "decant-probe'])
def test_a_unit_that_names_no_probe(layout: Layout, command: str):
    unit(layout, command)
    assert status.probe_command(layout, R1) == []
    assert status.health(layout, "nobody", R1) == {"healthy": False, "says": f"the unit of {R1} names no probe"}


def test_a_unit_that_is_gone(layout: Layout):
    assert status.probe_command(layout, R1) == []


@pytest.mark.parametrize(
    ("code", "out", "found"),
    [
        (0, "healthy: 1 of 1\n", {"healthy": True, "says": "healthy: 1 of 1"}),
        (3, "a warning\nunhealthy: no socket\n", {"healthy": False, "says": "unhealthy: no socket"}),
        (1, "", {"healthy": False, "says": "no word"}),
    ],
)
def test_the_verdict(layout: Layout, monkeypatch: pytest.MonkeyPatch, code: int, out: str, found: dict[str, Any]):
    monkeypatch.setattr(status, "probe_command", lambda *_: ["probe"])
    monkeypatch.setattr(status, "run", lambda argv, **_: subprocess.CompletedProcess(argv, code, out))
    assert status.health(layout, "nobody", R1) == found


@pytest.mark.parametrize("error", [subprocess.TimeoutExpired("probe", 60), PermissionError("no")])
def test_a_probe_that_cannot_be_run(layout: Layout, monkeypatch: pytest.MonkeyPatch, error: Exception):
    def run(*_arguments: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(status, "probe_command", lambda *_: ["probe"])
    monkeypatch.setattr(status, "run", run)
    found = status.health(layout, "nobody", R1)
    assert not found["healthy"] and found["says"].startswith("the probe cannot be run: ")


@pytest.mark.parametrize(
    ("ended", "result", "found"),
    [
        ("0", "success", ("", None)),
        ("", "", ("", None)),
        (str(int((time.monotonic() - 5) * 1e6)), "exit-code", ("exit-code", 5)),
    ],
)
def test_the_timer(layout: Layout, monkeypatch: pytest.MonkeyPatch, ended: str, result: str, found: tuple[str, Any]):
    shown = {"Result": result, "ExecMainExitTimestampMonotonic": ended}
    monkeypatch.setattr(status, "unit_properties", lambda *_: shown)
    monkeypatch.setattr(status, "systemctl", lambda *_, **__: "active")
    monkeypatch.setattr(status.time, "monotonic", lambda: float(ended or 0) / 1e6 + 5)
    seen = status.timer(layout)
    assert (seen["active"], seen["result"], seen["seconds_ago"]) == (True, *found)


# --- the schema ----------------------------------------------------------------------------------


def serving(layout: Layout, migrations: bool = True, program: bool = True, **record: Any) -> None:
    code = Path(layout.code(R1, "api"))
    (code / "migrations").mkdir(parents=True)
    if migrations:
        (code / "migrations/env.py").write_text("")
    if program:
        (Path(layout.root) / "bin").mkdir()
        Path(layout.root, "bin/decant-database").write_text("")
    Path(layout.release(R1), ".env").write_text("SECRET_KEY='hunter2hunter2'\n")
    Path(layout.release(R1), "release.json").write_text(json.dumps({"subdir": "api", **record}))


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({}, True),  # of the hosts that share a database only one has the record
        ({"migrations": False, "migration": {"after": []}}, True),
        ({"migrations": False}, False),
        ({"program": False}, False),
    ],
)
def test_which_release_migrates(layout: Layout, options: dict[str, Any], answer: bool):
    serving(layout, **options)
    assert readers.migrates(layout, R1) is answer
    assert readers.migrates(layout, "none") is False


def test_the_schema(layout: Layout, monkeypatch: pytest.MonkeyPatch):
    serving(layout)
    seen: dict[str, Any] = {}

    def run(argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.update(options, argv=argv)
        out = 'INFO\ndecant-database: {"now": ["b", "a"], "heads": ["c"], "pending": 1}\n'
        return subprocess.CompletedProcess(argv, 0, out)

    monkeypatch.setattr(database, "run", run)
    assert readers.schema(layout, "projects", R1) == {"now": ["a", "b"], "heads": ["c"], "error": ""}
    assert (seen["user"], seen["cwd"], seen["env"]["SECRET_KEY"]) == (
        "projects",
        layout.code(R1, "api"),
        "hunter2hunter2",
    )
    assert seen["argv"][1:] == [f"{layout.root}/bin/decant-database", "show", "--directory", "migrations"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            CommandError(
                ["x"], 1, "Traceback\nsqlalchemy.exc.OperationalError: key hunter2hunter2\n(Background on this)\n"
            ),
            "sqlalchemy.exc.OperationalError: key ***",
        ),
        (
            CommandError(["x"], 1, "usage: decant-database\nunrecognized arguments: --show"),
            "unrecognized arguments: --show",
        ),
        (CommandError(["x"], 1, ""), "it printed nothing"),
        (subprocess.TimeoutExpired("x", 120), "no answer within 120 s"),
        (ValueError(), "decant-database show printed no result"),
    ],
)
def test_a_schema_that_cannot_be_read(layout: Layout, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str):
    serving(layout)

    def run(*_arguments: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(database, "run", run)
    assert readers.schema(layout, "projects", R1) == {"now": [], "heads": [], "error": says}


def test_no_release_has_no_schema(layout: Layout):
    assert readers.schema(layout, "projects", "") is None


# --- all of it -----------------------------------------------------------------------------------


def test_a_host_that_never_had_the_backend(layout: Layout, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host, "run", lambda argv, **_: subprocess.CompletedProcess(argv, 3, "inactive\n"))
    p = {"name": "projects", "root": f"{layout.root}/none", "user": "nobody", "schema": True, "history": 3}
    found = status.read_status(p)
    assert (found["id"], found["running"], found["health"], found["schema"]) == ("", False, None, None)
    assert (found["parts"], found["undrained"], found["history"]) == ({"env": "", "unit": ""}, [], [])


def test_nothing_of_the_environment_is_returned(layout: Layout, monkeypatch: pytest.MonkeyPatch):
    serving(layout, outcome="live", parts={"env": "e" * 64, "unit": "u" * 64}, secret_keys=["SECRET_KEY"])
    os.symlink(f"releases/{R1}", layout.current)
    monkeypatch.setattr(host, "run", lambda argv, **_: subprocess.CompletedProcess(argv, 0, "active\n"))
    monkeypatch.setattr(database, "run", lambda argv, **_: subprocess.CompletedProcess(argv, 0, "hunter2hunter2"))
    p = {"name": "projects", "root": layout.root, "user": "nobody", "schema": True, "history": 0}
    found = status.read_status(p)
    assert (found["id"], found["outcome"], found["parts"]["env"]) == (R1, "live", "e" * 64)
    assert found["schema"]["error"]
    assert "hunter2" not in json.dumps(found)
