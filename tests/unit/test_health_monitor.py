# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""decant-health: when a problem opens and is over, what is remembered, what is told and in which form."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.lookup import watchers
from ansible_collections.decant.flask.plugins.module_utils.layout import WATCHERS, Layout
from ansible_collections.decant.flask.plugins.plugin_utils import alerts

LIMITS = {"failures": 2, "successes": 2, "reminder": 3600}
DAY = 86400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As it lies on a host."""
    found = tmp_path_factory.mktemp("monitor")
    for item in watchers.LookupModule().run([str(found)])[0]:
        path = Path(item["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(item["content"], encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def part(folder: Path) -> Any:
    """A part of the program, by name."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    loaded: dict[str, ModuleType] = {}

    def load(name: str) -> ModuleType:
        loaded[name] = importlib.import_module(name)
        return loaded[name]

    yield load
    sys.path[:] = before
    for name in ("records", "checks", "receivers", "rootly", "decant_probe", "health_page"):
        sys.modules.pop(name, None)


def test_the_program_is_whole(folder: Path):
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.py")} == set(WATCHERS)
    for verb in ("check", "survey", "heal", "alert", "edge", "view"):
        done = subprocess.run(
            ["/usr/bin/python3", "-I", str(folder), verb, "--config", "/nonexistent"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr and "Error" not in done.stderr, done.stderr
    listed = subprocess.run(
        ["/usr/bin/python3", "-I", str(folder), "--help"], capture_output=True, text=True, check=True
    )
    assert "survey" in listed.stdout


def test_a_deploy_looks_at_every_part():
    paths = Layout("shop", "/srv/shop").lasting_files([80])
    assert all(f"/srv/shop/bin/decant-health/{name}" in paths for name in WATCHERS)
    assert "/etc/decant/health/shop.receivers.json" in paths


# --- when a problem opens, and when it is over ---------------------------------------------------


class Clock:
    """Runs of the checks, one a minute."""

    def __init__(self, records: ModuleType, **limits: Any) -> None:
        self.records, self.state, self.now, self.limits = records, {}, 1_000_000.0, {**LIMITS, **limits}
        self.told: list[tuple[str, str]] = []

    def run(self, *, silent: bool = False, times: int = 1, **states: str) -> list[dict[str, Any]]:
        events = []
        for _ in range(times):
            self.now += 60
            results = [{"name": name, "state": state, "detail": f"{name} is {state}"} for name, state in states.items()]
            events += self.records.judge(self.state, results, self.now, self.limits, silent)
        self.told += [(one["kind"], one["check"]) for one in events]
        return events


@pytest.fixture
def clock(part: Any) -> Clock:
    return Clock(part("records"))


def test_one_bad_answer_is_no_problem(clock: Clock):
    clock.run(live="fail")
    clock.run(live="ok", times=3)
    assert clock.told == []


def test_one_message_when_it_breaks_and_one_when_it_heals(clock: Clock):
    clock.run(live="fail", times=10)
    clock.run(live="ok", times=10)
    assert clock.told == [("break", "live"), ("heal", "live")]


def test_it_began_with_the_first_bad_answer(clock: Clock):
    (told,) = clock.run(live="fail", times=2)
    assert told["since"] == 1_000_060 and told["seconds"] == 60
    assert told["cause"] == "live is fail" and told["severity"] == "critical"
    (over,) = clock.run(live="ok", times=2)
    assert over["problem"] == told["problem"] and over["seconds"] == 180


def test_what_follows_from_another_problem_is_none(clock: Clock):
    clock.run(database="fail", live="fail", ready="fail", edge="fail", schema="warn", times=5)
    assert clock.told == [("break", "database")]
    clock.run(database="ok", live="ok", ready="ok", edge="ok", schema="ok", times=5)
    assert clock.told == [("break", "database"), ("heal", "database")]


def test_two_causes_are_two_problems(clock: Clock):
    clock.run(edge="fail", disk="warn", live="ok", times=3)
    assert clock.told == [("break", "edge"), ("break", "disk")]


def test_what_is_not_known_is_neither_good_nor_bad(clock: Clock):
    clock.run(schema="warn")
    clock.run(schema="unknown", times=5)
    assert clock.told == []
    clock.run(schema="warn")
    assert clock.told == [("break", "schema")]


def test_a_problem_that_comes_and_goes_is_told_less_and_less(clock: Clock):
    for _ in range(12):
        clock.run(edge="fail", times=2)
        clock.run(edge="ok", times=2)
    assert len(clock.told) < 12, clock.told
    clock.run(edge="ok", times=20)
    assert clock.told[-1] == ("heal", "edge")
    assert [kind for kind, _ in clock.told] == ["break", "heal"] * (len(clock.told) // 2)


def test_a_reminder_while_it_goes_on(clock: Clock):
    clock.run(edge="fail", times=2 + 60 * 3)
    assert clock.told == [("break", "edge"), *[("reminder", "edge")] * 3]
    other = Clock(clock.records, reminder=0)
    other.run(edge="fail", times=500)
    assert other.told == [("break", "edge")]


def test_silence(clock: Clock):
    clock.run(edge="fail", times=5, silent=True)
    clock.run(edge="ok", times=5, silent=True)
    assert clock.told == [], "it broke and healed while nobody wanted to hear of it"
    clock.run(edge="fail", times=5, silent=True)
    clock.run(edge="fail")
    assert clock.told == [("break", "edge")], "still broken at the end"
    clock.run(edge="ok", times=9, silent=True)
    assert clock.told == [("break", "edge"), ("heal", "edge")], "what was told is told to its end"


# --- what is remembered --------------------------------------------------------------------------


def test_the_history_has_a_bound(part: Any):
    records, state = part("records"), {}
    for minute in range(40 * 24 * 60 // 20):
        records.remember(state, 1_000_000 + minute * 1200.0, minute % 100 == 0, 0.01)
    assert len(state["day"]) <= 288 and len(state["month"]) <= 360
    assert len(json.dumps(state)) < 80_000
    assert state["month"][-1]["at"] - state["month"][0]["at"] >= 29 * DAY
    assert sum(one["failed"] for one in state["month"]) in range(18, 25)


def test_a_bucket_says_how_answers_were(part: Any):
    records, state = part("records"), {}
    for seconds in (0.1, 0.3, 0.2):
        records.remember(state, 1000.0, seconds == 0.3, seconds)
    assert state["day"] == [{"at": 900, "asked": 3, "failed": 1, "p50": 0.2, "max": 0.3}]
    assert state["month"][0]["p50"] == 0.2


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ({"live": "ok"}, "healthy"),
        ({"live": "ok", "disk": "warn"}, "degraded"),
        ({"live": "ok", "edge": "fail"}, "failing"),
        ({"live": "unknown"}, "unknown"),
    ],
)
def test_one_word(part: Any, states: dict[str, str], word: str):
    results = [{"name": name, "state": state} for name, state in states.items()]
    assert part("records").health({}, results) == word


# --- what is looked at ---------------------------------------------------------------------------


@pytest.fixture
def host(part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Checks on a tree of one's own."""
    checks = part("checks")
    root = tmp_path / "srv"
    (root / "releases/R1").mkdir(parents=True)
    (root / "releases/R1/release.json").write_text(
        json.dumps({"live_at": "2026-11-24T10:00:00Z", "source": {"version": "v1"}})
    )
    (root / "current").symlink_to("releases/R1")
    limits = {
        "disk_percent": 1,
        "inodes_percent": 0,
        "backup_hours": 26,
        "memory_percent": 90,
        "restarts": 1,
        "restart_window_seconds": 60,
    }
    config = {
        "app": "shop",
        "root": str(root),
        "limits": limits,
        "paths": [str(root)],
        "interval": 30,
        "host": "web",
        "runbook_url": "https://w/",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(checks, "ROOTS", str(tmp_path / "roots"))
    monkeypatch.setattr(checks, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(checks, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(checks, "LOCKS", str(tmp_path / "locks"))
    return checks.Host(str(tmp_path / "config.json"))


def test_what_a_boot_would_start(host: Any, tmp_path: Path):
    (found,) = host.drift()
    assert found["state"] == "warn" and "would not be started by a boot" in found["detail"]


def test_memory(host: Any, tmp_path: Path):
    group = tmp_path / "group/shop@R1.service"
    group.mkdir(parents=True)
    host.cgroup = str(tmp_path / "group")
    assert host.memory() == []
    for used, most, state in ((50, "max", "ok"), (50, "100", "ok"), (95, "100", "warn")):
        (group / "memory.current").write_text(f"{used * 2**20}\n")
        (group / "memory.max").write_text(most if most == "max" else f"{int(most) * 2**20}\n")
        (found,) = host.memory()
        assert found["state"] == state
    assert found["detail"] == "95 MiB of 100 MiB are used (at most 90 %)"


@pytest.mark.parametrize(
    ("survey", "state"),
    [
        ({"backup": {"at": ""}, "deployed": "2020-01-01T00:00:00Z"}, "warn"),
        ({"backup": {"at": ""}, "deployed": ""}, "ok"),
        ({"backup": {"at": "2020-01-01T00:00:00Z"}}, "warn"),
    ],
)
def test_backups(host: Any, tmp_path: Path, survey: dict[str, Any], state: str):
    host.survey = survey
    assert host.backup()[0] == []
    (tmp_path / "units/timers.target.wants").mkdir(parents=True)
    (tmp_path / "units/timers.target.wants/shop-backup.timer").symlink_to("/nonexistent")
    assert host.backup()[0][0]["state"] == state
    host.limits = {**host.limits, "backup_hours": 0}
    assert host.backup()[0] == []


def test_a_database_that_is_away(host: Any, tmp_path: Path):
    for place in (
        {"kind": "file", "path": "/nonexistent"},
        {"kind": "unix", "path": "/nonexistent"},
        {"kind": "tcp", "host": "127.0.0.1", "port": 1},
    ):
        host.config["database"] = place
        assert host.database()[0]["state"] == "fail"
    host.config["database"] = {"kind": "file", "path": str(tmp_path)}
    assert host.database()[0]["state"] == "ok"


def test_nginx_is_asked_beside_where_the_checks_have_no_network(host: Any):
    folder = Path(host.folder)
    folder.mkdir(parents=True)
    kept = {"edge": {"name": "edge", "state": "ok"}, "days": 3.5}
    for age, state, days in ((5, "ok", 3.5), (500, "unknown", None)):
        (folder / "edge.json").write_text(json.dumps({"at": host.now - age, **kept}))
        found, left = host.asked_apart()
        assert (found["state"], left) == (state, days)


def test_a_lock_whose_time_is_over_keeps_nothing_silent(host: Any, tmp_path: Path):
    assert host.locked() is None
    for ends, held in (("2020-01-01T00:00:00Z", False), ("2999-01-01T00:00:00Z", True)):
        (tmp_path / "locks").mkdir(exist_ok=True)
        (tmp_path / "locks/shop.lock").write_text(json.dumps({"expires": ends}))
        assert (host.locked() is not None) == held


# --- in which form it is told --------------------------------------------------------------------

EVENT = {
    "kind": "break",
    "check": "edge",
    "severity": "critical",
    "problem": "edge-1000",
    "since": 1000.0,
    "at": 1060.0,
    "seconds": 60.0,
    "cause": "connection refused",
    "app": "shop",
    "host": "web",
    "title": "The way in through nginx",
    "release": "R1",
    "version": "v1",
    "commit": "abcdef1234567890",
    "done": ["restarted the instance at 10:00:00 UTC"],
    "runbook": "https://w/edge.md",
    "journal": ["a line"],
    "delivered": [],
}


def test_text(part: Any):
    found = part("receivers").text(EVENT)
    for words in (
        "critical: shop on web: The way in through nginx: connection refused",
        "60 s",
        "R1 (v1, abcdef123456)",
        "restarted",
        "https://w/edge.md",
        "a line",
    ):
        assert words in found, words
    assert (
        part("receivers").subject({**EVENT, "kind": "heal"})
        == "healed: shop on web: The way in through nginx, after 60 s"
    )


def test_pagerduty(part: Any):
    receivers = part("receivers")
    opened = receivers.pagerduty({"routing_key": "k"}, EVENT)
    closed = receivers.pagerduty({"routing_key": "k"}, {**EVENT, "kind": "heal", "at": 2000.0})
    assert (opened["event_action"], closed["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == closed["dedup_key"] == "shop-web-edge-1000"
    assert opened["payload"]["severity"] == "critical" and "delivered" not in opened["payload"]["custom_details"]


def test_mail_is_one_header_whatever_the_cause_says(part: Any):
    found = part("receivers").mail({"to": "ops@example.org"}, {**EVENT, "cause": "x\nBcc: all@example.org"}).decode()
    head = found.split("\n\n")[0]
    assert "To: ops@example.org" in head and "\nBcc:" not in head


def test_a_receiver_that_does_not_take_it(part: Any, tmp_path: Path):
    receivers = part("receivers")
    for target in (
        {"kind": "webhook", "url": "http://127.0.0.1:1/secret-path"},
        {"kind": "command", "command": ["/bin/false"]},
        {"kind": "command", "command": ["/nonexistent"]},
    ):
        with pytest.raises(receivers.NotTaken) as error:
            receivers.send(target, EVENT)
        assert "secret-path" not in str(error.value)
    receivers.send({"kind": "command", "command": ["/usr/bin/tee", str(tmp_path / "told")]}, EVENT)
    assert json.loads((tmp_path / "told").read_text())["summary"].startswith("critical: shop")


def test_a_link_in_the_spool_is_not_followed(part: Any, tmp_path: Path):
    rootly = part("rootly")
    secret = tmp_path / "secret"
    secret.write_text('{"a": 1}')
    link = tmp_path / "wanted.json"
    link.symlink_to(secret)
    assert rootly.taken(str(link)) == {} and not link.is_symlink() and secret.exists()
    link.write_text('{"a": "' + "x" * 70000 + '"}')
    assert rootly.taken(str(link)) == {}
    link.write_text('{"a": 1}')
    assert rootly.taken(str(link)) == {"a": 1} and not link.exists()


# --- what root does about it ---------------------------------------------------------------------


@pytest.fixture
def healing(part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """rootly, and a backend whose release R2 came after R1, which was good."""
    rootly = part("rootly")
    for name, record in (("R1", {"outcome": "retired"}), ("R2", {"outcome": "live", "previous": "R1"})):
        (tmp_path / f"srv/releases/{name}").mkdir(parents=True)
        (tmp_path / f"srv/releases/{name}/release.json").write_text(json.dumps(record))
    rootly.tree = Layout("shop", str(tmp_path / "srv"))
    return rootly


@pytest.mark.parametrize(
    ("schema", "previous", "why"),
    [
        (None, "R1", ""),
        ({"now": ["2"], "heads": ["2"], "error": ""}, "R1", ""),
        ({"now": ["3"], "heads": ["2"], "error": ""}, "", "another schema"),
        ({"now": [], "heads": [], "error": "no route"}, "", "could not be read: no route"),
    ],
)
def test_a_host_goes_back_to_a_release_that_fits_its_database(
    healing: Any, monkeypatch: pytest.MonkeyPatch, schema: Any, previous: str, why: str
):
    monkeypatch.setattr(healing.readers, "schema", lambda layout, user, release: schema if release == "R1" else 1 / 0)
    found, said = healing.way_back(healing.tree, "shop", "R2")
    assert found == previous and why in said


def test_a_host_goes_back_to_no_release_that_failed(healing: Any):
    assert healing.way_back(healing.tree, "shop", "R1") == ("", "there is no release before it")
    (Path(healing.tree.root) / "releases/R1/release.json").write_text('{"outcome": "failed"}')
    assert "did not end well" in healing.way_back(healing.tree, "shop", "R2")[1]


def test_healing_and_deploys_keep_out_of_each_others_way(healing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = healing.lease.atomic_write
    monkeypatch.setattr(healing.lease, "atomic_write", lambda p, d, m: write(p, d, m, os.getuid(), os.getgid()))
    place = tmp_path / "run/shop.lock"
    words = (str(place), "decant-health", "heal", "the host heals itself", 60)
    with healing.lease.borrowed(*words) as holder:
        assert not holder and json.loads(place.read_text())["event"] == "heal"
        with healing.lease.borrowed(*words) as other:
            assert other["owner"].startswith("decant-health@")
        assert place.exists()
    assert not place.exists()


# --- what an inventory may say -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "team", "kind": "webhook", "url": "https://x.example.org/y"}, ""),
        ({"name": "p", "kind": "pagerduty", "routing_key": "k"}, ""),
        ({"name": "m", "kind": "email", "to": "a@example.org, b@example.org"}, ""),
        ({"name": "c", "kind": "command", "command": ["/bin/tell"]}, ""),
        ("team", "is no mapping"),
        ({"name": "Team", "kind": "webhook", "url": "https://x/y"}, "has the name 'Team'"),
        ({"name": "t", "kind": "sms"}, "not one of webhook, slack"),
        ({"name": "t", "kind": "slack"}, "has no url"),
        ({"name": "t", "kind": "slack", "url": "hunter2"}, "a url that is none"),
        ({"name": "t", "kind": "slack", "url": "https://x/y", "to": "a"}, "has 'to', which it does not know"),
        ({"name": "t", "kind": "email", "to": "nobody"}, "is to 'nobody'"),
        ({"name": "t", "kind": "command", "command": ["tell"]}, "begins with an absolute path"),
    ],
)
def test_receivers(entry: Any, said: str):
    found = alerts.problems({"health_alerts": [entry]})
    assert (said in " ".join(found)) if said else found == []
    assert "hunter2" not in " ".join(found)


def test_each_receiver_has_its_own_name():
    one = {"name": "t", "kind": "slack", "url": "https://x/y"}
    assert alerts.problems({"health_alerts": [one, one]}) == [
        "health_alerts has 't' twice. Each receiver needs a name of its own."
    ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"health_ready_path": "ready"}, "health_ready_path is 'ready'"),
        ({"health_runbook_url": "wiki"}, "health_runbook_url is 'wiki'"),
        ({"health_memory_percent": 101}, "health_memory_percent is 101"),
    ],
)
def test_other_inputs(values: dict[str, Any], said: str):
    assert said in " ".join(alerts.problems(values))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:////srv/x/y.db", {"kind": "file", "path": "/srv/x/y.db"}),
        ("sqlite:///:memory:", {}),
        ("postgresql+psycopg://u:p%40w@db.example.org:5433/x", {"kind": "tcp", "host": "db.example.org", "port": 5433}),
        ("postgresql://u:p@/x?host=/run/postgresql", {"kind": "unix", "path": "/run/postgresql/.s.PGSQL.5432"}),
        (
            "postgresql://u:p@/x?host=%2Frun%2Fpostgresql&port=5433",
            {"kind": "unix", "path": "/run/postgresql/.s.PGSQL.5433"},
        ),
        ("mysql://u:p@h/x", {"kind": "tcp", "host": "h", "port": 3306}),
        ("oracle://u:p@h/x", {}),
        ("postgresql://u:p@h:port/x", {}),
        ("", {}),
    ],
)
def test_where_a_database_is(url: str, place: dict[str, Any]):
    assert alerts.database_place(url) == place
