# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The production kit in copies of two backends: what it writes, what it leaves, and that its tests see what is broken. That they are green
in backends that are whole, and that the rest of it works on hosts: bin/test kit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.decant.flask.plugins.plugin_utils import kits, locks
from controller import play

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SECRET = "hunter2hunter2hunter2hunter2hunter2hunter2"
INPUTS: dict[str, Any] = {
    "app_name": "projects",
    "app_path": str(ROOT / "examples/backend"),
    "app_subdir": "api",
    "app_factory": "app:create_app('production')",
    "app_env": {"CORS_ALLOWED_ORIGINS": "https://example.org, https://www.example.org"},
    "app_secrets": {"SECRET_KEY": SECRET},
    "health_path": "/api/health",
    "health_ready_path": "/api/ready",
    "nginx_server_names": ["projects.example.org"],
    "kit_variables": {
        "CORS_ALLOWED_ORIGINS": {"purpose": "Origins that a browser may call the API from, by commas."},
        "LOG_LEVEL": {"purpose": "Level of the log.", "default": "INFO"},
    },
    "kit_config_values": {"BEHIND_PROXY": True},
    "kit_performance_paths": ["/api/projects", "/api/projects?q=7&per_page=100"],
    "kit_performance_table": "projects",
    "kit_performance_row": {
        "name": "project {n}",
        "created_at": "2026-01-01 00:00:00",
        "updated_at": "2026-01-01 00:00:00",
    },
}
# The other shape: an object at module level, pyproject.toml, PostgreSQL. bin/test kit puts it on hosts.
OTHER: dict[str, Any] = {
    "app_name": "shop",
    "app_subdir": "",
    "app_factory": "wsgi:app",
    "app_database": "postgresql",
    "app_env": {"NOTES_TITLE": "Shop"},
    "postgresql_host": "db.example.org",
    "postgresql_password": SECRET,
    "health_path": "/healthz",
    "health_ready_path": "",
    "nginx_server_names": ["shop.example.org"],
    "venv_extra_packages": ["psycopg[binary]==3.3.9"],
    "kit_variables": {"NOTES_TITLE": {"purpose": "Title of the page."}},
    "kit_cors_variable": "",
    "kit_log_level_variable": "",
    "kit_config_values": {"MAX_CONTENT_LENGTH": 5 * 1024 * 1024},
    "kit_performance_paths": ["/notes"],
    "kit_performance_table": "notes",
    "kit_performance_row": {"text": "note {n}"},
}


def kit(place: Path, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """playbooks/kit.yml for the backend in place/backend."""
    return play(place, "kit.yml", place / "backend", {**INPUTS, **changes}, *arguments)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stdout.split())


def written(found: Path, source: str, **changes: Any) -> Path:
    """A folder with a backend, into which the kit was written once."""
    shutil.copytree(ROOT / source, found / "backend", ignore=shutil.ignore_patterns("__pycache__", "instance"))
    done = kit(found, **changes)
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout + done.stderr
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("kit"), "examples/backend")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("other"), "molecule/alternative/backend", **OTHER)


def tree(place: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(place)): p.read_bytes()
        for p in (place / "backend").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }


def text(place: Path, path: str) -> str:
    return (place / "backend" / path).read_text(encoding="utf-8")


# --- what is written -----------------------------------------------------------------------------


def test_a_second_run_changes_nothing(place: Path):
    before = tree(place)
    done = kit(place)
    assert done.returncode == 0 and "changed=0" in done.stdout, done.stdout
    assert kit(place, "--check").returncode == 0
    assert tree(place) == before


def test_no_secret_is_in_it(place: Path):
    assert not [name for name, data in tree(place).items() if SECRET.encode() in data]
    assert SECRET not in kit(place, "-vvv", "--diff", kit_overwrite=True).stdout


def test_check_names_what_is_stale_and_writes_nothing(place: Path):
    before = tree(place)
    done = kit(place, "--check", nginx_client_max_body_size="7m", release_keep=9)
    assert done.returncode != 0
    assert (
        "3 files of the kit are stale: DEPLOYMENT.md, deploy/nginx-projects.conf, docs/releases/transition-plan.md."
        in one_line(done)
    )
    assert tree(place) == before


def test_what_a_person_has_changed_is_theirs(place: Path):
    path = place / "backend/PRODUCTION.md"
    kits_own = path.read_text()
    path.write_text(kits_own + "Ada is on call.\n")
    done = kit(place)
    assert done.returncode == 0 and "changed=0" in done.stdout
    assert "PRODUCTION.md is yours" in done.stdout and "-Ada is on call." in done.stdout
    assert path.read_text().endswith("Ada is on call.\n")
    assert kit(place, "--check").returncode == 0, "what is theirs is not stale"
    assert kit(place, "-e", "kit_overwrite=true").returncode == 0
    assert path.read_text() == kits_own


def test_a_variable_without_a_purpose_is_refused(place: Path):
    before = tree(place)
    done = kit(place, app_env={"CORS_ALLOWED_ORIGINS": "", "MAIL_SERVER": "localhost"})
    assert done.returncode != 0
    assert "MAIL_SERVER is set by the inventory, and kit_variables has no purpose of it" in one_line(done)
    assert tree(place) == before


@pytest.mark.parametrize("name", ["PRODUCTION.md", "DEPLOYMENT.md"])
def test_the_guides_have_this_backends_names(place: Path, name: str):
    page = text(place, name)
    assert "{{" not in page and "None" not in page and "projects.example.org" in page
    if name == "PRODUCTION.md":
        assert "| `SECRET_KEY` | Signs Flask's sessions." in page and "| yes | yes |" in page
        assert "| `LOG_LEVEL` | Level of the log. | `INFO` |" in page
    else:
        assert "app:create_app('production')" in page and "/srv/projects/current" in page and "/api/ready" in page


def test_plain_files_are_what_the_roles_install(place: Path):
    """The unit is that of a release, with systemd's %i for its id; tests/unit/test_templates.py renders the same templates for a host."""
    unit = text(place, "deploy/projects@.service")
    assert "WorkingDirectory=/srv/projects/releases/%i/src/api\n" in unit and "%%i" not in unit
    assert "ListenStream=/run/projects/%i.sock\n" in text(place, "deploy/projects@.socket")
    assert "server_name projects.example.org;" in text(place, "deploy/nginx-projects.conf")
    assert "workers = 5\n" in text(place, "deploy/gunicorn.conf.py")


def test_the_workflow_is_yaml_and_runs_the_tests(place: Path):
    jobs = yaml.safe_load(text(place, ".github/workflows/production.yml"))["jobs"]
    steps = [step.get("run", "") for step in jobs["configuration"]["steps"]]
    assert any("test_production_config.py" in step for step in steps) and any(
        "-m performance" in step for step in steps
    )


# --- what becomes of a file ----------------------------------------------------------------------


def test_each_decision():
    wanted = {"new": "1", "same": "1", "stale": "2", "theirs": "2", "before": "2"}
    there = {"same": "1", "stale": "1", "theirs": "x", "before": "x", "left": "1", "gone": None, "edited": "y"}
    record = {name: kits.digest("1") for name in ("same", "stale", "theirs", "left", "gone", "edited")}
    found = kits.decide(wanted, there, record, overwrite=False)
    assert (found.write, found.same, found.keep, found.remove) == (
        ["new", "stale"],
        ["same"],
        ["theirs", "before"],
        ["left"],
    )
    assert kits.decide(wanted, there, record, overwrite=True).keep == []
    written = kits.new_record(wanted, found, record)
    assert set(written) == {"new", "same", "stale", "theirs"} and written["theirs"] == record["theirs"]
    assert kits.read_record(kits.record_text(written)) == written
    assert kits.read_record("{") == kits.read_record("[]") == kits.read_record(None) == {}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"kit_dest": ""}, "kit_dest is not set"),
        ({"kit_dest": "relative"}, "kit_dest is 'relative'"),
        ({"kit_dest": "/nonexistent"}, "is no directory"),
        ({"kit_variables": {"X": {}}}, "kit_variables has 'X' without a purpose"),
        ({"kit_variables": {"X": {"purpose": "y", "colour": "z"}}}, "X in kit_variables has 'colour'"),
        ({"kit_performance_paths": ["/x"], "kit_performance_table": "a b"}, "they are 'a b' and []"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, changes: dict[str, Any], part: str):
    (found,) = kits.problems({"kit_dest": str(tmp_path), **changes})
    assert part in found


def test_release_pages_alone_need_no_purposes(tmp_path: Path):
    v = {"kit_dest": str(tmp_path), "app_env": {"MAIL_SERVER": "x"}}
    assert len(kits.problems(v)) == 1 and kits.problems({**v, "kit_parts": ["releases"]}) == []
    named = {one.path for one in kits.files({"app_name": "shop", "kit_parts": ["releases"]})}
    assert named == {"docs/releases/README.md", "docs/releases/checklist.md"}


def test_another_shape_of_a_backend():
    """An object at module level, PostgreSQL, TLS."""
    v = {
        "app_name": "shop",
        "app_root": "/opt/shop",
        "app_user": "shop",
        "app_factory": "wsgi:app",
        "health_path": "/healthz",
    }
    v |= {
        "app_database": "postgresql",
        "nginx_tls": "acme",
        "nginx_server_names": ["shop.example.org"],
        "app_env": {},
        "app_secrets": {},
    }
    found = kits.told(v, {"mode": "requirements", "paths": ["requirements.txt"], "additions": [], "driver": "psycopg"})
    assert found["url"] == "https://shop.example.org" and found["subdir"] == "" and found["origins"] == []
    rows = {row["name"]: row for row in found["variables"]}
    assert (
        rows["DATABASE_URL"]["secret"] and rows["SECRET_KEY"]["required"] and rows["FLASK_APP"]["example"] == "wsgi:app"
    )
    assert "tests/test_production_config.py" in {one.path for one in kits.files(v)}


def test_the_example_environment_says_what_a_secret_looks_like(place: Path, other: Path):
    own = text(other, "deploy/env.example")
    assert "# For example: postgresql+psycopg://shop:PASSWORD@db.example.org:5432/shop\nDATABASE_URL=\n" in own
    assert "# For example: openssl rand -hex 32\nSECRET_KEY=\n" in own
    assert 'DATABASE_URL="sqlite:////srv/projects/shared/projects.db"\n' in text(place, "deploy/env.example")


def test_programs_are_copied_as_they_are(place: Path):
    for name, source in (("decant-probe", "health"), ("decant-database", "migrate")):
        copy = place / "backend/deploy/bin" / name
        assert copy.read_bytes() == (ROOT / "roles" / source / "files" / name).read_bytes() and os.access(copy, os.X_OK)


# --- what is installed ---------------------------------------------------------------------------

VENV = {"venv_requirements": [], "venv_extras": [], "venv_extra_packages": [], "venv_installer": "uv"}
VENV |= {"venv_gunicorn_version": "27.0.1", "gunicorn_worker_class": "gthread"}
ADDED = "python -m pip install gunicorn==27.0.1"
PROJECT = "[project]\nname='x'\ndependencies=['a==1', 'b[c]==2']\n[project.optional-dependencies]\ncache=['d==3']\n"


@pytest.mark.parametrize(
    ("files", "changes", "wanted"),
    [
        ({"requirements.txt": "a==1"}, {}, ["python -m pip install -r requirements.txt", ADDED]),
        ({"requirements.txt": "gunicorn==1"}, {}, ["python -m pip install -r requirements.txt"]),
        (
            {"r/one.txt": "-r two.txt", "r/two.txt": "gunicorn==1"},
            {"venv_requirements": ["r/one.txt"], "venv_extra_packages": ["e[f]==4"]},
            ["python -m pip install -r r/one.txt", "python -m pip install 'e[f]==4'"],
        ),
        (
            {"pyproject.toml": PROJECT, "uv.lock": ""},
            {"venv_extras": ["cache"]},
            [
                "python -m pip install uv",
                "uv export --quiet --frozen --no-dev --no-emit-project --extra cache | python -m pip install -r /dev/stdin",
                ADDED,
            ],
        ),
    ],
)
def test_what_a_deploy_installs(tmp_path: Path, files: dict[str, str], changes: dict[str, Any], wanted: list[str]):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert kits.install(locks.describe(kits.Code(str(tmp_path)), {**VENV, **changes}, "")) == wanted


@pytest.mark.parametrize(("extras", "wanted"), [([], "a==1\nb[c]==2\n"), (["cache"], "a==1\nb[c]==2\nd==3\n")])
def test_dependencies_of_a_pyproject_are_read_by_a_shell(tmp_path: Path, extras: list[str], wanted: str):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    lock = locks.describe(kits.Code(str(tmp_path)), {**VENV, "venv_extras": extras}, "")
    reader, _, installer = kits.install(lock)[0].partition(" | ")
    assert installer == "python -m pip install -r /dev/stdin"
    done = subprocess.run(
        ["bash", "-c", reader],
        cwd=tmp_path,
        env={"PATH": f"{BIN}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (wanted, "")


def test_code_that_says_nothing_of_what_to_install_is_refused(tmp_path: Path):
    (tmp_path / "backend/api").mkdir(parents=True)
    done = kit(tmp_path)
    assert done.returncode != 0
    assert "neither requirements.txt nor pyproject.toml" in one_line(done) and "Nothing was written." in one_line(done)
    assert tree(tmp_path) == {}


# --- what it has written works -------------------------------------------------------------------

CODE = "backend/api"
CONFIG = "app/config.py"
FIRST = "    extensions.init_app(app)\n"
# What is broken in a copy: the file, the text, what it becomes, and the tests that must see it.
BROKEN = {
    "debug": (CONFIG, "    BEHIND_PROXY = True\n", "    BEHIND_PROXY = True\n    DEBUG = True\n", "debug"),
    "known key": (CONFIG, "if key.lower() in KNOWN_KEYS:", "if False:", "everybody_knows and changeme"),
    "fixed key": (CONFIG, "        return key\n", '        return "0" * 40\n', "key_comes_from"),
    "any origin": (CONFIG, 'environ.get("CORS_ALLOWED_ORIGINS", "")', 'environ.get("CORS_ALLOWED_ORIGINS", "*")', "no_origin"),
    "other origins": (CONFIG, "split_list(environ", "split_list('https://other.example.org,' + environ", "allowed_origins"),
    "relative database": (CONFIG, '(parsed.database or "").startswith("/")', "True", "not_absolute and relative"),
    "fixed level": (CONFIG, 'log_level(environ.get("LOG_LEVEL") or self.DEFAULT_LOG_LEVEL)', '"DEBUG"', "log_level"),
    "log file": ("app/__init__.py", FIRST, f"    app.logger.addHandler(logging.FileHandler('/dev/null'))\n{FIRST}", "standard_error"),
    "proxy": (CONFIG, "    BEHIND_PROXY = True\n", "", "inventory_asks"),
}  # fmt: skip


def run_tests(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:testinfra", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        words, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def broken(folder: Path, where: Path, path: str, old: str, new: str, which: str) -> subprocess.CompletedProcess[str]:
    """The configuration's tests of this name in a copy in which something is broken."""
    shutil.copytree(folder, where, ignore=shutil.ignore_patterns("__pycache__"))
    source = (where / path).read_text()
    assert source.count(old) == 1, f"{path} has no such line any more"
    (where / path).write_text(source.replace(old, new))
    return run_tests(where, "tests/test_production_config.py", "-k", which)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_configuration_is_seen(place: Path, tmp_path: Path, what: str):
    done = broken(place / CODE, tmp_path / "api", *BROKEN[what])
    assert done.returncode == 1 and " failed" in done.stdout, done.stdout[-3000:]


LINE = 'app.config["SECRET_KEY"] = secret_key()\n'
BROKEN_OTHER = {
    "debug": (LINE, f'{LINE}app.config["DEBUG"] = True\n', "debug"),
    "known key": ("if key in KNOWN_KEYS:", "if False:", "everybody_knows and changeme"),
    "fixed key": ("    return key\n", '    return "0" * 40\n', "key_comes_from"),
    "relative database": ("""not (url.database or "").startswith("/")""", "False", "not_absolute and relative"),
    "other database": ('return os.environ["DATABASE_URL"]', 'return "sqlite:////var/tmp/x.db"', "database_is_the_environments"),
    "log file": (LINE, f"{LINE}from logging import FileHandler\napp.logger.addHandler(FileHandler('/dev/null'))\n", "standard_error"),
    "limit": ("5 * 1024 * 1024", "6 * 1024 * 1024", "inventory_asks"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN_OTHER)
def test_a_broken_configuration_of_the_other_shape_is_seen(other: Path, tmp_path: Path, what: str):
    done = broken(other / "backend", tmp_path / "copy", "wsgi.py", *BROKEN_OTHER[what])
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout[-3000:]


def test_the_performance_test_measures_and_reports(place: Path, tmp_path: Path):
    """In a database of one's own, which it leaves as it was; bin/test kit runs it without one, and on PostgreSQL."""
    report, file = tmp_path / "report.md", tmp_path / "named.db"
    words = {"PERFORMANCE": "1", "PERFORMANCE_FACTOR": "100", "PERFORMANCE_REPORT": str(report)}
    words["PERFORMANCE_DATABASE_URL"] = f"sqlite:///{file}"
    done = run_tests(place / CODE, "-m", "performance", **words)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-3000:]
    page = report.read_text()
    assert "| path | 100 rows, ms | 1,000 rows, ms | 10,000 rows, ms |" in page
    assert "SELECT" in page and "- SCAN projects" in page and "primary key: id" in page and "unique: name" in page
    tight = run_tests(place / CODE, "-m", "performance", **{**words, "PERFORMANCE_BUDGET_MS": "0.0001"})
    assert tight.returncode == 1 and "the budget is 0.0001 ms" in tight.stdout
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM projects").fetchone() == (0,), "its rows are gone again"
        connection.execute("INSERT INTO projects (name, created_at, updated_at) VALUES ('mine', '2026', '2026')")
    done = run_tests(place / CODE, "-m", "performance", **words)
    assert done.returncode == 1 and "projects has 1 rows in the database of PERFORMANCE_DATABASE_URL" in done.stdout
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT name FROM projects").fetchall() == [("mine",)]


@pytest.mark.parametrize("url", ["", "sqlite:////var/tmp/x.db"])
def test_what_runs_on_postgresql_is_not_measured_on_anything_else(other: Path, url: str):
    done = run_tests(other / "backend", "-m", "performance", PERFORMANCE="1", PERFORMANCE_DATABASE_URL=url)
    assert done.returncode == 1 and "names no PostgreSQL database" in done.stdout, done.stdout[-3000:]


@pytest.fixture
def machine(place: Path, tmp_path: Path) -> dict[str, str]:
    """What start_production.sh is told on a machine without systemd."""
    env = tmp_path / ".env"
    key = "0123456789abcdef" * 3
    lines = [
        f'DATABASE_URL="sqlite:///{tmp_path}/production.db"',
        f"SECRET_KEY='{key}'",
        "CORS_ALLOWED_ORIGINS='https://example.org'",
    ]
    env.write_text("# of the test\n" + "\n".join(lines) + "\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {"ENV_FILE": str(env), "VENV": str(BIN.parent), "BIND": f"127.0.0.1:{port}"}


def test_the_script_is_clean(place: Path):
    if not shutil.which("shellcheck"):
        pytest.fail("shellcheck is missing; bin/test installs it")
    done = subprocess.run(
        ["shellcheck", "backend/start_production.sh"], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_script_starts_the_backend(place: Path, machine: dict[str, str]):
    process = subprocess.Popen(
        [str(place / "backend/start_production.sh")],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **machine},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://{machine['BIND']}/api/ready", timeout=5) as answer:
                    body = json.load(answer)
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
                time.sleep(0.2)
        assert body["status"] == "ok", "the migrations ran, though the database file was there or not"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0, "gunicorn is the script's own process, and ends as it should"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (("SECRET_KEY='", "OTHER='"), "SECRET_KEY is not set in"),
        (("CORS_ALLOWED_ORIGINS=", "touch /tmp/x; CORS_ALLOWED_ORIGINS="), "has a line that is no KEY=value"),
        (None, "cannot be read. Copy deploy/env.example"),
    ],
)
def test_the_script_hides_no_mistake(place: Path, machine: dict[str, str], change: Any, part: str):
    env = Path(machine["ENV_FILE"])
    if change:
        env.write_text(env.read_text().replace(*change))
    else:
        env.unlink()
    done = subprocess.run(
        [str(place / "backend/start_production.sh")],
        env={"PATH": os.environ["PATH"], **machine},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and part in done.stderr, done.stderr


def test_the_guide_shows_the_last_review(place: Path):
    """The worst host of each question; a new review makes the page stale."""
    line = {
        "host": "web1",
        "check": "tls",
        "title": "clients get TLS that they trust",
        "severity": "critical",
        "verdict": "ok",
    }
    line |= {"evidence": "TLSv1.3", "fix": "", "waiver": ""}
    bad = {**line, "host": "web2", "verdict": "red", "evidence": "it ends | in 3 days"}
    page = place / "backend/PRODUCTION.md"
    assert kit(place).returncode == 0 and "Not yet." in page.read_text(encoding="utf-8")
    report = place / "backend/deploy/readiness.json"
    report.write_text(
        json.dumps({"at": "2026-11-26T10:00:00Z", "worst": "critical", "lines": [line, bad]}), encoding="utf-8"
    )
    assert "PRODUCTION.md" in one_line(kit(place, "--check"))
    assert kit(place).returncode == 0
    said = page.read_text(encoding="utf-8")
    report.unlink()
    assert kit(place).returncode == 0
    assert "at 2026-11-26T10:00:00Z: not ready" in said
    assert "| clients get TLS that they trust | critical, on web2 | it ends \\| in 3 days |" in said


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"at": 1}', '{"at": "", "worst": "", "lines": [{}]}'])
def test_a_review_that_cannot_be_read_is_none(text: str | None):
    assert kits.last_review(text) == {}
