# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The production kit in a copy of the example backend: what it writes, what it leaves, and that what it has written works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.decant.flask.plugins.plugin_utils import kits

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


def kit(place: Path, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """playbooks/kit.yml for the backend in place/backend."""
    inventory = {"backend": {"hosts": {"web.example.org": {}}, "vars": {**INPUTS, **changes}}}
    (place / "hosts.yml").write_text(yaml.safe_dump(inventory))
    settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")}
    words = [str(BIN / "ansible-playbook"), "-i", str(place / "hosts.yml"), *arguments, str(ROOT / "playbooks/kit.yml")]
    return subprocess.run(
        [*words, "-e", f"kit_dest={place / 'backend'}"],
        env={**os.environ, **settings, "ANSIBLE_HOME": str(place / "home"), "ANSIBLE_NOCOLOR": "1"},
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the backend, into which the kit was written once."""
    found = tmp_path_factory.mktemp("kit")
    shutil.copytree(
        ROOT / "examples/backend", found / "backend", ignore=shutil.ignore_patterns("__pycache__", "instance")
    )
    done = kit(found)
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout + done.stderr
    return found


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
    found = kits.told(v)
    assert found["url"] == "https://shop.example.org" and found["subdir"] == "" and found["origins"] == []
    rows = {row["name"]: row for row in found["variables"]}
    assert (
        rows["DATABASE_URL"]["secret"] and rows["SECRET_KEY"]["required"] and rows["FLASK_APP"]["example"] == "wsgi:app"
    )
    assert "tests/test_production_config.py" in {one.path for one in kits.files(v)}


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


def test_the_backends_tests_pass_with_the_kits_among_them(place: Path):
    done = run_tests(place / CODE)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "test_performance.py" in done.stdout and "1 skipped" in done.stdout


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_configuration_is_seen(place: Path, tmp_path: Path, what: str):
    path, old, new, which = BROKEN[what]
    shutil.copytree(place / CODE, tmp_path / "api", ignore=shutil.ignore_patterns("__pycache__"))
    source = (tmp_path / "api" / path).read_text()
    assert source.count(old) == 1, f"{path} has no such line any more"
    (tmp_path / "api" / path).write_text(source.replace(old, new))
    done = run_tests(tmp_path / "api", "tests/test_production_config.py", "-k", which)
    assert done.returncode == 1 and " failed" in done.stdout, done.stdout[-3000:]


def test_the_performance_test_measures_and_reports(place: Path, tmp_path: Path):
    report = tmp_path / "report.md"
    words = {"PERFORMANCE": "1", "PERFORMANCE_FACTOR": "100", "PERFORMANCE_REPORT": str(report)}
    done = run_tests(place / CODE, "-m", "performance", **words)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-3000:]
    page = report.read_text()
    assert "| path | 100 rows, ms | 1,000 rows, ms | 10,000 rows, ms |" in page
    assert "SELECT" in page and "- SCAN projects" in page and "primary key: id" in page and "unique: name" in page
    tight = run_tests(place / CODE, "-m", "performance", **{**words, "PERFORMANCE_BUDGET_MS": "0.0001"})
    assert tight.returncode == 1 and "the budget is 0.0001 ms" in tight.stdout


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
