# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a host serves, and everything that shows whether it is as it should be, read in one call."""

from __future__ import annotations

import glob
import json
import os
import shlex
import subprocess
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils.database import backups
from ansible_collections.decant.flask.plugins.module_utils.host import run, systemctl, unit_properties
from ansible_collections.decant.flask.plugins.module_utils.layout import SYSTEMD_UNITS, Layout
from ansible_collections.decant.flask.plugins.module_utils.readers import current_state, describe, schema, undrained

LOCK_KEYS = ("owner", "host", "pid", "since", "expires", "message", "event")
BACKUP_KEYS = ("id", "at", "kind", "revision", "bytes", "dialect")
# Of the gate's command line: how often and how long it asks. Here one answer is enough.
GATE_OPTIONS = ("--unix", "--successes", "--interval", "--deadline", "--pid")
PROBE_SECONDS = 60


def read_object(path: str) -> dict[str, Any] | None:
    """A JSON object in a file; None when there is no such file, empty when it holds something else."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def chosen(record: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The named keys of a record, those that it lacks as empty text."""
    return {key: record.get(key, "") for key in keys}


def lock(layout: Layout) -> dict[str, Any] | None:
    """Who keeps deploys away from this host; None when nobody does."""
    record = read_object(layout.lock_file)
    return None if record is None else chosen(record, LOCK_KEYS)


def last_backup(layout: Layout) -> dict[str, Any] | None:
    """The record of the newest backup; None when there is none."""
    dated = [record for record in backups(layout) if isinstance(record.get("at"), str)]
    return chosen(dated[-1], BACKUP_KEYS) if dated else None


def probe_command(layout: Layout, release_id: str) -> list[str]:
    """The probe as the health timer runs it: the words of the release's own gate, on the socket that nginx uses.

    The unit says them on every host, also where the inventory has other settings by now; empty when it does not.
    """
    try:
        with open(f"{SYSTEMD_UNITS}/{layout.service_unit(release_id)}", encoding="utf-8") as stream:
            gate = next((line for line in stream if line.startswith("ExecStartPost=") and "decant-probe" in line), "")
        words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(gate.partition("=")[2])]
    except (OSError, ValueError):
        return []
    if len(words) < 3:
        return []
    kept, options = [], words[3:]  # python3 -I decant-probe
    for name, value in zip(options[::2], options[1::2]):
        kept += [] if name in GATE_OPTIONS else [name, value]
    probe = f"{layout.root}/bin/decant-probe"
    return ["/usr/bin/python3", "-I", probe, "--unix", f"{layout.current}/gunicorn.sock", *kept]


def health(layout: Layout, user: str, release_id: str) -> dict[str, Any]:
    """One answer of the probe, now: whether it is healthy, and the line that the probe prints."""
    command = probe_command(layout, release_id)
    if not command:
        return {"healthy": False, "says": f"the unit of {release_id} names no probe"}
    try:
        done = run(command, user=user, check=False, timeout=PROBE_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        return {"healthy": False, "says": f"the probe cannot be run: {error}"}
    return {"healthy": done.returncode == 0, "says": (done.stdout.strip().splitlines() or ["no word"])[-1]}


def timer(layout: Layout) -> dict[str, Any]:
    """The health timer: whether it is active, how its last probe ended, and how many seconds ago."""
    unit = f"{layout.name}-health"
    found = unit_properties(f"{unit}.service", "Result", "ExecMainExitTimestampMonotonic")
    ended = int(found.get("ExecMainExitTimestampMonotonic") or 0)  # microseconds of the clock that starts with the host
    return {
        "active": systemctl("is-active", f"{unit}.timer", check=False) == "active",
        "result": found.get("Result", "") if ended else "",
        "seconds_ago": max(0, int(time.monotonic() - ended / 1e6)) if ended else None,
    }


def history(layout: Layout, count: int) -> list[dict[str, Any]]:
    """The last lines of the audit log, oldest first. A line that a full disk cut short is left out."""
    if count <= 0:
        return []
    found = []
    try:
        with open(layout.audit_log, encoding="utf-8", errors="replace") as stream:
            for line in stream.readlines()[-count:]:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    found.append(entry)
    except OSError:
        return []
    return found


def notes(layout: Layout) -> list[str]:
    """What killed runs wrote and did not bring into effect."""
    return sorted(os.path.basename(path) for path in glob.glob(f"{layout.root}/.pending-*"))


def page(layout: Layout) -> dict[str, Any]:
    """What decant-health has seen, as it says itself; empty when it has seen nothing yet."""
    config = f"/etc/decant/health/{layout.name}.json"
    try:
        program = ["/usr/bin/python3", "-I", f"{layout.root}/bin/decant-health", "view", "--config", config]
        found = json.loads(run(program, check=False, timeout=PROBE_SECONDS).stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    return found if isinstance(found, dict) else {}


def read_status(p: dict[str, Any]) -> dict[str, Any]:
    """All of it."""
    layout = Layout(p["name"], p["root"])
    current = current_state(layout)
    manifest = current.pop("manifest")
    release_id = current["id"]
    serves = bool(release_id)
    line = describe(layout, release_id) if serves else {}
    return {
        **current,
        "outcome": line.get("outcome", ""),
        "version": line.get("version", ""),
        "commit": line.get("commit", ""),
        "age_seconds": line.get("age_seconds"),
        "live_at": line.get("live_at", ""),
        "parts": {part: manifest.get("parts", {}).get(part, "") for part in ("env", "unit")},
        "undrained": undrained(layout, release_id) if serves else [],
        "notes": notes(layout),
        "schema": schema(layout, p["user"], release_id) if p["schema"] else None,
        "lock": lock(layout),
        "health": health(layout, p["user"], release_id) if serves else None,
        "timer": timer(layout),
        "backup": last_backup(layout),
        "history": history(layout, p["history"]),
    }


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "schema": {"type": "bool", "default": True},
    "history": {"type": "int", "default": 0},
    "page": {"type": "bool", "default": False},
}


def main(module: AnsibleModule) -> None:
    p = module.params
    more = {"view": page(Layout(p["name"], p["root"]))} if p["page"] else {}
    module.exit_json(changed=False, status=read_status(p), **more)
