# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The required inputs only: what a deploy leaves on a host, and what the next one does. In the order of the file."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from testing import App, Load, deploy, every_argv, reboot, secret, source_copy, until

ROOT = "/srv/projects"


@pytest.fixture(scope="module")
def app() -> App:
    return App("web")


@pytest.fixture(scope="module")
def pattern(app: App) -> str:
    """The secret in a file of root's: a command that named it would itself put it into argv, and through sudo into the journal."""
    path = "/root/pattern"
    app.host.check_output(f"umask 077; grep -oE '[A-Za-z0-9]{{48}}' {ROOT}/current/.env > {path}")
    assert app.host.file(path).content_string.split() == [secret()], "or what searches for it proves nothing"
    return path


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
        ("{root}", "root", "root", 0o755),
        ("{root}/bin", "root", "root", 0o755),
        ("{root}/bin/decant-probe", "root", "root", 0o755),
        ("{root}/releases", "root", "root", 0o755),
        ("{root}/venvs", "root", "root", 0o755),
        ("{root}/backups", "root", "root", 0o711),
        ("{root}/backups/incoming", "projects", "projects", 0o700),
        ("{root}/shared", "projects", "projects", 0o750),
        ("{root}/shared/projects.db", "projects", "projects", 0o640),
        ("{root}/deploys.jsonl", "root", "root", 0o644),
        ("{root}/releases/{id}", "root", "projects", 0o751),
        ("{root}/releases/{id}/.env", "root", "projects", 0o640),
        ("{root}/releases/{id}/gunicorn.conf.py", "root", "root", 0o644),
        ("{root}/releases/{id}/release.json", "root", "root", 0o644),
        ("{root}/releases/{id}/src", "root", "projects", 0o751),
        ("{root}/releases/{id}/src/api/app/__init__.py", "root", "projects", 0o640),
        ("{root}/releases/{id}/venv/bin/gunicorn", "root", "root", 0o755),
        ("/run/projects/{id}.sock", "projects", "www-data", 0o660),
        ("/etc/systemd/system/projects@{id}.service", "root", "root", 0o644),
        ("/etc/systemd/system/projects@{id}.socket", "root", "root", 0o644),
        ("/etc/nginx/sites-available/projects.conf", "root", "root", 0o644),
    ],
)
def test_owners_and_modes(app: App, path: str, owner: str, group: str, mode: int) -> None:
    file = app.host.file(path.format(root=ROOT, id=app.current()))
    assert (file.user, file.group, file.mode) == (owner, group, mode)


@pytest.mark.parametrize(
    "path",
    [
        "current/src/api/app/__init__.py",
        "current/.env",
        "current/venv/bin/python",
        "current/venv/bin/gunicorn",
        "current/gunicorn.conf.py",
        "bin/decant-probe",
    ],
)
def test_the_backend_cannot_write_what_it_runs(app: App, path: str) -> None:
    path = f"{ROOT}/{path}"
    assert app.host.run(f"runuser -u projects -- test -r {path}").rc == 0, "or the next line proves nothing"
    assert app.host.run(f"runuser -u projects -- test -w {path}").rc == 1
    folder = path.rsplit("/", 1)[0]
    assert "Permission denied" in app.host.run(f"runuser -u projects -- touch {folder}/mine").stderr


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
    assert (record["migration"]["before"], record["migration"]["after"]) == ([], ["0003"])
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


def test_the_secret_is_not_in_the_journal(app: App, pattern: str) -> None:
    """Where Ansible's modules write their arguments, and sudo its commands."""
    assert "Invoked with" in app.journal() and "COMMAND=" in app.journal()
    assert app.host.run(f"journalctl --no-pager --output=export | grep -cF -f {pattern}").stdout.strip() == "0"


def test_only_the_env_files_hold_the_secret_and_nobody_reads_them(app: App, pattern: str) -> None:
    """Root searches: nobody may not list a release, yet opens a file of a known name. One more file is made to be found."""
    control, places = "/var/tmp/control", "/srv /etc /run /var /usr/local /opt /tmp /home /dev/shm"
    app.host.check_output(f"install -m 0644 {pattern} {control}")
    holders = app.host.run(f"grep -rlsF -f {pattern} {places}").stdout.split()
    readable = [path for path in holders if app.host.run(f"runuser -u nobody -- test -r {path}").rc == 0]
    app.host.check_output(f"rm {control}")
    envs = {f"{ROOT}/releases/{release}/.env" for release in app.releases()}
    assert set(holders) == {control, *envs}
    assert readable == [control]


def test_the_loudest_run_tells_no_secret(app: App, pattern: str) -> None:
    """Neither in what it prints, nor in any command line on the host while it runs."""
    with every_argv(app.host) as argv:
        run = deploy(
            "-vvv", "--diff", app_env={"CORS_ALLOWED_ORIGINS": "https://example.org", "LOG_LEVEL": "WARNING"}
        ).ok()
    assert run.changed() > 0, "a run that changes nothing has little to print"
    assert secret() not in run.output
    assert "SSH: EXEC" in run.output and "+LOG_LEVEL" in run.output, "the run was loud, and the plan names what changes"
    assert int(app.host.run(f"grep -c decant-probe {argv}").stdout) > 0, "the gate was seen, so short processes are"
    assert app.host.run(f"grep -cF -f {pattern} {argv}").stdout.strip() == "0"


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


@contextlib.contextmanager
def wrk(app: App) -> Iterator[list[str]]:
    """wrk's closed loop while something happens; what it says is in the list afterwards. Bounded: ten minutes."""
    program = shutil.which("wrk")
    assert program, "bin/test installs wrk"
    argv = [program, "--threads", "1", "--connections", "8", "--duration", "10m", "--timeout", "20s"]
    argv += ["--header", f"Host: {app.server_name}", f"http://{app.address}/api/projects"]
    said: list[str] = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as load:
        try:
            yield said
            assert load.poll() is None, "the load ended before what it was for"
        finally:
            load.send_signal(signal.SIGINT)
            said.append(load.communicate(timeout=60)[0])


def test_three_code_only_deploys_lose_no_request(app: App) -> None:
    """Kept connections to nginx, which makes a new one to the backend for each request."""
    source = source_copy("code-only")
    venvs = app.host.check_output(f"ls {ROOT}/venvs")
    seen = {app.current()}
    with wrk(app) as said:
        for number in range(3):
            with open(source / "api/app/pages.py", "a", encoding="utf-8") as page:
                page.write(f"# release {number}\n")
            assert "known, reused" in deploy(app_path=str(source)).ok().output
            seen.add(app.current())
        app.drained()
    assert len(seen) == 4
    assert int(re.search(r"(\d+) requests in", said[0]).group(1)) > 1000, said[0]
    assert "Socket errors" not in said[0] and "Non-2xx" not in said[0], said[0]
    assert app.host.check_output(f"ls {ROOT}/venvs") == venvs


def test_a_restart_by_an_operator_loses_no_request(app: App) -> None:
    pid = app.main_pid()
    with Load(app) as load:
        app.host.check_output("systemctl restart projects.target")
        until(lambda: app.main_pid() not in (0, pid), what="a new master")
        until(lambda: load.sent > 200, what="requests before, during and after the restart")
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
