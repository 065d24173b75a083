# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The program that migrates, with a real Flask-Migrate: it upgrades the database of the app that FLASK_APP names."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("flask_migrate", reason="needs the packages of the example backend")

PROGRAM = Path(__file__).resolve().parents[2] / "roles/migrate/files/decant-database"
APP = """
import os
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
db = SQLAlchemy()
def make(which="development"):
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{os.environ['FOLDER']}/{which}.db"
    db.init_app(app)
    Migrate(app, db)
    return app
def create_app():
    return make()
def bare():
    return Flask(__name__)
"""
ENV = """
from alembic import context
from flask import current_app
engine = current_app.extensions["migrate"].db.engine
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = """
from alembic import op
revision, down_revision = {name!r}, {down!r}
def upgrade():
    {upgrade}
def downgrade():
    pass
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A backend whose app the Flask CLI would not find by itself, or would find with another database."""
    versions = tmp_path / "code/migrations/versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text(ENV)
    (versions.parent / "alembic.ini").write_text("[alembic]\n")
    for name, down in (("a1", None), ("a2", "a1")):
        upgrade = f'op.execute("CREATE TABLE t_{name} (x INTEGER)")'
        (versions / f"{name}.py").write_text(REVISION.format(name=name, down=down, upgrade=upgrade))
    return tmp_path / "code"


Migrate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def migrate(code: Path, tmp_path: Path) -> Migrate:
    def run(
        module: str = "server_main", call: str = "make('production')", what: str = "upgrade", *more: str
    ) -> subprocess.CompletedProcess[str]:
        (code / f"{module}.py").write_text(APP)
        return subprocess.run(
            [sys.executable, str(PROGRAM), what, *more],
            cwd=code,
            env={**os.environ, "FLASK_APP": f"{module}:{call}", "FOLDER": str(tmp_path), "FLASK_SKIP_DOTENV": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    return run


def result(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    found = re.findall(r"^decant-database: (\{.*\})$", done.stdout, re.MULTILINE)
    assert done.returncode == 0, done.stdout
    answer = json.loads(found[-1])
    return {key: answer[key] for key in ("before", "after", "heads") if key in answer}


def databases(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.glob("*.db"))


def test_the_app_may_have_any_name(migrate: Migrate, tmp_path: Path):
    assert result(migrate()) == {"before": [], "after": ["a2"], "heads": ["a2"]}
    assert databases(tmp_path) == ["production.db"]
    with sqlite3.connect(tmp_path / "production.db") as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("a2",)]


def test_the_factorys_arguments_decide_the_database(migrate: Migrate, tmp_path: Path):
    """create_app() of app.py is what the Flask CLI guesses, and it has another database."""
    assert result(migrate("app"))["after"] == ["a2"]
    assert databases(tmp_path) == ["production.db"]


def test_the_life_of_a_database(migrate: Migrate, code: Path):
    """First, again, one revision further, and then asked by an older release."""
    assert result(migrate("app", "create_app()")) == {"before": [], "after": ["a2"], "heads": ["a2"]}
    assert result(migrate("app", "create_app()")) == {"before": ["a2"], "after": ["a2"], "heads": ["a2"]}
    newest = code / "migrations/versions/a3.py"
    newest.write_text(REVISION.format(name="a3", down="a2", upgrade="pass"))
    assert result(migrate("app", "create_app()")) == {"before": ["a2"], "after": ["a3"], "heads": ["a3"]}
    newest.unlink()
    done = migrate("app", "create_app()")
    assert done.returncode != 0
    assert "Can't locate revision identified by 'a3'" in done.stdout


def test_two_heads_are_refused_before_anything_is_done(migrate: Migrate, code: Path, tmp_path: Path):
    (code / "migrations/versions/b2.py").write_text(REVISION.format(name="b2", down="a1", upgrade="pass"))
    done = migrate("app", "create_app()")
    assert done.returncode != 0
    assert "The migrations have 2 heads (a2, b2). Merge them: flask db merge heads." in done.stdout
    with sqlite3.connect(tmp_path / "development.db") as database:
        assert database.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 't_%'").fetchone() == (0,)


def test_a_revision_that_fails(migrate: Migrate, code: Path):
    bad = REVISION.format(name="a3", down="a2", upgrade='op.execute("INSERT INTO nowhere VALUES (1)")')
    (code / "migrations/versions/a3.py").write_text(bad)
    done = migrate("app", "create_app()")
    assert done.returncode != 0
    assert "no such table: nowhere" in done.stdout
    assert "decant-database: {" not in done.stdout


def test_an_app_without_flask_migrate(migrate: Migrate):
    done = migrate("app", "bare()")
    assert done.returncode != 0
    assert "migrate_enabled: false" in done.stdout


def test_an_app_that_is_not_there(migrate: Migrate):
    done = migrate("app", "nothing()")
    assert done.returncode != 0
    assert "decant-database: cannot load app:nothing()" in done.stdout
