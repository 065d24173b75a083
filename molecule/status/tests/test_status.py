# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A status says what is there and what is not as it should be; a plan says what a deploy would do. Neither changes a host."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testing import GROUP, ROOT, STATE, App, Run, command, connections, deploy, play, source_copy, until

MIGRATION = '''"""A table that only the newer release knows."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade():
    op.execute("CREATE TABLE newer (id INTEGER)")


def downgrade():
    op.execute("DROP TABLE newer")
'''


@pytest.fixture(scope="module")
def app() -> App:
    return App("web")


@pytest.fixture(scope="module")
def other() -> App:
    return App("web2")


def status(*arguments: str, **variables: Any) -> Run:
    return play("playbooks/status.yml", *arguments, **variables)


def table(run: Run) -> dict[str, dict[str, str]]:
    """Host -> column -> cell, of the one table that a run printed."""
    lines = run.output.splitlines()
    (head,) = [number for number, line in enumerate(lines) if line.startswith("host  ")]
    starts = [match.start() for match in re.finditer(r"\S+", lines[head])]
    rows = {}
    for line in lines[head + 1 :]:
        if not line.strip():
            break
        cells = [line[begin:end].strip() for begin, end in zip(starts, [*starts[1:], None])]
        rows[cells[0]] = dict(zip(lines[head].split(), cells))
    return rows


def document(run: Run) -> dict[str, Any]:
    """The JSON that a run printed."""
    lines = run.output.splitlines()
    return json.loads("\n".join(lines[lines.index("{") : lines.index("}") + 1]))


def drifts(run: Run) -> list[str]:
    """The sentences below the table."""
    return re.findall(r"^  \d+\. (.*)$", run.output, re.MULTILINE)


def drifted(*arguments: str, **variables: Any) -> list[str]:
    """The sentences of a run that must end badly because of them, and change nothing."""
    run = status(*arguments, **variables).refused()
    assert run.changed() == 0
    assert "not as" in run.says() and "Nothing was changed." in run.says()
    return drifts(run)


@contextlib.contextmanager
def changed(app: App, do: str, undo: str) -> Iterator[None]:
    """Something done to a host by hand, for a while."""
    app.host.check_output("sh -c %s", do)
    try:
        yield
    finally:
        app.host.check_output("sh -c %s", undo)


def snapshot(app: App) -> str:
    """What a change would leave its mark on: files with their times, and the processes that serve. A database that is only
    read makes and removes files beside itself, so what is shared is left out."""
    find = "find /srv/projects /etc/systemd/system /etc/nginx -printf '%p %l %m %u %s %T@\\n' | grep -v /srv/projects/shared | sort"
    return f"{app.host.check_output(find)}\n{app.main_pid()}\n{sorted(app.active())}"


# --- a fleet that is as it should be -------------------------------------------------------------


def test_a_clean_fleet(app: App, other: App) -> None:
    before = (snapshot(app), snapshot(other))
    run = status().ok()
    rows = table(run)
    assert list(rows) == ["web", "web2"]
    for name, host in (("web", app), ("web2", other)):
        row = rows[name]
        assert row["release"] == host.current() == app.current()
        parts = host.manifest()["parts"]
        assert (row["env"], row["unit"]) == (parts["env"][:8], parts["unit"][:8])
        assert row["version"] == host.manifest()["source"]["revision"][:7]
        assert (row["schema"], row["lock"], row["backup"], row["drift"]) == ("0003 (head)", "-", "-", "none")
        assert row["health"].startswith("healthy, timer ")
    assert drifts(run) == [] and run.changed() == 0
    assert (snapshot(app), snapshot(other)) == before


def test_one_remote_call_per_host() -> None:
    run = status("-vvv").ok()
    assert len(re.findall(r"<[^>]+> SSH: EXEC ssh", run.output)) == 2


def test_the_json_is_the_table(app: App) -> None:
    app.host.check_output("systemctl start projects-health.service")
    path = STATE / "status.json"
    run = status(status_format="json", status_file=str(path)).ok()
    found = document(run)
    assert json.loads(path.read_text(encoding="utf-8")) == found
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert "host  release" not in run.output
    assert (found["app"], found["drifts"], found["fleet"]) == ("projects", 0, [])
    rows = table(status().ok())
    for entry in found["hosts"]:
        row = rows[entry["host"]]
        assert (row["release"], row["version"], row["env"], row["unit"]) == (
            *(entry["release"], entry["version"], entry["env"], entry["unit"]),
        )
        assert row["schema"] == f"{','.join(entry['schema']['now'])} (head)"
        assert row["health"].startswith("healthy") and entry["health"]["healthy"] is True
        assert (entry["drift"], row["drift"]) == ([], "none")
        assert (entry["lock"], entry["backup"]) == (None, None)
    web = found["hosts"][0]
    assert (web["timer"]["result"], rows["web"]["health"].split()[:3]) == ("success", ["healthy,", "timer", "success"])


def test_a_program_reads_stdout(app: App) -> None:
    """With the collection's callback: JSON alone on stdout, errors beside it, and the run's own end."""
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "decant.flask.bare"}
    pipes: dict[str, Any] = {"capture_output": True, "text": True, "cwd": ROOT, "env": environment}
    asked = command("playbooks/status.yml", status_format="json")
    done = subprocess.run(asked, check=True, **pipes)
    assert json.loads(done.stdout)["drifts"] == 0
    with changed(app, "touch /srv/projects/.pending-units", "rm /srv/projects/.pending-units"):
        done = subprocess.run(asked, check=False, **pipes)
    assert done.returncode != 0
    assert json.loads(done.stdout)["drifts"] == 1
    assert "One thing is not as it should be" in done.stderr


def test_a_file_that_cannot_be_written() -> None:
    run = status(status_file="/nonexistent/status.json").refused()
    assert "status_file is '/nonexistent/status.json'" in run.says()


def test_a_plan_writes_no_file() -> None:
    path = STATE / "never.json"
    status("--check", status_file=str(path)).ok()
    assert not path.exists()


def test_the_name_is_all_that_it_needs() -> None:
    """By the collection's name, and with the name of the backend as the only input."""
    inventory = STATE / "bare.yml"
    hosts = {name: {k: v for k, v in how.items() if k.startswith("ansible_")} for name, how in connections().items()}
    inventory.write_text(
        yaml.safe_dump({"backend": {"hosts": hosts, "vars": {"app_name": "projects"}}}), encoding="utf-8"
    )
    assert list(table(play("decant.flask.status", inventory=inventory).ok())) == ["web", "web2"]
    run = play("playbooks/status.yml", inventory=inventory, status_histroy=3).refused()
    assert "Did you mean status_history?" in run.says()


def test_the_history(app: App) -> None:
    run = status(status_history=1).ok()
    last = app.audit()[-1]
    assert run.output.count("history of ") == 2
    line = re.search(r"^history of web:\n  (.*)$", run.output, re.MULTILINE).group(1)
    assert line.split()[:5] == [last[key] for key in ("at", "event", "outcome", "release", "who")]


# --- what is read of files that others write -----------------------------------------------------


@pytest.mark.parametrize(("expires", "over"), [("2099-01-01T00:00:00Z", ""), ("2026-01-02T00:00:00Z", " (expired)")])
def test_a_lock(app: App, expires: str, over: str) -> None:
    lock = {"owner": "ada", "host": "control", "pid": 7, "since": "2026-01-01T00:00:00Z", "expires": expires}
    text = json.dumps({**lock, "message": "moving the database", "event": "lock"})
    with changed(app, f"echo '{text}' > /run/decant/projects.lock", "rm /run/decant/projects.lock"):
        run = status().ok()
    assert table(run)["web"]["lock"] == f"ada since 2026-01-01T00:00:00Z, until {expires}{over}"
    assert "web is locked by ada: moving the database" in run.output
    assert table(run)["web2"]["lock"] == "-"


def test_a_lock_that_cannot_be_read(app: App) -> None:
    with changed(app, "echo '{' > /run/decant/projects.lock", "rm /run/decant/projects.lock"):
        assert table(status().ok())["web"]["lock"] == "unreadable"


def test_the_newest_backup(app: App) -> None:
    record = {"kind": "sqlite", "revision": ["0003"], "bytes": 1, "sha256": "0", "dialect": "sqlite"}
    stamps = ("2026-03-01T00:00:00Z", "2026-10-01T00:00:00Z", "2026-02-01T00:00:00Z")
    for number, at in enumerate(stamps):
        text = json.dumps({**record, "id": str(number), "at": at})
        app.host.check_output("sh -c %s", f"echo '{text}' > /srv/projects/backups/{number}.json")
    with changed(app, "echo nonsense > /srv/projects/backups/9.json", "rm /srv/projects/backups/*.json"):
        assert table(status().ok())["web"]["backup"] == stamps[1]


# --- drift ---------------------------------------------------------------------------------------


def test_a_tampered_environment(app: App) -> None:
    env = f"/srv/projects/releases/{app.current()}/.env"
    with changed(app, f"cp -p {env} /root/env && echo \"LATER='1'\" >> {env}", f"cp -p /root/env {env}"):
        assert drifted() == [f"web: {env} is not what the release wrote."]
        told = status(status_drift_fails=False).ok()
        assert (table(told)["web"]["drift"], table(told)["web2"]["drift"]) == ("1", "none")
    status().ok()


@pytest.mark.parametrize(
    "name", ["/etc/systemd/system/projects@{}.service", "/srv/projects/releases/{}/gunicorn.conf.py"]
)
def test_a_tampered_unit_or_setting(other: App, name: str) -> None:
    path = name.format(other.current())
    with changed(other, f"cp -p {path} /root/kept && echo '# by hand' >> {path}", f"cp -p /root/kept {path}"):
        assert drifted() == [f"web2: {path} is not what the release wrote."]


def test_a_stopped_instance(app: App) -> None:
    units = f"{app.service()} {app.service().replace('.service', '.socket')}"
    with changed(app, f"systemctl stop {units}", f"systemctl start {units}"):
        down, ill = drifted()
    assert down == f"web: the instance of {app.current()} is not running, or its socket is not."
    assert ill.startswith("web is not healthy: no socket at ")


def test_an_instance_that_does_not_answer(app: App) -> None:
    unit = app.service()
    with changed(app, f"systemctl kill --signal=STOP {unit}", f"systemctl kill --signal=CONT {unit}"):
        run = status().refused()
    assert table(run)["web"]["health"].startswith("unhealthy, timer ")
    assert [line for line in drifts(run) if line.startswith("web is not healthy: ")]
    until(lambda: app.ask("/api/health").status == 200)


def test_a_schema_that_is_not_at_the_head(app: App) -> None:
    set_to = "import sqlite3; c = sqlite3.connect('/srv/projects/shared/projects.db'); c.execute('update alembic_version set "
    update = f'runuser -u projects -- python3 -c "{set_to}version_num = {{}}\'); c.commit()"'
    with changed(app, update.format('\\"0002\\"'), update.format('\\"0003\\"')):
        run = status().refused()
    assert drifts(run) == [f"web: the database is at 0002, and the head of {app.current()} is 0003."]
    assert table(run)["web"]["schema"] == "0002, head 0003"


def test_a_switch_that_was_cut_short(app: App) -> None:
    record = f"/srv/projects/releases/{app.current()}/release.json"
    do = f'cp -p {record} /root/record && sed -i \'s/"outcome": "live"/"outcome": "staged"/\' {record}'
    with changed(
        app,
        f"{do} && touch /srv/projects/.pending-nginx",
        f"cp -p /root/record {record}; rm /srv/projects/.pending-nginx",
    ):
        cut, note = drifted()
    assert cut == f"web serves {app.current()}, and its record says staged: a switch was cut short."
    assert note.startswith("web: .pending-nginx is left of a run that was killed")


def test_hosts_on_different_releases_and_another_unit(app: App, other: App) -> None:
    first = app.current()
    source = source_copy("next")
    (source / "api/app/marker.py").write_text("RELEASE = 2\n", encoding="utf-8")
    deploy("--limit", "web", app_path=str(source)).ok()
    app.drained()
    second = app.current()
    assert drifted() == [f"The hosts serve different releases: {first} on web2; {second} on web."]
    deploy(app_path=str(source)).ok()
    other.drained()
    assert table(status().ok())["web2"]["release"] == second

    unit = app.service(first)
    with changed(app, f"systemctl enable {unit}", f"systemctl disable {unit}"):
        assert drifted() == [f"web serves {second}, and a boot would start {first} beside it."]
    serving = app.service(second)
    with changed(app, f"systemctl disable {serving}", f"systemctl enable {serving}"):
        assert drifted() == [f"web serves {second}, and a boot would start nothing."]
    with changed(app, f"systemctl start {unit}", f"systemctl stop {unit} {unit.replace('.service', '.socket')}"):
        assert drifted() == [f"web: {first} runs as well, and no drain will stop it."]
    status().ok()


def test_a_host_that_is_away(app: App, other: App) -> None:
    """The first host, which prints the table for all."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*sudo, "podman", "stop", "--time", "5", f"decant-{GROUP}-web"], check=True, capture_output=True)
    try:
        run = status(status_file=str(STATE / "away.json")).refused()
    finally:
        up = [sys.executable, str(ROOT / "tools/hosts.py"), "up", "--group", GROUP, "web"]
        subprocess.run(up, check=True, capture_output=True)
    rows = table(run)
    assert (rows["web"]["release"], rows["web"]["drift"]) == ("unreachable", "1")
    assert (rows["web2"]["release"], rows["web2"]["drift"]) == (other.current(), "none")
    (told,) = drifts(run)
    assert told.startswith("web cannot be reached: ssh: ")
    found = json.loads(Path(STATE / "away.json").read_text(encoding="utf-8"))
    assert [entry["state"] for entry in found["hosts"]] == ["unreachable", "serving"]
    until(lambda: app.ask("/api/health").status == 200, 60, "health after the boot")
    status().ok()


# --- the plan ------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, subject: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", subject)
    return git(folder, "rev-parse", "HEAD")


def said(run: Run) -> list[str]:
    """The plan of each host as one line, without the quotes and breaks of YAML."""
    blocks = re.findall(r"^ok: \[web2?\] => \n    msg:\n((?:    .*\n)+)", run.output, re.MULTILINE)
    return ["\n".join(yaml.safe_load(block)) for block in blocks]


def test_a_plan_names_commits_revisions_and_what_restarts(app: App, other: App) -> None:
    folder = source_copy("repository")
    git(folder, "init", "--quiet", "--initial-branch=main")
    first = commit(folder, "The example backend")
    source = {"app_path": "", "app_repo": folder.as_uri(), "release_cache": str(STATE / "cache")}
    plans = said(deploy("--check", "--diff", app_version="main", **source).ok())
    assert len(plans) == 2
    assert all("commits   history not known: what serves was not made from git" in plan for plan in plans)
    deploy(app_version="main", **source).ok()
    app.drained()
    other.drained()
    served = app.current()

    (folder / "api/app/marker.py").write_text("RELEASE = 3\n", encoding="utf-8")
    second = commit(folder, "Say more, {{ not a template }}")
    (folder / "api/migrations/versions/0004_newer.py").write_text(MIGRATION, encoding="utf-8")
    third = commit(folder, "Add a table")
    before = (snapshot(app), snapshot(other))
    newer = {**source, "app_env": {"LOG_LEVEL": "debug"}}
    run = deploy("--check", "--diff", app_version="main", **newer).ok()
    for plan in said(run):
        lines = plan.splitlines()
        at = lines.index(f"commits   2 since {first[:7]}:")
        assert lines[at + 1 : at + 3] == [
            f"          {third[:7]} Add a table",
            f"          {second[:7]} Say more, {{{{ not a template }}}}",
        ]
        assert ".env      +LOG_LEVEL -CORS_ALLOWED_ORIGINS" in lines
        at = lines.index("migrate   flask db upgrade, before the switch: 1 pending, the database is at 0003:")
        assert lines[at + 1] == "          0004 A table that only the newer release knows."
        assert re.search(r"^venv      \w+: known, reused", plan, re.MULTILINE)
        assert re.fullmatch(
            rf"restart   starts projects@\S+-{third[:7]}; 3 s after the switch stops projects@{served}", lines[-1]
        )
    assert (snapshot(app), snapshot(other)) == before

    deploy(app_version=third, **newer).ok()
    app.drained()
    back = said(deploy("--check", "--diff", app_version=first, **newer).ok())[0]
    assert f"commits   a rollback: 2 up to {third[:7]} left out:" in back
    assert "migrate   the database is at 0004, which this source does not have" in back
    gone = {**source, "release_cache": str(STATE / "another-cache")}
    git(folder, "reset", "--quiet", "--hard", first)
    lost = said(deploy("--check", "--diff", app_version="main", **gone).ok())[0]
    assert f"commits   history not known: the mirror of this controller does not have {third[:7]}" in lost
