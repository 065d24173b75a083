# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""All of the fleet or none of it: failures at every phase, hosts that are away, two controllers, steps that are watched."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from testing import GROUP, STATE, App, Load, Writer, command, deploy, open_host, play, reboot, source_copy, until, write
from testing import ROOT as CHECKOUT

WEBS = ("web1", "web2", "web3")
STOPPER = """\
while ! runuser -u postgres -- psql -XAtc "{asked}" | grep -q 1; do sleep 0.2; done
systemctl kill -s KILL 'postgresql@*-main.service'
"""
HEALTH = "api/app/api/health.py"
REVISION = '''"""{title}"""

from alembic import op

revision = "{name}"
down_revision = "{down}"


def upgrade():
    op.execute("{sql}")


def downgrade():
    pass
'''


@pytest.fixture(scope="module")
def apps() -> dict[str, App]:
    return {name: App(name) for name in WEBS}


@pytest.fixture(scope="module")
def source() -> Path:
    """The backend that the tests take further."""
    return source_copy("fleet")


def mark(source: Path, text: str) -> None:
    """Another version of the backend."""
    (source / "api/app/marker.py").write_text(f"MARK = {text!r}\n", encoding="utf-8")


def revision(source: Path, name: str, down: str, sql: str, title: str = "A change") -> Path:
    path = source / f"api/migrations/versions/{name}_test.py"
    path.write_text(REVISION.format(name=name, down=down, sql=sql, title=title), encoding="utf-8")
    return path


def state(apps: dict[str, App]) -> dict[str, tuple[str, int]]:
    return {name: (app.current(), app.main_pid()) for name, app in apps.items()}


def drained(apps: dict[str, App]) -> None:
    for app in apps.values():
        app.drained()


def served(apps: dict[str, App]) -> set[str]:
    """The releases that answer, asked of every host."""
    return {app.ask("/api/health").json()["release"] for app in apps.values()}


@pytest.fixture
def serving(apps: dict[str, App]) -> Iterator[dict[str, tuple[str, int]]]:
    """What serves goes on serving on every host: same ids, same processes, no request lost."""
    before = state(apps)
    with ExitStack() as stack:
        loads = [stack.enter_context(Load(app, clients=1, pause=0.03)) for app in apps.values()]
        yield before
    assert state(apps) == before
    assert [load.failures[:3] for load in loads] == [[], [], []]
    assert [app.active() for app in apps.values()] == [{before[name][0]} for name in apps], (
        "a candidate was left running"
    )


def hook(name: str, text: str) -> str:
    """A task file of the user's own."""
    path = STATE / f"{name}.yml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def fail_on(host: str) -> str:
    return hook(
        f"fail-{host}",
        f"""\
- name: Fail on {host}
  ansible.builtin.fail:
    msg: injected on {{{{ inventory_hostname }}}}
  when: inventory_hostname == '{host}'
""",
    )


# --- a failure anywhere is a failure everywhere --------------------------------------------------

PHASES = ["before_prepare", "after_prepare", "before_migrate", "after_migrate", "before_switch"]


@pytest.mark.parametrize("moment", PHASES)
def test_a_failure_before_the_switch_leaves_every_host(
    apps: dict[str, App], source: Path, serving: dict[str, tuple[str, int]], moment: str
) -> None:
    mark(source, moment)
    run = deploy(app_path=str(source), release_hooks={moment: fail_on("web2")}).refused()
    assert "injected on web2" in run.says()
    assert served(apps) == {serving["web1"][0]}


def test_a_candidate_that_fails_on_one_host(apps: dict[str, App], source: Path, serving: dict) -> None:
    """The gate of web3 alone: its health looks at a file that only web3 has."""
    mark(source, "gate")
    health = source / HEALTH
    text = health.read_text(encoding="utf-8")
    head = "def live() -> dict:\n"
    assert head in text
    spoilt = f'{head}    import pathlib\n\n    assert not pathlib.Path("/etc/spoilt").exists()\n'
    health.write_text(text.replace(head, spoilt), encoding="utf-8")
    apps["web3"].host.check_output("touch /etc/spoilt")
    try:
        run = deploy(app_path=str(source), health_deadline_seconds=8).refused()
    finally:
        health.write_text(text, encoding="utf-8")
        apps["web3"].host.check_output("rm /etc/spoilt")
    assert "did not become healthy, so it gets no traffic" in run.says()


def test_a_failure_after_the_switch_puts_every_host_back(apps: dict[str, App], source: Path) -> None:
    """web2 fails when all three have switched."""
    before = {name: app.current() for name, app in apps.items()}
    mark(source, "after the switch")
    with ExitStack() as stack:
        loads = [stack.enter_context(Load(app, clients=2, pause=0.02)) for app in apps.values()]
        run = deploy(app_path=str(source), release_hooks={"after_switch": fail_on("web2")}).refused()
        drained(apps)
    for load in loads:
        load.clean()
    assert {name: app.current() for name, app in apps.items()} == before
    assert served(apps) == set(before.values())
    assert f"{before['web1']} serves, as before." in run.says()
    for app in apps.values():
        last = app.audit()[-1]
        assert (last["event"], last["release"], last["outcome"]) == ("revert", before["web1"], "live")
        left = app.manifest(last["previous"])
        assert (left["outcome"], left["phase"]) == ("failed", "after the switch")
        assert app.host.check_output("ls /etc/systemd/system/projects.target.wants").split()[0] == (
            f"projects@{before['web1']}.service"
        )


def test_a_switch_that_fails_on_one_host_puts_the_others_back(apps: dict[str, App], source: Path) -> None:
    """web3 cannot rename: its directory is immutable for the moment, as on a disk that went read-only."""
    before = {name: app.current() for name, app in apps.items()}
    mark(source, "switch")
    freeze = hook(
        "freeze",
        """\
- name: Let current of web3 be a directory that nothing can replace
  ansible.builtin.shell: mv /srv/projects/current /srv/projects/kept && mkdir /srv/projects/current && touch /srv/projects/current/x
  when: inventory_hostname == 'web3'
""",
    )
    thaw = "test ! -L /srv/projects/kept || { rm -rf /srv/projects/current; mv -T /srv/projects/kept /srv/projects/current; }"
    try:
        deploy(app_path=str(source), release_hooks={"before_switch": freeze}).refused()
    finally:
        apps["web3"].host.check_output(f"sh -c '{thaw}'")
    drained({name: apps[name] for name in ("web1", "web2")})
    assert {name: app.current() for name, app in apps.items()} == before
    assert served(apps) == set(before.values())


def test_the_next_plain_deploy_converges(apps: dict[str, App], source: Path) -> None:
    deploy(app_path=str(source)).ok()
    drained(apps)
    assert len(served(apps)) == 1
    assert deploy(app_path=str(source)).ok().changed() == 0


# --- hosts that are away -------------------------------------------------------------------------


def container(name: str, verb: str) -> None:
    subprocess.run(["podman", verb, f"decant-{GROUP}-{name}"], check=True, capture_output=True)


def test_a_host_that_is_away_stops_the_run_unless_it_is_named(apps: dict[str, App], source: Path) -> None:
    here = {name: apps[name] for name in ("web1", "web2")}
    before = state(here)
    mark(source, "away")
    container("web3", "pause")
    try:
        quick = {"ansible_ssh_timeout": 5}
        run = deploy(app_path=str(source), **quick).refused()
        assert "No host was changed" in run.says() and "release_allow_missing: [web3]" in run.says()
        assert state(here) == before
        run = deploy(app_path=str(source), release_allow_missing=["web3"], **quick).ok()
        assert "web3 is away, and release_allow_missing names it" in run.says()
    finally:
        container("web3", "unpause")
    drained(here)
    assert len(served(here)) == 1 and served(here) != served(apps)
    deploy(app_path=str(source), release_allow_missing=["web3"]).ok()
    drained(apps)
    assert served(apps) == served(here), "the host that was away took over the id of the others"


# --- one at a time -------------------------------------------------------------------------------


def test_two_deploys_at_once(apps: dict[str, App], source: Path) -> None:
    """The second says whose the lock is, or waits; a killed one leaves a stale lock, which the next run takes over."""
    mark(source, "locked")
    pause = hook("pause", "- name: Take some time\n  ansible.builtin.pause:\n    seconds: 600\n")
    process = subprocess.Popen(
        command(
            "deploy.yml", app_path=str(source), release_hooks={"before_prepare": pause}, lock_message="the long one"
        ),
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: apps["web3"].host.file("/run/decant/projects.lock").exists, 60, "the lock")
        time.sleep(3)
        before = state(apps)
        run = deploy(app_path=str(source)).refused()
        assert "projects is locked on web1" in run.says() and "the long one" in run.says()
        assert f"process {process.pid} on" in run.says() and "playbooks/unlock.yml" in run.says()
        waited = deploy(app_path=str(source), lock_wait_seconds=4).refused()
        assert "after 4 s of waiting" in waited.says()
        assert "is locked on web1" in play("playbooks/rollback.yml").refused().says()
        status = play("playbooks/status.yml").ok()
        assert "the long one" in status.says()
        assert state(apps) == before
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)
        process.wait()
    run = deploy(app_path=str(source)).ok()
    assert "was stale and is taken over" in run.says() and "the long one" in run.says()
    drained(apps)
    assert not apps["web1"].host.file("/run/decant/projects.lock").exists


def test_a_lock_of_another_controller(apps: dict[str, App], source: Path) -> None:
    """Only its lease says whether it is stale; unlock.yml removes it with a reason."""
    lock = {"owner": "ada@far", "host": "far", "pid": 7, "token": "t", "controller": "c", "event": "deploy"}
    times = {"since": "2026-01-01T00:00:00Z", "expires": "2099-01-01T00:00:00Z"}
    write("web2", "/run/decant/projects.lock", json.dumps({**lock, **times}))
    assert "projects is locked on web2: ada@far, process 7 on far" in deploy(app_path=str(source)).refused().says()
    assert not apps["web1"].host.file("/run/decant/projects.lock").exists, "a lock was kept by a run that did not start"
    assert "lock_reason is empty" in play("playbooks/unlock.yml").refused().says()
    run = play("playbooks/unlock.yml", lock_reason="the machine far was lost").ok()
    assert "ada@far" in run.says()
    last = apps["web2"].audit()[-1]
    assert (last["event"], last["reason"], last["lock"]["owner"]) == ("unlock", "the machine far was lost", "ada@far")
    times["expires"] = "2026-01-02T00:00:00Z"
    write("web2", "/run/decant/projects.lock", json.dumps({**lock, **times}))
    assert "was stale and is taken over" in deploy(app_path=str(source)).ok().says()


# --- steps ---------------------------------------------------------------------------------------


def test_a_step_that_clients_suffer_from_is_taken_back(apps: dict[str, App], source: Path) -> None:
    """Healthy by its own account, and 500 for clients: one host sees it, three go back."""
    before = {name: app.current() for name, app in apps.items()}
    projects = source / "api/app/api/projects.py"
    text = projects.read_text(encoding="utf-8")
    head, found, tail = text.partition("def list_projects() -> dict:\n")
    assert found, "the example's list view has another name"
    projects.write_text(f"{head}{found}    raise RuntimeError('only under traffic')\n{tail}", encoding="utf-8")
    try:
        with Load(apps["web1"], clients=2) as bad, Load(apps["web2"], clients=1) as good:
            time.sleep(5)
            run = deploy(app_path=str(source), release_batches=[1, "100%"], release_bake_seconds=5).refused()
            drained(apps)
    finally:
        projects.write_text(text, encoding="utf-8")
    assert "serves web1, and clients are worse off there" in run.says() and "answers were 5xx" in run.says()
    assert {name: app.current() for name, app in apps.items()} == before
    assert good.failures == [], "a later step saw it"
    assert bad.failures and set(bad.failures) == {"status 500"}


def test_steps_that_go_well(apps: dict[str, App], source: Path) -> None:
    mark(source, "steps")
    with Load(apps["web1"], clients=2) as load:
        time.sleep(3)
        run = deploy(
            app_path=str(source), release_batches=[1, "100%"], release_bake_seconds=3, release_bake_max_p95_ratio=50
        ).ok()
        drained(apps)
    load.clean()
    switched = [app.audit()[-1]["at"] for app in apps.values()]
    assert switched[0] < switched[1], "the second step did not wait for the first"
    assert len(served(apps)) == 1
    assert "(web1)" in run.output and "(web2, web3)" in run.output or "web2, web3" in run.says()


# --- hooks ---------------------------------------------------------------------------------------


def test_hooks_run_in_their_order_with_their_variables(apps: dict[str, App], source: Path) -> None:
    mark(source, "hooks")
    text = """\
- name: Say that it is the turn of MOMENT
  ansible.builtin.debug:
    msg: "hook MOMENT {{ decant_release_id }} after {{ decant_previous_id }} in {{ decant_release_path }}"
"""
    moments = [*PHASES, "after_switch"]
    before = apps["web1"].current()
    hooks = {moment: hook(moment, text.replace("MOMENT", moment)) for moment in moments}
    run = deploy(app_path=str(source), release_hooks=hooks).ok()
    drained(apps)
    after = apps["web1"].current()
    said = [word for word in run.says().split("hook ") if word.split(" ")[0] in moments]
    order = list(dict.fromkeys(part.split(" ")[0] for part in said))
    assert order == moments
    assert f"hook after_switch {after} after {before} in /srv/projects/releases/{after}" in run.says()
    assert "hook " not in deploy(app_path=str(source), release_hooks=hooks).ok().says(), "nothing was deployed"


def test_a_missing_hook_is_said_before_anything_changes(apps: dict[str, App], source: Path, serving: dict) -> None:
    run = deploy(app_path=str(source), release_hooks={"after_switch": "no-such.yml", "befor_switch": "x"}).refused()
    assert "release_hooks: after_switch is 'no-such.yml', and there is no such file" in run.says()
    assert "release_hooks has 'befor_switch', which is not one of before_prepare" in run.says()


def test_the_hook_on_a_failure(apps: dict[str, App], source: Path, serving: dict) -> None:
    mark(source, "on failure")
    told = hook(
        "told",
        "- name: Tell somebody\n  ansible.builtin.debug:\n    msg: told of {{ decant_release_id }} on {{ inventory_hostname }}\n",
    )
    hooks = {"before_migrate": fail_on("web1"), "on_failure": told}
    run = deploy(app_path=str(source), release_hooks=hooks).refused()
    assert all(f"on {name}" in run.says() for name in WEBS) and "told of" in run.says()


# --- migrations on PostgreSQL --------------------------------------------------------------------


def test_a_migration_of_the_fleet(apps: dict[str, App], source: Path) -> None:
    """Once, with a dump that pg_restore can read; the workers of all hosts serve what was migrated."""
    revision(source, "0004", "0003", "CREATE TABLE notes (x INTEGER)", "Notes")
    run = deploy(app_path=str(source)).ok()
    drained(apps)
    assert "0004 Notes" in run.says()
    records = [app.manifest()["migration"] for app in apps.values()]
    assert records[0] == records[1] == records[2]
    backup = records[0]["backup"]
    assert backup in run.says()
    path = f"/srv/projects/backups/{backup}.dump"
    assert "TABLE DATA public projects" in apps["web1"].host.check_output(f"pg_restore --list {path}")
    assert not apps["web2"].host.file(path).exists


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("ALTER TABLE projects DROP COLUMN description", "0005 drops column projects.description"),
        ("ALTER TABLE projects ALTER COLUMN name TYPE TEXT", "0005 changes the type of projects.name"),
        ("ALTER TABLE notes ADD COLUMN y INTEGER NOT NULL", "0005 adds notes.y NOT NULL without a default"),
    ],
)
def test_what_would_be_lost_is_refused(apps: dict[str, App], source: Path, serving: dict, sql: str, what: str) -> None:
    path = revision(source, "0005", "0004", sql)
    try:
        run = deploy(app_path=str(source)).refused()
    finally:
        path.unlink()
    assert f"Destructive: {what}" in run.says()


def test_one_migration_at_a_time(apps: dict[str, App], source: Path, serving: dict) -> None:
    """Somebody holds the advisory lock of the database."""
    path = revision(source, "0005", "0004", "CREATE TABLE more (x INTEGER)")
    hold = "runuser -u postgres -- psql -Xqd projects -c 'select pg_advisory_lock(110386621804148)' -c 'select pg_sleep(120)'"
    db = open_host("db")
    db.check_output(f"systemd-run --quiet --unit holder {hold}")
    try:
        asked = "runuser -u postgres -- psql -XAtc \"select count(*) from pg_locks where locktype = 'advisory'\""
        until(lambda: db.check_output(asked) == "1", what="the lock")
        run = deploy(app_path=str(source), migrate_lock_timeout_seconds=2).refused()
    finally:
        path.unlink()
        # The server's side of the session would sleep on, and hold the lock, when only its client ends.
        gone = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
        db.check_output(f'runuser -u postgres -- psql -XAtc "{gone}"')
        db.run("systemctl stop holder")
    assert "Somebody else works on postgresql://" in run.says() and "migrate_lock_timeout_seconds (2 s)" in run.says()


def test_a_statement_that_takes_too_long(apps: dict[str, App], source: Path, serving: dict) -> None:
    path = revision(source, "0005", "0004", "SELECT pg_sleep(30)")
    try:
        run = deploy(app_path=str(source), migrate_statement_timeout_seconds=1).refused()
    finally:
        path.unlink()
    assert "canceling statement due to statement timeout" in run.says()


def test_the_server_stops_in_the_middle_of_a_migration(apps: dict[str, App], source: Path) -> None:
    """Nothing of the revision stays, the old release serves when the server is back, and the next deploy converges."""
    before = {name: app.current() for name, app in apps.items()}
    db = open_host("db")
    path = revision(source, "0005", "0004", "CREATE TABLE half (x INTEGER); SELECT pg_sleep(60)")
    asked = "select 1 from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()"
    write("db", "/root/stopper", STOPPER.format(asked=asked))
    db.check_output("systemd-run --quiet --unit stopper sh /root/stopper")
    try:
        run = deploy(app_path=str(source)).refused()
    finally:
        path.unlink()
        db.run("systemctl stop stopper")
        db.check_output("systemctl restart postgresql.service")
    assert f"Release {before['web1']} goes on serving" in run.says()
    words = ("server closed the connection", "terminating connection", "unexpected eof", "consuming input failed")
    assert any(word in run.says() for word in words), "it failed for another reason: " + run.says()[-1500:]
    until(lambda: all(app.ask("/api/ready").status == 200 for app in apps.values()), 60)
    assert (
        db.check_output("runuser -u postgres -- psql -XAtd projects -c \"select to_regclass('half') is null\"") == "t"
    )
    mark(source, "after the server was stopped")
    deploy(app_path=str(source)).ok()
    drained(apps)
    assert len(served(apps)) == 1


def test_a_rehearsal_in_a_scratch_database(apps: dict[str, App], source: Path, serving: dict) -> None:
    """When asked for: the revision meets the real rows, in a database of its own that is gone afterwards."""
    play("playbooks/provision.yml", postgresql_createdb_enabled=True).ok()
    path = revision(source, "0005", "0004", "UPDATE projects SET id = id / 0")
    try:
        run = deploy(app_path=str(source), migrate_rehearse_postgresql=True).refused()
        assert "division by zero" in run.says()
        assert "The rehearsal on a copy failed, so the database was not touched." in run.says()
    finally:
        path.unlink()
        play("playbooks/provision.yml").ok()
    names = open_host("db").check_output("runuser -u postgres -- psql -XAtc 'select datname from pg_database'").split()
    assert "projects_rehearsal" not in names and "projects" in names


def test_there_and_back_again_on_postgresql(apps: dict[str, App]) -> None:
    """A restore stops all hosts, and brings back what the dump has."""
    early = apps["web1"].ask("/api/projects", "POST", {"name": "before the dump"}).json()["id"]
    run = play("playbooks/backup.yml").ok()
    listed = open_host("web1").check_output("ls -t /srv/projects/backups").split()
    chosen = next(name for name in listed if name.endswith("-manual.dump"))[: -len(".dump")]
    assert chosen in run.says()
    late = apps["web2"].ask("/api/projects", "POST", {"name": "after the dump"}).json()["id"]
    play("playbooks/restore.yml", backup_id=chosen).ok()
    answers = [app.ask(f"/api/projects/{row}").status for app in apps.values() for row in (early, late)]
    assert answers == [200, 404] * 3


# --- nothing acknowledged is lost ----------------------------------------------------------------


def test_every_acknowledged_row_is_there(apps: dict[str, App], source: Path) -> None:
    """Rows are written without pause through all that a fleet goes through. None fails, and none is missing."""
    with ExitStack() as stack:
        writers = [stack.enter_context(Writer(app, name)) for name, app in apps.items()]
        mark(source, "written through")
        deploy(app_path=str(source)).ok()
        drained(apps)
        deploy(app_path=str(source), app_env={"CORS_ALLOWED_ORIGINS": "https://other.example.org"}).ok()
        drained(apps)
        revision(source, "0005", "0004", "CREATE TABLE under_load (x INTEGER)")
        deploy(app_path=str(source)).ok()
        drained(apps)
        mark(source, "goes back")
        deploy(app_path=str(source), release_hooks={"after_switch": fail_on("web3")}).refused()
        drained(apps)
        deploy(app_path=str(source)).ok()
        drained(apps)
        play("playbooks/rollback.yml").ok()
        drained(apps)
    for writer in writers:
        writer.clean()
    for writer in writers:
        writer.all_there(apps["web1"])


def test_a_host_that_reboots_in_the_middle(apps: dict[str, App], source: Path) -> None:
    """The others stay on the old release, the host comes back with it, and the next deploy converges."""
    before = {name: app.current() for name, app in apps.items()}
    mark(source, "reboot")
    pause = hook("pause", "- name: Take some time\n  ansible.builtin.pause:\n    seconds: 25\n")
    log = (STATE / "reboot.log").open("w")
    process = subprocess.Popen(
        command("deploy.yml", app_path=str(source), release_hooks={"before_switch": pause}),
        cwd=CHECKOUT,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: len(apps["web1"].active()) > 1, 90, "the candidate")
    reboot("web2")
    assert process.wait(240) != 0
    assert {name: app.current() for name, app in apps.items()} == before
    until(lambda: served(apps) == set(before.values()), 60)
    deploy(app_path=str(source)).ok()
    drained(apps)
    assert len(served(apps)) == 1


def test_health_after_all_of_it(apps: dict[str, App]) -> None:
    assert all(until(lambda app=app: app.ask("/api/ready").status == 200) for app in apps.values())
