# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a review judges, without a host: severity, waivers, what is not shown, and the unit of a drill."""

from __future__ import annotations

import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.module_utils import drills, edge_answers
from ansible_collections.decant.flask.plugins.module_utils.modules import readiness as work
from ansible_collections.decant.flask.plugins.plugin_utils import contract, readiness
from ansible_collections.decant.flask.plugins.plugin_utils.readiness import Line

ROOT = Path(__file__).resolve().parents[2]
TODAY = datetime.date(2026, 11, 26)
INPUTS: dict[str, Any] = {
    "app_name": "projects",
    "nginx_server_names": ["projects.example.org"],
    "readiness_certificate_days": 14,
}


def line(
    check: str = "disk", verdict: str = "red", severity: str = "warning", host: str = "web", waiver: str = ""
) -> Line:
    return Line(host, check, "a title", severity, verdict, "seen", "do this", waiver)


# --- severity and waivers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severities", "fails_on", "worst", "fails"),
    [
        ([], "warning", "", False),
        (["warning"], "critical", "warning", False),
        (["warning"], "warning", "warning", True),
        (["warning", "critical"], "critical", "critical", True),
        (["critical"], "warning", "critical", True),
        (["critical"], "none", "critical", False),
    ],
)
def test_the_end_is_by_severity(severities: list[str], fails_on: str, worst: str, fails: bool):
    lines = [line(severity=severity) for severity in severities]
    found = readiness.report("projects", lines, {"readiness_fails_on": fails_on}, "2026-11-26T10:00:00Z", [])
    assert (found["worst"], found["fails"]) == (worst, fails)


@pytest.mark.parametrize(
    ("waiver", "verdict"),
    [
        ({"until": "2026-11-26"}, "waived"),
        ({"until": "2026-11-25"}, "red"),
        ({"until": "2026-12-31", "host": "web"}, "waived"),
        ({"until": "2026-12-31", "host": "web2"}, "red"),
        ({"until": "2026-12-31", "check": "clock"}, "red"),
    ],
)
def test_a_waiver_is_for_its_line_its_host_and_its_time(waiver: dict[str, str], verdict: str):
    (found,) = readiness.waived([line()], [{"check": "disk", "reason": "known for now", **waiver}], TODAY)
    assert found.verdict == verdict
    assert bool(found.waiver) is (waiver.get("host") != "web2" and waiver.get("check") != "clock")


def test_of_two_waivers_the_longer_one_counts_and_green_needs_none():
    waivers = [
        {"check": "disk", "reason": "the old one", "until": "2026-01-01"},
        {"check": "disk", "reason": "the new one", "until": "2026-12-01"},
    ]
    red, green = readiness.waived([line(), line(verdict="ok")], waivers, TODAY)
    assert red.verdict == "waived" and "the new one" in red.waiver
    assert green == line(verdict="ok")


@pytest.mark.parametrize(
    ("waiver", "said"),
    [
        ({"check": "disk", "reason": "it is known", "until": "2026-12-31"}, ""),
        ({"check": "disk", "reason": "it is known", "until": datetime.date(2026, 12, 31)}, ""),
        ({"check": "dusk", "reason": "it is known", "until": "2026-12-31"}, "'dusk', which is not one of reach, drift"),
        ({"check": "disk", "reason": "", "until": "2026-12-31"}, "no reason"),
        ({"check": "disk", "reason": "it is known"}, "Write the last day as 2026-12-31"),
        ({"check": "disk", "reason": "it is known", "until": "2028-01-01"}, "more than a year ahead"),
        (
            {"check": "disk", "reason": "it is known", "until": "2026-12-31", "host": "wob"},
            "'wob', which is not in this inventory",
        ),
        ({"check": "disk", "reason": "it is known", "until": "2026-12-31", "who": "ada"}, "'who', which is not one of"),
        ("disk", "Write for example"),
    ],
)
def test_a_waiver_that_says_too_little_is_refused(waiver: Any, said: str):
    found = readiness.problems({"readiness_waivers": [waiver]}, ["web"], TODAY)
    assert (said in " ".join(found)) if said else not found


# --- lines ---------------------------------------------------------------------------------------


def test_a_host_that_is_away_and_one_that_serves_nothing_are_one_line_each():
    (away,) = readiness.host_lines(
        "web", {"web": {"unreachable": True, "msg": "ssh: connect to host web port 22: No route"}}, INPUTS, {}
    )
    (empty,) = readiness.host_lines("web", {"web": {"review": {"status": {"id": ""}}}}, INPUTS, {})
    assert (away.check, away.verdict) == (empty.check, empty.verdict) == ("reach", "red")
    assert "No route" in away.evidence and "deploy.yml" in empty.fix


def test_values_that_may_be_secret_are_not_shown():
    facts = {"config": {"config": {"MAIL_PASSWORD": "hunter2hunter2", "PAGE_SIZE": 5}, "level": "INFO"}}
    inputs = {"readiness_config_values": {"MAIL_PASSWORD": "another-one", "PAGE_SIZE": 10}}
    verdict, evidence, _ = readiness.config(facts, inputs)
    assert (
        verdict == "red" and "MAIL_PASSWORD is not the wanted one" in evidence and "PAGE_SIZE is 5, not 10" in evidence
    )
    assert "hunter2" not in evidence and "another" not in evidence


@pytest.mark.parametrize(
    ("edge", "verdict", "said"),
    [
        ({"tls": {}, "plain": {}}, "red", "without TLS"),
        ({"tls": {"error": "refused"}, "plain": {}}, "red", "no answer"),
        ({"tls": {"untrusted": "self-signed certificate"}, "plain": {}}, "red", "self-signed"),
        ({"tls": {"untrusted": "", "days": 3, "old": False}, "plain": {}}, "red", "ends in 3 days"),
        ({"tls": {"untrusted": "", "days": 30, "old": True}, "plain": {}}, "red", "TLS 1.0"),
        ({"tls": {"untrusted": "", "days": 30, "old": False}, "plain": {"headers": {}}}, "red", "HTTP does not lead"),
        ({"tls": {"untrusted": "", "days": 30, "old": False, "version": "TLSv1.3"}, "plain": {}}, "ok", "TLSv1.3"),
    ],
)
def test_tls_is_judged_as_a_client_does(edge: dict[str, Any], verdict: str, said: str):
    found = readiness.tls({"edge": edge}, INPUTS)
    assert found[0] == verdict and said in found[1]


def test_without_tls_behind_a_declared_proxy_the_question_does_not_arise():
    assert (
        readiness.tls({"edge": {"tls": {}, "plain": {}}}, {**INPUTS, "nginx_trusted_proxies": ["192.0.2.1"]})[0]
        == "n/a"
    )


@pytest.mark.parametrize(
    ("found", "verdict", "said"),
    [
        (
            {"started": True, "status": 503, "serving": 200, "elsewhere": True},
            "ok",
            "answers 503 when the database is nowhere, and 200",
        ),
        ({"started": False, "serving": 200}, "ok", "does not start"),
        ({"started": True, "status": 200, "serving": 200, "elsewhere": True}, "red", "answers 200 without"),
        ({"started": True, "status": 302, "serving": 302, "elsewhere": True}, "red", "says nothing"),
        ({"started": True, "status": 404, "serving": 200, "elsewhere": True}, "red", "answers 404 without"),
        ({"started": True, "status": 0, "serving": 200, "elsewhere": True}, "red", "gives no answer"),
        (
            {"started": True, "status": 503, "serving": 200, "elsewhere": False},
            "red",
            "elsewhere than from DATABASE_URL",
        ),
        ({"error": "no unit"}, "red", "no unit"),
    ],
)
def test_health_is_believed_when_it_fails_without_a_database_and_only_then(
    found: dict[str, Any], verdict: str, said: str
):
    answer = readiness.outage({"drills": {"outage": found}, "migrates": True}, {"health_path": "/api/health"})
    assert answer[0] == verdict and said in answer[1]


def test_a_copy_that_the_server_does_not_allow_has_its_own_fix():
    drill = {"error": "decant-database: permission denied to create database"}
    facts = {"drills": {"restore": drill}, "migrates": True, "backup": {"id": "B1"}, "backed_up_by": ""}
    verdict, evidence, fix = readiness.restore(facts, {})
    assert verdict == "red" and "permission denied" in evidence and "postgresql_createdb_enabled" in fix


def test_of_hosts_that_share_a_database_one_backs_it_up():
    def host(database: str, backup: str) -> dict[str, Any]:
        return {"review": {"process": {"told": [{"database": database}]}, "backup": {"id": backup}}}

    answers = {
        "a": host("postgresql://db:5432/x", "B1"),
        "b": host("postgresql://db:5432/x", ""),
        "c": {"unreachable": True},
    }
    assert (readiness.backed_up_by("b", answers), readiness.backed_up_by("a", answers)) == ("a", "")
    own = {
        name: host("sqlite:////srv/projects/shared/projects.db", backup) for name, backup in (("a", "B1"), ("b", ""))
    }
    assert readiness.backed_up_by("b", own) == "", "a file is the host's own, whatever its path"
    facts = {"backup": {"id": ""}, "backed_up_by": "a", "drills": {}, "migrates": True}
    assert readiness.backup(facts, {})[0] == readiness.restore(facts, {})[0] == "n/a"


def test_a_backend_without_migrations_has_no_questions_about_its_database():
    facts = {"backup": {"id": ""}, "backed_up_by": "", "drills": {"restore": {}, "outage": {}}, "migrates": False}
    assert {
        check(facts, {"migrate_enabled": False})[0] for check in (readiness.backup, readiness.restore, readiness.outage)
    } == {"n/a"}


def test_a_rollback_across_a_migration_is_known_before_it_is_needed():
    drill = {"target": "R1", "schema": {"database": ["0003"], "target": ["0002"]}}
    verdict, evidence, fix = readiness.rollback({"drills": {"rollback": drill}}, INPUTS)
    assert verdict == "red" and "at 0002, and it is at 0003" in evidence and "restore.yml" in fix


def test_the_text_says_what_to_do_and_obeys_no_terminal():
    lines = [
        line(),
        line(verdict="waived", waiver="it is known (until 2026-12-31)"),
        Line("web", "clock", "t", "critical", "red", "\x1b[2Jbad", "mend it"),
    ]
    document = readiness.report("projects", lines, {}, "2026-11-26T10:00:00Z", ["", "d1", "d1"])
    text = readiness.text(document)
    assert "1. web, disk: do this" in text and "2. web, clock: mend it" in text and "web, disk: it is known" in text
    assert "\x1b" not in text and document["secret_keys"] == ["d1"]


def test_the_page_escapes_what_a_host_says():
    page = readiness.page(
        readiness.report(
            "projects", [Line("web", "disk", "t", "critical", "red", "<script>alert(1)</script>", "f")], {}, "now", []
        )
    )
    assert "<script" not in page and "&lt;script&gt;" in page and "Not ready" in page


def test_every_line_is_documented_with_its_severity():
    text = (ROOT / "roles/readiness/README.md").read_text(encoding="utf-8")
    for name, check in {**readiness.CHECKS, "reach": readiness.REACH}.items():
        assert f"| `{name}` | {check.title} | {check.severity} |" in text


# --- the host's side -----------------------------------------------------------------------------

UNIT = """[Unit]
Requires=projects@R1.socket
After=network-online.target
After=projects@R1.socket
PartOf=projects.target

[Service]
Type=notify
SyslogIdentifier=projects
EnvironmentFile=/srv/projects/releases/R1/.env
LoadCredential=A:/srv/a
ExecStart=/srv/projects/releases/R1/venv/bin/python -m gunicorn
ExecStartPost=/srv/projects/bin/decant-probe --unix x
Restart=always
ProtectSystem=strict

[Install]
WantedBy=projects.target
"""


def test_the_unit_of_a_drill_has_the_sandbox_and_its_own_environment_and_stands_alone():
    found = drills.drill_unit(UNIT, "/run/drill.env", "decant-drill-projects").splitlines()
    assert found.index("EnvironmentFile=/run/drill.env") > found.index("EnvironmentFile=/srv/projects/releases/R1/.env")
    assert (
        "ProtectSystem=strict" in found
        and "LoadCredential=A:/srv/a" in found
        and "After=network-online.target" in found
    )
    assert not [
        one
        for one in found
        if "projects@R1" in one or "projects.target" in one or one.startswith(("ExecStartPost", "Restart"))
    ]
    assert "SyslogIdentifier=decant-drill-projects" in found and "SyslogIdentifier=projects" not in found


def test_a_copy_is_not_made_where_there_is_no_room(tmp_path: Path):
    assert drills.room({"bytes": 4096, "dialect": "sqlite"}, str(tmp_path)) == ""
    assert "file system" in drills.room({"bytes": 10**15, "dialect": "sqlite"}, str(tmp_path))


def test_a_file_is_open_to_all_when_its_directories_are(tmp_path: Path):
    tmp_path.chmod(0o755)
    (tmp_path / "shared").mkdir(mode=0o750)
    (tmp_path / "shared/app.db").write_text("")
    (tmp_path / "shared/app.db").chmod(0o644)
    (tmp_path / "open").write_text("")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "link").symlink_to("open")
    expected = work.open_to_all(
        "/etc/hostname"
    )  # whether the directories above a test's let others through is not its to say
    assert not work.open_to_all(str(tmp_path / "shared/app.db")) and not work.open_to_all(str(tmp_path / "link"))
    assert expected


def test_no_secret_is_left_in_the_facts():
    facts = {"a": ["x hunter2hunter2 y", {"b": "hunter2hunter2"}], "n": 123456, "t": True}
    assert work.masked(facts, ["hunter2hunter2", "123456"]) == {"a": ["x *** y", {"b": "***"}], "n": 123456, "t": True}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////srv/a.db", "sqlite:////proc/decant-nowhere/app.db"),
        ("", "sqlite:////proc/decant-nowhere/app.db"),
        ("postgresql+psycopg://u:p@db/x", "postgresql+psycopg://nobody@/nowhere?host=/proc/decant-nowhere"),
        ("postgresql://u:p@db/x", "postgresql://nobody@/nowhere?host=/proc/decant-nowhere"),
        (
            "postgresql+pg8000://u:p@db/x",
            "postgresql+pg8000://nobody@/nowhere?unix_sock=/proc/decant-nowhere/.s.PGSQL.5432",
        ),
        ("mysql+pymysql://u:p@db/x", "mysql+pymysql://nobody@127.0.0.1:1/nowhere"),
    ],
)
def test_nowhere_is_of_the_same_kind_and_tells_no_password(url: str, expected: str):
    assert drills.nowhere(url) == expected


@pytest.mark.parametrize(
    ("key", "known", "strong"),
    [
        ("0123456789abcdef" * 4, False, True),
        (b"0123456789abcdef" * 4, False, True),
        ("ab" * 40, False, False),
        ("0123456789abcdef", False, False),
        ("changeme-0123456789abcdefghijklmnop", True, False),
        (None, False, False),
    ],
)
def test_a_key_is_judged_without_its_value(program: ModuleType, key: Any, known: bool, strong: bool):
    found = program.key_facts(key, contract.PLACEHOLDER.pattern)
    assert (found["known"], bool(found["digest"])) == (known, strong)
    assert key is None or str(key) not in str(found)


def test_a_port_where_nobody_is_is_an_error_and_no_exception():
    assert "error" in edge_answers.plain("example.org", "/", 1)
    assert "error" in edge_answers.tls("example.org", "/", 1)
