"""Project tracker API: the application factory."""

import logging
import os

from app import api, errors, extensions, pages
from app.config import make_config
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix


def create_app(config_name: str | None = None) -> Flask:
    """Build the application.

    ``config_name`` is development, testing or production. Without it, APP_CONFIG decides, so that a bare
    ``flask --app app`` on a server cannot fall back to the development database.

    Nothing here opens a database connection: a server that builds the application before it forks
    (``gunicorn --preload``) must not hand one connection to several workers.
    """
    app = Flask(__name__)
    app.config.from_object(make_config(config_name or os.environ.get("APP_CONFIG") or "development", os.environ))
    app.json.sort_keys = False
    app.logger.setLevel(getattr(logging, app.config["LOG_LEVEL"]))

    extensions.init_app(app)
    errors.init_app(app)
    api.init_app(app)
    pages.init_app(app)

    if app.config["BEHIND_PROXY"]:
        # One proxy (nginx) stands in front. Trusting more hops would let a client forge its own address.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)
    return app
