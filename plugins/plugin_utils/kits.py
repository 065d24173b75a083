# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The production kit: which files a backend's repository gets, what their templates are told, and what becomes of a file that is there."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import edge, plans

RECORD = ".decant-kit.json"
REVIEW = "deploy/readiness.json"  # where playbooks/readiness.yml is told to leave its report
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SQL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ENTRY = ("purpose", "default", "example", "required")
# What every backend has, and the sentence for it. Decant sets them; a name of kit_variables wins.
OWN = {
    "APP_CONFIG": {"purpose": "Name of the configuration."},
    "FLASK_APP": {"purpose": "What gunicorn serves and the Flask CLI migrates through."},
    "DATABASE_URL": {"purpose": "SQLAlchemy's URL of the database. Absolute: every process must resolve it alike."},
    "DECANT_RELEASE": {"purpose": "The release that serves. Set by its unit."},
    "SECRET_KEY": {
        "purpose": "Signs Flask's sessions. 32 characters or more, another one in each environment.",
        "example": "openssl rand -hex 32",
    },
}
# The unit of a release in which the release's id is what systemd puts in for %i: projects@20261122T101500Z-3f2a9c1.
INSTANCE = "%i"
CPUS = 2  # of an ordinary host
# pip has no word for the dependencies of a project without the project, which a deploy does not install either.
PYPROJECT = 'import tomllib; found = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(%s, sep="\\n")'
# A database that answers nobody: a backend that starts does not ask it.
UNASKED = "backend:of-the-tests@127.0.0.1:5432/backend"
# The empty one that the workflow's service brings.
MEASURED = {"user": "performance", "password": "performance", "database": "performance"}
PARTS = ("guides", "script", "deploy", "tests", "releases", "workflow")


@dataclass(frozen=True)
class File:
    """A file of the kit: its template in the collection, or a program that is copied as it is, its path in the backend's repository, and
    the part that it belongs to."""

    template: str
    path: str
    part: str
    mode: int = 0o644


@dataclass
class Decision:
    """What becomes of the kit's files: paths to write, to leave to the person who changed them, to remove, and those that are right."""

    write: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)


def inside(subdir: str, path: str) -> str:
    """A path of the code as one of the repository."""
    return os.path.normpath(os.path.join(subdir, path))


def files(v: Mapping[str, Any]) -> list[File]:
    """The kit for these inputs."""
    app, subdir = v["app_name"], str(v.get("app_subdir") or "")
    found = [
        File("templates/kit/PRODUCTION.md.j2", "PRODUCTION.md", "guides"),
        File("templates/kit/DEPLOYMENT.md.j2", "DEPLOYMENT.md", "guides"),
        File("templates/kit/start_production.sh.j2", "start_production.sh", "script", 0o755),
        File("templates/kit/env.example.j2", "deploy/env.example", "deploy"),
        File("roles/gunicorn/templates/target.j2", f"deploy/{app}.target", "deploy"),
        File("roles/gunicorn/templates/service.j2", f"deploy/{app}@.service", "deploy"),
        File("roles/gunicorn/templates/socket.j2", f"deploy/{app}@.socket", "deploy"),
        File("roles/gunicorn/templates/gunicorn.conf.py.j2", "deploy/gunicorn.conf.py", "deploy"),
        File("roles/nginx/templates/site.conf.j2", f"deploy/nginx-{app}.conf", "deploy"),
        # What the unit's gate runs, and what gunicorn.conf.py names the served database with.
        File("roles/health/files/decant-probe", "deploy/bin/decant-probe", "deploy", 0o755),
        File("roles/migrate/files/decant-database", "deploy/bin/decant-database", "deploy", 0o755),
        File("templates/kit/health.py.j2", "deploy/health.py", "deploy"),
        File("templates/kit/test_production_config.py.j2", inside(subdir, "tests/test_production_config.py"), "tests"),
        File("templates/kit/releases.md.j2", "docs/releases/README.md", "releases"),
        File("templates/kit/checklist.md.j2", "docs/releases/checklist.md", "releases"),
        File("templates/kit/workflow.yml.j2", ".github/workflows/production.yml", "workflow"),
    ]
    if v.get("app_factory"):
        found += [
            File("templates/kit/transition-plan.md.j2", "docs/releases/transition-plan.md", "releases"),
            File("templates/kit/review.md.j2", "docs/releases/production-review.md", "releases"),
        ]
    if v.get("kit_performance_paths"):
        found.append(File("templates/kit/test_performance.py.j2", inside(subdir, "tests/test_performance.py"), "tests"))
    return [one for one in found if one.part in v.get("kit_parts", PARTS)]


def problems(v: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the inputs of the role kit. A secret's value is in no sentence."""
    found = []
    dest = str(v.get("kit_dest") or "")
    subdir = str(v.get("app_subdir") or "")
    if not dest:
        found.append("kit_dest is not set. Name the backend's checkout: -e kit_dest=/home/ada/projects.")
    elif not os.path.isabs(dest) or not os.path.isdir(os.path.join(dest, subdir)):
        found.append(
            f"kit_dest is '{dest}', and {os.path.join(dest, subdir)} is no directory. Name the checkout of the backend by an absolute "
            "path; app_subdir is relative to it."
        )
    entries = v.get("kit_variables") or {}
    for name, entry in entries.items():
        if (
            not ENVIRONMENT_NAME.fullmatch(str(name))
            or not isinstance(entry, Mapping)
            or not str(entry.get("purpose") or "").strip()
        ):
            found.append(
                f"kit_variables has '{name}' without a purpose. Write for example {name}: {{purpose: Where mail goes.}}."
            )
        elif unknown := sorted(set(entry) - set(ENTRY)):
            found.append(f"{name} in kit_variables has '{unknown[0]}', which is not one of {', '.join(ENTRY)}.")
    for name in (*(v.get("app_env") or {}), *(v.get("app_secrets") or {})):
        if name not in entries and name not in OWN and v.get("kit_parts") != ["releases"]:
            found.append(
                f"{name} is set by the inventory, and kit_variables has no purpose of it. Write {name}: {{purpose: ...}} there."
            )
    if v.get("kit_performance_paths"):
        table, row = str(v.get("kit_performance_table") or ""), v.get("kit_performance_row") or {}
        if not SQL_NAME.fullmatch(table) or not row or not all(SQL_NAME.fullmatch(str(name)) for name in row):
            found.append(
                f"kit_performance_paths needs a table and a row to fill it with, and they are '{table}' and {sorted(row)}. Write for example "
                "kit_performance_table: projects and kit_performance_row: {name: 'project {n}'}."
            )
    return found


def environment(v: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every variable that the backend knows: name, purpose, default, example, required, secret. Never the value of a secret."""
    plain, secrets = v.get("app_env") or {}, v.get("app_secrets") or {}
    described = v.get("kit_variables") or {}
    hidden = {*secrets, "SECRET_KEY", *(["DATABASE_URL"] if v.get("app_database") == "postgresql" else [])}
    names = [*OWN, *sorted({*plain, *secrets, *described} - set(OWN))]
    rows = []
    for name in names:
        entry = {**OWN.get(name, {}), **described.get(name, {})}
        value = {"APP_CONFIG": v.get("app_config"), "FLASK_APP": v.get("app_factory"), **plain}.get(name)
        rows.append(
            {
                "name": name,
                "purpose": str(entry.get("purpose") or "").strip(),
                "default": entry.get("default", ""),
                "example": entry.get("example", "" if name in hidden or value is None else value),
                "required": bool(entry.get("required", name in ("SECRET_KEY", "DATABASE_URL") or name in secrets)),
                "secret": name in hidden,
                "set": name in plain
                or name in secrets
                or name in ("APP_CONFIG", "FLASK_APP", "DATABASE_URL", "DECANT_RELEASE"),
            }
        )
    return rows


class Code(Mapping[str, bytes]):
    """The files of a checkout's code, each read when it is asked for: path -> content, as locks.describe() wants them."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def __getitem__(self, path: str) -> bytes:
        try:
            return (self.folder / path).read_bytes()
        except OSError:
            raise KeyError(path) from None

    def __iter__(self) -> Iterator[str]:
        return (str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def __len__(self) -> int:
        return len(list(iter(self)))


def install(lock: Mapping[str, Any]) -> list[str]:
    """Commands for a shell in the code's directory that install what a deploy installs, into the environment that is active.

    What is added has a run of its own, as in a deploy: pip checks hashes for all or none.
    """
    pip = "python -m pip install"
    if lock["mode"] == "uv":
        extras = "".join(f" --extra {shlex.quote(name)}" for name in lock["extras"])
        export = f"uv export --quiet --frozen --no-dev --no-emit-project{extras}"
        found = [f"{pip} uv", f"{export} | {pip} -r /dev/stdin"]
    elif lock["mode"] == "pyproject":
        lists = [
            'found["dependencies"]',
            *(f'found["optional-dependencies"][{json.dumps(name)}]' for name in lock["extras"]),
        ]
        words = PYPROJECT % ", ".join(f"*{one}" for one in lists)
        found = [f"python -c {shlex.quote(words)} | {pip} -r /dev/stdin"]
    else:
        found = [f"{pip} {' '.join(f'-r {shlex.quote(path)}' for path in lock['paths'])}"]
    return [*found, *([f"{pip} {' '.join(map(shlex.quote, lock['additions']))}"] if lock["additions"] else [])]


def origins(v: Mapping[str, Any]) -> list[str]:
    """The allowed origins of the inventory."""
    text = str((v.get("app_env") or {}).get(str(v.get("kit_cors_variable") or ""), ""))
    return [part.strip() for part in text.split(",") if part.strip()]


def told(v: Mapping[str, Any], lock: Mapping[str, Any], review: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the kit's own templates are told, under the name `kit`.

    :param lock: what the code wants installed, by locks.describe(); empty where there is no code.
    :param review: last_review() of the repository.
    """
    tls = edge.mode(v) != "off"
    name, subdir = str((v.get("nginx_server_names") or [v["app_name"]])[0]), str(v.get("app_subdir") or "")
    database = str(v.get("app_database") or "sqlite")
    scheme = f"postgresql+{lock['driver']}" if lock.get("driver") else "postgresql"
    rows = environment(v)
    if database == "postgresql":
        for row in rows:
            if row["name"] == "DATABASE_URL":
                row["example"] = (
                    row["example"] or f"{scheme}://{v['app_name']}:PASSWORD@db.example.org:5432/{v['app_name']}"
                )
    return {
        "app": v["app_name"],
        "root": v["app_root"],
        "user": v["app_user"],
        "subdir": subdir,
        "factory": str(v.get("app_factory") or ""),  # a repository that is no backend has none
        "names": v.get("nginx_server_names") or [],
        "url": f"{'https' if tls else 'http'}://{name}",
        "tls": tls,
        "tls_mode": edge.mode(v),
        "health": str(v.get("health_path") or ""),
        "ready": str(v.get("kit_ready_path") or ""),
        "migrates": bool(v.get("migrate_enabled", True)),
        "migrations": str(v.get("migrate_directory") or "migrations"),
        "database": database,
        "scheme": scheme,
        "unasked": f"{scheme}://{UNASKED}",
        "measured": MEASURED,
        "install": install(lock) if lock else [],
        "review": dict(review or {}),
        "shared": [[path, inside(subdir, path)] for path in v.get("app_shared_paths") or []],
        "variables": rows,
        "required": [row["name"] for row in rows if row["required"]],
        "cors": str(v.get("kit_cors_variable") or ""),
        "origins": origins(v),
        "log_level": str(v.get("kit_log_level_variable") or ""),
        "config": v.get("kit_config_values") or {},
        "keep": v.get("release_keep"),
        "release": {
            "prefix": v.get("kit_release_tag_prefix", "v"),
            "branch": v.get("kit_release_branch", "main"),
            "fragments": v.get("kit_release_fragments", "changelogs/fragments"),
            "file": v.get("kit_release_version_file", ""),
        },
        "alerts": bool(v.get("health_alerts")),
        "performance": {
            "paths": v.get("kit_performance_paths") or [],
            "table": v.get("kit_performance_table") or "",
            "row": v.get("kit_performance_row") or {},
            "budget": v.get("kit_performance_budget_ms"),
        },
    }


def host(v: Mapping[str, Any]) -> dict[str, Any]:
    """What a deploy would read of a host, for the plain units and the site: an ordinary Debian one, and %i for the release."""
    workers, threads = plans.concurrency(v, CPUS)
    return {
        "__app_release_id": INSTANCE,
        "__app_plan": {
            "plan": {
                "workers": int(v.get("kit_workers") or workers),
                "threads": threads,
                "database": v.get("app_database"),
                "current": "",
                "needed": True,
            }
        },
        "__app_host": {
            "state": {
                "ipv6": bool(v.get("kit_ipv6_enabled", True)),
                "systemd": 252,
                "python_path": str(v.get("kit_python_path") or ""),
                "packages_missing": [],
                "nginx": {"debian_default": True},
                "certificate": {"ends": 1, "ocsp": False},
            }
        },
        "__app_roles_in_play": ["app", "release", "venv", "dotenv", "migrate", "gunicorn", "nginx", "health", "backup"],
    }


def last_review(text: str | None) -> dict[str, Any]:
    """What a report of readiness.yml says: when, and one line for each question, the worst host's. Empty without a report."""
    try:
        found = json.loads(text or "")
        rank = {"red": 0, "waived": 1, "n/a": 2, "ok": 3}
        lines: dict[str, dict[str, str]] = {}
        for one in found["lines"]:
            line = {
                key: " ".join(str(one[key]).split())
                for key in ("check", "title", "verdict", "severity", "host", "evidence", "waiver")
            }
            before = lines.get(line["check"])
            if before is None or rank[line["verdict"]] < rank[before["verdict"]]:
                lines[line["check"]] = line
        words = {"": "ready", "warning": "ready, with warnings", "critical": "not ready"}
        return {"at": str(found["at"]), "says": words[found["worst"]], "lines": list(lines.values())}
    except (ValueError, KeyError, TypeError):
        return {}


# --- what is there -------------------------------------------------------------------------------


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def decide(
    wanted: Mapping[str, str], there: Mapping[str, str | None], record: Mapping[str, str], overwrite: bool
) -> Decision:
    """What becomes of each file.

    :param wanted: path to the kit's text.
    :param there: path to the text in the repository, for every path of `wanted` and of `record`; None where there is none.
    :param record: path to the digest of what the kit has written there last.
    """
    found = Decision()
    for path, text in wanted.items():
        now = there.get(path)
        if now == text:
            found.same.append(path)
        elif now is None or overwrite or digest(now) == record.get(path):
            found.write.append(path)
        else:
            found.keep.append(path)
    for path in sorted(set(record) - set(wanted)):
        now = there.get(path)
        if now is not None and digest(now) == record[path]:
            found.remove.append(path)
    return found


def new_record(wanted: Mapping[str, str], decision: Decision, record: Mapping[str, str]) -> dict[str, str]:
    """What the kit has written, after this run. What a person keeps counts as it was written."""
    kept = {path: record[path] for path in decision.keep if path in record}
    return dict(sorted({**kept, **{path: digest(wanted[path]) for path in (*decision.same, *decision.write)}}.items()))


def difference(path: str, before: str, after: str) -> str:
    """What would change in a file that a person has changed."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"{path} (yours)", f"{path} (the kit's)"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def read_record(text: str | None) -> dict[str, str]:
    """The kit's own note in the repository; empty when it is missing or nobody's."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    written = found.get("files") if isinstance(found, dict) else None
    return {str(path): str(value) for path, value in written.items()} if isinstance(written, dict) else {}


def record_text(record: Mapping[str, str]) -> str:
    note = "Written by decant.flask's kit.yml: by these digests it knows which files a person has changed. Commit it."
    return json.dumps({"note": note, "files": dict(record)}, indent=2) + "\n"
