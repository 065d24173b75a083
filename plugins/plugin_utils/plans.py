# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The decisions of a deploy as pure functions: what a host lacks, whether a release is needed and why, what will change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils import envfile

from . import revisions

MIB = 1024 * 1024
SHOWN_COMMITS = 20
INDENT = " " * 10
MIN_SYSTEMD = 249  # StopPropagatedFrom=
CREDENTIALS_SYSTEMD = 252  # Debian 12's; older ones know fewer forms of LoadCredential=
# Settings that change how a release is served, and so make another release. The drain is a property of the switch, the
# limits and permissions of a migration are properties of that one run.
UNIT_PREFIXES = ("gunicorn_", "migrate_")
UNIT_EXCEPT = (
    "gunicorn_drain_seconds",
    "migrate_enabled",
    "migrate_allow_destructive",
    "migrate_lock_timeout_seconds",
    "migrate_rehearse_postgresql",
    "migrate_statement_timeout_seconds",
)
UNIT_NAMES = (
    "app_name",
    "app_root",
    "app_user",
    "app_factory",
    "app_subdir",
    "app_shared_paths",
    "dotenv_delivery",
    "dotenv_secret_key_generated",
    "nginx_static_paths",
    "health_path",
    "health_expect_status",
    "health_expect_json",
    "health_headers",
    "health_host",
    "health_successes",
    "health_timeout_seconds",
    "health_deadline_seconds",
)


def concurrency(v: Mapping[str, Any], cpus: int) -> tuple[int, int]:
    """Workers and threads of a host: what the inventory says, else from its CPUs.

    workers = 2 x CPUs + 1 (gunicorn's own rule), at most gunicorn_workers_max; threads = 4 for gthread, 1 for all others.
    """
    workers = int(v["gunicorn_workers"] or min(2 * cpus + 1, int(v["gunicorn_workers_max"])))
    threads = int(v["gunicorn_threads"] or (4 if v["gunicorn_worker_class"] == "gthread" else 1))
    return workers, threads


def unit_hash(v: Mapping[str, Any], workers: int, threads: int, templates: Mapping[str, str]) -> str:
    """One hash over all that makes a release's units, apart from its id."""
    settings = {
        name: value
        for name, value in v.items()
        if name in UNIT_NAMES or (name.startswith(UNIT_PREFIXES) and name not in UNIT_EXCEPT)
    }
    # The gate's Host header is the first name unless health_host says otherwise.
    host = v.get("health_host") or [*(v.get("nginx_server_names") or []), ""][0]
    parts = [settings, workers, threads, dict(templates), host]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def reasons(current: Mapping[str, Any], fingerprint: str, parts: Mapping[str, str]) -> list[str]:
    """Why a new release is needed; empty when the one that serves is the one that is wanted."""
    if not current["id"]:
        return ["first release on this host"]
    if not current["intact"]:
        return list(current["drift"])
    manifest = current["manifest"]
    if manifest.get("fingerprint") == fingerprint:
        return []
    names = {
        "source": "source",
        "commit": "commit",
        "lock": "dependencies",
        "env": "environment",
        "unit": "unit settings",
    }
    before = manifest.get("parts", {})
    changed = [label for key, label in names.items() if before.get(key) != parts[key]]
    return [f"{', '.join(changed) or 'fingerprint'} changed"]


def unfinished(host: Mapping[str, Any]) -> bool:
    """Whether a killed run left a switch half recorded: the record itself, another release enabled at boot, or one that
    runs and that nothing will stop."""
    current = host["current"]
    others = set(current["enabled"]) - {current["id"]}
    return current["manifest"].get("outcome") != "live" or bool(others) or bool(host["undrained"])


def salt(text: str) -> str:
    """Key for the per-name digests of a .env. It comes from all of it, SECRET_KEY included, and is never stored or printed."""
    return hashlib.sha256(f"env digests\n{text}".encode()).hexdigest()


def env_changes(wanted: Mapping[str, Any], digests: Mapping[str, str], key: str) -> dict[str, list[str]]:
    """Names of the variables that a release adds, removes and changes."""
    new = {name: envfile.digest(key, name, envfile.as_text(name, value)) for name, value in wanted.items()}
    return {
        "added": sorted(set(new) - set(digests)),
        "removed": sorted(set(digests) - set(new)),
        "changed": sorted(name for name in set(new) & set(digests) if new[name] != digests[name]),
    }


def host_problems(
    v: Mapping[str, Any], host: Mapping[str, Any], source: Mapping[str, Any], roles: list[str]
) -> list[str]:
    """What a host has, or lacks, that this deploy cannot live with."""
    name, root, user = v["app_name"], v["app_root"], v["app_user"]
    found = []
    if host["systemd"] < MIN_SYSTEMD:
        found.append(f"systemd is {host['systemd']}; at least {MIN_SYSTEMD} is needed. Debian 12 and 13 have it.")
    if host["foreign_units"]:
        found.append(
            f"app_name '{name}' would shadow units of this host's own software: {', '.join(host['foreign_units'])}. Choose another app_name."
        )
    if v.get("dotenv_delivery") == "credential" and host["systemd"] < CREDENTIALS_SYSTEMD:
        found.append(
            f"systemd is {host['systemd']}, and dotenv_delivery: credential needs {CREDENTIALS_SYSTEMD}. Write dotenv_delivery: file."
        )
    account = host["account"]
    if account and account["home"] != root:
        found.append(
            f"user '{user}' exists with home {account['home']}, so it belongs to something else (a backend's user has home {root}). "
            "Set another app_name or app_user."
        )
    if "nginx" in roles:
        found += nginx_problems(v, host)
    if source:
        found += release_problems(v, host, source)
    return found


def nginx_problems(v: Mapping[str, Any], host: Mapping[str, Any]) -> list[str]:
    """Other web servers and sites on the host."""
    nginx = host["nginx"]
    found = []
    inputs = {str(v["nginx_listen_port"]): "nginx_listen_port", str(v.get("nginx_tls_port", 443)): "nginx_tls_port"}
    for port, holder in host["port_holders"].items():
        if holder not in ("", "nginx"):
            found.append(f"port {port} is held by '{holder}'. Stop it, or set {inputs[port]} to a free port.")
    found += [f"{text}. Remove that site, or change nginx_server_names." for text in nginx["conflicts"]]
    for port, path in nginx["default_servers"].items() if v["nginx_catch_all_enabled"] else ():
        found.append(
            f"{path} is already the default server of port {port}. Set nginx_catch_all_enabled: false to leave it "
            "in place (unknown host names then go to that site), or remove its default_server."
        )
    return found


def release_problems(v: Mapping[str, Any], host: Mapping[str, Any], source: Mapping[str, Any]) -> list[str]:
    """Python, database path and space."""
    found = []
    if not host["python_version"]:
        has = ", ".join(host["pythons"]) or "none"
        found.append(
            f"venv_python is '{v['venv_python']}', which does not run on this host. It has {has}. Install it, or correct venv_python."
        )
    if host["sqlite_trouble"]:
        found.append(f"DATABASE_URL: {host['sqlite_trouble']}. Keep the database under {v['app_root']}/shared.")
    needed = 2 * int(source["bytes"]) + 64 * MIB
    if host["free_bytes"] < needed:
        found.append(
            f"the file system of {v['app_root']} has {host['free_bytes'] // MIB} MiB free and this release needs {needed // MIB} MiB. "
            f"Free some space: journalctl --vacuum-size=200M, apt-get clean, or a smaller release_keep (now {v['release_keep']})."
        )
    return found


def lines(
    v: Mapping[str, Any],
    host: Mapping[str, Any],
    source: Mapping[str, Any],
    plan: Mapping[str, Any],
    commits: Mapping[str, Any] | None = None,
) -> list[str]:
    """The plan as a person reads it. `<id>` stands for the release's id, which all hosts agree on after their plans."""
    if not plan["needed"]:
        tidy = " (its instance is not running: it is started)" if not host["current"]["running"] else ""
        stray = (
            [f"restart   stops {names(v, host['undrained'])}, which nothing else would"] if host["undrained"] else []
        )
        return [f"{plan['current']} serves and is what is wanted: no new release{tidy}", *stray]
    what = source["version"] or source["origin"]
    subject = f" '{source['subject']}'" if source["subject"] else ""
    changes = [f"+{n}" for n in plan["env_changes"]["added"]]
    changes += [f"-{n}" for n in plan["env_changes"]["removed"]]
    changes += [f"~{n}" for n in plan["env_changes"]["changed"]]
    packages = " ".join(host["packages_missing"])
    venv = "known, reused" if plan["venv_known"] else f"new, built with {v['venv_installer']}"
    return [
        f"release   <id> (now: {plan['current'] or 'none'}): {'; '.join(plan['reasons'])}",
        f"source    {source['kind']} {what} at {source['revision'][:12]}{subject}",
        *commit_lines(commits),
        f"packages  {'to install: ' + packages if packages else 'all there'}",
        f"venv      {plan['lock']}: {venv}, Python {host['python_version']}",
        f".env      {' '.join(changes) or 'unchanged'}",
        *migration_lines(v, host, source),
        f"gunicorn  {plan['workers']} {v['gunicorn_worker_class']} workers, {plan['threads']} threads each; "
        f"gate: {v['health_successes']} x {v['health_expect_status']} from {v['health_path']}; then the switch",
        restart_line(v, host),
    ]


def names(v: Mapping[str, Any], releases: list[str]) -> str:
    """The instances of some releases."""
    return " and ".join(f"{v['app_name']}@{release}" for release in releases)


def restart_line(v: Mapping[str, Any], host: Mapping[str, Any]) -> str:
    """Which instances start and stop. What is decided only on the way, as a reload of nginx, is not said."""
    current = host["current"]
    stops = [*([current["id"]] if current["id"] and current["running"] else []), *host["undrained"]]
    if not stops:
        return f"restart   starts {v['app_name']}@<id>; stops nothing"
    return f"restart   starts {v['app_name']}@<id>; {v['gunicorn_drain_seconds']:g} s after the switch stops {names(v, stops)}"


def commit_lines(commits: Mapping[str, Any] | None) -> list[str]:
    """The commits between the release that serves and the one that is wanted."""
    if commits is None:
        return []
    old, found = commits["old"][:7], commits["found"]
    if found is None:
        why = f"the mirror of this controller does not have {old}" if old else "what serves was not made from git"
        return [f"commits   history not known: {why}"]
    brings, leaves = found["brings"], found["leaves"]
    lines = []
    if brings:
        since = f"since {old}" if not leaves else f"since the history parted from {old}"
        lines += [f"commits   {len(brings)} {since}:", *subjects(brings)]
    if leaves:
        back = "a rollback" if not brings else "and back"
        lines += [f"{INDENT if brings else 'commits   '}{back}: {len(leaves)} up to {old} left out:", *subjects(leaves)]
    return lines


def subjects(commits: list[str]) -> list[str]:
    """A line per commit, the newest ones."""
    more = [f"{INDENT}and {len(commits) - SHOWN_COMMITS} more"] if len(commits) > SHOWN_COMMITS else []
    return [*[f"{INDENT}{line}" for line in commits[:SHOWN_COMMITS]], *more]


def migration_lines(v: Mapping[str, Any], host: Mapping[str, Any], source: Mapping[str, Any]) -> list[str]:
    """What the migration will do. The revision of the database is known in check mode, on a host that serves."""
    if not v["migrate_enabled"]:
        return ["migrate   off (migrate_enabled)"]
    usual = "migrate   flask db upgrade, before the switch"
    schema, found = host.get("schema"), source.get("revisions")
    if schema is None:
        return [usual]
    if schema["error"]:
        return [f"{usual}; the revision of the database is not known: {schema['error']}"]
    now = ", ".join(schema["now"]) or "nothing"
    if found is None:
        return [f"{usual}; the database is at {now}, and the source's revisions cannot be read without running them"]
    left = revisions.pending(found, schema["now"])
    if left["foreign"]:
        return [
            f"migrate   the database is at {', '.join(left['foreign'])}, which this source does not have: the migration will refuse it"
        ]
    if not left["pending"]:
        return [f"migrate   nothing pending, the database is at {now}"]
    head = f"{usual}: {len(left['pending'])} pending, the database is at {now}:"
    return [head, *[f"{INDENT}{entry['revision']} {entry['subject']}".rstrip() for entry in left["pending"]]]
