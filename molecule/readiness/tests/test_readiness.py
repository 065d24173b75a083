# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The review of production: green on a host that is ready; then each line is broken for real, one at a time, and is red with its fix."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))
from testing import STATE, App, Run, deploy, open_host, play, source_copy, until, write

REPORT, PAGE = STATE / "readiness.json", STATE / "readiness.html"
CHECKS = [
    *(
        "drift",
        "debug",
        "user",
        "secret_key",
        "secret_key_unique",
        "config",
        "schema",
        "database",
        "tls",
        "headers",
        "modes",
    ),
    *("sandbox", "backup", "restore", "rollback", "health", "alerts", "disk", "clock", "reboot", "updates"),
]


class Review:
    """One run of readiness.yml, and its report."""

    def __init__(self, run: Run, document: dict[str, Any]) -> None:
        self.run, self.document = run, document
        self.lines = {line["check"]: line for line in document["lines"]}

    def reds(self) -> set[str]:
        return {name for name, line in self.lines.items() if line["verdict"] == "red"}

    def red(self, check: str, evidence: str, fix: str) -> None:
        line = self.lines[check]
        assert line["verdict"] == "red", line
        assert re.search(evidence, line["evidence"]), line
        assert fix in line["fix"], line
        assert line["fix"] in self.run.says(), "the fix is not printed"


def review(drills: bool = False, env: dict[str, str] | None = None, **variables: Any) -> Review:
    REPORT.unlink(missing_ok=True)
    words = {"readiness_file": str(REPORT), "readiness_page": str(PAGE), "readiness_drills": drills, **variables}
    run = play("playbooks/readiness.yml", env={**os.environ, **(env or {})}, **words)
    assert REPORT.exists(), run.output[-3000:]
    return Review(run, json.loads(REPORT.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def app() -> App:
    return App("web")


@pytest.fixture(scope="module")
def ready(app: App) -> Review:
    """The host as it should be: a second release, and a backup."""
    first = review()
    assert first.reds() == {"backup"}, first.run.output[-3000:]
    first.red("backup", "there is no backup", "playbooks/backup.yml")
    play("playbooks/backup.yml").ok()
    alone = review(drills=True)
    assert alone.reds() == {"rollback"}
    alone.red("rollback", "no good release to go back to", "next deploy")
    deploy(
        app_path=str(source_copy("second")), app_env={"CORS_ALLOWED_ORIGINS": "https://example.org", "TIER": "two"}
    ).ok()
    app.drained()
    return review(drills=True)


# --- green ---------------------------------------------------------------------------------------


def test_a_host_that_is_ready_is_green(ready: Review):
    assert ready.run.rc == 0, ready.run.output[-3000:]
    assert [line["check"] for line in ready.document["lines"]] == CHECKS
    assert {line["verdict"] for line in ready.document["lines"]} == {"ok"}, ready.run.output[-4000:]
    assert ready.document["worst"] == "" and ready.document["counts"]["ok"] == len(CHECKS)


def test_the_drills_were_real_and_left_nothing(app: App, ready: Review):
    assert re.search(r"restored into a copy: \d+ tables, \d+ rows, at 0003", ready.lines["restore"]["evidence"])
    assert "without traffic: healthy" in ready.lines["rollback"]["evidence"]
    assert "answers 503 when the database is nowhere" in ready.lines["health"]["evidence"]
    received = [json.loads(line) for line in open_host("watch").check_output("cat /var/log/received").splitlines()]
    assert [one["body"]["kind"] for one in received] == ["test"] * 2
    assert app.active() == {app.current()}
    left = (
        "ls -A /srv/projects/shared /run/systemd/system /run/projects /var/lib/decant/health/projects/queue /run/decant"
    )
    assert (
        not re.search(r"drill|readiness", app.host.check_output(left))
        and not app.host.file("/run/decant/projects.lock").exists
    )
    assert app.host.check_output("systemctl list-units --all --plain --no-legend 'decant-drill*'") == ""
    assert {event["event"] for event in app.audit()} == {"deploy"}, "a drill is no deploy"


def test_the_reports_are_whole_private_and_without_secrets(ready: Review):
    page = PAGE.read_text(encoding="utf-8")
    key = (STATE / "secret_key").read_text(encoding="utf-8").strip()
    for path in (REPORT, PAGE):
        assert path.stat().st_mode & 0o777 == 0o600
        assert key not in path.read_text(encoding="utf-8")
    assert key not in ready.run.output
    assert page.count("<tr") == len(CHECKS) + 1 and ">Ready<" in page and not re.search(r'(?:src|href)="http', page)


def test_a_review_changes_nothing_and_disturbs_nobody(app: App, ready: Review):
    everything = "find /srv/projects /etc/nginx /etc/systemd/system -printf '%p %T@ %m %u\\n' | sort"
    pid, shared = app.main_pid(), app.host.check_output(everything)
    assert review(drills=True).run.changed() == 0
    after = app.host.check_output(everything)
    differs = {line.split()[0] for line in set(shared.splitlines()) ^ set(after.splitlines())}
    assert app.main_pid() == pid and differs <= {"/srv/projects/shared", "/srv/projects/shared/projects.db"}, differs


def test_check_mode_holds_no_drill(app: App, ready: Review):
    REPORT.unlink()
    run = play("playbooks/readiness.yml", "--check", readiness_file=str(REPORT), readiness_fails_on="warning").ok()
    assert "no drill was held" in run.says() and not REPORT.exists()


# --- red -----------------------------------------------------------------------------------------

# A newer package from a repository that says what Debian's says of itself.
REPOSITORY = r"""
set -e
mkdir -p /srv/repository/hostname/DEBIAN && cd /srv/repository
fields='Package: hostname\nVersion: 99\nArchitecture: all\nEssential: yes\n'
printf "${fields}Maintainer: t <t@example.org>\nDescription: t\n" > hostname/DEBIAN/control
dpkg-deb --build hostname hostname.deb
printf "${fields}Filename: ./hostname.deb\nSize: %s\nSHA256: %s\n" \
  "$(stat -c %s hostname.deb)" "$(sha256sum hostname.deb | cut -d' ' -f1)" > Packages
printf 'Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: bookworm-security\nSHA256:\n %s %s Packages\n' \
  "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" > Release
echo 'deb [trusted=yes] file:/srv/repository ./' > /etc/apt/sources.list.d/test.list
apt-get update
"""


def sql(statement: str) -> str:
    """A statement on the served database, as a command."""
    program = (
        f'import sqlite3; c = sqlite3.connect("/srv/projects/shared/projects.db"); c.execute("{statement}"); c.commit()'
    )
    return f"python3 - <<'END'\n{program}\nEND\n"


def dropped(app: App, *lines: str, then: str = "") -> tuple[str, str]:
    """A drop-in of the serving unit, and its end; the instance is restarted with it, or what is said instead."""
    service = app.service()
    folder = f"/etc/systemd/system/{service}.d"
    text = "\n".join(["[Service]", *lines])
    then = f"systemctl daemon-reload && {then or f'systemctl restart {service}'}"
    return f"mkdir -p {folder} && cat > {folder}/test.conf <<'END'\n{text}\nEND\n{then}", f"rm -r {folder} && {then}"


def edited(path: str, command: str, then: str = "true") -> tuple[str, str]:
    """A file that somebody edits, and its own text again."""
    return f"cp -p {path} /root/kept && {command} && {then}", f"cp -p /root/kept {path} && {then}"


RELOAD = "systemctl reload nginx.service"
OPEN = [
    "ProtectSystem=no",
    "ProtectHome=no",
    "NoNewPrivileges=no",
    "PrivateDevices=no",
    "PrivateTmp=no",
    "SystemCallFilter=",
]
# Line -> how it is broken on the host and mended (of the app and its release's directory), and what evidence and fix say.
BROKEN: dict[str, tuple[Callable[[App, str], tuple[str, str]], str, str]] = {
    "drift": (
        lambda app, release: edited(f"{release}/gunicorn.conf.py", f"echo '# by hand' >> {release}/gunicorn.conf.py"),
        "is not what the release wrote",
        "Deploy",
    ),
    "user": (lambda app, release: dropped(app, "User=nobody", "ExecStartPost="), r"run as \[65534\]", "drop-ins"),
    "database": (
        lambda app, release: dropped(app, "EnvironmentFile=/root/other.env"),
        "serve sqlite:////srv/projects/shared/other.db, and another one was migrated",
        "migrations/env.py",
    ),
    "schema": (
        lambda app, release: (
            sql("UPDATE alembic_version SET version_num = '0002'"),
            sql("UPDATE alembic_version SET version_num = '0003'"),
        ),
        "the database is at 0002",
        "runbooks/schema.md",
    ),
    "tls": (
        lambda app, release: edited(
            "/etc/decant/tls/projects/files/fullchain.pem",
            "cp /root/short.pem /etc/decant/tls/projects/files/fullchain.pem",
            RELOAD,
        ),
        "ends in [34] days",
        "certbot renew",
    ),
    "headers": (
        lambda app, release: edited(
            "/etc/nginx/sites-available/projects.conf",
            "sed -i '/add_header X-Frame-Options/d' /etc/nginx/sites-available/projects.conf",
            RELOAD,
        ),
        "X-Frame-Options is not in the answer",
        "Deploy",
    ),
    "modes": (
        lambda app, release: (
            f"touch {release}/src/left && chown projects {release}/src/left",
            f"rm {release}/src/left",
        ),
        "src/left may be written by others than root",
        "chown",
    ),
    "sandbox": (lambda app, release: dropped(app, *OPEN, then="true"), "systemd gives [2-9]", "drop-ins"),
    "backup": (
        lambda app, release: (
            "cp -rp /srv/projects/backups /root/ && for f in /srv/projects/backups/*.sqlite3; do echo more >> $f; done",
            "rm -r /srv/projects/backups && mv /root/backups /srv/projects/",
        ),
        "is not what its record says",
        "playbooks/backup.yml",
    ),
    "disk": (
        lambda app, release: (
            "mount -t tmpfs -o size=1m,mode=0700 tmpfs /srv/projects/backups/incoming && "
            "head -c 1000k /dev/zero > /srv/projects/backups/incoming/full",
            "umount /srv/projects/backups/incoming",
        ),
        r"\d % of the bytes of /srv/projects/backups/incoming are free",
        "Make room",
    ),
    "reboot": (
        lambda app, release: ("systemctl disable nginx.service", "systemctl enable nginx.service"),
        "nginx.service is not enabled",
        "systemctl enable nginx",
    ),
    "updates": (
        lambda app, release: (
            REPOSITORY,
            "rm -r /srv/repository /etc/apt/sources.list.d/test.list && apt-get update",
        ),
        "1 packages have a security update: hostname",
        "unattended-upgrades",
    ),
}


@pytest.mark.parametrize("check", sorted(BROKEN))
def test_what_is_broken_on_the_host_is_red_with_its_fix(app: App, ready: Review, check: str):
    write("web", "/root/other.env", "DATABASE_URL=sqlite:////srv/projects/shared/other.db\n")
    write("web", "/root/short.pem", (STATE / "tls/short.pem").read_text(encoding="utf-8"))
    how, evidence, fix = BROKEN[check]
    breaking, mending = how(app, f"/srv/projects/releases/{app.current()}")
    try:
        app.host.check_output(breaking)
        review(readiness_fails_on="warning").red(check, evidence, fix)
    finally:
        app.host.check_output(mending)


def test_everything_is_green_again_afterwards(ready: Review):
    assert review().reds() == set()


READY, PRODUCTION = "def ready() -> tuple[Response, int]:\n", "class ProductionConfig(Config):\n"


@pytest.mark.parametrize(
    ("check", "file", "before", "after", "evidence", "fix"),
    [
        ("debug", "app/config.py", PRODUCTION, f"{PRODUCTION}    DEBUG = True\n", "debugs", "FLASK_DEBUG"),
        ("config", "app/config.py", "_LENGTH = 1024 * 1024", "_LENGTH = 7", "MAX_CONTENT_LENGTH is 7, not 1048576", "app_config"),
        ("secret_key", "app/config.py", "        return key\n", '        return "ab" * 20\n', "40 characters, 2 different ones", "openssl rand"),
        ("health", "app/api/health.py", READY, f"{READY}    return jsonify(status='ok'), 200\n", "answers 200 without its", "health_ready_path"),
    ],
)  # fmt: skip
def test_what_is_broken_in_the_backend_is_red_with_its_fix(
    app: App, ready: Review, check: str, file: str, before: str, after: str, evidence: str, fix: str
):
    source = source_copy(check)
    text = (source / "api" / file).read_text(encoding="utf-8")
    assert before in text
    (source / "api" / file).write_text(text.replace(before, after), encoding="utf-8")
    deploy(app_path=str(source)).ok()
    found = review(drills=check == "health")
    found.red(check, evidence, fix)
    assert found.reds() - {"rollback"} == {check}
    assert (found.run.rc != 0) is (found.lines[check]["severity"] == "critical")


def test_a_way_back_that_does_not_start_is_red(app: App, ready: Review):
    deploy().ok()
    app.drained()
    target = review(drills=True).lines["rollback"]["evidence"].split()[0]
    venv = f"/srv/projects/releases/{target}/venv"
    app.host.check_output(f"mv {venv} {venv}.away")
    try:
        review(drills=True).red("rollback", f"{target} does not start", "Keep what it needs")
    finally:
        app.host.check_output(f"mv {venv}.away {venv}")
    assert app.manifest(target)["outcome"] in ("live", "retired"), "a drill marks no release as bad"


def test_a_backup_that_cannot_be_restored_is_red(app: App, ready: Review):
    place = "/srv/projects/backups"
    program = f"""
import glob, hashlib, json
newest = sorted(glob.glob("{place}/*.json"), key=lambda path: json.load(open(path))["at"])[-1]
record = json.load(open(newest))
data = open("{place}/" + record["file"], "rb").read()
data = data[:4096] + bytes(len(data) - 4096)
open("{place}/" + record["file"], "wb").write(data)
record["sha256"] = hashlib.sha256(data).hexdigest()
json.dump(record, open(newest, "w"))
"""
    app.host.check_output(f"cp -rp {place} /root/whole && python3 - <<'END'{program}END\n")
    try:
        found = review(drills=True)
        found.red("restore", "cannot be restored into a copy", "playbooks/backup.yml")
        assert "backup" not in found.reds(), "its file is what its record says: only a restore shows it"
    finally:
        app.host.check_output(f"rm -r {place} && mv /root/whole {place}")


def test_a_receiver_that_is_away_is_red_and_the_test_is_not_told_later(app: App, ready: Review):
    watch = open_host("watch")
    watch.check_output("systemctl stop receiver.service")
    before = watch.check_output("wc -l < /var/log/received")
    try:
        review(drills=True).red("alerts", "team did not take a test", "health_alerts")
    finally:
        watch.check_output("systemctl start receiver.service")
    assert (
        app.host.check_output(
            "ls /var/lib/decant/health/projects/queue /var/lib/decant-health/projects/spool | grep -c json || true"
        )
        == "0"
    )
    until(
        lambda: app.show("projects-health-alert.service", "ActiveState") != "activating",
        30,
        "the unit that tells alerts",
    )
    assert watch.check_output("wc -l < /var/log/received") == before


def test_a_key_of_another_environment_is_red(ready: Review):
    review()
    other = STATE / "staging.json"
    shutil.copyfile(REPORT, other)
    review(readiness_other_reports=[str(other)]).red(
        "secret_key_unique", "the same SECRET_KEY is in the report .*staging.json", "of its own"
    )


def test_a_clock_that_is_wrong_is_red(ready: Review):
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    found = review(env={"LD_PRELOAD": str(library), "FAKETIME": "+90s"})
    found.red("clock", r"(8\d|9\d) s behind the controller's", "systemd-timesyncd")


def test_a_host_that_is_away_is_red(ready: Review):
    found = review(ansible_port=1)
    found.red("reach", "Connection refused", "Reach it")
    assert set(found.lines) == {"reach"} and found.run.rc != 0


def test_a_lock_keeps_the_drills_from_being_held(app: App, ready: Review):
    record = {"owner": "ada@laptop", "token": "t", "expires": "2999-01-01T00:00:00Z", "since": "", "message": ""}
    app.host.check_output(f"mkdir -p /run/decant && echo '{json.dumps(record)}' > /run/decant/projects.lock")
    try:
        found = review(drills=True)
    finally:
        app.host.check_output("rm /run/decant/projects.lock")
    found.red("restore", "ada@laptop has the lock", "again")
    assert found.reds() >= {"restore", "rollback", "health", "alerts"}


def test_a_backend_without_migrations_is_asked_the_rest(app: App, ready: Review):
    deploy(migrate_enabled=False).ok()
    found = review(drills=True, migrate_enabled=False)
    assert {name for name, line in found.lines.items() if line["verdict"] == "n/a"} >= {"schema", "backup"}
    assert found.reds() <= {"rollback"}, found.run.output[-3000:]
    assert found.lines["debug"]["verdict"] == found.lines["secret_key"]["verdict"] == "ok"
    deploy().ok()


# --- severity and waivers ------------------------------------------------------------------------


def test_the_end_is_by_severity_and_a_waiver_counts_until_its_day(app: App, ready: Review):
    waiver = {"check": "reboot", "reason": "nginx is started by hand here", "until": "2026-12-31"}
    app.host.check_output("systemctl disable nginx.service")
    try:
        assert review().run.rc == 0, "a warning is not critical"
        strict = review(readiness_fails_on="warning")
        assert strict.run.rc != 0 and strict.document["worst"] == "warning"
        assert review(readiness_fails_on="none").run.rc == 0
        until_day = (datetime.date.today() + datetime.timedelta(days=3)).isoformat()
        accepted = review(readiness_fails_on="warning", readiness_waivers=[{**waiver, "until": until_day}])
        assert accepted.run.rc == 0 and accepted.lines["reboot"]["verdict"] == "waived"
        assert waiver["reason"] in accepted.run.says()
        over = review(readiness_fails_on="warning", readiness_waivers=[{**waiver, "until": "2026-01-01"}])
        assert over.run.rc != 0 and "expired: nginx is started by hand here" in over.lines["reboot"]["waiver"]
    finally:
        app.host.check_output("systemctl enable nginx.service")


def test_a_waiver_says_which_line_why_and_until_when(app: App):
    bad = [
        {"check": "rebot", "reason": "x", "until": "soon"},
        {"check": "disk", "reason": "it is known", "until": "2999-01-01"},
    ]
    run = play("playbooks/readiness.yml", readiness_waivers=bad).refused()
    for part in ("'rebot'", "no reason", "until 'soon'", "more than a year ahead", "no host was changed"):
        assert part in run.says()
