# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters for values that end up in another language's file: .env, a unit, nginx, Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.decant.flask.plugins.module_utils import envfile
from ansible_collections.decant.flask.plugins.plugin_utils import contract, fleet, plans, settings


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
    mark = "* " if release["current"] else "  "
    words = [
        release["id"],
        release["outcome"],
        release["version"],
        release["commit"],
        fleet.age(release["age_seconds"]),
        f"schema {release['schema'] or 'unknown'}",
    ]
    return mark + "  ".join(word for word in words if word) + (f"  ({release['reason']})" if release["reason"] else "")


class FilterModule:
    """Makes the filters known as decant.flask.<name>."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "dotenv": dotenv,
            "env_salt": env_salt,
            "nginx_value": nginx_value,
            "probe_words": probe_words,
            "release_line": release_line,
            "sqlite_path": sqlite_path,
            "systemd_value": systemd_value,
            "to_python": to_python,
        }
