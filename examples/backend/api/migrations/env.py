"""Run the migrations on the application's database: all pending ones in one transaction, or none of them."""

from logging.config import fileConfig

from alembic import context
from app.config import SQLITE_BUSY_SECONDS
from app.extensions import db, use_wal
from flask import current_app
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool

config = context.config
fileConfig(config.config_file_name, disable_existing_loggers=False)

# Flask-Migrate's own arguments turn on batch mode: SQLite cannot alter a column in place, so a table is copied.
OPTIONS = {
    **current_app.extensions["migrate"].configure_args,
    "target_metadata": db.metadata,
    "transactional_ddl": True,
}


def migration_engine() -> Engine:
    """An engine of its own: migrations need other connection settings than requests."""
    url = db.engine.url
    if url.get_backend_name() != "sqlite":
        return create_engine(url, poolclass=NullPool)
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": SQLITE_BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection, _record):
        # The driver starts no transaction before DDL. Left to itself, a revision that fails half-way leaves its
        # tables behind, and the next try fails on those.
        connection.isolation_level = None
        # Copying a table drops the old one, and with foreign keys on that deletes the rows that refer to it.
        connection.execute("PRAGMA foreign_keys = OFF")
        use_wal(connection)

    @event.listens_for(engine, "begin")
    def begin(connection):
        # The write lock first: of two migrations at once, the second reads the revision after the first is done.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def run_offline() -> None:
    url = db.engine.url.render_as_string(hide_password=False)
    context.configure(url=url, literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    with migration_engine().connect() as connection:
        context.configure(connection=connection, **OPTIONS)
        with context.begin_transaction():
            context.run_migrations()
            if connection.dialect.name == "sqlite":
                refuse_broken_references(connection)


def refuse_broken_references(connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise RuntimeError(f"The migration would leave rows that refer to nothing: {broken[:5]}")


if context.is_offline_mode():
    run_offline()
else:
    run_online()
