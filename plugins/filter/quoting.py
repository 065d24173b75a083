# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters for values that end up in another language's file: .env, a unit, nginx, Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.decant.flask.plugins.module_utils import envfile
from ansible_collections.decant.flask.plugins.plugin_utils import contract, locking, plans, settings, steps


def dotenv(values: Mapping[str, Any]) -> str:
    """The text of a .env file: sorted, quoted for systemd, python-dotenv and a shell alike."""
    try:
        return envfile.render(settings.plain(values))
    except envfile.EnvFileError as error:
        raise AnsibleFilterError(str(error)) from error


def env_salt(text: str) -> str:
    """The key under which a host digests the variables that it has (see the module host_state)."""
    return plans.salt(str(text))


def sqlite_path(url: str) -> str:
    """The absolute file of a SQLAlchemy SQLite URL; empty for any other database."""
    path = contract.sqlite_path(str(url)) or ""
    return path if path.startswith("/") else ""


def systemd_value(value: Any) -> str:
    """One word of a unit file: % doubled, quoted when it has blanks, quotes or backslashes."""
    text = str(value).replace("%", "%%")
    if any(ord(c) < 32 for c in text):
        raise AnsibleFilterError(f"{text!r} has a control character, which a unit file cannot hold on one line")
    if text and not any(c in text for c in " \t\"'\\;$"):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def nginx_value(value: Any) -> str:
    """One argument of an nginx directive, quoted when it needs to be."""
    text = str(value)
    if any(ord(c) < 32 for c in text):
        raise AnsibleFilterError(f"{text!r} has a control character, which an nginx directive cannot hold")
    if text and not any(c in text for c in " \t\"'\\;{}#$"):
        return text
    if "$" in text:
        raise AnsibleFilterError(f"'{text}' has a $, which nginx would read as a variable")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def to_python(value: Any) -> str:
    """A value as a Python literal."""
    return repr(settings.plain(value))


def probe_words(options: Mapping[str, Any]) -> list[str]:
    """The command line of decant-probe: a mapping becomes one option per item, with JSON values for --json."""
    words = []
    for name, value in settings.plain(options).items():
        if not isinstance(value, dict):
            words += [f"--{name}", str(value)]
            continue
        for key, item in sorted(value.items()):
            words += [f"--{name}", f"{key}={json.dumps(item)}" if name == "json" else f"{key}:{item}"]
    return words


def release_line(release: Mapping[str, Any]) -> str:
    """One release as a line of a list: id, outcome, version, commit, age, schema."""
    seconds = release["age_seconds"]
    age = (
        "?"
        if seconds is None
        else f"{seconds // 86400} d"
        if seconds >= 172800
        else f"{seconds // 3600} h {seconds % 3600 // 60} min"
    )
    mark = "* " if release["current"] else "  "
    words = [
        release["id"],
        release["outcome"],
        release["version"],
        release["commit"],
        age,
        f"schema {release['schema'] or 'unknown'}",
    ]
    return mark + "  ".join(word for word in words if word) + (f"  ({release['reason']})" if release["reason"] else "")


def migration_lines(done: Mapping[str, Any]) -> list[str]:
    """What a migration did, as lines: the revisions that ran, what they lost, and the backup that was taken before."""
    lines = [f"{item['revision']}  {item['title']}".strip() for item in done.get("pending", [])]
    lines += [f"destructive, and allowed: {text}" for text in done.get("destructive", [])]
    return [*lines, f"backup: {done.get('backup') or 'none, the database was empty or backups are off'}"]


def backup_line(record: Mapping[str, Any]) -> str:
    """One backup as a line of a list: id, time, revision, size, the release that took it."""
    size = f"{int(record['bytes']) / 1024:.0f} KiB"
    revision = ",".join(record.get("revision") or []) or "none"
    return f"{record['id']}  {record['at']}  schema {revision}  {size}  of release {record.get('release') or 'unknown'}"


def lock_line(record: Mapping[str, Any]) -> str:
    """Whose a lock is, as a line."""
    return locking.note(record) if record else "there was no lock"


def hook_paths(hooks: Mapping[str, str], place: str) -> dict[str, str]:
    """Absolute paths of the user's own task files; relative ones start from the inventory's directory."""
    return steps.hook_paths(settings.plain(hooks), str(place))


def switch_steps(hosts: list[str], wanted: list[Any]) -> list[list[str]]:
    """The hosts of each step in which a fleet switches."""
    return steps.steps([str(host) for host in hosts], settings.plain(wanted))


def traffic_worse(after: Mapping[str, Any], before: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    """Why a step must be taken back; empty when it may stay."""
    return steps.worse(before, after, settings.plain(limits))


class FilterModule:
    """Makes the filters known as decant.flask.<name>."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "backup_line": backup_line,
            "dotenv": dotenv,
            "env_salt": env_salt,
            "hook_paths": hook_paths,
            "lock_line": lock_line,
            "migration_lines": migration_lines,
            "nginx_value": nginx_value,
            "probe_words": probe_words,
            "release_line": release_line,
            "sqlite_path": sqlite_path,
            "switch_steps": switch_steps,
            "systemd_value": systemd_value,
            "to_python": to_python,
            "traffic_worse": traffic_worse,
        }
