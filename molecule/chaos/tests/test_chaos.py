# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whatever ends a deploy: the service answers throughout, no acknowledged row is lost, and the next plain deploy converges.

The points at which the controller is killed are read from a run itself: every one before which something was said to the host.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from testing import ROOT as CHECKOUT
from testing import STATE, App, Load, Writer, command, deploy, play, source_copy, until

TASK = re.compile(r"^TASK \[(.*)\] \*+$")
SPOKEN = "> SSH: EXEC "  # what ansible-playbook says with -vvv before it sends something
REVISION = '''"""Revision {name}"""

from alembic import op

revision = "{name}"
down_revision = "{down}"


def upgrade():
    op.execute("CREATE TABLE t{name} (x INTEGER)")


def downgrade():
    pass
'''


@pytest.fixture(scope="module")
def app() -> App:
    return App("web")


@pytest.fixture(scope="module")
def source() -> Path:
    return source_copy("chaos")


def mark(source: Path, text: str) -> None:
    """Another version of the backend."""
    (source / "api/app/marker.py").write_text(f"MARK = {text!r}\n", encoding="utf-8")


def start(source: Path, **variables: object) -> subprocess.Popen[str]:
    """A deploy that the test can end when it likes."""
    return subprocess.Popen(
        command("deploy.yml", app_path=str(source), **variables),
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def acts(output: str) -> list[str]:
    """The points of a -vvv run, by the name of the task that begins there. Tasks between which nothing was said to the host
    leave it as it was, and are one point."""
    found, spoken = [], True
    for line in output.splitlines():
        task = TASK.match(line)
        if task and spoken and "Validating arguments" not in task[1]:
            found.append(task[1])
            spoken = False
        spoken = spoken or SPOKEN in line
    return found


def kill_at(process: subprocess.Popen[str], point: str) -> str:
    """Let a run go on until a task begins, and kill it there. What it had said by then."""
    said = []
    for line in process.stdout or []:
        said.append(line)
        task = TASK.match(line.rstrip("\n"))
        if task and task[1] == point:
            break
    kill(process)
    return "".join(said)


def reachable(app: App) -> bool:
    """Whether the host answers over SSH."""
    try:
        return app.host.run("true").rc == 0
    except RuntimeError:  # ssh's own failure
        return False


@contextlib.contextmanager
def through(app: App, pause: float = 0.05) -> Iterator[tuple[Load, Writer]]:
    """Readers and a writer, all the time."""
    with Load(app, clients=2, pause=max(pause, 0.02)) as load, Writer(app, "w", pause) as writer:
        yield load, writer


# --- the controller is killed --------------------------------------------------------------------


def test_killed_at_every_point_of_a_run(app: App, source: Path) -> None:
    """Every second release brings a migration, so that each point is met with and without one that is pending."""
    mark(source, "the run that is read")
    points = acts(deploy("-vvv", app_path=str(source)).ok().output)
    app.drained()
    assert len(points) >= 8, points
    head, table = "0003", []
    with through(app) as (load, writer):
        for number, point in enumerate(points):
            mark(source, f"killed at {number}")
            if number % 4 == 1:
                name = f"1{number:03d}"
                path = source / f"api/migrations/versions/{name}_test.py"
                path.write_text(REVISION.format(name=name, down=head), encoding="utf-8")
                head = name
            before = app.current()
            said = kill_at(start(source), point)
            assert point in said, f"the run did not get to '{point}': {said[-2000:]}"
            left = app.current()
            assert app.ask("/api/health").status == 200, f"nobody answers after a kill at '{point}'"
            run = deploy(app_path=str(source)).ok()
            table.append(
                f"{number:2d} {point}: {'new' if left != before else 'old'} served, then {run.changed()} changed"
            )
            assert app.ask("/api/health").json()["release"] == app.current() != before
        app.drained()
    assert deploy(app_path=str(source)).ok().changed() == 0
    print("\n".join(table))
    load.clean()
    writer.clean()
    writer.all_there()
    assert app.host.check_output("ls -A /srv/projects/releases | grep -c '^[.]' || true") == "0"
    assert app.host.check_output("ls -A /srv/projects/backups/incoming") == ""
    assert app.ask("/api/ready").status == 200


@pytest.mark.parametrize("seconds", [0.1, 0.4, 0.9])
def test_killed_in_the_middle_of_a_migration(app: App, source: Path, seconds: float) -> None:
    """Not at a task's boundary: so long after the migration began. The unit on the host goes on alone, or not at all."""
    name = f"2{int(seconds * 10):03d}"
    versions = sorted((source / "api/migrations/versions").glob("*.py"))
    head = re.search(r'^revision = "(\w+)"', versions[-1].read_text(encoding="utf-8"), re.MULTILINE)
    assert head
    (source / f"api/migrations/versions/{name}_test.py").write_text(
        REVISION.format(name=name, down=head[1]), encoding="utf-8"
    )
    with through(app) as (load, writer):
        process = start(source)
        for line in process.stdout or []:
            if "migrate : Migrate the database" in line:
                break
        time.sleep(seconds)
        kill(process)
        deploy(app_path=str(source)).ok()
        app.drained()
    load.clean()
    writer.clean()
    writer.all_there()
    assert app.ask("/api/ready").status == 200


# --- the connection is lost ----------------------------------------------------------------------


def test_the_connection_is_lost(app: App, source: Path) -> None:
    """Every SSH session of the controller ends at once, in the middle of the run, and new ones are refused."""
    mark(source, "no connection")
    before = app.current()
    with through(app) as (load, writer):
        process = start(source)
        for line in process.stdout or []:
            if "dotenv : Write the release" in line:
                break
        app.host.run(
            "systemd-run --quiet --unit cut sh -c 'systemctl stop ssh.socket ssh.service; pkill -x sshd; sleep 25; systemctl start ssh.service'"
        )
        process.stdout.read()
        assert process.wait(120) != 0
        until(lambda: reachable(app), 90, "ssh")
        assert app.ask("/api/health").json()["release"] == before
        deploy(app_path=str(source)).ok()
        app.drained()
    load.clean()
    writer.clean()
    writer.all_there()


# --- a master is killed in the middle of the switch -----------------------------------------------


@pytest.mark.parametrize("which", ["the new one", "the old one"])
def test_a_master_is_killed_in_the_middle_of_the_switch(app: App, source: Path, which: str) -> None:
    """What it had in its hands is lost, and nothing else: at most a request for each client."""
    mark(source, which)
    before = app.current()
    moment = STATE / "kill.yml"
    unit = "{{ decant_release_id if '" + which + "' == 'the new one' else decant_previous_id }}"
    moment.write_text(
        f"- name: Kill {which}\n  ansible.builtin.command: systemctl kill --kill-whom=main --signal=KILL projects@{unit}.service\n",
        encoding="utf-8",
    )
    with through(app) as (load, writer):
        run = deploy(app_path=str(source), release_hooks={"before_switch": str(moment)})
        time.sleep(2)
        deploy(app_path=str(source)).ok()
        app.drained()
    print(f"{which}: rc {run.rc}, {len(load.failures)} reads of {load.sent} and {len(writer.failures)} writes failed")
    assert app.ask("/api/health").json()["release"] == app.current() != before
    assert len(load.failures) <= 2 and len(writer.failures) <= 1
    writer.all_there()


# --- the disk is full ----------------------------------------------------------------------------

MOMENTS = ["before_prepare", "after_prepare", "before_migrate", "after_migrate", "before_switch", "after_switch"]


@pytest.fixture(scope="module")
def small(app: App) -> Iterator[App]:
    """A second backend, on a file system of its own that can be filled without harm to the first."""
    app.host.check_output("sh -c 'mkdir -p /srv/small && mount -t tmpfs -o size=400m tmpfs /srv/small'")
    deploy(app_name="small", nginx_server_names=["small.example.org"]).ok()
    yield App("web", name="small", server_name="small.example.org")
    app.host.run("systemctl stop small.target small-health.timer small-backup.timer")
    app.host.run("sh -c 'rm -f /etc/nginx/sites-*/small.conf /etc/systemd/system/small*; systemctl daemon-reload'")
    app.host.run("sh -c 'systemctl reload nginx; umount -l /srv/small; rmdir /srv/small'")


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_disk_is_full_from_some_moment_on(app: App, small: App, moment: str) -> None:
    """Old or new, somebody answers; the message says what is full; with room again, a plain deploy converges."""
    source = source_copy("small")
    mark(source, moment)
    for number in range(MOMENTS.index(moment) + 1):
        below = f"3{number - 1:03d}" if number else "0003"
        path = source / f"api/migrations/versions/3{number:03d}_test.py"
        path.write_text(REVISION.format(name=f"3{number:03d}", down=below), encoding="utf-8")
    fill = STATE / "fill.yml"
    fill.write_text(
        "- name: Fill the disk\n  ansible.builtin.shell: dd if=/dev/zero of=/srv/small/filler bs=64k || true\n",
        encoding="utf-8",
    )
    mine = {"app_name": "small", "nginx_server_names": ["small.example.org"], "app_path": str(source)}
    with Load(small, clients=2) as load:
        run = deploy(release_hooks={moment: str(fill)}, **mine)
        assert small.ask("/api/health").status == 200
        said = run.says()
        app.host.check_output("rm -f /srv/small/filler")
        deploy(**mine).ok()
        small.drained()
    print(f"{moment}: rc {run.rc}")
    if run.rc:
        assert "full" in said or "No space left on device" in said, said[-3000:]
    load.clean()
    assert small.ask("/api/ready").status == 200


# --- nothing acknowledged is lost ----------------------------------------------------------------


def test_every_acknowledged_row_is_there(app: App, source: Path) -> None:
    """Through code-only, env-only, migrating and failed deploys, a rollback and a forward again."""
    with through(app, pause=0) as (load, writer):
        mark(source, "rows")
        deploy(app_path=str(source)).ok()
        app.drained()
        deploy(app_path=str(source), app_env={"CORS_ALLOWED_ORIGINS": "https://rows.example.org"}).ok()
        app.drained()
        play("playbooks/rollback.yml").ok()
        app.drained()
        init = source / "api/app/__init__.py"
        text = init.read_text(encoding="utf-8")
        init.write_text("raise RuntimeError('boom')\n" + text, encoding="utf-8")
        deploy(app_path=str(source)).refused()
        init.write_text(text, encoding="utf-8")
        mark(source, "rows again")
        deploy(app_path=str(source)).ok()
        app.drained()
        play("playbooks/backup.yml").ok()
    print(f"{len(writer.acknowledged)} rows acknowledged, {load.sent} reads")
    load.clean()
    writer.clean()
    writer.all_there()


# --- the test can fail ---------------------------------------------------------------------------


def test_without_the_gate_requests_fail(app: App, source: Path) -> None:
    """The same measure on a copy of Decant that lacks the gate: it shows."""
    path, line = "roles/gunicorn/templates/service.j2", "ExecStartPost={{ __health_gate_command }}\n"
    copy = STATE / "no-gate"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(CHECKOUT, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", ".ruff_cache", "__pycache__"))
    text = (copy / path).read_text(encoding="utf-8")
    assert text.count(line) == 1, f"{path} has no such line any more"
    (copy / path).write_text(text.replace(line, ""), encoding="utf-8")
    # It boots, and then answers 500 to everybody: what the gate is there for.
    spoilt = source_copy("spoilt")
    for name, head in (("health.py", "def live() -> dict:\n"), ("projects.py", "def list_projects() -> dict:\n")):
        view = spoilt / "api/app/api" / name
        text = view.read_text(encoding="utf-8")
        assert head in text
        view.write_text(text.replace(head, f"{head}    raise RuntimeError('spoilt')\n"), encoding="utf-8")
    with Load(app, clients=2, pause=0.02) as load:
        play("deploy.yml", cwd=copy, app_path=str(spoilt), migrate_enabled=False)
        time.sleep(5)
    print(f"without the gate {len(load.failures)} of {load.sent} requests failed")
    assert load.failures, f"no request failed without it ({load.sent} were sent): the measure does not measure"
    deploy(app_path=str(source)).ok()
    until(lambda: app.ask("/api/ready").status == 200, 60)


def test_without_the_drain_requests_fail(app: App, source: Path) -> None:
    """Requests that wait in the old instance's queue are answered in the time of the drain. Without it they are lost.

    One worker that takes one request at a time, and sixteen clients: so there is a queue at any moment.
    """
    slow = source_copy("slow", str(source))  # with the migrations that the database has seen by now
    view = slow / "api/app/api/projects.py"
    head = "def list_projects() -> dict:\n"
    text = view.read_text(encoding="utf-8")
    assert head in text
    view.write_text(text.replace(head, f"{head}    import time; time.sleep(0.1)\n"), encoding="utf-8")
    one_by_one = {"app_path": str(slow), "gunicorn_worker_class": "sync", "gunicorn_workers": 1, "gunicorn_threads": 1}
    deploy(**one_by_one).ok()
    time.sleep(5)  # the drain of the instance before
    lost = {}
    for drain in (3, 0):
        mark(slow, f"drain {drain}")
        with Load(app, clients=16) as load:
            deploy(**one_by_one, gunicorn_drain_seconds=drain).ok()
            time.sleep(5)
        lost[drain] = len(load.failures)
        print(f"with a drain of {drain} s {lost[drain]} of {load.sent} requests failed: {load.failures[:3]}")
    assert lost[3] == 0
    assert lost[0] > 0, "no request failed without the drain: the measure does not measure"
    deploy(app_path=str(source)).ok()


def test_health_after_all_of_it(app: App) -> None:
    assert until(lambda: app.ask("/api/ready").status == 200)
