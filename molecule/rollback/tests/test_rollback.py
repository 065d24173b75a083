# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A rollback goes to the last good release, under load and through the gate; what was left is never gone back to."""

from __future__ import annotations

import re

import pytest
from testing import App, Load, Run, deploy, play, source_copy, until

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


def rollback(*arguments: str, **variables: object) -> Run:
    return play("playbooks/rollback.yml", *arguments, **variables)


def release(number: int, migration: bool = False) -> str:
    """Deploy another version of the example, and say its id."""
    source = source_copy("next")
    (source / "api/app/marker.py").write_text(f"RELEASE = {number}\n", encoding="utf-8")
    if migration:
        (source / "api/migrations/versions/0004_newer.py").write_text(MIGRATION, encoding="utf-8")
    deploy(app_path=str(source)).ok()
    app = App("web")
    app.drained()
    return app.current()


def test_there_is_nothing_to_go_back_to_at_first(app: App) -> None:
    run = rollback().refused()
    assert "There is no earlier good release on this host" in run.says()


def test_back_to_the_release_before_under_load(app: App) -> None:
    first = app.current()
    second = release(2)
    made = app.ask("/api/projects", "POST", {"name": "written in the newer release"})
    with Load(app) as load:
        rollback().ok()
        app.drained()
    load.clean()
    assert app.current() == first
    assert app.ask("/api/health").json()["release"] == first
    assert app.ask(f"/api/projects/{made.json()['id']}").status == 200
    assert (app.manifest(first)["outcome"], app.manifest(second)["outcome"]) == ("live", "rolled-back")
    last = app.audit()[-1]
    assert (last["event"], last["release"], last["previous"], last["outcome"]) == ("rollback", first, second, "live")
    assert app.host.check_output("ls /etc/systemd/system/projects.target.wants").split() == [
        f"projects@{first}.service",
        f"projects@{first}.socket",
    ]


def test_nothing_goes_back_to_what_was_left(app: App) -> None:
    before = (app.current(), app.main_pid())
    left = app.manifest()["previous"]
    assert "There is no earlier good release on this host" in rollback().refused().says()
    run = rollback(release_id=left).refused()
    assert f"{left} is marked rolled-back, so nothing goes back to it" in run.says()
    assert "which serves already" in rollback(release_id=before[0]).refused().says()
    assert "this host has no such release" in rollback(release_id="20200101T000000Z-0000000").refused().says()
    assert (app.current(), app.main_pid()) == before


def test_the_list(app: App) -> None:
    run = rollback("--check", release_list=True).ok()
    assert run.changed() == 0
    assert re.search(rf"\* {app.current()} live", run.says())
    assert "rolled-back" in run.says() and "schema 0003" in run.says()


def test_a_named_release_and_past_a_bad_one(app: App) -> None:
    """first (good), third (good), fourth: back from fourth lands on third; back from there on first, past the marked ones."""
    first, third, fourth = app.current(), release(3), release(4)
    rollback(release_id=third).ok()
    app.drained()
    assert app.current() == third and app.manifest(fourth)["outcome"] == "rolled-back"
    rollback().ok()
    app.drained()
    assert app.current() == first


def test_a_newer_schema_is_refused_and_its_first_way_on_works(app: App) -> None:
    newer = release(5, migration=True)
    pid = app.main_pid()
    run = rollback().refused()
    said = run.says()
    assert "The database is at 0004" in said and "left it at 0003" in said
    assert "Restore the backup" in said and "-e rollback_schema_accepted=true" in said
    assert (app.current(), app.main_pid()) == (newer, pid)
    flask = "/srv/projects/current/venv/bin/python -m flask db downgrade 0003"
    load = "set -a; . /srv/projects/current/.env; exec"
    command = f"cd /srv/projects/current/src/api && runuser -u projects -- sh -c '{load} {flask}'"
    assert re.sub(r"\s+", "", command) in re.sub(r"\s+", "", run.output)
    app.host.check_output("sh -c %s", command)
    rollback().ok()
    assert until(lambda: app.ask("/api/ready").status == 200)


def test_a_newer_schema_can_be_accepted(app: App) -> None:
    release(6, migration=True)
    rollback(rollback_schema_accepted=True).ok()
    assert until(lambda: app.ask("/api/health").status == 200)
    undo = "import sqlite3; c = sqlite3.connect('/srv/projects/shared/projects.db'); c.execute('drop table newer'); "
    undo += "c.execute('update alembic_version set version_num = ?', ['0003']); c.commit()"
    app.host.check_output("runuser -u projects -- python3 -c %s", undo)


def test_a_release_that_is_no_longer_healthy_gets_no_traffic(app: App) -> None:
    good = release(7)
    serving = release(8)
    pid = app.main_pid()
    health = f"/srv/projects/releases/{good}/src/api/app/api/health.py"
    app.host.check_output(f"sed -i 's/^def live.*/&\\n    raise ValueError(\"spoilt\")/' {health}")
    with Load(app, clients=2) as load:
        run = rollback(release_id=good, health_deadline_seconds=60).refused()
    assert not load.failures
    assert "did not become healthy" in run.says() and "ValueError: spoilt" in run.says()
    assert (app.current(), app.main_pid()) == (serving, pid)
    assert app.active() == {serving}
    assert app.manifest(good)["outcome"] == "retired"


def test_the_next_deploy_after_a_rollback_is_an_ordinary_one(app: App) -> None:
    before = app.current()
    after = release(9)
    assert after != before
    assert app.manifest()["previous"] == before


def test_a_backup_is_of_the_release_that_serves(app: App) -> None:
    """Also where its code is elsewhere than that of the deploy that wrote the backup's unit."""
    before = app.current()
    source = source_copy("moved")
    (source / "api").rename(source / "service")
    deploy(app_path=str(source), app_subdir="service").ok()
    app.drained()
    play("playbooks/backup.yml", app_subdir="service").ok()
    rollback().ok()
    app.drained()
    assert app.current() == before
    known = app.host.check_output("ls /srv/projects/backups")
    app.host.check_output("systemctl start projects-backup@manual.service")  # as the timer does
    assert app.host.check_output("ls /srv/projects/backups") != known


def test_what_is_pruned_and_what_never_is(app: App) -> None:
    """release_keep good ones stay, with the one that serves and the one before it; environments without a release go."""
    app.host.check_output("mkdir /srv/projects/venvs/0123456789abcdef")
    kept = app.current()
    source = source_copy("next")
    (source / "api/app/marker.py").write_text("RELEASE = 10\n", encoding="utf-8")
    deploy(app_path=str(source), release_keep=2).ok()
    app.drained()
    assert set(app.releases()) == {kept, app.current()}
    assert app.manifest()["previous"] == kept
    used = {
        app.host.check_output(f"basename $(readlink /srv/projects/releases/{name}/venv)") for name in app.releases()
    }
    assert set(app.host.check_output("ls /srv/projects/venvs").split()) == used
    units = app.host.check_output(
        "sh -c 'cd /etc/systemd/system; ls -d projects@?*.service projects@?*.socket'"
    ).split()
    assert {name.split("@")[1].rsplit(".", 1)[0] for name in units} == {
        kept,
        app.current(),
    }
    rollback().ok()
    app.drained()
    assert app.current() == kept
