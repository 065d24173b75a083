# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The required inputs only: what a deploy leaves on a host, and what the next one does. In the order of the file."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess

import pytest
from testing import App, Load, deploy, reboot, secret, source_copy, until

ROOT = "/srv/projects"


@pytest.fixture(scope="module")
def app() -> App:
    return App("web")


# --- what is there -------------------------------------------------------------------------------


def test_health_and_readiness_through_nginx(app: App) -> None:
    assert app.ask("/api/health").json() == {"status": "ok", "release": app.current()}
    ready = app.ask("/api/ready")
    assert (ready.status, ready.json()["release"]) == (200, app.current())
    assert ready.json()["schema"]["found"] == ready.json()["schema"]["expected"] == ["0003"]


def test_a_row_is_created_and_found(app: App) -> None:
    made = app.ask("/api/projects", "POST", {"name": "survivor"})
    assert made.status == 201
    assert app.ask(made.headers["location"].split("projects.example.org")[-1]).json()["name"] == "survivor"


def test_forwarded_headers_reach_the_backend(app: App) -> None:
    made = app.ask("/api/projects", "POST", {"name": "forwarded"}, {"X-Forwarded-Host": "evil.example.org"})
    assert "evil" not in made.headers["location"]


def test_an_unknown_host_is_closed_without_an_answer(app: App) -> None:
    with socket.create_connection((app.address, 80), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: other.example.org\r\n\r\n")
        assert connection.recv(100) == b""


def test_every_process_runs_as_the_backends_user(app: App) -> None:
    pid = app.main_pid()
    owners = app.host.check_output(f"ps -o user= -p {pid} --ppid {pid}").split()
    assert set(owners) == {"projects"}
    assert len(owners) > 2, "a master and its workers"


def test_the_user_has_no_shell_and_no_sudo(app: App) -> None:
    user = app.host.user("projects")
    assert (user.shell, user.home) == ("/usr/sbin/nologin", ROOT)
    assert "not allowed" in app.host.run("sudo -l -U projects").stdout


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("", "root", "root", 0o755),
        ("/releases", "root", "root", 0o755),
        ("/venvs", "root", "root", 0o755),
        ("/backups", "root", "root", 0o700),
        ("/shared", "projects", "projects", 0o750),
        ("/shared/projects.db", "projects", "projects", 0o640),
        ("/deploys.jsonl", "root", "root", 0o644),
        ("/current/.env", "root", "projects", 0o640),
        ("/current/release.json", "root", "root", 0o644),
        ("/current/src", "root", "projects", 0o751),
        ("/current/src/api/app/__init__.py", "root", "projects", 0o640),
    ],
)
def test_owners_and_modes(app: App, path: str, owner: str, group: str, mode: int) -> None:
    if path.startswith("/current/"):
        path = path.replace("/current", f"/releases/{app.current()}", 1)
    file = app.host.file(ROOT + path)
    assert (file.user, file.group, file.mode) == (owner, group, mode)


@pytest.mark.parametrize(
    "path",
    [
        "current/src/api/app/__init__.py",
        "current/.env",
        "current/venv/bin/python",
        "current/gunicorn.conf.py",
        "bin/decant-probe",
    ],
)
def test_the_backend_cannot_write_what_it_runs(app: App, path: str) -> None:
    assert app.host.run(f"runuser -u projects -- test -w {ROOT}/{path}").rc == 1
    folder = f"{ROOT}/{path}".rsplit("/", 1)[0]
    assert app.host.run(f"runuser -u projects -- touch {folder}/mine").rc != 0


def test_the_sandbox_is_enforced_on_the_running_process(app: App) -> None:
    exposure = app.host.check_output(f"systemd-analyze security --no-pager {app.service()}").splitlines()[-1]
    assert float(re.search(r": ([0-9.]+) ", exposure).group(1)) <= 1.2
    status = app.host.check_output(f"cat /proc/{app.main_pid()}/status")
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0000000000000000$", status, re.MULTILINE)


def test_workers_follow_the_cpus(app: App) -> None:
    cpus = int(app.host.check_output("nproc"))
    workers = app.host.check_output(f"pgrep --count --parent {app.main_pid()}")
    assert int(workers) == min(2 * cpus + 1, 12)


def test_the_release_is_on_record(app: App) -> None:
    record = app.manifest()
    assert record["outcome"] == "live"
    assert record["migration"] == {"before": [], "after": ["0003"]}
    assert record["source"]["kind"] == "directory"
    assert record["who"] and record["secret_keys"] == ["SECRET_KEY"]
    last = app.audit()[-1]
    assert (last["release"], last["outcome"], last["who"]) == (app.current(), "live", record["who"])


def test_the_journal_is_the_evidence(app: App) -> None:
    assert "Running upgrade 0002 -> 0003" in app.journal("-t projects-migrate")
    assert "healthy: 3 of 3 answers 200" in app.journal(f"-u {app.service()}")
    assert "Booting worker" in app.journal("-t projects")


def test_the_timer_probes_what_serves(app: App) -> None:
    assert app.host.check_output("systemctl is-active projects-health.timer") == "active"
    app.host.check_output("systemctl start projects-health.service")
    assert "healthy: 1 of 1" in app.journal("-t projects-health")


def test_health_requests_are_not_logged(app: App) -> None:
    app.ask("/api/health?mark=quiet")
    app.ask("/api/projects?mark=loud")
    log = app.host.file("/var/log/nginx/projects.access.log").content_string
    assert "mark=loud" in log and "mark=quiet" not in log


# --- secrets -------------------------------------------------------------------------------------


def test_the_secret_is_where_it_must_be_and_nowhere_else(app: App) -> None:
    assert secret() in app.host.file(f"{ROOT}/current/.env").content_string, "or the rest of this test proves nothing"
    assert secret() not in app.host.check_output("ps axww -o args=")
    assert secret() not in app.host.check_output("journalctl --no-pager --output=cat")
    places = "/srv /etc /run /var /usr/local /opt /tmp /home /dev/shm"
    found = app.host.run(f"runuser -u nobody -- grep -rlsF '{secret()}' {places}").stdout.split()
    assert found == []


def test_the_secret_is_not_printed_by_the_loudest_run(app: App) -> None:
    run = deploy("-vvv", "--diff", app_env={"CORS_ALLOWED_ORIGINS": "https://example.org", "LOG_LEVEL": "WARNING"}).ok()
    assert run.changed() > 0, "a run that changes nothing has little to print"
    assert secret() not in run.output
    assert "~" in run.output and "+LOG_LEVEL" in run.output, "the plan names what changes"


# --- the next deploys ----------------------------------------------------------------------------


def test_only_the_environment_changed_so_it_was_a_release(app: App) -> None:
    """The run before this one changed LOG_LEVEL; this one takes it back, and is gated and switched like any other."""
    before = app.current()
    pid = app.main_pid()
    with Load(app) as load:
        run = deploy().ok()
        app.drained()
    load.clean()
    assert "environment changed" in run.says() and "-LOG_LEVEL" in run.says()
    assert app.current() != before and app.main_pid() != pid
    assert app.manifest(before)["outcome"] == "retired"
    assert app.manifest()["previous"] == before
    assert app.manifest()["parts"]["lock"] == app.manifest(before)["parts"]["lock"]


def test_the_second_run_changes_nothing(app: App) -> None:
    before = (
        app.current(),
        app.main_pid(),
        app.show("nginx.service", "MainPID"),
        app.show("nginx.service", "StateChangeTimestamp"),
    )
    run = deploy().ok()
    assert run.changed() == 0, run.output
    assert before == (
        app.current(),
        app.main_pid(),
        app.show("nginx.service", "MainPID"),
        app.show("nginx.service", "StateChangeTimestamp"),
    )


def test_three_code_only_deploys_lose_no_request(app: App) -> None:
    """The load is wrk's: closed loop, kept connections to nginx, which makes a new one to the backend per request."""
    wrk = shutil.which("wrk")
    assert wrk, "bin/test installs wrk"
    source = source_copy("code-only")
    venvs = app.host.check_output(f"ls {ROOT}/venvs")
    url = f"http://{app.address}/api/projects"
    load = subprocess.Popen(
        [
            wrk,
            "--threads",
            "1",
            "--connections",
            "8",
            "--duration",
            "120s",
            "--timeout",
            "20s",
            "--header",
            "Host: projects.example.org",
            url,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    seen = {app.current()}
    for number in range(3):
        with open(source / "api/app/pages.py", "a", encoding="utf-8") as page:
            page.write(f"# release {number}\n")
        assert "known, reused" in deploy(app_path=str(source)).ok().output
        seen.add(app.current())
    app.drained()
    assert load.poll() is None, "the load ended before the deploys did"
    load.send_signal(2)
    said = load.communicate(timeout=30)[0]
    assert len(seen) == 4
    assert int(re.search(r"(\d+) requests in", said).group(1)) > 1000, said
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    assert app.host.check_output(f"ls {ROOT}/venvs") == venvs


def test_a_restart_by_an_operator_loses_no_request(app: App) -> None:
    pid = app.main_pid()
    with Load(app) as load:
        app.host.check_output("systemctl restart projects.target")
        until(lambda: app.main_pid() not in (0, pid), what="a new master")
        app.ask("/api/health")
    load.clean()


def test_a_killed_worker_is_replaced(app: App) -> None:
    pid = app.main_pid()
    worker = app.host.check_output(f"pgrep --oldest --parent {pid}")
    app.host.check_output(f"kill -9 {worker}")
    until(
        lambda: (
            worker not in app.host.run(f"pgrep --parent {pid}").stdout.split() and app.ask("/api/health").status == 200
        )
    )
    assert app.main_pid() == pid


def test_a_killed_master_is_replaced(app: App) -> None:
    pid = app.main_pid()
    app.host.check_output(f"kill -9 {pid}")
    until(lambda: app.main_pid() not in (0, pid), what="a new master")
    assert until(lambda: app.ask("/api/health").status == 200)


def test_stop_and_start_of_the_target(app: App) -> None:
    app.host.check_output("systemctl stop projects.target")
    until(lambda: not app.active(), what="no instance left")
    assert app.ask("/api/health").status == 502
    app.host.check_output("systemctl start projects.target")
    until(lambda: app.ask("/api/health").status == 200, what="health after the start")


def test_a_tampered_release_is_replaced_through_the_gate(app: App) -> None:
    before = app.current()
    app.host.check_output(f"sh -c \"echo 'EXTRA=1' >> {ROOT}/current/.env\"")
    run = deploy(app_path=str(source_copy("code-only"))).ok()
    assert f"{ROOT}/releases/{before}/.env is not what the release wrote" in run.says()
    assert app.current() != before
    assert "EXTRA" not in app.host.file(f"{ROOT}/current/.env").content_string


def test_a_reboot_brings_the_release_and_its_data_back(app: App) -> None:
    app.drained()
    before = app.current()
    reboot("web")
    until(lambda: app.ask("/api/health").status == 200, 60, "health after the reboot")
    assert app.ask("/api/health").json()["release"] == before == app.current()
    assert app.active() == {before}
    assert [row["name"] for row in app.ask("/api/projects?q=survivor").json()["items"]] == ["survivor"]
