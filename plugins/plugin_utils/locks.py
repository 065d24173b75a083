# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a source wants installed: which files say so, what Decant adds, and the hash that names the environment."""

from __future__ import annotations

import ast
import hashlib
import json
import posixpath
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils import requirements_txt

from . import contract
from .sources import Entry, SourceError

LOCK_FORMAT = 1
# Worker classes of gunicorn that need a distribution of their own.
WORKER_PACKAGES = {"gevent": "gevent", "eventlet": "eventlet", "tornado": "tornado"}
# Distributions that speak to PostgreSQL -> what SQLAlchemy calls the driver in a URL. The first one that is there counts.
DATABASE_DRIVERS = {
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "psycopg2-binary": "psycopg2",
    "pg8000": "pg8000",
}


def files_under(entries: list[Entry], subdir: str) -> dict[str, bytes]:
    """Path -> content of the source's files, relative to the code."""
    prefix = f"{subdir}/" if subdir else ""
    return {
        entry.path[len(prefix) :]: entry.data
        for entry in entries
        if not entry.folder and not entry.link and entry.path.startswith(prefix)
    }


def describe(files: Mapping[str, bytes], v: Mapping[str, Any], source_digest: str) -> dict[str, Any]:
    """How to install a source's dependencies.

    :param files: path relative to the code -> content.
    :param v: the settings (venv_*, gunicorn_worker_class, app_database).
    :param source_digest: sha256 of the source, part of the lock when requirements name paths inside it.
    :returns: mode (requirements, pyproject, uv), paths, text (of generated requirements), hashed, additions, content, driver.
    """

    def read(path: str) -> str:
        return files[path].decode("utf-8", errors="replace")

    wanted = [str(path) for path in v["venv_requirements"]]
    extras = [str(extra) for extra in v["venv_extras"]]
    if not wanted:
        wanted = ["requirements.txt"] if "requirements.txt" in files else []
    lock: dict[str, Any] = {"mode": "requirements", "paths": wanted, "text": "", "hashed": False, "extras": extras}
    if wanted:
        reached = requirements_txt.closure(read, wanted)
        lock["content"] = [[path, text] for path, text in reached]
        lock["hashed"] = any(requirements_txt.has_hashes(text) for dummy, text in reached)
        names = requirements_txt.required_names(read, wanted)
        if any(requirements_txt.local_paths(text) for dummy, text in reached):
            lock["content"].append(["source", source_digest])
    elif "uv.lock" in files and "pyproject.toml" in files:
        if v["venv_installer"] != "uv":
            raise SourceError(
                f"venv_installer is '{v['venv_installer']}', which cannot read this source's uv.lock. "
                "Leave venv_installer out (uv), or name requirements files in venv_requirements."
            )
        lock["mode"] = "uv"
        lock["content"] = [["uv.lock", read("uv.lock")], ["pyproject.toml", read("pyproject.toml")]]
        names, local = locked_packages(read("uv.lock"))
        if local:
            lock["content"].append(["source", source_digest])
    elif "pyproject.toml" in files:
        lock["mode"] = "pyproject"
        requirements = requirements_txt.pyproject_requirements(read("pyproject.toml"), extras)
        lock["text"] = "".join(f"{line}\n" for line in requirements)
        lock["content"] = [["pyproject.toml", lock["text"]]]
        names = requirements_txt.names(lock["text"])
        if requirements_txt.local_paths(lock["text"]):
            lock["content"].append(["source", source_digest])
    else:
        raise SourceError(
            "The code has neither requirements.txt nor pyproject.toml, so nothing says what to install. "
            "Check app_subdir, add the file, or name others in venv_requirements."
        )
    added = [str(item) for item in v["venv_extra_packages"]]
    names |= requirements_txt.names("\n".join(added))
    if "gunicorn" not in names:
        added.append(f"gunicorn=={v['venv_gunicorn_version']}")
    package = WORKER_PACKAGES.get(str(v["gunicorn_worker_class"]))
    if package and package not in names:
        raise SourceError(
            f"gunicorn_worker_class is '{v['gunicorn_worker_class']}', and the backend does not require {package}. "
            f"Add it to the backend's requirements, or pin it here: venv_extra_packages: [{package}==...]."
        )
    lock["additions"] = added
    lock["driver"] = database_driver(names)
    if contract.builds_database_url(v) and not lock["driver"]:
        raise SourceError(
            "app_database is 'postgresql', and the backend requires no driver for it: one of "
            f"{', '.join(DATABASE_DRIVERS)}. Add psycopg[binary] to the backend's requirements, or pin it here: "
            "venv_extra_packages: ['psycopg[binary]==...']."
        )
    return lock


def database_driver(names: Collection[str]) -> str:
    """What SQLAlchemy calls the PostgreSQL driver that is installed; empty when there is none.

    :param names: normalised names of distributions.
    """
    return next((driver for package, driver in DATABASE_DRIVERS.items() if package in names), "")


def locked_packages(text: str) -> tuple[set[str], bool]:
    """Names in a uv.lock, and whether any of them is built from the source itself (other than the project, which is not
    installed)."""
    import tomllib  # the controller's Python is 3.11 or newer

    try:
        packages = tomllib.loads(text).get("package", [])
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"uv.lock cannot be read: {error}. Make it again with 'uv lock'.") from error
    sources = [package.get("source", {}) for package in packages]
    local = any(source.get(kind, ".") != "." for source in sources for kind in ("directory", "editable", "path"))
    return {requirements_txt.normalise(str(package.get("name", ""))) for package in packages}, local


def lock_hash(lock: Mapping[str, Any], python_version: str, installer: str) -> str:
    """The name of the virtual environment: the same for equal locks on equal Pythons.

    :param python_version: full version; major and minor count, since a patch release keeps an environment valid.
    :returns: 16 hex digits.
    """
    minor = ".".join(python_version.split(".")[:2])
    parts = [LOCK_FORMAT, lock["mode"], lock["content"], lock["extras"], lock["additions"], minor, installer]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def check_code(files: Mapping[str, bytes], v: Mapping[str, Any]) -> None:
    """Refuse a source that cannot be what the inventory says, before it reaches a host."""
    subdir = v["app_subdir"]
    if not files:
        where = f"app_subdir '{subdir}'" if subdir else "the source"
        raise SourceError(f"There is no file in {where}. Check app_subdir and app_version.")
    check_factory(files, str(v["app_factory"]))
    folder = str(v["migrate_directory"]).strip("/")
    if v["migrate_enabled"] and f"{folder}/env.py" not in files:
        raise SourceError(
            f"The code has no {folder}/env.py, so there is nothing to migrate with. Correct migrate_directory, "
            "or write migrate_enabled: false for a backend without migrations."
        )
    for path in v["app_shared_paths"]:
        if path.strip("/") in files:
            raise SourceError(
                f"app_shared_paths has '{path}', which is a file in the source. A shared path is a directory: name the one above it."
            )
    for url_prefix, path in v["nginx_static_paths"].items():
        if not any(name.startswith(f"{path.strip('/')}/") for name in files):
            raise SourceError(f"nginx_static_paths maps '{url_prefix}' to '{path}', and the code has no file there.")


def check_factory(files: Mapping[str, bytes], factory: str) -> None:
    """Refuse a factory whose module is in the code and does not define it.

    A module that is not in the code may come from an installed package; the candidate's start tells.
    """
    module, dummy, call = factory.partition(":")
    name = call.split("(")[0]
    base = module.replace(".", "/")
    path = next(
        (p for p in (f"{base}/__init__.py", f"{base}.py", f"src/{base}/__init__.py", f"src/{base}.py") if p in files),
        "",
    )
    if not path:
        top = module.split(".")[0]
        if any(p == f"{top}.py" or p.startswith(f"{top}/") for p in files):
            raise SourceError(
                f"app_factory is '{factory}', and the code has no module {module}. Correct app_factory or app_subdir."
            )
        return
    try:
        tree = ast.parse(files[path])
    except (SyntaxError, ValueError):
        return  # perhaps newer than the controller's Python; the candidate's start tells
    names, starred = set(), False
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            starred = starred or any(alias.name == "*" for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    if name not in names and not starred and "__getattr__" not in names:
        near = ", ".join(sorted(n for n in names if "app" in n.lower())) or "nothing with 'app' in its name"
        raise SourceError(
            f"app_factory is '{factory}', and {posixpath.normpath(path)} does not define '{name}' (it has {near}). "
            "gunicorn and the Flask CLI would both fail; correct app_factory."
        )
