# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever breaks is noticed, healed where it can be, and told once; and it is told once when it is over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testing import STATE, App, deploy, open_host, play, reboot, until, write

SHARED = "/srv/projects/shared"
BACKUPS = "/srv/projects/backups"
TLS = "/etc/decant/tls/projects/selfsigned"
TABLE: list[str] = []
ROUNDS = 6  # seconds in which a second message would come


@pytest.fixture(scope="module")
def app() -> App:
    found = App("web")
    until(lambda: checks(found).get("live") == "ok" and not problems(found), 60, "a healthy backend")
    return found


class Receiver:
    """What somebody was told."""

    def __init__(self) -> None:
        self.host = open_host("db")

    def all(self, path: str = "/team") -> list[dict[str, Any]]:
        text = self.host.run("cat /var/log/received").stdout
        return [one for one in map(json.loads, text.splitlines()) if one["path"] == path]

    def since(self, count: int, path: str = "/team") -> list[tuple[str, str]]:
        return [(one["body"]["kind"], one["body"]["check"]) for one in self.all(path)[count:]]


@pytest.fixture(scope="module")
def receiver() -> Receiver:
    return Receiver()


def view(app: App) -> dict[str, Any]:
    command = "python3 -I /srv/projects/bin/decant-health view --config /etc/decant/health/projects.json"
    text = app.host.run(command).stdout
    return json.loads(text) if text else {}


def checks(app: App) -> dict[str, str]:
    return {one["name"]: one["state"] for one in view(app).get("checks", [])}


def problems(app: App) -> list[str]:
    return [one["check"] for one in view(app).get("problems", [])]


def episode(
    app: App,
    receiver: Receiver,
    check: str,
    break_it: Callable[[], Any],
    heal_it: Callable[[], Any] | None,
    seconds: float = 60,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Break, wait for the one message; heal, wait for the one message; and no other comes."""
    before = len(receiver.all())
    began = time.time()
    break_it()
    told = until(lambda: receiver.all()[before:], seconds, f"a message of {check}")[0]
    noticed = time.time()
    if heal_it:
        heal_it()
    until(lambda: receiver.all()[before + 1 :], seconds, f"the message that {check} is over")
    healed = time.time()
    until(lambda: not problems(app), 30, "no open problem")
    time.sleep(ROUNDS)
    assert receiver.since(before) == [("break", check), ("heal", check)]
    over = receiver.all()[before + 1]
    assert told["body"]["problem"] == over["body"]["problem"]
    assert told["body"]["release"], told
    TABLE.append(
        f"{check:12s} {told['body']['cause'][:60]:60s} {noticed - began:6.1f} s {healed - (noticed if heal_it else began):6.1f} s"
    )
    return told["body"], over["body"]


def run(app: App, command: str) -> Callable[[], str]:
    return lambda: app.host.check_output(command)


# --- by habit ------------------------------------------------------------------------------------


def test_it_is_seen_where_people_look(app: App) -> None:
    timers = app.host.check_output("systemctl list-timers --no-pager")
    assert "projects-health.timer" in timers and "projects-health-survey.timer" in timers
    assert "healthy: 1 of 1 answers 200" in app.journal("-u projects-health", "--lines 20")
    assert "usage: decant-probe" in app.host.check_output("/srv/projects/bin/decant-probe --help")
    assert "survey" in app.host.check_output("python3 -I /srv/projects/bin/decant-health --help")


def test_every_check_is_there_and_good(app: App) -> None:
    found = checks(app)
    wanted = {
        "live",
        "latency",
        "ready",
        "edge",
        "certificate",
        "disk",
        "inodes",
        "database",
        "drift",
        "restarts",
    }
    assert wanted <= set(found)
    assert {found[name] for name in wanted - {"disk"}} == {"ok"}, found
    assert found["schema"] == "ok"


def test_metrics_are_in_prometheus_words(app: App) -> None:
    text = app.host.check_output("cat /var/lib/decant-health/projects/metrics.prom")
    assert 'decant_check_ok{app="projects",check="live"} 1' in text
    assert f'release="{app.current()}"' in text
    for line in text.splitlines():
        assert line.startswith("#") or line.split("{")[0].startswith("decant_"), line
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) and "decant_certificate_expiry_timestamp_seconds" in names


def test_the_page_is_for_those_who_may_see_it(app: App) -> None:
    site = App("web", port=443, ca=certificate(app))
    page = site.ask("/decant-status/")
    assert page.status == 200 and app.current() in page.body.decode()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    deploy(nginx_status_allow=["127.0.0.1"]).ok()
    assert site.ask("/decant-status/").status == 403
    inside = (
        "/srv/projects/bin/decant-probe --url https://127.0.0.1:443 --host projects.example.org --path /decant-status/"
    )
    assert "200" in app.host.check_output(f"{inside} --ca {TLS}/fullchain.pem")
    deploy().ok()
    assert site.ask("/decant-status/").status == 200


def test_the_fleets_report_is_the_same_picture(app: App) -> None:
    path = STATE / "fleet.html"
    play("playbooks/status.yml", status_page=str(path), status_drift_fails=False).ok()
    report = path.read_text(encoding="utf-8")
    assert "projects, 1 host" in report and app.current() in report and "Last 30 days" in report
    assert path.stat().st_mode & 0o777 == 0o600


def certificate(app: App) -> str:
    path = STATE / "site.pem"
    path.write_text(app.host.check_output(f"cat {TLS}/fullchain.pem"), encoding="utf-8")
    return str(path)


# --- what breaks ---------------------------------------------------------------------------------


def test_nginx_is_stopped(app: App, receiver: Receiver) -> None:
    told, over = episode(app, receiver, "edge", run(app, "systemctl stop nginx"), run(app, "systemctl start nginx"))
    assert "connection refused" in told["cause"] and told["severity"] == "critical"
    assert told["runbook"] == "https://wiki.example.org/runbooks/edge.md"
    assert over["seconds"] > 0 and over["commit"] == told["commit"] != ""


def test_the_database_is_stopped(app: App, receiver: Receiver) -> None:
    """Reported, and not answered with restarts."""
    pid, database = app.main_pid(), open_host("db")
    told, _ = episode(
        app,
        receiver,
        "database",
        lambda: database.check_output("systemctl stop postgresql"),
        lambda: database.check_output("systemctl start postgresql"),
    )
    assert "does not answer" in told["cause"]
    assert app.main_pid() == pid


def test_answers_are_slow(app: App, receiver: Receiver) -> None:
    told, _ = episode(app, receiver, "latency", run(app, f"touch {SHARED}/ill-slow"), run(app, f"rm {SHARED}/ill-slow"))
    assert "took 1." in told["cause"] and told["severity"] == "warning"


def test_the_disk_is_full(app: App, receiver: Receiver) -> None:
    if checks(app)["disk"] != "ok":
        pytest.fail("the machine's own disk is fuller than health_disk_free_percent")
    told, _ = episode(
        app,
        receiver,
        "disk",
        run(
            app,
            f"sh -c 'mount -t tmpfs -o size=16m,mode=0755 none {SHARED} && fallocate -l 15800k {SHARED}/big'",
        ),
        run(app, f"umount {SHARED}"),
    )
    assert "% free at /srv/projects/shared" in told["cause"]


def test_a_unit_is_edited_by_hand(app: App, receiver: Receiver) -> None:
    unit = f"/etc/systemd/system/{app.service()}"
    told, _ = episode(
        app,
        receiver,
        "drift",
        run(app, f"sh -c 'echo \"# by hand\" >> {unit}'"),
        run(app, f"sed -i '/by hand/d' {unit}"),
    )
    assert f"{unit} is not what the release wrote" in told["cause"]


def test_the_backup_is_missing(app: App, receiver: Receiver) -> None:
    app.host.check_output("systemctl start projects-backup@manual.service")
    until(lambda: checks(app).get("backup") == "ok", 30, "the first backup")
    ages = "import json, sys\nfor path in sys.argv[1:]:\n    record = json.load(open(path))\n"
    ages += "    record['at'] = '2020-01-01T00:00:00Z'\n    json.dump(record, open(path, 'w'))\n"
    write("web", "/tmp/ages.py", ages)
    told, _ = episode(
        app,
        receiver,
        "backup",
        run(app, f"python3 /tmp/ages.py $(ls {BACKUPS}/*.json) && touch {BACKUPS}"),
        run(app, "systemctl start projects-backup@manual.service"),
    )
    assert "hours old (at most 26)" in told["cause"]


def test_the_certificate_is_near_its_end(app: App, receiver: Receiver) -> None:
    make = (
        f"sh -c 'cd {TLS} && cp -a fullchain.pem fullchain.kept && cp -a privkey.pem privkey.kept && "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 5 -subj /CN=projects.example.org "
        "-addext subjectAltName=DNS:projects.example.org -keyout privkey.pem -out fullchain.pem 2>/dev/null && systemctl reload nginx'"
    )
    back = (
        f"sh -c 'cd {TLS} && mv fullchain.kept fullchain.pem && mv privkey.kept privkey.pem && systemctl reload nginx'"
    )
    told, _ = episode(app, receiver, "certificate", run(app, make), run(app, back))
    assert "ends in 5.0 days (wanted 14 or more)" in told["cause"] and told["severity"] == "critical"


def test_the_master_is_killed(app: App, receiver: Receiver) -> None:
    """systemd has it back within a second. That it happened is told."""
    pid = app.main_pid()
    told, _ = episode(app, receiver, "restarts", run(app, f"kill -9 {pid}"), None, 90)
    assert "restarted once" in told["cause"] and "no deploy did it" in told["cause"]
    assert app.main_pid() != pid


def test_workers_hang(app: App, receiver: Receiver) -> None:
    """Nobody would come for it at night: the instance is restarted, and both the break and the healing are told."""
    pid = app.main_pid()
    # In the journal, so in the alert: masked there.
    secret = (STATE / "secret_key").read_text(encoding="utf-8")
    app.host.check_output(f"logger -t projects 'the key is {secret}'")
    told, over = episode(app, receiver, "live", run(app, f"sh -c 'kill -STOP $(pgrep -P {pid})'"), None, 120)
    assert "timed out" in told["cause"]
    assert any("restarted the instance" in line for line in over["done"]), over["done"]
    assert app.main_pid() != pid
    assert any("the key is ***" in line for line in told["journal"])
    assert secret not in json.dumps(receiver.all())
    assert [entry["event"] for entry in app.audit()].count("restart") == 1


def test_health_answers_500(app: App, receiver: Receiver) -> None:
    """No restart helps; it is tried as often as the inventory allows, and not more."""
    told, _ = episode(
        app,
        receiver,
        "live",
        run(app, f"touch {SHARED}/ill-all"),
        lambda: (time.sleep(25), app.host.check_output(f"rm {SHARED}/ill-all")),
        150,
    )
    assert "status 500 (wanted 200)" in told["cause"] and "ill-all" in told["cause"]
    restarts = [entry for entry in app.audit() if entry["event"] == "restart"]
    assert 1 < len(restarts) <= 3, restarts


# --- who is told, and when -----------------------------------------------------------------------


def test_each_receiver_gets_its_own_form(receiver: Receiver, app: App) -> None:
    team = receiver.all()
    count = len(team)
    for path in ("/chat", "/room", "/pager"):
        assert len(receiver.all(path)) == count, path
    chat = receiver.all("/chat")[0]["body"]
    assert set(chat) == {"text"} and chat["text"].startswith("critical: projects on web: The way in through nginx")
    actions = [one["body"] for one in receiver.all("/pager")]
    assert {one["routing_key"] for one in actions} == {"routing-0123456789"}
    assert [one["event_action"] for one in actions] == [
        {"break": "trigger", "heal": "resolve"}[one["body"]["kind"]] for one in team
    ]
    opened = [one["dedup_key"] for one in actions if one["event_action"] == "trigger"]
    assert sorted(opened) == sorted(one["dedup_key"] for one in actions if one["event_action"] == "resolve")
    assert len(opened) == len(set(opened))
    assert app.host.check_output('grep -o \'"kind": "[a-z]*"\' /var/log/alerts').count("kind") == count
    mails = app.host.check_output("sh -c 'cat /var/spool/nullmailer/queue/*'")
    assert mails.count("Subject: healed: projects on web") == sum(1 for one in team if one["body"]["kind"] == "heal")
    assert "To: ops@example.org" in mails


def test_a_receiver_that_is_down_gets_it_later_and_once(app: App, receiver: Receiver) -> None:
    before = len(receiver.all())
    receiver.host.check_output("systemctl stop receiver")
    app.host.check_output("systemctl stop nginx")
    until(lambda: "edge" in problems(app), 30, "the problem")
    app.host.check_output("systemctl start nginx")
    until(lambda: not problems(app), 30, "its end")
    time.sleep(3)
    assert app.host.check_output("ls /var/lib/decant/health/projects/queue | wc -l") == "2"
    receiver.host.check_output("systemctl start receiver")
    until(lambda: len(receiver.all()) >= before + 2, 60, "both messages")
    time.sleep(ROUNDS)
    assert receiver.since(before) == [("break", "edge"), ("heal", "edge")]
    assert app.host.check_output("ls /var/lib/decant/health/projects/queue | wc -l") == "0"


def test_a_silence_has_an_end_and_a_reason(app: App, receiver: Receiver) -> None:
    before = len(receiver.all())
    assert "has an end" in play("playbooks/silence.yml", silence_minutes=5).refused().says()
    play("playbooks/silence.yml", silence_minutes=5, silence_reason="moving the disk").ok()
    app.host.check_output("systemctl stop nginx")
    until(lambda: "edge" in problems(app), 30, "the problem, on the page")
    assert view(app)["silence"]["reason"] == "moving the disk"
    time.sleep(ROUNDS)
    assert receiver.since(before) == []
    # What is still broken at its end is told then.
    play("playbooks/silence.yml", silence_minutes=0).ok()
    until(lambda: receiver.since(before) == [("break", "edge")], 30, "the message")
    app.host.check_output("systemctl start nginx")
    until(lambda: receiver.since(before) == [("break", "edge"), ("heal", "edge")], 30, "the end")


def test_a_deploy_is_silent(app: App, receiver: Receiver) -> None:
    before = len(receiver.all())
    deploy(gunicorn_workers=3).ok()
    app.drained()
    time.sleep(ROUNDS)
    assert receiver.since(before) == []
    assert problems(app) == []


def test_history_outlives_a_reboot(app: App, receiver: Receiver) -> None:
    before, told = sum(one["asked"] for one in view(app)["history"]["day"]), len(receiver.all())
    reboot("web")
    until(lambda: app.host.run("true").rc == 0, 60, "the host")
    until(
        lambda: sum(one["asked"] for one in view(app).get("history", {}).get("day", [])) > before, 60, "another check"
    )
    time.sleep(ROUNDS)
    assert "restarts" not in [check for _, check in receiver.since(told)], "a boot is no crash"


# --- a release that goes bad ---------------------------------------------------------------------


@pytest.fixture
def next_release(app: App) -> Iterator[str]:
    """One that falls ill later, and only it."""
    health = STATE / "backend/api/app/api/health.py"
    text = health.read_text(encoding="utf-8")
    health.write_text(text.replace('MARK = "first"', 'MARK = "second"'), encoding="utf-8")
    # An hour's restarts were used up by the tests before.
    app.host.check_output("rm -f /var/lib/decant/health/projects/heal.json")
    deploy().ok()
    yield app.current()
    health.write_text(text, encoding="utf-8")


def test_a_release_that_goes_bad_is_left(app: App, receiver: Receiver, next_release: str) -> None:
    """The restart does not help, the release is young: the host goes back by itself, with the drain of any switch."""
    previous = app.manifest()["previous"]
    app.drained()
    _, over = episode(app, receiver, "live", run(app, f"touch {SHARED}/ill-second"), None, 150)
    assert app.current() == previous
    done = [line.split(" at ")[0] for line in over["done"]]
    assert done == [
        "restarted the instance, which did not become healthy",
        f"switched back to {previous}",
    ]
    assert app.manifest(next_release)["outcome"] == "failed"
    assert "switch-back" in [one["kind"] for one in view(app)["marks"]]
    app.host.check_output(f"rm {SHARED}/ill-second")


def test_the_next_deploy_goes_on_from_there(app: App) -> None:
    deploy().ok()
    assert deploy().ok().changed() == 0
    until(lambda: view(app)["health"] == "healthy", 60, "a healthy host")


def test_what_watching_costs(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed for docs/performance.md. Memory is asserted; times are the machine's."""
    count = (
        "import os, resource, subprocess, sys\nwords = ['/usr/bin/python3', '-IS', '/srv/projects/bin/decant-health', 'check']\n"
        "words += ['--config', '/etc/decant/health/projects.json']\n"
        "for _ in range(20):\n    subprocess.run(words, stdout=subprocess.DEVNULL, check=False)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\nprint((used.ru_utime + used.ru_stime) / 20, used.ru_maxrss / 1024)\n"
    )
    write("web", "/tmp/cost.py", count)
    app.host.check_output(
        f"mkdir -p /tmp/seen && cp {TLS}/fullchain.pem /tmp/seen/certificate && chmod -R a+rX /tmp/seen /tmp/cost.py"
    )
    seconds, megabytes = map(
        float,
        app.host.check_output(
            "runuser -u projects -- env CREDENTIALS_DIRECTORY=/tmp/seen python3 /tmp/cost.py"
        ).split(),
    )
    with capsys.disabled():
        print(
            f"\na check: {seconds * 1000:.0f} ms of CPU, {seconds * 2880:.0f} s a day at 30 s, {seconds / 30:.2%} of a core, {megabytes:.0f} MB"
        )
    assert megabytes < 30


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():  # in the log of every run
        print("\ncheck        cause                                                         noticed    healed")
        print("\n".join(TABLE))
    assert len(TABLE) >= 11
