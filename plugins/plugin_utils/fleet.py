# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A fleet's status as pure functions: what each host says of itself becomes one row, the rows one table, and what is not
as it should be one sentence each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = (
    "host",
    "release",
    "version",
    "age",
    "schema",
    "env",
    "unit",
    "lock",
    "health",
    "backup",
    "drift",
)
# What is known of a host, in the order of the JSON; null where it is not.
KEYS = (
    "host",
    "state",
    "release",
    "version",
    "commit",
    "age_seconds",
    "live_at",
    "schema",
    "env",
    "unit",
    "lock",
    "health",
    "timer",
    "backup",
    "drift",
    "history",
)
NOTHING = "-"
SHORT = 8  # digits of a hash that tell two apart


def age(seconds: int | None) -> str:
    """How long ago, as a person says it."""
    if seconds is None:
        return "?"
    if seconds >= 172800:
        return f"{seconds // 86400} d"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


# --- one host ------------------------------------------------------------------------------------


def row(host: str, found: Mapping[str, Any], now: str) -> dict[str, Any]:
    """All that is known of one host.

    :param found: the registered answer of the module status; empty, or with `unreachable` or `msg`, when there is none.
    :param now: the time of the report, as layout.now() writes it.
    """
    status = found.get("status")
    if not status:
        away = bool(found.get("unreachable"))
        verb = "cannot be reached" if away else "cannot be read"
        said = f"{host} {verb}: {sentence(reason(str(found.get('msg') or '')))}"
        return {**dict.fromkeys(KEYS), "host": host, "state": "unreachable" if away else "unreadable", "drift": [said]}
    return {
        "host": host,
        "state": "serving" if status["id"] else "empty",
        "release": status["id"],
        "version": version(status["version"], status["commit"]),
        "commit": status["commit"],
        "age_seconds": status["age_seconds"],
        "live_at": status["live_at"],
        "schema": status["schema"],
        "env": status["parts"]["env"][:SHORT],
        "unit": status["parts"]["unit"][:SHORT],
        "lock": expiring(status["lock"], now),
        "health": status["health"],
        "timer": status["timer"],
        "backup": status["backup"],
        "drift": drift(host, status),
        "history": status["history"],
    }


def reason(text: str) -> str:
    """Of a message the words that tell: those of ssh, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "an earlier step of this run failed on it"
    return "ssh: " + lines[-1].split("ssh: ")[-1] if "ssh: " in lines[-1] else lines[-1]


def sentence(text: str) -> str:
    """With one full stop."""
    return text.rstrip(". ") + "."


def version(name: str, commit: str) -> str:
    """Branch or tag with the commit; the commit alone where the version names nothing else."""
    if not name or (commit and name.startswith(commit)):
        return commit[:7]
    return f"{name} {commit[:7]}".strip()


def expiring(lock: Mapping[str, Any] | None, now: str) -> dict[str, Any] | None:
    """A lock with whether its time is over."""
    return None if lock is None else {**lock, "expired": bool(lock["expires"]) and str(lock["expires"]) <= now}


def drift(host: str, status: Mapping[str, Any]) -> list[str]:
    """What is not as it should be on a host, a sentence each."""
    release = status["id"]
    if not release:
        return [f"{host} serves no release."]
    found = [f"{host}: {sentence(text)}" for text in status["drift"]]
    others = [other for other in status["enabled"] if other != release]
    if release not in status["enabled"]:
        found.append(f"{host} serves {release}, and a boot would start {' and '.join(others) or 'nothing'}.")
    elif others:
        found.append(f"{host} serves {release}, and a boot would start {' and '.join(others)} beside it.")
    if not status["running"]:
        found.append(f"{host}: the instance of {release} is not running, or its socket is not.")
    found += [f"{host}: {other} runs as well, and no drain will stop it." for other in status["undrained"]]
    if status["outcome"] not in ("live", "unfinished"):  # without a record that is said already
        found.append(f"{host} serves {release}, and its record says {status['outcome']}: a switch was cut short.")
    found += [
        f"{host}: {note} is left of a run that was killed before its files took effect." for note in status["notes"]
    ]
    found += schema_drift(host, release, status["schema"])
    if status["health"] and not status["health"]["healthy"]:
        found.append(f"{host} is not healthy: {sentence(status['health']['says'].removeprefix('unhealthy: '))}")
    return found


def schema_drift(host: str, release: str, schema: Mapping[str, Any] | None) -> list[str]:
    """The database against the migrations of the release that serves."""
    if schema is None:
        return []
    if schema["error"]:
        return [f"{host}: the revision of the database cannot be read: {sentence(schema['error'])}"]
    if sorted(schema["now"]) == sorted(schema["heads"]):
        return []
    return [
        f"{host}: the database is at {listed(schema['now'])}, and the head of {release} is {listed(schema['heads'])}."
    ]


def listed(names: Iterable[str]) -> str:
    """Revisions, or that there is none."""
    return ", ".join(names) or "none"


# --- the fleet -----------------------------------------------------------------------------------


def report(app: str, found: Mapping[str, Mapping[str, Any]], now: str) -> dict[str, Any]:
    """All rows, and what is wrong between them.

    :param found: host -> the registered answer of the module status, in the order of the inventory.
    """
    rows = [row(host, answer, now) for host, answer in found.items()]
    fleet = disagreement(rows)
    return {
        "app": app,
        "at": now,
        "hosts": rows,
        "fleet": fleet,
        "drifts": len(fleet) + sum(len(r["drift"]) for r in rows),
    }


def disagreement(rows: list[dict[str, Any]]) -> list[str]:
    """Hosts that serve different releases."""
    serving: dict[str, list[str]] = {}
    for entry in rows:
        if entry.get("release"):
            serving.setdefault(entry["release"], []).append(entry["host"])
    if len(serving) < 2:
        return []
    parts = [f"{release} on {', '.join(hosts)}" for release, hosts in sorted(serving.items())]
    return [f"The hosts serve different releases: {'; '.join(parts)}."]


def cells(entry: Mapping[str, Any]) -> list[str]:
    """A row as the table shows it."""
    drifts = str(len(entry["drift"]) or "none")
    if entry["state"] in ("unreachable", "unreadable"):
        return [entry["host"], entry["state"], *[NOTHING] * (len(COLUMNS) - 3), drifts]
    serves = entry["state"] == "serving"
    return [
        entry["host"],
        entry["release"] or "none",
        entry["version"] or NOTHING,
        age(entry["age_seconds"]) if serves else NOTHING,
        schema_cell(entry["schema"]),
        entry["env"] or NOTHING,
        entry["unit"] or NOTHING,
        lock_cell(entry["lock"]),
        health_cell(entry["health"], entry["timer"]),
        str(entry["backup"]["at"]) if entry["backup"] else NOTHING,
        drifts,
    ]


def schema_cell(schema: Mapping[str, Any] | None) -> str:
    """The revision, and the head where it is another one."""
    if schema is None:
        return NOTHING
    if schema["error"]:
        return "unknown"
    at_head = sorted(schema["now"]) == sorted(schema["heads"])
    return listed(schema["now"]) + (" (head)" if at_head else f", head {listed(schema['heads'])}")


def lock_cell(lock: Mapping[str, Any] | None) -> str:
    """Who holds the lock, and until when."""
    if lock is None:
        return NOTHING
    if not lock["owner"]:
        return "unreadable"
    until = f", until {lock['expires']}" if lock["expires"] else ""
    return f"{lock['owner']} since {lock['since']}{until}{' (expired)' if lock['expired'] else ''}"


def health_cell(health: Mapping[str, Any] | None, timer: Mapping[str, Any]) -> str:
    """The verdict of now, and how the timer's last probe ended."""
    verdict = NOTHING if health is None else "healthy" if health["healthy"] else "unhealthy"
    if not timer["active"]:
        return f"{verdict}, timer off"
    if not timer["result"]:
        return f"{verdict}, timer not yet"
    return f"{verdict}, timer {timer['result']} {timer['seconds_ago']} s ago"


def flat(text: Any) -> str:
    """Text of a host or of a person on one line, without what a terminal would obey."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", str(text)).strip()


def aligned(rows: list[list[str]]) -> list[str]:
    """Lines whose columns begin below each other."""
    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in rows]


def text(found: Mapping[str, Any]) -> str:
    """The report as a person reads it: the table, the messages of locks, the drifts, the histories."""
    rows = found["hosts"]
    lines = [f"{found['app']} at {found['at']}", ""]
    lines += aligned([list(COLUMNS), *[[flat(cell) for cell in cells(entry)] for entry in rows]])
    locked = [(entry["host"], entry["lock"]) for entry in rows if entry.get("lock") and entry["lock"]["message"]]
    lines += [f"\n{host} is locked by {flat(lock['owner'])}: {flat(lock['message'])}" for host, lock in locked]
    sentences = [*found["fleet"], *[line for entry in rows for line in entry["drift"]]]
    if sentences:
        lines += ["", "drift:", *[f"  {number}. {flat(line)}" for number, line in enumerate(sentences, 1)]]
    for entry in rows:
        if entry.get("history"):
            lines += ["", f"history of {entry['host']}:"]
            lines += [f"  {line}" for line in aligned([event_cells(event) for event in entry["history"]])]
    return "\n".join(lines)


def event_cells(event: Mapping[str, Any]) -> list[str]:
    """A line of deploys.jsonl as the history shows it."""
    seconds, previous = event.get("seconds"), event.get("previous")
    more = [f"after {previous}"] if previous else []
    more += [f"in {seconds} s"] if seconds is not None else []
    more += [f"{event['phase']}: {event.get('reason', '')}"] if event.get("phase") else []
    known = [str(event.get(key) or NOTHING) for key in ("at", "event", "outcome", "release", "who")]
    return [flat(cell) for cell in (*known, "; ".join(more))]
