# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one line of a failed migration that says why, from what Flask-Migrate 4.1, Alembic 1.20 and SQLAlchemy 2.1 print."""

from __future__ import annotations

import json

import pytest
from ansible_collections.decant.flask.plugins.module_utils import database
from ansible_collections.decant.flask.plugins.module_utils.modules import migrate

START = """\
INFO  [alembic.runtime.migration] Context impl SQLiteImpl.
INFO  [alembic.runtime.migration] Will assume transactional DDL.
"""
UNKNOWN_REVISION = f"{START}{START}ERROR [flask_migrate] Error: Can't locate revision identified by '0003'\n"
HEADS = f"{START}decant-database: The migrations have 2 heads (0003, 0004). Merge them: flask db merge heads.\n"
NOT_AT_HEAD = f"""{START}\
decant-database: {{"before": [], "after": [], "heads": ["0003"]}}
decant-database: The database is at nothing after the upgrade, and the code's head is ['0003'].
"""
SQL = f"""{START}\
INFO  [alembic.runtime.migration] Running upgrade 0003 -> 0004, empty message
Traceback (most recent call last):
  File "/srv/projects/venvs/x/lib/python3.11/site-packages/sqlalchemy/engine/base.py", line 1977, in _exec_single_context
    self.dialect.do_execute(
sqlite3.OperationalError: no such table: nowhere

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/projects/venvs/x/lib/python3.11/site-packages/sqlalchemy/engine/base.py", line 2351, in _handle_dbapi_exception
    raise sqlalchemy_exception.with_traceback(exc_info[2]) from e
sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: nowhere
[SQL: INSERT INTO nowhere (a) VALUES ('x')]
(Background on this error at: https://sqlalche.me/e/21/e3q8)
"""
NO_DATABASE = """\
Traceback (most recent call last):
  File "/srv/projects/venvs/x/lib/python3.11/site-packages/sqlalchemy/engine/default.py", line 869, in connect
    return self.loaded_dbapi.connect(*cargs, **cparams)
sqlite3.OperationalError: unable to open database file

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/projects/venvs/x/lib/python3.11/site-packages/sqlalchemy/engine/default.py", line 869, in connect
    return self.loaded_dbapi.connect(*cargs, **cparams)
sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) unable to open database file
(Background on this error at: https://sqlalche.me/e/21/e3q8)
"""
NO_SECRET = """\
Traceback (most recent call last):
  File "/srv/projects/releases/x/src/api/app/config.py", line 97, in required
    raise RuntimeError(f"{name} is required in production and is not set. Set it to {hint}")
RuntimeError: SECRET_KEY is required in production and is not set.
decant-database: cannot load app:create_app('production'): RuntimeError: SECRET_KEY is required in production and is not set.
"""
IN_A_REVISION = f"""{START}\
Traceback (most recent call last):
  File "/srv/projects/releases/x/src/api/migrations/versions/0004_bad.py", line 5, in upgrade
    raise ValueError("no data")
ValueError: no data
"""
NO_DIRECTORY = """\
Traceback (most recent call last):
  File "/srv/projects/venvs/x/lib/python3.11/site-packages/alembic/script/base.py", line 99, in __init__
    raise util.CommandError(
alembic.util.exc.CommandError: Path doesn't exist: nodir.  Please use the 'init' command to create a new scripts folder.
"""
NO_MIGRATE = "decant-database: The app that FLASK_APP names does not use Flask-Migrate. Write migrate_enabled: false if it has no migrations.\n"
IMPORT = """\
Traceback (most recent call last):
  File "/srv/projects/releases/x/src/api/app/__init__.py", line 35, in <module>
    import nonexistent_lib
ModuleNotFoundError: No module named 'nonexistent_lib'

decant-database: cannot load app:create_app('production'): NoAppException: While importing 'app', an ImportError was raised:

Traceback (most recent call last):
  File "/srv/projects/releases/x/src/api/app/__init__.py", line 35, in <module>
    import nonexistent_lib
ModuleNotFoundError: No module named 'nonexistent_lib'

"""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (UNKNOWN_REVISION, "ERROR [flask_migrate] Error: Can't locate revision identified by '0003'"),
        (HEADS, "The migrations have 2 heads (0003, 0004). Merge them: flask db merge heads."),
        (NOT_AT_HEAD, "The database is at nothing after the upgrade, and the code's head is ['0003']."),
        (SQL, "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: nowhere"),
        (NO_DATABASE, "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) unable to open database file"),
        (
            NO_SECRET,
            "cannot load app:create_app('production'): RuntimeError: SECRET_KEY is required in production and is not set.",
        ),
        (IN_A_REVISION, "ValueError: no data"),
        (
            NO_DIRECTORY,
            "alembic.util.exc.CommandError: Path doesn't exist: nodir.  Please use the 'init' command to create a new scripts folder.",
        ),
        (NO_MIGRATE, NO_MIGRATE.partition(": ")[2].strip()),
        ("FAILED: Multiple head revisions are present\n", "FAILED: Multiple head revisions are present"),
        ("Killed\n", "Killed"),
        ("", "the journal is empty"),
        ("\n \n", "the journal is empty"),
    ],
    ids=lambda value: value[:24] if len(value) < 200 else "run",
)
def test_cause(text: str, why: str):
    assert migrate.cause(text) == why


def test_a_failed_rehearsal_says_why_and_what_it_means():
    why = migrate.cause(f"{SQL}decant-database: The rehearsal on a copy failed, so the database was not touched.\n")
    assert why == (
        "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: nowhere. "
        "The rehearsal on a copy failed, so the database was not touched."
    )


def test_what_the_workers_serve_is_found_in_their_journal():
    line = 'decant-database: serves {"database": "sqlite:////srv/x.db", "fingerprint": "ab"}'
    assert database.served(f"[INFO] Booting\n{line}\n{line}\n") == [
        {"database": "sqlite:////srv/x.db", "fingerprint": "ab"}
    ]
    assert database.answer(line) == {} and database.TROUBLE.findall(line) == []


def test_an_import_that_fails_is_named():
    assert "nonexistent_lib" in migrate.cause(IMPORT)


def test_a_retry_is_explained_by_its_last_error():
    assert migrate.cause(SQL + NO_DATABASE).endswith("unable to open database file")


def test_the_result_is_found_among_other_lines():
    line = 'decant-database: {"before": ["0001"], "after": ["0003"], "heads": ["0003"]}'
    text = f"{START}{line}\nINFO  [app] goodbye\n"
    assert [json.loads(found)["after"] for found in database.ANSWER.findall(text)] == [["0003"]]


@pytest.mark.parametrize(
    "text", ["", "x decant-database: {}", "decant-database: cannot load x", "decant-database: {} x"]
)
def test_what_is_no_result(text: str):
    assert database.ANSWER.findall(text) == []
