"""Database, migrations and CORS, shared by the modules that need them."""

import sqlite3
from contextlib import suppress

from app.config import API_DIR
from flask import Flask
from flask_cors import CORS
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData, event
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    # A constraint that has a name can be dropped by a later migration on every database.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)
# An absolute directory: the schema check of /api/ready works from any working directory.
migrate = Migrate(directory=str(API_DIR / "migrations"))


def init_app(app: Flask) -> None:
    db.init_app(app)
    migrate.init_app(app, db)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            event.listen(db.engine, "connect", prepare_sqlite)
    origins = app.config["CORS_ALLOWED_ORIGINS"]
    if origins:
        CORS(app, resources={r"/api/*": {"origins": origins}}, expose_headers=["Location"])


def prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Let readers and one writer work side by side, and enforce foreign keys.

    "synchronous" stays FULL, SQLite's default: an answered write survives a power cut.
    """
    connection.execute("PRAGMA foreign_keys = ON")
    use_wal(connection)


def use_wal(connection: sqlite3.Connection) -> None:
    """Turn on write-ahead logging; the file remembers it."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] in ("wal", "memory"):
        return
    # Only one connection can switch the mode and SQLite does not always wait for it. Either mode is correct, and the
    # next connection tries again.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")
