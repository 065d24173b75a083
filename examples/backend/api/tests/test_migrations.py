import sqlite3
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from app.extensions import db
from flask_migrate import downgrade, upgrade
from sqlalchemy import text


@pytest.fixture
def context(empty_app):
    with empty_app.app_context():
        yield


def run(statement):
    with db.engine.begin() as connection:
        result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def add_first_project():
    run(
        "INSERT INTO projects (name, description, created_at, updated_at)"
        " VALUES ('Harvest', 'grapes', '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000')"
    )


def tables():
    return {name for (name,) in run("SELECT name FROM sqlite_master WHERE type = 'table'")} - {"alembic_version"}


def test_models_and_migrations_agree(app):
    with app.app_context(), db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), db.metadata) == []


def test_up_down_up_keeps_the_rows(context):
    upgrade(revision="0001")
    add_first_project()
    upgrade()
    assert run("SELECT id, name, description, status, priority, due_date FROM projects") == [
        (1, "Harvest", "grapes", "planned", "normal", None)
    ]
    run("INSERT INTO project_tags (project_id, tag) VALUES (1, 'cellar')")
    for revision, left in (("0002", {"projects"}), ("0001", {"projects"})):
        downgrade(revision=revision)
        assert tables() == left
        assert run("SELECT id, name, description FROM projects") == [(1, "Harvest", "grapes")]
    upgrade()
    assert run("SELECT id, name, status FROM projects") == [(1, "Harvest", "planned")]
    downgrade(revision="base")
    assert tables() == set()
    upgrade()
    assert tables() == {"projects", "project_tags"}


def test_the_release_before_goes_on_writing_after_the_migration(context):
    upgrade()
    add_first_project()
    assert run("SELECT status, priority FROM projects") == [("planned", "normal")]


def test_checks_survive_the_table_copies(context):
    upgrade()
    downgrade(revision="0002")
    upgrade()
    add_first_project()
    for column in ("status", "priority"):
        with pytest.raises(Exception, match=f"ck_projects_{column}_known"):
            run(f"UPDATE projects SET {column} = 'lost'")


def test_a_migration_that_fails_half_way_leaves_nothing_behind(context):
    upgrade(revision="0001")
    add_first_project()
    # 0003 makes this table late: 0002 and half of 0003 have run when it fails.
    run("CREATE TABLE project_tags (x INTEGER)")
    before = run("SELECT sql FROM sqlite_master ORDER BY name")
    with pytest.raises(Exception, match="project_tags already exists"):
        upgrade()
    assert run("SELECT sql FROM sqlite_master ORDER BY name") == before
    assert run("SELECT version_num FROM alembic_version") == [("0001",)]
    run("DROP TABLE project_tags")
    upgrade()
    assert run("SELECT name, priority FROM projects") == [("Harvest", "normal")]


def test_sqlite_is_set_up_for_several_processes(app):
    with app.app_context():
        assert run("PRAGMA journal_mode") == [("wal",)]
        assert run("PRAGMA foreign_keys") == [(1,)]
        assert run("PRAGMA busy_timeout") == [(15000,)]
        # 2 is FULL: an answered write survives a power cut.
        assert run("PRAGMA synchronous") == [(2,)]


def test_a_writer_waits_for_another_connection(client, tmp_path):
    other = sqlite3.connect(tmp_path / "test.db", check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, other.commit)
    timer.start()
    assert client.post("/api/projects", json={"name": "Harvest"}).status_code == 201
    timer.join()
    other.close()
