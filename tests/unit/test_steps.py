# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The steps in which a fleet switches, the judgement on one of them, and whose a lock is."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.module_utils import lease as locked
from ansible_collections.decant.flask.plugins.module_utils.modules import traffic
from ansible_collections.decant.flask.plugins.plugin_utils import contract, locking, steps

SIX = [f"web{number}" for number in range(1, 7)]


@pytest.mark.parametrize(
    ("hosts", "wanted", "sizes"),
    [
        (6, [1, "50%", "100%"], [1, 2, 3]),
        (6, ["100%"], [6]),
        (6, [], [6]),
        (6, ["1", "2"], [1, 1, 4]),
        (3, [1, "50%", "100%"], [1, 2]),
        (3, ["10%", "100%"], [1, 2]),
        (1, [1, "50%"], [1]),
        (6, ["50%", 1, "100%"], [3, 3]),
        (6, [99], [6]),
        (0, [1, "100%"], []),
    ],
)
def test_steps(hosts: int, wanted: list[Any], sizes: list[int]):
    found = steps.steps(SIX[:hosts], wanted)
    assert [len(step) for step in found] == sizes
    assert [name for step in found for name in step] == SIX[:hosts]


@pytest.mark.parametrize("entry", ["0", 0, "101%", "half", "-1", "1.5", "%", ""])
def test_what_is_no_step(entry: Any):
    assert steps.share(entry, 6) is None


LIMITS = {"error_rate": 0.01, "p95_ratio": 3.0, "min_requests": 20}
GOOD = {"requests": 100, "error_rate": 0.0, "p95": 0.02}


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ({}, {}, ""),
        ({}, {"error_rate": 0.01}, ""),
        ({}, {"error_rate": 0.02}, "2.0% of 100 answers were 5xx, and 0.0% before"),
        ({"error_rate": 0.5}, {"error_rate": 0.5}, ""),
        ({}, {"p95": 0.06}, ""),
        ({}, {"p95": 0.061}, "the 95th percentile of the answer times was 0.061 s, and 0.020 s before"),
        ({"p95": 0.001}, {"p95": 0.029}, ""),  # below ten milliseconds nobody can tell
        ({"requests": 3}, {"p95": 9.0}, ""),  # too few before to compare times with
        ({"requests": 3}, {"error_rate": 0.5}, "50.0% of 100 answers were 5xx, and 0.0% before"),
        ({}, {"requests": 19, "error_rate": 1.0}, ""),
    ],
)
def test_worse(before: dict[str, Any], after: dict[str, Any], says: str):
    assert steps.worse({**GOOD, **before}, {**GOOD, **after}, LIMITS) == says


# --- the traffic of a step -----------------------------------------------------------------------


def line(time: float, status: int = 200, seconds: float = 0.01) -> str:
    return json.dumps({"time": str(time), "status": str(status), "seconds": str(seconds)})


def test_the_summary_of_a_log():
    found = [line(n, 502 if n % 10 == 0 else 200, n / 1000) for n in range(1, 101)]
    rest = ["", "no json", "[]", "7", '{"time": "x"}', line(0, 500, 9)]
    assert traffic.summarise([*rest, *found], 1) == {"requests": 100, "error_rate": 0.1, "p95": 0.095}
    assert traffic.summarise(found, 1000) == {"requests": 0, "error_rate": 0.0, "p95": 0.0}
    assert traffic.summarise([line(1, 200, 0.5)], 1)["p95"] == 0.5


def test_a_log_is_read_from_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "access.log"
    path.write_text("".join(f"{line(n)}\n" for n in range(100)))
    monkeypatch.setattr(traffic, "MOST_BYTES", 200)
    found = list(traffic.lines(str(path)))
    assert 0 < len(found) < 5 and json.loads(found[-1])["time"] == "99"
    assert list(traffic.lines(str(tmp_path / "none"))) == []


# --- the lock ------------------------------------------------------------------------------------

ME = {"owner": "ada@control", "host": "control", "pid": 7, "controller": "c", "event": "deploy", "message": ""}


def take(path: Path, token: str, lease: int = 60, stale: str = "") -> dict[str, Any]:
    return locked.take(str(path), {**ME, "token": token, "lease_seconds": lease, "stale_token": stale})


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write = locked.atomic_write
    monkeypatch.setattr(locked, "atomic_write", lambda p, d, m: write(p, d, m, os.getuid(), os.getgid()))
    return tmp_path / "projects.lock"


def test_a_lock_is_taken_once(path: Path):
    assert take(path, "a") == {"taken_over": {}}
    first = locked.read(str(path))
    assert take(path, "b")["held_by"]["owner"] == "ada@control"
    assert take(path, "a", 120) == {"taken_over": {}}
    renewed = locked.read(str(path))
    assert renewed["since"] == first["since"] and renewed["expires"] > first["expires"]


def test_a_lease_that_is_over_is_taken_over(path: Path):
    take(path, "a", lease=-1)
    assert take(path, "b")["taken_over"]["token"] == "a"
    assert locked.read(str(path))["token"] == "b"


def test_a_lock_whose_process_has_ended_is_taken_over(path: Path):
    take(path, "a")
    assert "held_by" in take(path, "b", stale="x")
    assert take(path, "b", stale="a")["taken_over"]["token"] == "a"


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_lock_that_cannot_be_read_is_somebodys(path: Path, text: str):
    path.write_text(text)
    assert take(path, "a")["held_by"]["owner"] == "an unreadable lock"


def test_only_its_own_controller_knows_that_a_process_has_ended():
    here, pid = locking.controller(), os.getpid()

    def token(process: int, started: str) -> str:
        return hashlib.sha256(f"{here} {process} {started}".encode()).hexdigest()[:20]

    mine = {"controller": here, "pid": pid, "token": token(pid, locking.started(pid))}
    assert locking.started(pid).isdigit() and locking.started(2**22 + 1) == ""
    assert locking.process_is_gone(mine, here) is False
    assert locking.process_is_gone({**mine, "token": token(pid, "1")}, here) is True  # the id was used again
    assert locking.process_is_gone({**mine, "pid": 2**22 + 1}, here) is True
    assert locking.process_is_gone({**mine, "controller": "other", "pid": 2**22 + 1}, here) is False
    assert locking.process_is_gone({}, here) is False


def test_a_host_that_heals_itself_is_waited_for():
    assert locking.patience({"event": "heal"}, 0) == 180 and locking.patience({"event": "heal"}, 600) == 600
    assert locking.patience({"event": "deploy"}, 0) == 0 and locking.patience({}, 9) == 9


def test_the_refusal_says_whose_it_is_and_what_to_do():
    holder = {**ME, "since": "2026-11-22T10:15:00Z", "expires": "2026-11-22T11:15:00Z", "message": "of Thursday"}
    said = locking.refusal("projects", "web1", holder, 0)
    assert said.startswith(
        'projects is locked on web1: ada@control, process 7 on control, deploy since 2026-11-22T10:15:00Z ("of Thursday").'
    )
    assert "lock_wait_seconds=600" in said and "2026-11-22T11:15:00Z" in said and "playbooks/unlock.yml" in said
    assert "after 9 s of waiting" in locking.refusal("projects", "web1", holder, 9)
    assert "ada@control" in locking.takeover("web1", holder)


# --- the inputs ----------------------------------------------------------------------------------


def test_hooks_steps_and_hosts_that_may_be_away(tmp_path: Path):
    (tmp_path / "told.yml").write_text("[]\n")
    fine = {
        "release_hooks": {"on_failure": "told.yml", "before_switch": str(tmp_path / "told.yml")},
        "release_batches": [1, "50%"],
        "release_allow_missing": ["web1"],
        "release_bake_seconds": 5,
        "release_bake_max_error_rate": 0.01,
        "release_bake_max_p95_ratio": 3,
    }
    assert contract.fleet(fine, str(tmp_path), ["web1"]) == []
    bad = {
        "release_hooks": {"befor_switch": "told.yml", "after_switch": "none.yml"},
        "release_batches": ["half"],
        "release_allow_missing": ["web7"],
        "release_bake_seconds": 5,
        "nginx_access_log_enabled": False,
        "release_bake_max_error_rate": 2,
        "release_bake_max_p95_ratio": 0.5,
    }
    found = contract.fleet(bad, str(tmp_path), ["web1"])
    assert [text.split(".")[0][:34] for text in found] == [
        "release_hooks has 'befor_switch', ",
        "release_hooks: after_switch is 'no",
        "release_batches has 'half'",
        "release_bake_max_error_rate is 2",
        "release_bake_max_p95_ratio is 0",
        "release_bake_seconds is 5, and a s",
        "release_allow_missing has 'web7', ",
    ]
