# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Compares what is wanted with what a host has, refuses what cannot work there, and says what a deploy will do."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.decant.flask.plugins.module_utils import envfile
from ansible_collections.decant.flask.plugins.plugin_utils import (
    contract,
    locks,
    plans,
    sandbox,
    settings,
    sources,
)


class ActionModule(ActionBase):
    """Takes host (the answer of host_state), environment (the wanted .env) and source (when a release is wanted)."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        v = settings.load(task_vars or {}, self._templar, self._loader)
        arguments = settings.plain(self._task.args)
        host, source, environment = arguments["host"], arguments.get("source") or {}, arguments["environment"]
        problems = plans.host_problems(v, host, source, arguments["roles"])
        if problems:
            listing = "\n".join(f"{number}. {text}" for number, text in enumerate(problems, 1))
            raise AnsibleActionFail(
                f"{task_vars['inventory_hostname']} cannot take this deploy; nothing on it was changed.\n{listing}"
            )
        result["changed"] = False
        result["plan"] = make(v, host, source, environment, history(v, host, source)) if source else unplanned(host)
        return result


def history(v: dict[str, Any], host: dict[str, Any], source: dict[str, Any]) -> dict[str, Any] | None:
    """The commits between the release that serves and the one that is wanted; None where there is nothing to compare.

    git is asked only when the commit is another one.
    """
    current = host["current"]
    old = current["manifest"].get("parts", {}).get("commit", "")
    if source["kind"] != "git" or not current["manifest"] or old == source["commit"]:
        return None
    mirror = sources.mirror_of(v["app_repo"], os.path.expanduser(v["release_cache"]))
    return {"old": old, "found": sources.commits_between(mirror, old, source["commit"]) if old else None}


def make(
    v: dict[str, Any],
    host: dict[str, Any],
    source: dict[str, Any],
    environment: dict[str, Any],
    commits: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The plan for one host.

    :param commits: what history() found.
    """
    workers, threads = plans.concurrency(v, host["cpus"])
    text = envfile.render(environment)
    lock = locks.lock_hash(source["lock"], host["python_version"], v["venv_installer"])
    env_hash = hashlib.sha256(text.encode()).hexdigest()
    unit_hash = plans.unit_hash(v, workers, threads, templates())
    parts = {"source": source["digest"], "commit": source["commit"], "lock": lock, "env": env_hash, "unit": unit_hash}
    fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    reasons = plans.reasons(host["current"], fingerprint, parts)
    plan = {
        "needed": bool(reasons),
        "reasons": reasons,
        "fingerprint": fingerprint,
        "parts": parts,
        "lock": lock,
        "venv_known": lock in host["venvs"],
        "workers": workers,
        "threads": threads,
        "secret_keys": sorted(secret_keys(v)),
        "env_changes": plans.env_changes(environment, foreign(v, host["env_digests"]), plans.salt(text)),
        "current": host["current"]["id"],
        # Equal for hosts that share a database. Keyed like the digests of the environment: a URL may hold a password.
        "database": "sqlite"
        if str(environment["DATABASE_URL"]).startswith("sqlite")
        else envfile.digest(str(environment.get("SECRET_KEY", "")), "DATABASE_URL", str(environment["DATABASE_URL"])),
        "running": host["current"]["running"],
        "tidy": not reasons and plans.unfinished(host),
    }
    return {**plan, "lines": plans.lines(v, host, source, plan, commits)}


def foreign(v: dict[str, Any], digests: dict[str, str]) -> dict[str, str]:
    """The host's variables that the inventory decides: not the key that the host makes for itself."""
    own = "SECRET_KEY" if v.get("dotenv_secret_key_generated") else ""
    return {name: digest for name, digest in digests.items() if name != own}


def secret_keys(v: dict[str, Any]) -> set[str]:
    """Names of the variables whose values no log may show: those of app_secrets, and a URL that holds the database's password."""
    built = {"DATABASE_URL"} if contract.builds_database_url(v) else set()
    generated = {"SECRET_KEY"} if v.get("dotenv_secret_key_generated") else set()
    return set(v.get("app_secrets") or {}) | built | generated


def unplanned(host: dict[str, Any]) -> dict[str, Any]:
    """The plan of a play that brings no source: what serves goes on serving, and runs."""
    current = host["current"]
    return {
        "needed": False,
        "current": current["id"],
        "running": current["running"] or not current["id"],
        "tidy": False,
    }


def templates() -> dict[str, str]:
    """Name -> sha256 of what a release's units are made from, besides the settings: a changed template is a changed unit."""
    found = {}
    for role in ("gunicorn", "migrate"):
        folder = settings.role_file(role, "templates")
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as stream:
                found[f"{role}/{name}"] = hashlib.sha256(stream.read()).hexdigest()
    with open(settings.role_file("health", "vars/main.yml"), encoding="utf-8") as stream:
        variables = yaml.load(stream, Loader=settings.YAML_LOADER)
    for name in ("__health_words", "__health_gate_command"):
        found[name] = hashlib.sha256(json.dumps(variables[name]).encode()).hexdigest()
    everything = [sandbox.lines("/x"), sandbox.lines("/x", ["::1"], sandbox.GIVEN_BACK, backups=True)]
    found["sandbox"] = hashlib.sha256(json.dumps(everything).encode()).hexdigest()
    return found
