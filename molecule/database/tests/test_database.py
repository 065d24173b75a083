# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A migration loses nothing and touches one database; a backup brings back what was there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from testing import App, Load, Run, deploy, play, source_copy, until

ROOT = "/srv/projects"
DATABASE = f"{ROOT}/shared/projects.db"
LOCK = f"{ROOT}/shared/.projects.db.migrate.lock"
REVISION = '''"""{title}"""

import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = "{down}"


def upgrade():
    {body}


def downgrade():
    {undo}
'''
ADDS = 'op.add_column("projects", sa.Column("note", sa.String(40), nullable=True))'
DROPS = 'op.drop_table("project_tags")'
COPIES = 'with op.batch_alter_table("projects") as batch:\n        batch.drop_column("note")'
HALF = 'op.execute("CREATE TABLE half (x INTEGER)"); op.execute("INSERT INTO nowhere VALUES (1)")'


@pytest.fixture(scope="module")
def app() -> App:
    return App("web")


@pytest.fixture(scope="module")
def source() -> Path:
    """The backend that the tests take further, one migration after the other."""
    return source_copy("next")


@pytest.fixture
def serving(app: App) -> Iterator[str]:
    """The release that serves, and goes on serving: same id, same process, no request lost."""
    before = (app.current(), app.main_pid())
    with Load(app, clients=2, pause=0.03) as load:
        yield before[0]
    assert (app.current(), app.main_pid()) == before
    assert not load.failures, load.failures[:5]
    assert app.active() == {before[0]}, "a candidate was left running"


def revision(source: Path, name: str, down: str, body: str, title: str = "A change", undo: str = "pass") -> Path:
    """Another migration of the backend."""
    path = source / f"api/migrations/versions/{name}_test.py"
    path.write_text(REVISION.format(name=name, down=down, body=body, title=title, undo=undo), encoding="utf-8")
    return path


def backups(app: App) -> list[dict]:
    """The records, oldest first."""
    names = app.host.check_output(f"sh -c 'ls {ROOT}/backups/*.json 2>/dev/null || true'").split()
    records = [json.loads(app.host.check_output(f"cat {name}")) for name in names]
    return sorted(records, key=lambda record: (record["at"], record["id"]))


def sql(app: App, statement: str, path: str = DATABASE) -> str:
    """A question to a SQLite file, as root."""
    code = f"import sqlite3; print(sqlite3.connect('{path}').execute(\\\"{statement}\\\").fetchall())"
    return app.host.check_output(f'python3 -c "{code}"')


def schema(app: App) -> str:
    return sql(app, "select name, sql from sqlite_master order by name")


def add(app: App, name: str) -> int:
    """A row that the backend has acknowledged."""
    answer = app.ask("/api/projects", "POST", {"name": name})
    assert answer.status == 201, answer.body
    return answer.json()["id"]


def test_the_first_deploy_has_nothing_to_back_up(app: App) -> None:
    assert app.manifest()["migration"]["before"] == []
    assert app.manifest()["migration"]["backup"] == ""
    assert backups(app) == []


def test_what_is_pending_is_listed_and_backed_up_first(app: App, source: Path) -> None:
    row = add(app, "before the migration")
    revision(source, "0004", "0003", ADDS, "A note for each project")
    with Load(app) as load:
        run = deploy(app_path=str(source)).ok()
        app.drained()
    load.clean()
    assert "0004 A note for each project" in run.says()
    (record,) = backups(app)
    assert f"backup: {record['id']}" in run.says()
    migration = app.manifest()["migration"]
    assert (migration["before"], migration["after"], migration["backup"]) == (["0003"], ["0004"], record["id"])
    assert (record["kind"], record["revision"], record["dialect"]) == ("migration", ["0003"], "sqlite")
    path = f"{ROOT}/backups/{record['file']}"
    assert sql(app, f"select id from projects where id = {row}", path) == f"[({row},)]"
    assert app.host.check_output(f"stat -c '%U:%G %a' {path} {path.replace('.sqlite3', '.json')}").split("\n") == [
        "root:root 600",
        "root:root 600",
    ]
    assert app.host.check_output(f"ls -A {ROOT}/backups/incoming") == ""
    assert app.host.run(f"runuser -u projects -- cat {path}").rc != 0
    rehearsed = app.journal("--unit", f"projects-migrate@{app.current()}").count("Running upgrade 0003 -> 0004")
    assert rehearsed >= 2, "the copy was not upgraded first"


def test_the_workers_serve_the_migrated_database(app: App) -> None:
    said = app.journal("--unit", app.service())
    assert f'"database": "sqlite:///{DATABASE}"' in said
    assert app.manifest()["migration"]["fingerprint"] in said


def test_a_run_without_anything_pending_takes_no_backup(app: App, source: Path) -> None:
    (source / "api/app/marker.py").write_text("RELEASE = 1\n", encoding="utf-8")
    deploy(app_path=str(source)).ok()
    app.drained()
    assert len(backups(app)) == 1


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (DROPS, "0005 drops table project_tags"),
        (COPIES, "0005 drops column projects.note"),
        (
            'op.execute("ALTER TABLE projects RENAME COLUMN note TO remark")',
            "0005 renames column projects.note",
        ),
    ],
)
def test_what_would_be_lost_is_refused(app: App, source: Path, serving: str, body: str, what: str) -> None:
    before = schema(app)
    path = revision(source, "0005", "0004", body)
    try:
        run = deploy(app_path=str(source)).refused()
    finally:
        path.unlink()
    assert f"Destructive: {what}" in run.says()
    assert "Nothing was migrated" in run.says() and "-e migrate_allow_destructive=true" in run.says()
    assert f"Release {serving} goes on serving" in run.says()
    assert schema(app) == before


def test_what_is_meant_is_allowed_once(app: App, source: Path) -> None:
    """The permission is of one run: the release that it made is not another one without it."""
    revision(source, "0005", "0004", COPIES)
    run = deploy(app_path=str(source), migrate_allow_destructive=True).ok()
    app.drained()
    assert "destructive, and allowed: 0005 drops column projects.note" in run.says()
    assert "note" not in sql(app, "select sql from sqlite_master where name = 'projects'")
    assert deploy(app_path=str(source)).ok().changed() == 0


def test_the_rehearsal_takes_the_fall(app: App, source: Path, serving: str) -> None:
    """Without transactions, as SQLite's driver runs DDL by itself: half a revision would stay in the live file."""
    env = source / "api/migrations/env.py"
    text = env.read_text(encoding="utf-8")
    env.write_text(text.replace('connection.exec_driver_sql("BEGIN IMMEDIATE")', "pass"), encoding="utf-8")
    path = revision(source, "0006", "0005", HALF)
    before = schema(app)
    try:
        run = deploy(app_path=str(source)).refused()
    finally:
        path.unlink()
        env.write_text(text, encoding="utf-8")
    assert "no such table: nowhere" in run.says()
    assert "The rehearsal on a copy failed, so the database was not touched." in run.says()
    assert schema(app) == before and "half" not in before
    assert app.host.check_output(f"ls -A {ROOT}/backups/incoming") == ""


def test_one_at_a_time(app: App, source: Path, serving: str) -> None:
    """Somebody else holds the lock of the database, and does not let go."""
    path = revision(source, "0006", "0005", ADDS)
    hold = f"import fcntl, time; f = open('{LOCK}', 'w'); fcntl.flock(f, fcntl.LOCK_EX); time.sleep(300)"
    app.host.check_output(f'systemd-run --quiet --unit holder python3 -c "{hold}"')
    before = schema(app)
    try:
        until(lambda: app.host.run(f"flock --nonblock {LOCK} true").rc != 0, what="the lock")
        run = deploy(app_path=str(source), migrate_lock_timeout_seconds=2).refused()
    finally:
        path.unlink()
        app.host.check_output("systemctl stop holder")
    assert f"Somebody else works on sqlite:///{DATABASE}" in run.says()
    assert "migrate_lock_timeout_seconds (2 s)" in run.says()
    assert schema(app) == before


def test_the_migrated_database_is_the_served_one(app: App, source: Path, serving: str) -> None:
    """An env.py that leads elsewhere: the migration goes well, and the release is not served from it."""
    env = source / "api/migrations/env.py"
    text = env.read_text(encoding="utf-8")
    elsewhere = text.replace("url = db.engine.url", f'url = db.engine.url.set(database="{ROOT}/shared/other.db")')
    assert elsewhere != text
    env.write_text(elsewhere, encoding="utf-8")
    before = schema(app)
    try:
        run = deploy(app_path=str(source)).refused()
    finally:
        env.write_text(text, encoding="utf-8")
    assert "is not served from the migrated database, so it gets no traffic" in run.says()
    assert f"its workers resolve the database sqlite:///{DATABASE}" in run.says()
    assert f"Alembic migrated sqlite:///{ROOT}/shared/other.db" in run.says()
    assert schema(app) == before


def test_a_backup_by_hand_and_the_list(app: App) -> None:
    run = play("playbooks/backup.yml").ok()
    last = backups(app)[-1]
    assert last["kind"] == "manual" and last["id"] in run.says()
    assert last["checked"]["projects"] >= 1
    listed = play("playbooks/backup.yml", "--check", backup_list=True).ok()
    assert listed.changed() == 0
    assert all(record["id"] in listed.says() for record in backups(app))


def test_the_timer_and_what_it_keeps(app: App, source: Path) -> None:
    assert "projects-backup.timer" in app.host.check_output("systemctl list-timers --all --no-legend")
    deploy(app_path=str(source), backup_keep=2).ok()
    app.drained()
    for _ in range(4):
        app.host.check_output("systemctl start projects-backup@timer.service")
    kinds = [record["kind"] for record in backups(app)]
    assert kinds.count("timer") == 2
    files = app.host.check_output(f"ls {ROOT}/backups").split()
    assert len([name for name in files if name.endswith(".sqlite3")]) == len(kinds)


def restore(*arguments: str, **variables: object) -> Run:
    return play("playbooks/restore.yml", *arguments, **variables)


def test_a_restore_names_its_backup(app: App, source: Path, serving: str) -> None:
    run = restore().refused()
    assert "No backup is named. Nothing was changed." in run.says()
    assert backups(app)[-1]["id"] in run.says()
    run = restore(backup_id="20200101T000000Z-manual").refused()
    assert "no host of this run has such a backup" in run.says()
    damaged = backups(app)[-1]
    app.host.check_output(f"sh -c 'echo x >> {ROOT}/backups/{damaged['file']}'")
    run = restore(backup_id=damaged["id"]).refused()
    assert "is not what its record says" in run.says()
    app.host.check_output(f"sh -c 'rm {ROOT}/backups/{damaged['id']}*'")


def test_there_and_back_again(app: App, source: Path) -> None:
    """What a backup has comes back; what it has not is in the safety backup, and comes back from that."""
    deploy(app_path=str(source)).ok()
    app.drained()
    early = add(app, "before the backup")
    play("playbooks/backup.yml").ok()
    chosen = backups(app)[-1]
    late = add(app, "after the backup")
    release = app.current()
    run = restore(backup_id=chosen["id"]).ok()
    assert app.current() == release
    assert app.ask("/api/ready").status == 200
    assert (app.ask(f"/api/projects/{early}").status, app.ask(f"/api/projects/{late}").status) == (200, 404)
    safety = backups(app)[-1]
    assert safety["kind"] == "safety" and safety["id"] in run.says()
    restore(backup_id=safety["id"]).ok()
    assert (app.ask(f"/api/projects/{early}").status, app.ask(f"/api/projects/{late}").status) == (200, 200)
    entry = app.audit()[-1]
    assert (entry["event"], entry["backup"], entry["outcome"]) == ("restore", safety["id"], "restored")
    assert app.host.check_output(f"stat -c '%U:%G' {DATABASE}") == "projects:projects"
    assert app.host.check_output(f"ls -A {ROOT}/backups/incoming") == ""


def test_a_schema_that_the_release_does_not_know_is_refused(app: App, source: Path) -> None:
    """And the two ways that a rollback names: the backup together with the release that fits it."""
    older = app.current()
    kept = add(app, "before the newer schema")
    revision(
        source, "0006", "0005", 'op.execute("CREATE TABLE newer (x INTEGER)")', undo='op.execute("DROP TABLE newer")'
    )
    deploy(app_path=str(source)).ok()
    app.drained()
    newer = app.current()
    lost = add(app, "in the newer schema")
    backup = app.manifest()["migration"]["backup"]
    pid = app.main_pid()
    run = play("playbooks/rollback.yml").refused()
    assert f"Restore the backup {backup}" in run.says()
    assert f"-e backup_id={backup} -e release_id={older}" in run.says()
    run = restore(backup_id=backup).refused()
    assert f"The backup {backup} is at 0005, and {newer} works with 0006" in run.says()
    assert app.main_pid() == pid
    restore(backup_id=backup, release_id=older).ok()
    app.drained()
    assert app.current() == older
    assert app.ask("/api/ready").status == 200
    assert (app.ask(f"/api/projects/{kept}").status, app.ask(f"/api/projects/{lost}").status) == (200, 404)
    assert app.manifest(newer)["outcome"] == "rolled-back"


def test_a_restore_that_fails_leaves_everything_as_it_was(app: App, source: Path) -> None:
    """The release that is to serve is spoilt, so the safety backup comes back and the one that served serves again."""
    other = app.current()
    (source / "api/migrations/versions/0006_test.py").unlink()
    (source / "api/app/marker.py").write_text("RELEASE = 'after the restores'\n", encoding="utf-8")
    deploy(app_path=str(source)).ok()
    app.drained()
    play("playbooks/backup.yml").ok()
    chosen, row, current = backups(app)[-1], add(app, "since the backup"), app.current()
    module = f"{ROOT}/releases/{other}/src/api/app/__init__.py"
    app.host.check_output(f"sed -i '1i raise RuntimeError(\"spoilt\")' {module}")
    run = restore(backup_id=chosen["id"], release_id=other).refused()
    assert "RuntimeError: spoilt" in run.says()
    assert f"The database is as it was, and {current} serves again." in run.says()
    assert app.current() == current
    assert app.ask("/api/ready").status == 200
    assert app.ask(f"/api/projects/{row}").status == 200


def test_the_units_are_sandboxed(app: App) -> None:
    for unit in ("projects-backup@manual.service", f"projects-migrate@{app.manifest()['id']}.service"):
        score = app.host.run(f"systemd-analyze security --no-pager {unit}").stdout.splitlines()[-1]
        assert float(score.split(":")[1].split()[0]) <= 1.5, f"{unit}: {score}"


def test_health_after_all_of_it(app: App) -> None:
    assert until(lambda: app.ask("/api/ready").status == 200)
