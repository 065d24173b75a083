"""What a browser asks for: the index page and robots.txt."""

from flask import Blueprint, Flask, Response, current_app, render_template

pages = Blueprint("pages", __name__)


@pages.get("/")
def index() -> str:
    return render_template("index.html", release=current_app.config["RELEASE"])


@pages.get("/robots.txt")
def robots() -> Response:
    return current_app.send_static_file("robots.txt")


def init_app(app: Flask) -> None:
    app.register_blueprint(pages)
