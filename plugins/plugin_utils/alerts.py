# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who is told of a problem: what health_alerts must be like, and where a database is that a host watches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")
URL = re.compile(r"https?://[^\s/]+(/\S*)?")
# Kind -> (what it needs, what it may have).
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "webhook": (("url",), ()),
    "slack": (("url",), ()),
    "mattermost": (("url",), ()),
    "pagerduty": (("routing_key",), ("url",)),
    "email": (("to",), ("from",)),
    "command": (("command",), ()),
}
EXAMPLE = '{name: team, kind: webhook, url: "{{ vault_alert_url }}"}'
PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}


def problems(v: Mapping[str, Any]) -> list[str]:
    """What is wrong with health_alerts and the checks' inputs. URLs and keys are secrets and in no sentence."""
    found = []
    path = str(v.get("health_ready_path") or "")
    if path and not re.fullmatch(r"/[!#%-~]*", path):
        found.append(
            f"health_ready_path is '{path}'. Write a URL path that starts with a slash, for example '/api/ready', or leave it empty."
        )
    base = str(v.get("health_runbook_url") or "")
    if base and not URL.fullmatch(base):
        found.append(
            f"health_runbook_url is '{base}'. Write the beginning of a URL, for example https://wiki.example.org/runbooks."
        )
    for name in ("health_disk_free_percent", "health_inodes_free_percent", "health_memory_percent"):
        if isinstance(v.get(name), int) and v[name] > 100:
            found.append(f"{name} is {v[name]}. Write a share from 0 to 100, in percent.")
    seen = set()
    for number, entry in enumerate(v.get("health_alerts") or [], 1):
        place = f"entry {number} of health_alerts"
        if not isinstance(entry, Mapping):
            found.append(f"{place} is no mapping. Write for example {EXAMPLE}.")
            continue
        name, kind = str(entry.get("name") or ""), str(entry.get("kind") or "")
        if not NAME.fullmatch(name):
            found.append(
                f"{place} has the name '{name}'. Use lower-case letters, digits, dashes and underscores, for example team."
            )
        elif name in seen:
            found.append(f"health_alerts has '{name}' twice. Each receiver needs a name of its own.")
        seen.add(name)
        if kind not in KINDS:
            found.append(f"{place} has the kind '{kind}', which is not one of {', '.join(KINDS)}.")
            continue
        needed, more = KINDS[kind]
        for key in needed:
            if not entry.get(key):
                found.append(f"{place} ({kind}) has no {key}. Write for example {EXAMPLE}.")
        for key in sorted(set(entry) - {"name", "kind", *needed, *more}):
            found.append(
                f"{place} ({kind}) has '{key}', which it does not know: {', '.join(('name', 'kind', *needed, *more))}."
            )
        if entry.get("url") and not URL.fullmatch(str(entry["url"])):
            found.append(f"{place} ({kind}) has a url that is none. Write https://host/path.")
        if (
            kind == "email"
            and entry.get("to")
            and not re.fullmatch(r"[^\s@,]+@[^\s@,]+(, ?[^\s@,]+@[^\s@,]+)*", str(entry["to"]))
        ):
            found.append(
                f"{place} (email) is to '{entry['to']}'. Write addresses with commas between them, for example ops@example.org."
            )
        if kind == "command" and entry.get("command"):
            words = entry["command"]
            if not isinstance(words, list) or not str(words[0]).startswith("/"):
                found.append(
                    f"{place} (command) is no list that begins with an absolute path. Write for example [/usr/local/bin/tell]."
                )
    return found


def database_place(url: str) -> dict[str, Any]:
    """Where a database answers: kind (file, unix, tcp) and path, or host and port. Nothing of it is a secret; empty when
    the URL does not say.

    :param url: SQLAlchemy's URL of the database.
    """
    from .contract import sqlite_path  # which calls problems()

    path = sqlite_path(url)
    if path is not None:
        return {"kind": "file", "path": path} if path.startswith("/") else {}
    try:
        parts = urlsplit(url)
        default = PORTS.get(parts.scheme.partition("+")[0])
        port = parts.port or default
    except ValueError:
        return {}
    if default is None:
        return {}
    query = dict(re.findall(r"(?:^|&)(host|port)=([^&]*)", parts.query))
    host = parts.hostname or query.get("host", "").replace("%2F", "/") or "localhost"
    port = int(query["port"]) if query.get("port", "").isdigit() else port
    if host.startswith("/"):
        return {"kind": "unix", "path": f"{host}/.s.PGSQL.{port}"}
    return {"kind": "tcp", "host": host, "port": port}
