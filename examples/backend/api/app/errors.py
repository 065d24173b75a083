"""Every error is JSON: {"error": {"status": 404, "name": "Not Found", "message": "..."}}."""

from app.extensions import db
from flask import Flask, Response, current_app, jsonify
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException, ServiceUnavailable, UnprocessableEntity


class InvalidFields(UnprocessableEntity):
    """422 with one message per field."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("Some fields are not valid.")
        self.fields = fields


def init_app(app: Flask) -> None:
    # Flask turns an unexpected exception into a 500, which is an HTTPException too.
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(OperationalError, database_error)


def http_error(error: HTTPException) -> Response:
    # A redirect is an HTTPException as well, and one that carries its own response has nothing to translate.
    if error.code is None or error.code < 400 or error.response is not None:
        return error.get_response()
    body = {"status": error.code, "name": error.name, "message": error.description}
    if isinstance(error, InvalidFields):
        body["fields"] = error.fields
    response = jsonify({"error": body})
    response.status_code = error.code
    # Allow of a 405, Retry-After of a 503: part of the answer's meaning.
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def database_error(error: OperationalError) -> Response:
    """The database is away or stayed locked: the client may try again. Details go to the log only."""
    db.session.rollback()
    current_app.logger.error("database error: %s", error.orig)
    return http_error(ServiceUnavailable("The database is not available.", retry_after=5))
