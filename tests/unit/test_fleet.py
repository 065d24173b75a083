# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The status of a fleet: what a host says becomes a row, what is wrong becomes a sentence, the rows become one table."""

from __future__ import annotations

import copy
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.decant.flask.plugins.plugin_utils import fleet, reports

NOW = "2026-11-22T10:20:00Z"
R1, R2 = "20261122T101500Z-3f2a9c1", "20261123T101500Z-aaaaaaa"
CLEAN: dict[str, Any] = {
    "id": R1,
    "intact": True,
    "drift": [],
    "running": True,
    "enabled": [R1],
    "outcome": "live",
    "version": "v1.4.0",
    "commit": "3f2a9c1f3f2a",
    "age_seconds": 300,
    "live_at": "2026-11-22T10:15:20Z",
    "parts": {"env": "9b1d03c2" + "0" * 56, "unit": "77aa01f0" + "1" * 56},
    "undrained": [],
    "notes": [],
    "schema": {"now": ["0003"], "heads": ["0003"], "error": ""},
    "lock": None,
    "health": {"healthy": True, "says": "healthy: 1 of 1 answers 200 in 0.01 s"},
    "timer": {"active": True, "result": "success", "seconds_ago": 12},
    "backup": None,
    "history": [],
}
EMPTY: dict[str, Any] = {
    **CLEAN,
    "id": "",
    "enabled": [],
    "outcome": "",
    "version": "",
    "commit": "",
    "age_seconds": None,
    "live_at": "",
    "parts": {"env": "", "unit": ""},
    "schema": None,
    "health": None,
    "running": False,
    "intact": False,
    "timer": {"active": False, "result": "", "seconds_ago": None},
}
LOCK = {
    "owner": "ada",
    "host": "control",
    "pid": 7,
    "since": "2026-11-22T10:00:00Z",
    "expires": "2026-11-22T11:00:00Z",
    "message": "",
    "event": "lock",
}


def found(**changes: Any) -> dict[str, Any]:
    return {"status": {**copy.deepcopy(CLEAN), **changes}}


def drift(**changes: Any) -> list[str]:
    return fleet.row("web", found(**changes), NOW)["drift"]


def cell(column: str, **changes: Any) -> str:
    return fleet.cells(fleet.row("web", found(**changes), NOW))[fleet.COLUMNS.index(column)]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "?"), (59, "0 h 0 min"), (3725, "1 h 2 min"), (172799, "47 h 59 min"), (172800, "2 d")]
)
def test_age(seconds: int | None, text: str):
    assert fleet.age(seconds) == text


# --- drift ---------------------------------------------------------------------------------------


def test_a_clean_host_has_no_drift():
    assert drift() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"drift": ["/x/.env is not what the release wrote"]}, "web: /x/.env is not what the release wrote."),
        ({"enabled": [R1, R2]}, f"web serves {R1}, and a boot would start {R2} beside it."),
        ({"enabled": [R2]}, f"web serves {R1}, and a boot would start {R2}."),
        ({"enabled": []}, f"web serves {R1}, and a boot would start nothing."),
        ({"running": False}, f"web: the instance of {R1} is not running, or its socket is not."),
        ({"undrained": [R2]}, f"web: {R2} runs as well, and no drain will stop it."),
        ({"outcome": "staged"}, f"web serves {R1}, and its record says staged: a switch was cut short."),
        (
            {"notes": [".pending-nginx"]},
            "web: .pending-nginx is left of a run that was killed before its files took effect.",
        ),
        (
            {"schema": {"now": ["0002"], "heads": ["0003"], "error": ""}},
            f"web: the database is at 0002, and the head of {R1} is 0003.",
        ),
        (
            {"schema": {"now": [], "heads": ["0003"], "error": ""}},
            f"web: the database is at none, and the head of {R1} is 0003.",
        ),
        (
            {"schema": {"now": [], "heads": [], "error": "no such file"}},
            "web: the revision of the database cannot be read: no such file.",
        ),
        (
            {"health": {"healthy": False, "says": "unhealthy: status 500 (wanted 200)"}},
            "web is not healthy: status 500 (wanted 200).",
        ),
        ({"id": ""}, "web serves no release."),
    ],
)
def test_one_sentence_for_each_drift(changes: dict[str, Any], says: str):
    assert drift(**changes) == [says]


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": None},
        {"schema": {"now": ["b", "a"], "heads": ["a", "b"], "error": ""}},
        {"lock": LOCK},
        {"timer": {"active": False, "result": "", "seconds_ago": None}},
        {"timer": {"active": True, "result": "exit-code", "seconds_ago": 3}},  # it is healthy again
    ],
)
def test_what_is_no_drift(changes: dict[str, Any]):
    assert drift(**changes) == []


def test_a_release_without_a_record_is_said_once():
    assert drift(drift=["release.json is missing or unreadable"], outcome="unfinished") == [
        "web: release.json is missing or unreadable."
    ]


# --- hosts that say nothing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "state", "says"),
    [
        (
            {
                "unreachable": True,
                "msg": 'Task failed: Data could not be sent to remote host "192.0.2.7". Make sure this host can be '
                "reached over ssh: ssh: connect to host 192.0.2.7 port 22: No route to host\r\n",
            },
            "unreachable",
            "web cannot be reached: ssh: connect to host 192.0.2.7 port 22: No route to host.",
        ),
        (
            {"msg": "first\nsudo: a password is required"},
            "unreadable",
            "web cannot be read: sudo: a password is required.",
        ),
        ({}, "unreadable", "web cannot be read: an earlier step of this run failed on it."),
    ],
)
def test_a_host_that_says_nothing(answer: dict[str, Any], state: str, says: str):
    entry = fleet.row("web", answer, NOW)
    assert (entry["state"], entry["drift"]) == (state, [says])
    assert set(entry) == set(fleet.row("web", found(), NOW)) == set(fleet.KEYS)
    assert fleet.cells(entry) == ["web", state, *["-"] * 8, "1"]


# --- cells ---------------------------------------------------------------------------------------


def test_the_cells_of_a_clean_host():
    assert fleet.cells(fleet.row("web", found(), NOW)) == [
        *("web", R1, "v1.4.0 3f2a9c1", "0 h 5 min", "0003 (head)", "9b1d03c2", "77aa01f0", "-"),
        *("healthy, timer success 12 s ago", "-", "none"),
    ]


def test_the_cells_of_a_host_without_a_release():
    entry = fleet.row("web", {"status": EMPTY}, NOW)
    assert fleet.cells(entry) == ["web", "none", "-", "-", "-", "-", "-", "-", "-, timer off", "-", "1"]


@pytest.mark.parametrize(
    ("version", "commit", "shown"),
    [
        ("main", "3f2a9c1f3f2a", "main 3f2a9c1"),
        ("", "3f2a9c1f3f2a", "3f2a9c1"),
        ("3f2a9c1f3f2a" + "0" * 28, "3f2a9c1f3f2a", "3f2a9c1"),
        ("app.tar.gz", "", "app.tar.gz"),
        ("", "", "-"),
    ],
)
def test_version(version: str, commit: str, shown: str):
    assert cell("version", version=version, commit=commit) == shown


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        (None, "-"),
        ({"now": [], "heads": [], "error": "x"}, "unknown"),
        ({"now": ["2"], "heads": ["3"], "error": ""}, "2, head 3"),
        ({"now": [], "heads": ["3"], "error": ""}, "none, head 3"),
    ],
)
def test_schema(schema: Any, shown: str):
    assert cell("schema", schema=schema) == shown


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "ada since 2026-11-22T10:00:00Z, until 2026-11-22T11:00:00Z"),
        ({"expires": NOW}, f"ada since 2026-11-22T10:00:00Z, until {NOW} (expired)"),
        ({"expires": ""}, "ada since 2026-11-22T10:00:00Z"),
        ({"owner": ""}, "unreadable"),
    ],
)
def test_lock(changes: dict[str, str], shown: str):
    assert cell("lock", lock={**LOCK, **changes}) == shown


@pytest.mark.parametrize(
    ("timer", "shown"),
    [
        ({"active": True, "result": "", "seconds_ago": None}, "healthy, timer not yet"),
        ({"active": True, "result": "exit-code", "seconds_ago": 3}, "healthy, timer exit-code 3 s ago"),
        ({"active": False, "result": "success", "seconds_ago": 3}, "healthy, timer off"),
    ],
)
def test_timer(timer: dict[str, Any], shown: str):
    assert cell("health", timer=timer) == shown


def test_backup():
    assert cell("backup", backup={"at": "2026-11-22T01:00:00Z"}) == "2026-11-22T01:00:00Z"


# --- the fleet -----------------------------------------------------------------------------------


def test_hosts_on_different_releases():
    other = found(id=R2, enabled=[R2])
    made = fleet.report("projects", {"a": found(), "b": other, "c": found(), "d": {"unreachable": True}}, NOW)
    assert made["fleet"] == [f"The hosts serve different releases: {R1} on a, c; {R2} on b."]
    assert made["drifts"] == 2
    assert [entry["host"] for entry in made["hosts"]] == ["a", "b", "c", "d"]


def test_a_host_without_a_release_serves_no_other():
    made = fleet.report("projects", {"a": found(), "b": {"status": EMPTY}}, NOW)
    assert (made["fleet"], made["drifts"]) == ([], 1)


def test_the_text():
    event = {"at": NOW, "event": "deploy", "outcome": "live", "release": R1, "who": "ada@control", "seconds": 16}
    failed = {**event, "outcome": "failed", "phase": "gate", "reason": "boom\n at line 2", "seconds": None}
    answers = {
        "web": found(history=[failed, {**event, "previous": R2}], lock={**LOCK, "message": "moving"}),
        "web10": found(enabled=[]),
    }
    lines = fleet.text(fleet.report("projects", answers, NOW)).splitlines()
    assert lines[:2] == [f"projects at {NOW}", ""]
    assert [re.split(r"  +", line)[0] for line in lines[2:5]] == ["host", "web", "web10"]
    assert [lines[2].index(column) for column in ("lock", "health", "drift")] == [
        *(lines[3].index("ada since"), lines[3].index("healthy, "), lines[3].rindex("none")),
    ]
    assert lines[2].index("health") == lines[4].index("healthy, ")
    assert lines[5:] == [
        "",
        "web is locked by ada: moving",
        "",
        "drift:",
        f"  1. web10 serves {R1}, and a boot would start nothing.",
        "",
        "history of web:",
        f"  {NOW}  deploy  failed  {R1}  ada@control  gate: boom at line 2",
        f"  {NOW}  deploy  live    {R1}  ada@control  after {R2}; in 16 s",
    ]


def test_a_terminal_is_given_no_commands():
    lock = {**LOCK, "owner": "a\x1b[2Jda", "message": "mo\nving\x07"}
    answers = {"web": found(lock=lock, health={"healthy": False, "says": "unhealthy: \x9b31m"})}
    text = fleet.text(fleet.report("projects", answers, NOW))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert "web is locked by a [2Jda: mo ving" in text


def test_the_report_is_json():
    made = fleet.report("projects", {"web": found(lock=LOCK), "web2": {}}, NOW)
    assert json.loads(json.dumps(made)) == made
    assert made["hosts"][0]["lock"]["expired"] is False


# --- the file ------------------------------------------------------------------------------------


def test_the_file_is_the_owners(tmp_path: Path):
    path = tmp_path / "status.json"
    path.write_text("old")
    path.chmod(0o644)
    reports.write(str(path), "{}\n", "status_file")
    assert path.read_text() == "{}\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_file_without_a_place(tmp_path: Path):
    with pytest.raises(
        AnsibleActionFail, match=r"status_file is '.*', and .* cannot be written on the controller: No such"
    ):
        reports.write(f"{tmp_path}/none/status.json", "{}", "status_file")
