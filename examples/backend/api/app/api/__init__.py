"""The JSON API under /api."""

from app.api.health import health
from app.api.projects import projects
from flask import Flask


def init_app(app: Flask) -> None:
    app.register_blueprint(health, url_prefix="/api")
    app.register_blueprint(projects, url_prefix="/api/projects")
