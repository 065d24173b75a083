"""Notes and uploads: a backend in one module, with its application object at module level."""

import os
import sys
import time
from pathlib import Path
from tempfile import NamedTemporaryFile

from flask import Flask, abort, jsonify, request, send_from_directory
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from sqlalchemy.engine import make_url
from werkzeug.exceptions import HTTPException
from werkzeug.utils import secure_filename

HERE = Path(__file__).resolve().parent
UPLOADS = HERE / "uploads"
LONGEST_SECONDS = 10
LONGEST_TEXT = 2000
LONGEST_AUTHOR = 80
KNOWN_KEYS = ("", "dev", "secret", "changeme", "change-me", "for-development-only", "your-secret-key")


def secret_key():
    key = os.environ["SECRET_KEY"]
    if key in KNOWN_KEYS:
        raise RuntimeError("SECRET_KEY is one that everybody knows. Make one: openssl rand -hex 32")
    return key


def database_url():
    url = make_url(os.environ["DATABASE_URL"])
    if url.get_backend_name() == "sqlite" and not (url.database or "").startswith("/"):
        raise RuntimeError("DATABASE_URL is not absolute, so each process would have a database of its own.")
    return os.environ["DATABASE_URL"]


app = Flask(__name__, static_folder="static", static_url_path="/static")
app.config["SECRET_KEY"] = secret_key()
app.config["SQLALCHEMY_DATABASE_URI"] = database_url()
app.config["MAX_CONTENT_LENGTH"] = 5 * 1024 * 1024
db = SQLAlchemy(app)
Migrate(app, db, directory=str(HERE / "migrations"))


class Note(db.Model):
    __tablename__ = "notes"

    id = db.Column(db.Integer, primary_key=True)
    text = db.Column(db.Text, nullable=False)
    author = db.Column(db.String(LONGEST_AUTHOR), nullable=False, default="", server_default="")

    def to_dict(self):
        return {"id": self.id, "text": self.text, "author": self.author}


@app.get("/")
def index():
    return {"title": os.environ.get("NOTES_TITLE", "Notes"), "release": os.environ.get("DECANT_RELEASE")}


@app.get("/healthz")
def healthz():
    return {"ok": True, "worker": worker_kind(), "pid": os.getpid()}


@app.get("/slow")
def slow():
    """Keep a worker busy for a while: what a drain has to wait for."""
    text = request.args.get("seconds", "1")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    # This form also refuses nan.
    if not 0 <= seconds <= LONGEST_SECONDS:
        abort(400, f"seconds must be a number from 0 to {LONGEST_SECONDS}.")
    time.sleep(seconds)
    return {"slept": seconds, "pid": os.getpid()}


@app.get("/notes")
def list_notes():
    return jsonify([note.to_dict() for note in db.session.scalars(select(Note).order_by(Note.id))])


@app.post("/notes")
def add_note():
    note = Note(text=field("text", LONGEST_TEXT, 1), author=field("author", LONGEST_AUTHOR))
    db.session.add(note)
    db.session.commit()
    return note.to_dict(), 201


@app.put("/uploads/<name>")
def upload(name):
    if secure_filename(name) != name:
        abort(400, "The name may hold letters, digits, dots, dashes and underscores.")
    content = request.get_data()
    # Written aside and renamed: a reader never meets half a file.
    with NamedTemporaryFile(dir=UPLOADS, delete=False) as aside:
        aside.write(content)
    os.replace(aside.name, UPLOADS / name)
    return {"name": name, "bytes": len(content)}, 201


@app.get("/uploads/<name>")
def download(name):
    return send_from_directory(UPLOADS, name)


@app.errorhandler(HTTPException)
def http_error(error):
    if error.code is None or error.code < 400:
        return error
    return {"error": error.description}, error.code


def field(name, longest, shortest=0):
    body = request.get_json()
    value = body.get(name, "") if isinstance(body, dict) else None
    if not isinstance(value, str) or not shortest <= len(value) <= longest or not storable(value):
        abort(422, f"{name} must be a string of {shortest} to {longest} characters.")
    return value


def storable(text):
    """No database stores half of a surrogate pair, and PostgreSQL stores no NUL."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def worker_kind():
    """ "gevent" where the server replaced the blocking calls, otherwise "thread"."""
    monkey = sys.modules.get("gevent.monkey")
    return "gevent" if monkey and monkey.is_module_patched("socket") else "thread"
