# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host has of a backend, read and never changed: for the modules that plan, list, choose and report."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import time
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils import database, envfile
from ansible_collections.decant.flask.plugins.module_utils.host import (
    CommandError,
    active_instances,
    enabled_instances,
    secret_values,
    systemctl,
)
from ansible_collections.decant.flask.plugins.module_utils.layout import (
    SECRETS_FILE,
    Layout,
    file_digest,
    seconds_since,
)

EXCERPT_CHARS = 300


def current_state(layout: Layout) -> dict[str, Any]:
    """The release that serves, and whether the host still has what its manifest says."""
    release_id = layout.current_id()
    if not release_id:
        return {"id": "", "manifest": {}, "intact": False, "drift": [], "running": False, "enabled": []}
    manifest = layout.manifest(release_id)
    folder = layout.release(release_id)
    drift = []
    if not manifest:
        drift.append("release.json is missing or unreadable")
    for path, wanted in sorted(manifest.get("files", {}).items()):
        if file_digest(path) != wanted:
            drift.append(f"{path} is not what the release wrote")
    env_path = f"{folder}/{SECRETS_FILE}"
    if os.path.exists(env_path) and stat.S_IMODE(os.stat(env_path).st_mode) != 0o640:
        drift.append(f"{env_path} has mode {stat.S_IMODE(os.stat(env_path).st_mode):04o}, not 0640")
    if not os.path.exists(f"{folder}/venv/bin/python"):
        drift.append(f"{folder}/venv is gone or broken")
    running = all(
        systemctl("is-active", unit, check=False) == "active"
        for unit in (layout.service_unit(release_id), layout.socket_unit(release_id))
    )
    enabled = enabled_instances(layout)
    return {
        "id": release_id,
        "manifest": manifest,
        "intact": not drift,
        "drift": drift,
        "running": running,
        "enabled": enabled,
    }


def undrained(layout: Layout, current: str) -> list[str]:
    """Ids of the instances other than the current one that run, and that no drain is about to stop."""
    found = []
    for release_id in active_instances(layout):
        unit = layout.drain_unit(release_id)
        stopping = [systemctl("is-active", f"{unit}.{kind}", check=False) for kind in ("timer", "service")]
        if release_id != current and not {"active", "activating"} & set(stopping):
            found.append(release_id)
    return found


def describe(layout: Layout, release_id: str) -> dict[str, Any]:
    """One line of the list."""
    record = layout.manifest(release_id)
    source = record.get("source", {})
    staged = time.strptime(release_id[:16], "%Y%m%dT%H%M%SZ") if re.match(r"\d{8}T\d{6}Z", release_id) else None
    age = seconds_since(time.strftime("%Y-%m-%dT%H:%M:%SZ", staged)) if staged else None
    return {
        "id": release_id,
        "outcome": record.get("outcome", "unfinished"),
        "version": source.get("version", ""),
        "commit": (record.get("parts", {}).get("commit") or source.get("revision", ""))[:12],
        "age_seconds": age,
        "schema": ",".join(record.get("migration", {}).get("after", [])),
        "reason": record.get("reason", ""),
        "live_at": record.get("live_at", ""),
        "current": release_id == layout.current_id(),
    }


def database_revision(layout: Layout, user: str, current: str) -> list[str] | None:
    """The revisions that the database has now, as the release that serves reads them; None for one without migrations."""
    if "migration" not in layout.manifest(current):
        return None
    return database.show(layout, user, current)["now"]


def migrates(layout: Layout, release_id: str) -> bool:
    """Whether a release has migrations that this host can look at. Of the hosts that share a database one alone migrates
    and records it, so the code is asked as well."""
    record = layout.manifest(release_id)
    folder = f"{layout.code(release_id, record.get('subdir', ''))}/{record.get('migrate_directory', 'migrations')}"
    program = f"{layout.root}/bin/decant-database"
    return "migration" in record or (os.path.exists(f"{folder}/env.py") and os.path.exists(program))


def schema(layout: Layout, user: str, release_id: str) -> dict[str, Any] | None:
    """The revisions that the database has and those that the release ends at; `error` says why they cannot be read.

    :returns: now, heads, error; None for a release without migrations.
    """
    if not release_id or not migrates(layout, release_id):
        return None
    try:
        found = database.show(layout, user, release_id)
        return {"now": sorted(found["now"]), "heads": sorted(found["heads"]), "error": ""}
    except CommandError as error:
        why = last_words(error.output)
    except subprocess.TimeoutExpired as error:
        why = f"no answer within {error.timeout:.0f} s"
    except (OSError, ValueError, KeyError, IndexError) as error:
        why = str(error) or "decant-database show printed no result"
    return {"now": [], "heads": [], "error": envfile.mask(why, secret_values(layout, release_id))}


def last_words(text: str) -> str:
    """The line of a failed program's output that says why: its last exception, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"(?:\w+\.)*\w*(?:Error|Exception)\b|decant-database: ", line)]
    return (told or lines or ["it printed nothing"])[-1][:EXCERPT_CHARS]
