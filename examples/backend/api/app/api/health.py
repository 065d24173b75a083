"""Liveness and readiness: two different questions.

/api/health answers without the database: a database that is away is no reason to restart the process.
/api/ready says whether this release can serve: database reachable and schema at the head that this code expects.
"""

from functools import cache

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from app.extensions import db
from flask import Blueprint, Response, current_app, jsonify
from sqlalchemy.exc import SQLAlchemyError

health = Blueprint("health", __name__)


@health.get("/health")
def live() -> dict:
    return {"status": "ok", "release": current_app.config["RELEASE"]}


@health.get("/ready")
def ready() -> tuple[Response, int]:
    expected = expected_heads(current_app.extensions["migrate"].directory)
    reasons = []
    found: tuple[str, ...] = ()
    try:
        with db.engine.connect() as connection:
            found = tuple(sorted(MigrationContext.configure(connection).get_current_heads()))
    except SQLAlchemyError as error:
        # The driver's message may hold the server's address: it goes to the log, not to the client.
        current_app.logger.error("not ready: %s", error)
        reasons.append("the database is not reachable")
    else:
        if found != expected:
            reasons.append(f"the schema is at {names(found)}, this release expects {names(expected)}")
    body = {
        "status": "unavailable" if reasons else "ok",
        "release": current_app.config["RELEASE"],
        "schema": {"found": list(found), "expected": list(expected)},
    }
    if reasons:
        body["reasons"] = reasons
    return jsonify(body), 503 if reasons else 200


@health.after_request
def not_cached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


@cache
def expected_heads(directory: str) -> tuple[str, ...]:
    """The heads of the migration scripts; a release's code does not change, so they are read once."""
    return tuple(sorted(ScriptDirectory(directory).get_heads()))


def names(revisions: tuple[str, ...]) -> str:
    return ", ".join(revisions) or "no revision"
