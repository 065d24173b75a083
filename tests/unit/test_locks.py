# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a source wants installed, the hash that names its environment, and the check of the code behind app_factory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.module_utils.requirements_txt import RequirementsError
from ansible_collections.decant.flask.plugins.plugin_utils import locks
from ansible_collections.decant.flask.plugins.plugin_utils.sources import Entry, SourceError

SETTINGS: dict[str, Any] = {
    "app_database": "sqlite",
    "app_shared_paths": [],
    "app_subdir": "",
    "app_factory": "app:create_app()",
    "venv_requirements": [],
    "venv_extras": [],
    "venv_extra_packages": [],
    "venv_gunicorn_version": "27.0.1",
    "venv_installer": "uv",
    "gunicorn_worker_class": "gthread",
    "migrate_enabled": True,
    "migrate_directory": "migrations",
    "nginx_static_paths": {},
}
PYPROJECT = b"""
[project]
name = "projects"
version = "1"
dependencies = ["flask==3.1.2", "Flask_Migrate>=4"]
[project.optional-dependencies]
redis = ["redis==7.0.0"]
"""
UV_LOCK = b"""
version = 1
[[package]]
name = "flask"
version = "3.1.2"
source = { registry = "https://pypi.example.org/simple" }
"""
WITH_GUNICORN = b'[[package]]\nname = "gunicorn"\nversion = "26.0.0"\n'
PINNED = "gunicorn==27.0.1"


def describe(files: dict[str, bytes], digest: str = "d1", **changes: Any) -> dict[str, Any]:
    return locks.describe(files, {**SETTINGS, **changes}, digest)


def name_of(files: dict[str, bytes], python: str = "3.11.2", digest: str = "d1", **changes: Any) -> str:
    v = {**SETTINGS, **changes}
    return locks.lock_hash(locks.describe(files, v, digest), python, v["venv_installer"])


# --- what to install -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "mode", "paths", "text"),
    [
        ({"requirements.txt": b"flask\n"}, "requirements", ["requirements.txt"], ""),
        ({"requirements.txt": b"flask\n", "pyproject.toml": PYPROJECT}, "requirements", ["requirements.txt"], ""),
        ({"requirements.txt": b"flask\n", "uv.lock": UV_LOCK}, "requirements", ["requirements.txt"], ""),
        ({"pyproject.toml": PYPROJECT, "uv.lock": UV_LOCK}, "uv", [], ""),
        ({"pyproject.toml": PYPROJECT}, "pyproject", [], "flask==3.1.2\nFlask_Migrate>=4\n"),
    ],
)
def test_modes(files: dict[str, bytes], mode: str, paths: list[str], text: str):
    lock = describe(files)
    assert (lock["mode"], lock["paths"], lock["text"], lock["hashed"]) == (mode, paths, text, False)
    assert lock["additions"] == [PINNED]


def test_named_files_win_over_what_is_found():
    files = {"requirements.txt": b"flask\n", "req/prod.txt": b"-r base.txt\nredis\n", "req/base.txt": b"django\n"}
    lock = describe(files, venv_requirements=["req/prod.txt"])
    assert lock["paths"] == ["req/prod.txt"]
    assert [path for path, _ in lock["content"]] == ["req/prod.txt", "req/base.txt"]


def test_a_named_file_that_is_missing():
    with pytest.raises(RequirementsError, match=r"req\.txt"):
        describe({"requirements.txt": b""}, venv_requirements=["req.txt"])


def test_extras_of_a_project():
    lock = describe({"pyproject.toml": PYPROJECT}, venv_extras=["redis"])
    assert lock["text"].splitlines() == ["flask==3.1.2", "Flask_Migrate>=4", "redis==7.0.0"]
    assert lock["extras"] == ["redis"]


@pytest.mark.parametrize(
    ("text", "hashed"),
    [(b"flask==3.1.2\n", False), (b"flask==3.1.2 --hash=sha256:aa\n", True), (b"--require-hashes\nflask==3\n", True)],
)
def test_hashes(text: bytes, hashed: bool):
    assert describe({"requirements.txt": text})["hashed"] is hashed


def test_hashes_in_an_included_file_count():
    files = {"requirements.txt": b"-r locked.txt\n", "locked.txt": b"flask==3.1.2 \\\n    --hash=sha256:aa\n"}
    assert describe(files)["hashed"] is True


def test_nothing_says_what_to_install():
    with pytest.raises(SourceError) as refusal:
        describe({"app.py": b""})
    for word in ("requirements.txt", "pyproject.toml", "app_subdir", "venv_requirements"):
        assert word in str(refusal.value)


def test_a_uv_lock_without_its_project_is_no_lock():
    with pytest.raises(SourceError):
        describe({"uv.lock": UV_LOCK})


def test_pip_cannot_read_a_uv_lock():
    with pytest.raises(SourceError) as refusal:
        describe({"pyproject.toml": PYPROJECT, "uv.lock": UV_LOCK}, venv_installer="pip")
    assert "venv_installer is 'pip'" in str(refusal.value)
    assert "uv.lock" in str(refusal.value)
    files = {"pyproject.toml": PYPROJECT, "uv.lock": UV_LOCK, "r.txt": b"flask\n"}
    assert describe(files, venv_installer="pip", venv_requirements=["r.txt"])["mode"] == "requirements"
    assert describe({"pyproject.toml": PYPROJECT}, venv_installer="pip")["mode"] == "pyproject"


def test_a_uv_lock_that_cannot_be_read():
    with pytest.raises(SourceError, match=r"uv\.lock cannot be read: .*uv lock"):
        describe({"pyproject.toml": PYPROJECT, "uv.lock": b"[[package"})


# --- gunicorn and worker packages ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "extra", "additions"),
    [
        ({"requirements.txt": b"flask\n"}, [], [PINNED]),
        ({"requirements.txt": b"flask\ngunicorn==25.0\n"}, [], []),
        ({"requirements.txt": b"flask\nGunicorn[gevent]>=25\n"}, [], []),
        ({"requirements.txt": b"flask\n# gunicorn\n"}, [], [PINNED]),
        ({"requirements.txt": b"flask\ngunicorn-something\n"}, [], [PINNED]),
        ({"requirements.txt": b"-r base.txt\n", "base.txt": b"gunicorn\n"}, [], []),
        # A constraint installs nothing.
        ({"requirements.txt": b"-c pins.txt\nflask\n", "pins.txt": b"gunicorn==25\n"}, [], [PINNED]),
        ({"requirements.txt": b"flask\n"}, ["gunicorn==26.0.0"], ["gunicorn==26.0.0"]),
        ({"requirements.txt": b"flask\n"}, ["redis==7"], ["redis==7", PINNED]),
        ({"pyproject.toml": PYPROJECT, "uv.lock": UV_LOCK}, [], [PINNED]),
        ({"pyproject.toml": PYPROJECT, "uv.lock": UV_LOCK + WITH_GUNICORN}, [], []),
        ({"pyproject.toml": PYPROJECT.replace(b'"flask==', b'"gunicorn", "flask==')}, [], []),
    ],
)
def test_gunicorn_is_added_when_the_backend_does_not_name_it(
    files: dict[str, bytes], extra: list[str], additions: list[str]
):
    assert describe(files, venv_extra_packages=extra)["additions"] == additions


@pytest.mark.parametrize("worker", ["gevent", "eventlet", "tornado"])
def test_a_worker_class_demands_its_package(worker: str):
    files = {"requirements.txt": b"flask\n"}
    with pytest.raises(SourceError) as refusal:
        describe(files, gunicorn_worker_class=worker)
    assert f"gunicorn_worker_class is '{worker}'" in str(refusal.value)
    assert f"venv_extra_packages: [{worker}==...]" in str(refusal.value)
    assert describe(files, gunicorn_worker_class=worker, venv_extra_packages=[f"{worker}==26.9.0"])["additions"] == [
        f"{worker}==26.9.0",
        PINNED,
    ]
    assert describe({"requirements.txt": f"{worker}\n".encode()}, gunicorn_worker_class=worker)


@pytest.mark.parametrize(
    ("line", "driver"),
    [
        ("psycopg[binary]==3.3.9", "psycopg"),
        ("psycopg", "psycopg"),
        ("psycopg2==2.9.12", "psycopg2"),
        ("psycopg2-binary==2.9.12", "psycopg2"),
        ("Psycopg2_Binary", "psycopg2"),
        ("pg8000>=1.31", "pg8000"),
        ("psycopg2\npsycopg", "psycopg"),
    ],
)
def test_the_driver_is_the_one_in_the_lock(line: str, driver: str):
    lock = describe({"requirements.txt": f"flask\n{line}\n".encode()}, app_database="postgresql")
    assert lock["driver"] == driver


def test_the_driver_of_a_uv_lock_and_of_what_the_inventory_adds():
    uv_lock = UV_LOCK + b'[[package]]\nname = "psycopg"\nversion = "3.3.9"\n'
    assert describe({"pyproject.toml": PYPROJECT, "uv.lock": uv_lock})["driver"] == "psycopg"
    assert describe({"requirements.txt": b"flask\n"}, venv_extra_packages=["pg8000==1.31.5"])["driver"] == "pg8000"


@pytest.mark.parametrize("line", ["flask", "psycopg-pool", "asyncpg", "# psycopg", "psycopg-binary"])
def test_postgresql_without_a_driver(line: str):
    files = {"requirements.txt": f"{line}\n".encode()}
    with pytest.raises(SourceError) as refusal:
        describe(files, app_database="postgresql")
    assert "app_database is 'postgresql', and the backend requires no driver" in str(refusal.value)
    assert "Add psycopg[binary] to the backend's requirements" in str(refusal.value)
    assert describe(files)["driver"] == ""
    assert (
        describe(files, app_database="postgresql", app_env={"DATABASE_URL": "postgresql+asyncpg://x"})["driver"] == ""
    )


def test_a_driver_alone_changes_no_name_of_an_environment():
    files = {"requirements.txt": b"psycopg\n"}
    assert name_of(files) == name_of(files, app_database="postgresql")


@pytest.mark.parametrize("worker", ["sync", "gthread", "mypackage.Worker"])
def test_other_worker_classes_demand_nothing(worker: str):
    assert describe({"requirements.txt": b"flask\n"}, gunicorn_worker_class=worker)["additions"] == [PINNED]


# --- the name of an environment ------------------------------------------------------------------

FILES = {"requirements.txt": b"-r base.txt\nflask==3.1.2\n", "base.txt": b"redis==7.0.0\n", "app.py": b"app = 1\n"}


def test_the_name_is_short_and_stable():
    assert len(name_of(FILES)) == 16
    assert set(name_of(FILES)) <= set("0123456789abcdef")
    assert name_of(FILES) == name_of(dict(reversed(list(FILES.items()))))


@pytest.mark.parametrize(
    "same",
    [
        {"files": {**FILES, "app.py": b"app = 2\n"}},
        {"files": {**FILES, "uv.lock": b"new"}},
        {"digest": "d2"},
        {"python": "3.11.9"},
        {"gunicorn_worker_class": "sync"},
        {"app_factory": "other:app"},
    ],
)
def test_what_is_not_installed_keeps_the_name(same: dict[str, Any]):
    assert name_of(**{"files": FILES, **same}) == name_of(FILES)


@pytest.mark.parametrize(
    "other",
    [
        {"files": {**FILES, "requirements.txt": b"-r base.txt\nflask==3.1.3\n"}},
        {"files": {**FILES, "base.txt": b"redis==7.0.1\n"}},
        {"python": "3.12.2"},
        {"venv_installer": "pip"},
        {"venv_gunicorn_version": "27.0.0"},
        {"venv_extra_packages": ["redis==7"]},
        {"venv_requirements": ["base.txt"]},
    ],
)
def test_what_is_installed_makes_the_name(other: dict[str, Any]):
    assert name_of(**{"files": FILES, **other}) != name_of(FILES)


def test_python_3_1_is_not_python_3_11():
    assert name_of(FILES, python="3.1.1") != name_of(FILES, python="3.11.1")


def test_requirements_inside_the_source_make_the_name_too():
    files = {"requirements.txt": b"flask\n./library\n", "library/x.py": b"1"}
    assert name_of(files, digest="d1") != name_of(files, digest="d2")
    assert name_of(files, digest="d1") == name_of(files, digest="d1")


UV_PATH = b'[[package]]\nname = "library"\nversion = "1"\nsource = { directory = "library" }\n'


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(
            {"pyproject.toml": PYPROJECT, "uv.lock": UV_LOCK + UV_PATH},
        ),
        pytest.param(
            {"pyproject.toml": PYPROJECT.replace(b'"flask==', b'"library @ file:./library", "flask==')},
        ),
    ],
)
def test_packages_inside_the_source_make_the_name_in_every_mode(files: dict[str, bytes]):
    assert name_of(files, digest="d1") != name_of(files, digest="d2")


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (PYPROJECT.replace(b"3.1.2", b"3.1.3"), False),
        (PYPROJECT.replace(b'version = "1"', b'version = "2"'), True),  # the project itself is not installed
    ],
)
def test_only_the_dependencies_of_a_project_make_the_name(changed: bytes, same: bool):
    assert (name_of({"pyproject.toml": PYPROJECT}) == name_of({"pyproject.toml": changed})) is same


def test_extras_make_the_name():
    files = {"pyproject.toml": PYPROJECT}
    assert name_of(files) != name_of(files, venv_extras=["redis"])
    locked = {"pyproject.toml": PYPROJECT, "uv.lock": UV_LOCK}
    assert name_of(locked) != name_of(locked, venv_extras=["redis"])
    assert name_of(locked) != name_of({**locked, "uv.lock": UV_LOCK + WITH_GUNICORN})


def test_the_description_is_not_changed_by_asking():
    v = copy.deepcopy(SETTINGS)
    locks.describe(FILES, v, "d1")
    assert v == SETTINGS


# --- the code ------------------------------------------------------------------------------------


def test_files_under_the_code():
    entries = [
        Entry("README", data=b"r"),
        Entry("api", folder=True),
        Entry("api/app.py", data=b"a"),
        Entry("api/lib/x.py", data=b"x"),
        Entry("api/link", link="app.py"),
        Entry("apiary/y.py", data=b"y"),
    ]
    assert locks.files_under(entries, "api") == {"app.py": b"a", "lib/x.py": b"x"}
    assert set(locks.files_under(entries, "")) == {"README", "api/app.py", "api/lib/x.py", "apiary/y.py"}
    assert locks.files_under(entries, "nowhere") == {}


GOOD = {"app/__init__.py": b"def create_app(config='x'):\n    pass\n", "migrations/env.py": b""}


def check(files: dict[str, bytes], **changes: Any) -> None:
    locks.check_code(files, {**SETTINGS, **changes})


def test_good_code():
    check(GOOD)


@pytest.mark.parametrize(("subdir", "where"), [("", "the source"), ("api", "app_subdir 'api'")])
def test_no_file_at_all(subdir: str, where: str):
    with pytest.raises(SourceError, match=f"There is no file in {where}"):
        check({}, app_subdir=subdir)


def test_migrations():
    with pytest.raises(SourceError) as refusal:
        check({"app/__init__.py": GOOD["app/__init__.py"]})
    assert "no migrations/env.py" in str(refusal.value)
    assert "migrate_enabled: false" in str(refusal.value)
    check({"app/__init__.py": GOOD["app/__init__.py"]}, migrate_enabled=False)
    check({**GOOD, "db/alembic/env.py": b""}, migrate_directory="db/alembic/")
    with pytest.raises(SourceError, match="no db/alembic/env.py"):
        check(GOOD, migrate_directory="db/alembic")


def test_code_that_only_a_newer_python_can_read_is_left_to_the_candidate():
    check({**GOOD, "app/__init__.py": b"def f(:\n"})


def test_a_shared_path_that_is_a_file():
    with pytest.raises(SourceError, match="which is a file in the source"):
        check({**GOOD, "data.json": b"{}"}, app_shared_paths=["data.json"])


def test_static_paths():
    with pytest.raises(
        SourceError, match="nginx_static_paths maps '/static/' to 'app/static', and the code has no file"
    ):
        check({**GOOD, "app/static2/x.css": b""}, nginx_static_paths={"/static/": "app/static"})
    check({**GOOD, "app/static/x.css": b""}, nginx_static_paths={"/static/": "app/static", "/s/": "app/static/"})


@pytest.mark.parametrize(
    ("path", "text", "factory"),
    [
        ("app.py", "app = 1", "app:app"),
        ("app/__init__.py", "app = 1", "app:app"),
        ("src/app.py", "app = 1", "app:app"),
        ("src/app/__init__.py", "def create_app(): pass", "app:create_app()"),
        ("a/b/c.py", "def make(x): pass", "a.b.c:make('x')"),
        ("app.py", "async def app(): pass", "app:app"),
        ("app.py", "class app: pass", "app:app"),
        ("app.py", "from x import create_app", "app:create_app()"),
        ("app.py", "from x import make as create_app", "app:create_app()"),
        ("app.py", "import app.web as app", "app:app"),
        ("app.py", "import create_app", "app:create_app"),
        ("app.py", "from x import *", "app:anything"),
        ("app.py", "def __getattr__(name): return 1", "app:lazy"),
        ("app.py", "a, (app, b) = 1, (2, 3)", "app:app"),
        ("app.py", "app: object = 1", "app:app"),
        ("app.py", "if True:\n    app = 1\nelse:\n    app = 2", "app:app"),
        ("app.py", "try:\n    from x import app\nexcept ImportError:\n    app = None", "app:app"),
        ("app.py", "with open('x') as app: pass", "app:app"),
        ("app.py", "print(app := 1)", "app:app"),
        ("app.py", "# -*- coding: latin-1 -*-\nname = '\u00e9'\napp = 1", "app:app"),
        ("other.py", "x = 1", "installed.package:app"),
    ],
)
def test_factories_that_the_code_defines(path: str, text: str, factory: str):
    locks.check_factory({path: text.encode("latin-1")}, factory)


@pytest.mark.parametrize(
    ("files", "factory", "says"),
    [
        ({"app.py": b"application = 1\n"}, "app:app", ["app.py does not define 'app'", "it has application"]),
        ({"app.py": b"x = 1\n"}, "app:app", ["nothing with 'app' in its name"]),
        ({"app.py": b"print(app)\n"}, "app:app", ["does not define 'app'"]),
        ({"app.py": b"x.app = 1\n"}, "app:app", ["does not define 'app'"]),
        ({"app.py": b"'app = 1'\n# app = 1\n"}, "app:app", ["does not define 'app'"]),
        ({"app/__init__.py": b"def create_app(): pass\n"}, "app:make()", ["app/__init__.py", "it has create_app"]),
        ({"src/app.py": b""}, "app:app", ["src/app.py does not define 'app'"]),
        ({"app/views.py": b""}, "app.web:app", ["the code has no module app.web"]),
        ({"app.py": b""}, "app.web:app", ["the code has no module app.web"]),
    ],
)
def test_factories_that_it_does_not_define(files: dict[str, bytes], factory: str, says: list[str]):
    with pytest.raises(SourceError) as refusal:
        locks.check_factory(files, factory)
    for words in [*says, "app_factory"]:
        assert words in str(refusal.value)


def test_a_module_beside_a_package_is_looked_for_in_pythons_order():
    """Python takes the package; a module of the same name beside it is never imported."""
    files = {"app.py": b"x = 1\n", "app/__init__.py": b"app = 1\n"}
    locks.check_factory(files, "app:app")
