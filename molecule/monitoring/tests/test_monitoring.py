# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prometheus reads every host through its door, each alert fires on its break and is over on its heal, and somebody is told."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from rules import DEFAULTS, render, scenarios
from testing import ROOT, STATE, App, address, open_host, play, until, write

BACKENDS = ("web1", "web2")
HOSTS = (*BACKENDS, "mon")
SHARED = "/srv/projects/shared"
TLS = "/etc/decant/tls/projects/selfsigned"
DOOR = "/etc/decant/tls/decant.exporters/selfsigned/fullchain.pem"
CONFIGURATION = "/etc/decant/monitoring"


class Watch:
    """What Prometheus and Alertmanager say, asked on their host."""

    def __init__(self) -> None:
        self.host = open_host("mon")

    def get(self, path: str) -> Any:
        answer = json.loads(self.host.check_output(f"curl -sS 'http://127.0.0.1:9090/api/v1/{path}'"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, text: str) -> list[tuple[dict[str, str], float]]:
        found = self.get(f"query?query={quote(text)}")["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def firing(self) -> set[tuple[str, str]]:
        """Alert and instance; of a backend as a whole, its app."""
        return {named(one["labels"]) for one in self.get("alerts")["alerts"] if one["state"] == "firing"}

    def told(self, path: str = "/team") -> list[dict[str, Any]]:
        text = self.host.run("cat /var/log/received").stdout
        return [one for one in map(json.loads, text.splitlines()) if one["path"] == path]

    def alerts(self, status: str) -> dict[tuple[str, str], dict[str, Any]]:
        """Of the webhook: the last message about each alert with this status, and when it came."""
        found = {}
        for one in self.told():
            for alert in one["body"]["alerts"]:
                if alert["status"] == status:
                    found[named(alert["labels"])] = {**alert, "at": one["at"]}
        return found

    def state(self) -> str:
        """What both have to say, for an error."""
        held = json.loads(self.host.check_output("curl -sS http://127.0.0.1:9093/api/v2/alerts"))
        return f"firing {sorted(self.firing())}; Alertmanager {[(one['labels'], one['status']) for one in held]}"

    def since(self, status: str, moment: float) -> set[tuple[str, str]]:
        return {key for key, alert in self.alerts(status).items() if alert["at"] >= moment}


def named(labels: dict[str, str]) -> tuple[str, str]:
    return labels["alertname"], labels.get("instance") or labels.get("app", "")


@pytest.fixture(scope="module")
def watch() -> Watch:
    found = Watch()
    until(lambda: len(found.get("targets?state=active")["activeTargets"]) == 16, 60, "the targets")
    # A deploy restarts what is started again within the window; let it pass.
    until(lambda: found.query("up == 0") == [] and found.firing() == set(), 90, "a quiet start")
    return found


@pytest.fixture(scope="module")
def apps() -> dict[str, App]:
    found = {}
    for name in BACKENDS:
        (STATE / f"{name}.pem").write_text(open_host(name).check_output(f"cat {TLS}/fullchain.pem"), encoding="utf-8")
        found[name] = App(name, port=443, ca=str(STATE / f"{name}.pem"))
    return found


# --- what is read --------------------------------------------------------------------------------


def test_every_target_is_up(watch: Watch) -> None:
    found = {(m["job"], m["instance"]): value for m, value in watch.query("up")}
    assert set(found) == {
        *((job, host) for job in ("node", "nginx", "http", "site") for host in BACKENDS),
        *(("door", host) for host in HOSTS),
        ("node", "mon"),
        ("postgresql", "mon"),
        *(("monitoring", f"127.0.0.1:{port}") for port in (9090, 9093, 9115)),
    }
    assert set(found.values()) == {1.0}, found


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ('decant_check_ok{check="live"} == 1', set(BACKENDS)),
        ("decant_release_info", set(BACKENDS)),
        ("node_memory_MemAvailable_bytes > 0", set(HOSTS)),
        ("nginx_up == 1", set(BACKENDS)),
        ('pg_up == 1 and on () pg_stat_database_numbackends{datname="projects"}', {"mon"}),
        ('probe_success{job="site",app="projects"} == 1', set(BACKENDS)),
        ("probe_ssl_earliest_cert_expiry > time() + 86400", set(HOSTS)),
    ],
)
def test_what_the_hosts_say_is_there(watch: Watch, query: str, where: set[str]) -> None:
    assert until(lambda: {labels["instance"] for labels, _ in watch.query(query)} == where, 20, query)


def test_maintenance_is_no_error_and_no_client_makes_a_label(watch: Watch, apps: dict[str, App]) -> None:
    errors, refused = (
        f'sum(decant_http_requests_total{{instance="web2",status="{s}"}}) or vector(0)' for s in (503, 405)
    )
    before = watch.query(refused)[0][1]
    play("playbooks/maintenance.yml", "--limit", "web2", maintenance_state="on").ok()
    assert apps["web2"].ask("/api/projects").status == 503
    play("playbooks/maintenance.yml", "--limit", "web2", maintenance_state="off").ok()
    assert apps["web2"].ask("/api/projects", "BREW").status == 405
    until(lambda: watch.query(refused)[0][1] == before + 1, 20, refused)
    assert watch.query('decant_http_requests_total{method="BREW"}') == []
    assert watch.query(errors)[0][1] == 0


def test_requests_are_counted_from_the_log(watch: Watch, apps: dict[str, App]) -> None:
    """By value: what was asked is what is counted, by method, status and time."""
    asked = 'sum(decant_http_requests_total{app="projects",instance="web1",method="GET",status="404"}) or vector(0)'
    times = "decant_http_request_duration_seconds"
    slow = f'sum({times}_count{{instance="web1"}}) - sum({times}_bucket{{instance="web1",le="1"}})'
    before = [watch.query(text)[0][1] if watch.query(text) else 0 for text in (asked, slow)]
    for _ in range(7):
        assert apps["web1"].ask("/api/none").status == 404
    assert apps["web1"].ask("/api/test/slow").status == 200
    for text, count, wanted in zip((asked, slow), before, (7, 1), strict=True):
        until(lambda text=text, total=count + wanted: watch.query(text) and watch.query(text)[0][1] == total, 20, text)
    for _ in range(3):
        assert apps["web1"].ask("/api/health").status == 200
    time.sleep(3)
    assert watch.query(asked)[0][1] == before[0] + 7, "probes are no requests of clients"


# --- who may read it -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTS)
def test_nothing_but_the_door_listens_outside(name: str) -> None:
    host = open_host(name)
    open_ports = {}
    for line in host.check_output("ss -Hltn").splitlines():
        place, _, port = line.split()[3].rpartition(":")
        open_ports.setdefault(int(port), set()).add(place)
    assert open_ports[9443] == {address(name)}
    wanted = {"mon": (9090, 9093, 9115, 9100, 9187)}.get(name, (9100, 9113, 3903, 9145))
    for port in wanted:
        assert open_ports[port] == {"127.0.0.1"}, open_ports
    outside = {port for port, places in open_ports.items() if places - {"127.0.0.1", "127.0.0.53%lo", "[::1]"}}
    # 8099 is the test's own receiver.
    assert outside == ({22, 5432, 8099, 9443} if name == "mon" else {22, 80, 443, 9443}), open_ports


def door(client: str, *words: str, path: str = "node", password: str | None = None, ca: str = DOOR) -> tuple[str, str]:
    """The status and body of a question at web1's door, asked on a host."""
    secret = password if password is not None else (STATE / "exporters").read_text(encoding="utf-8")
    write(client, "/root/netrc", f"machine {address('web1')} login prometheus password {secret}\n")
    write(client, "/root/door.pem", open_host("web1").check_output(f"cat {ca}"))
    line = [
        "curl",
        "-sS",
        "--netrc-file",
        "/root/netrc",
        "--cacert",
        "/root/door.pem",
        "-o",
        "/root/body",
        "-w",
        "%{http_code}",
    ]
    url = f"https://{address('web1')}:9443/{path}"
    done = open_host(client).run(shlex.join([*line, *words, url]))
    return done.stdout or done.stderr, open_host(client).run("cat /root/body").stdout


def test_the_door(watch: Watch) -> None:
    status, body = door("mon")
    assert status == "200" and "node_cpu_seconds_total" in body and "decant_check_ok" in body
    assert door("mon", password="wrong")[0] == "401"
    assert door("mon", path="")[0] == "404"
    assert door("mon", path="stub_status")[0] == "404"
    assert door("web2")[0] == "403", "web2 is no host of the group monitoring"
    assert "000" in door("mon", ca=f"{TLS}/fullchain.pem")[0], "another certificate"
    plain = watch.host.run(f"curl -sS http://{address('web1')}:9443/node")
    assert "node_cpu" not in plain.stdout


def test_secrets_are_for_whom_they_are(watch: Watch) -> None:
    for path in (f"{CONFIGURATION}/password", f"{CONFIGURATION}/alertmanager.yml"):
        assert watch.host.file(path).mode == 0o640 and watch.host.file(path).group == "prometheus"
    web = open_host("web1")
    users = web.file("/etc/decant/exporters/users")
    assert (users.mode, users.group) == (0o640, "www-data")
    secret = (STATE / "exporters").read_text(encoding="utf-8")
    assert secret not in users.content_string
    for name, host in (("web1", web), ("mon", watch.host)):
        write(name, "/root/pattern", f"{secret}\n")
        assert secret not in host.check_output("sh -c 'ps axww -o args; journalctl --no-pager'")
        found = host.run("runuser -u nobody -- grep -rlsF -f /dev/stdin /etc /var/log /srv /tmp < /root/pattern").stdout
        assert found == ""


# --- the rules -----------------------------------------------------------------------------------


def test_the_rules_of_the_defaults_are_proved(watch: Watch) -> None:
    """With what the roles have by default: promtool plays hours in a second."""
    write("mon", "/root/rules.yml", render(DEFAULTS))
    write("mon", "/root/rules_test.yml", yaml.safe_dump(scenarios(), sort_keys=False))
    done = watch.host.run("promtool test rules /root/rules_test.yml")
    assert done.rc == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "SUCCESS" in done.stdout
    proved = {case["alertname"] for test in scenarios()["tests"] for case in test["alert_rule_test"]}
    rules = {
        rule["alert"]
        for group in yaml.safe_load(render(DEFAULTS))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert proved == rules


def test_a_rule_that_is_wrong_is_found(watch: Watch) -> None:
    """The same proof, of rules with a limit that somebody has turned round: it fails."""
    right = '(probe_success{job="site"}) == 0'
    text = render(DEFAULTS)
    assert right in text
    write("mon", "/root/rules.yml", text.replace(right, right.replace("== 0", "== 1")))
    write("mon", "/root/rules_test.yml", yaml.safe_dump(scenarios(), sort_keys=False))
    assert watch.host.run("promtool test rules /root/rules_test.yml").rc != 0


# --- breaks --------------------------------------------------------------------------------------

PSQL = "runuser -u postgres -- psql -XAtqd projects -c"
AGES = """import json, sys
for path in sys.argv[1:]:
    record = json.load(open(path))
    record['at'] = '2020-01-01T00:00:00Z'
    json.dump(record, open(path, 'w'))
"""
LOCK = json.dumps(
    {
        "owner": "ada@control",
        "host": "control",
        "pid": 1,
        "token": "t",
        "controller": "c",
        "event": "deploy",
        "message": "",
    }
    | {"since": "2026-01-01T00:00:00Z", "expires": "2099-01-01T00:00:00Z"}
)


@dataclass
class Break:
    """Something that goes wrong on a host, and what it must be seen as."""

    host: str
    alerts: tuple[str, ...]
    make: str
    mend: str
    where: str = ""  # the alert's instance or app; the host when empty


# What is in one wave happens at the same time, and each must be told from the others.
WAVES: dict[str, list[Break]] = {
    "a day on which everything goes wrong": [
        Break(
            "web1",
            ("DecantDisk", "DecantInodes"),
            f"mount -t tmpfs -o size=16m,nr_inodes=100,mode=0755 none {SHARED} && fallocate -l 15800k {SHARED}/big && "
            f"cd {SHARED} && touch $(seq 96)",
            f"umount -l {SHARED}",
        ),
        Break(
            "web1",
            ("DecantDrift",),
            "echo '# by hand' >> /etc/systemd/system/projects@$(basename $(readlink /srv/projects/current)).service",
            "sed -i '/by hand/d' /etc/systemd/system/projects@*.service",
        ),
        Break(
            "web1",
            ("DecantBackup",),
            "python3 /root/ages.py /srv/projects/backups/*.json && touch /srv/projects/backups",
            "systemctl start projects-backup@manual.service",
        ),
        Break("web1", ("DecantRestarts",), "kill -9 $(systemctl show -P MainPID 'projects@*.service')", "true"),
        Break(
            "web1",
            ("DecantUnits",),
            "mkdir -p /etc/systemd/system/projects-backup@bad.service.d && "
            "printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > /etc/systemd/system/projects-backup@bad.service.d/bad.conf && "
            "systemctl daemon-reload; systemctl start projects-backup@bad.service || true",
            "rm -r /etc/systemd/system/projects-backup@bad.service.d; systemctl daemon-reload; systemctl reset-failed 'projects-backup@*'",
        ),
        Break(
            "web1",
            ("DecantCertificate",),
            f"cd {TLS} && cp -a fullchain.pem fullchain.kept && cp -a privkey.pem privkey.kept && "
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 5 -subj /CN=projects.example.org "
            "-addext subjectAltName=DNS:projects.example.org -keyout privkey.pem -out fullchain.pem 2>/dev/null && systemctl reload nginx",
            f"cd {TLS} && mv fullchain.kept fullchain.pem && mv privkey.kept privkey.pem && systemctl reload nginx",
        ),
        Break("web2", ("DecantLive",), f"touch {SHARED}/ill", f"rm {SHARED}/ill"),
        Break(
            "mon",
            ("DecantExporterDown",),
            "systemctl stop prometheus-postgres-exporter",
            "systemctl start prometheus-postgres-exporter",
        ),
        Break(
            "mon",
            ("DecantSchema", "DecantReady"),
            f"{PSQL} \"update alembic_version set version_num = '0001'\"",
            f"{PSQL} \"update alembic_version set version_num = '0003'\"",
            "web1",
        ),
    ],
    "clients suffer": [
        Break(
            "web1",
            ("DecantErrors", "DecantBudgetFast", "DecantBudgetSlow", "DecantLatency"),
            "systemd-run --quiet --unit=clients sh -c 'while true; do "
            "for i in 1 2 3 4; do curl -sko /dev/null --resolve projects.example.org:443:127.0.0.1 "
            "https://projects.example.org/api/test/error; done; "
            "curl -sko /dev/null --resolve projects.example.org:443:127.0.0.1 https://projects.example.org/api/test/slow; done'",
            "systemctl stop clients.service",
            "projects",
        ),
        Break(
            "web1",
            ("DecantChecksSilent",),
            "systemctl stop projects-health.timer",
            "systemctl start projects-health.timer",
        ),
        Break("web2", ("DecantDown",), "systemctl stop nginx", "systemctl start nginx"),
    ],
    "the database is gone": [
        # A deploy silences its own host, so the alerts of the database are the other one's.
        Break(
            "web1",
            ("DecantDeployLong",),
            f"mkdir -p /run/decant && echo '{LOCK}' > /run/decant/projects.lock",
            "rm /run/decant/projects.lock",
        ),
        Break(
            "mon",
            ("DecantDatabase",),
            "systemctl stop 'postgresql@*'",
            "systemctl start 'postgresql@15-main'",
            "web2",
        ),
    ],
}
ALERTS = [(wave, alert) for wave, breaks in WAVES.items() for one in breaks for alert in one.alerts]


@pytest.fixture(scope="module")
def seen(watch: Watch) -> dict[str, dict[str, Any]]:
    """All waves: break, wait until each is told, mend, wait until each is told to be over. Alert -> what was told, and when."""
    open_host("web1").check_output("systemctl start projects-backup@manual.service")
    write("web1", "/root/ages.py", AGES)
    found: dict[str, dict[str, Any]] = {}
    for wave, breaks in WAVES.items():
        wanted = {(alert, one.where or one.host): alert for one in breaks for alert in one.alerts}
        began = time.time()
        for one in breaks:
            open_host(one.host).check_output(f"sh -c {shlex.quote(one.make)}")
        wait(
            watch,
            lambda began=began, wanted=wanted: wanted.keys() - watch.since("firing", began),
            90,
            f"{wave}: to be told",
        )
        fired = watch.alerts("firing")
        mended = time.time()
        for one in breaks:
            open_host(one.host).check_output(f"sh -c {shlex.quote(one.mend)}")
        wait(
            watch,
            lambda mended=mended, wanted=wanted: wanted.keys() - watch.since("resolved", mended),
            120,
            f"{wave}: to be over",
        )
        over = watch.alerts("resolved")
        for key, alert in wanted.items():
            found[alert] = {
                "told": fired[key],
                "over": over[key],
                "after": fired[key]["at"] - began,
                "healed": over[key]["at"] - mended,
            }
        until(lambda: watch.firing() == set(), 120, f"quiet after {wave}")
    return found


def wait(watch: Watch, missing: Callable[[], set], seconds: float, what: str) -> None:
    """Until nothing is missing; what is, is in the error."""
    end = time.monotonic() + seconds
    while still := missing():
        assert time.monotonic() < end, f"{what}: {sorted(still)} after {seconds} s; {watch.state()}"
        time.sleep(0.5)


@pytest.mark.parametrize(("wave", "alert"), ALERTS, ids=[alert for _, alert in ALERTS])
def test_an_alert_fires_on_its_break_and_is_over_on_its_heal(
    seen: dict[str, dict[str, Any]], wave: str, alert: str
) -> None:
    told, over = seen[alert]["told"], seen[alert]["over"]
    assert told["labels"]["severity"] in ("critical", "warning")
    assert told["annotations"]["summary"].endswith(".") and "{{" not in told["annotations"]["summary"]
    page = told["annotations"]["runbook_url"].removeprefix("https://wiki.example.org/runbooks/")
    assert (ROOT / "docs/runbooks" / page).is_file(), page
    assert over["labels"] == told["labels"]
    if alert not in ("DecantErrors", "DecantBudgetFast", "DecantBudgetSlow", "DecantLatency"):
        assert told["labels"]["instance"] in told["annotations"]["summary"]


def test_the_table(seen: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():  # in the log of every run
        print(f"\n{'alert':20s} {'told after':>12s} {'over after':>12s}")
        for alert, one in seen.items():
            print(f"{alert:20s} {one['after']:10.1f} s {one['healed']:10.1f} s")
    assert len(seen) == len(ALERTS) >= 19


def test_every_receiver_was_told_in_its_form(watch: Watch, seen: dict[str, dict[str, Any]]) -> None:
    chat, room, pager = (watch.told(path) for path in ("/chat", "/room", "/pager"))
    for messages in (chat, room):
        assert any("[FIRING] DecantErrors of projects" in json.dumps(one["body"]) for one in messages)
        assert any("[RESOLVED] DecantErrors of projects" in json.dumps(one["body"]) for one in messages)
    events = [one["body"] for one in pager]
    assert {event["routing_key"] for event in events} == {"routing-0123456789"}
    assert {event["event_action"] for event in events} == {"trigger", "resolve"}
    keys = {event["dedup_key"] for event in events if event["event_action"] == "trigger"}
    assert {event["dedup_key"] for event in events if event["event_action"] == "resolve"} <= keys


def test_a_silence_holds_an_alert_of_its_host_back(watch: Watch) -> None:
    host = open_host("web2")
    try:
        play("playbooks/silence.yml", silence_minutes=5, silence_reason="the test").ok()
        until(lambda: len(watch.query("decant_silenced_until_timestamp_seconds > time()")) == 2, 30, "the silence")
        host.check_output("systemctl stop nginx")  # and with it the door: what the host said last is what counts
        until(lambda: watch.query('up{job="node",instance="web2"} == 0'), 30, "a host that cannot be read")
        time.sleep(6)
        assert watch.firing() == set()
    finally:
        host.check_output("systemctl start nginx")
        play("playbooks/silence.yml", silence_minutes=0).ok()
    until(lambda: watch.query("decant_silenced_until_timestamp_seconds > time()") == [], 30, "the end of the silence")
    until(lambda: watch.query("up == 0") == [] and watch.firing() == set(), 60, "quiet after the silence")


# --- runs ----------------------------------------------------------------------------------------


def test_a_part_of_the_hosts_is_refused(watch: Watch) -> None:
    before = watch.host.check_output(f"sh -c 'cat {CONFIGURATION}/*.yml {CONFIGURATION}/targets/* | sha256sum'")
    said = play("playbooks/monitor.yml", "--limit", "web1,mon").refused().says()
    assert "Of web2 it is not known in this run where to read" in said and "without --limit" in said
    assert watch.host.check_output(f"sh -c 'cat {CONFIGURATION}/*.yml {CONFIGURATION}/targets/* | sha256sum'") == before


def test_bad_input_is_refused_before_anything_changes(watch: Watch) -> None:
    said = (
        play("playbooks/monitor.yml", exporters_password="short", exporters_address="web1.example.org").refused().says()
    )
    assert (
        "exporters_password has fewer than 16 characters" in said and "exporters_address is 'web1.example.org'" in said
    )


def test_a_changed_limit_is_a_reload(watch: Watch) -> None:
    pid = watch.host.check_output("systemctl show -P MainPID prometheus")
    assert play("playbooks/monitor.yml", monitoring_error_percent=7.5).ok().changed() == 1
    until(lambda: "> 0.075" in json.dumps(watch.get("rules")), 20, "the new limit")
    assert watch.host.check_output("systemctl show -P MainPID prometheus") == pid
    assert play("playbooks/monitor.yml").ok().changed() == 1


def test_the_loudest_run_tells_no_secret() -> None:
    output = play("playbooks/monitor.yml", "-vvv", "--diff", "--check").ok().output
    for name in ("exporters", "password", "secret_key"):
        assert (STATE / name).read_text(encoding="utf-8").strip() not in output
    assert "routing-0123456789" not in output


def test_health_after_all_of_it(watch: Watch, apps: dict[str, App]) -> None:
    for app in apps.values():
        assert app.ask("/api/ready").status == 200
    assert watch.firing() == set()
    assert {value for _, value in watch.query("up")} == {1.0}
