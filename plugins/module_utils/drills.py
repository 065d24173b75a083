# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is only needed on a bad day, tried on a good one: a restore, a rollback, a database that is away, an alert.

Each drill leaves the host as it was, gets no traffic, and is held under the lock of deploys.
"""

from __future__ import annotations

import contextlib
import glob
import http.client
import json
import os
import re
import shutil
import socket
import tempfile
import time
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils import database, edge_answers
from ansible_collections.decant.flask.plugins.module_utils.host import (
    active_instances,
    journal,
    run,
    systemctl,
    unit_properties,
)
from ansible_collections.decant.flask.plugins.module_utils.layout import SYSTEMD_UNITS, Layout, atomic_write
from ansible_collections.decant.flask.plugins.module_utils.modules.releases import last_good
from ansible_collections.decant.flask.plugins.module_utils.readers import describe

START_SECONDS = 120
RESTORE_SECONDS = 900
DISK_FACTOR, MEMORY_FACTOR = 3, 15
ANSWER_SECONDS = 30
ALERT_SECONDS = 20
RUNTIME_UNITS = "/run/systemd/system"
SPOOL, QUEUE = "/var/lib/decant-health/{}/spool", "/var/lib/decant/health/{}/queue"  # decant-health's
# Nobody is there, and that is known at once: no file can be made in this directory. A port that nothing listens on may be out of reach of
# the sandbox (gunicorn_egress), where a connection is not refused but waits; it is for what has no socket of its own.
NOWHERE = {
    "sqlite": "sqlite:////proc/decant-nowhere/app.db",
    "postgresql+pg8000": "postgresql+pg8000://nobody@/nowhere?unix_sock=/proc/decant-nowhere/.s.PGSQL.5432",
    "postgresql": "{scheme}://nobody@/nowhere?host=/proc/decant-nowhere",
    "": "{scheme}://nobody@127.0.0.1:1/nowhere",
}


def room(record: dict[str, Any], folder: str) -> str:
    """Why a backup is not restored into a copy here: the drill must not take what the backend needs. Empty when there is room."""
    size = int(record.get("bytes") or 0)
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < DISK_FACTOR * size:
        return f"the copy of {size} bytes needs {DISK_FACTOR} times that on the file system of {folder}"
    if record.get("dialect") == "postgresql":  # its SQL is held in memory on the way
        with open("/proc/meminfo", encoding="utf-8") as stream:
            available = int(re.search(r"MemAvailable:\s+(\d+)", stream.read()).group(1)) * 1024
        if available < MEMORY_FACTOR * size:
            return f"the dump of {size} bytes may need {MEMORY_FACTOR} times that of memory"
    return ""


def restore(layout: Layout, user: str, release_id: str, backup_id: str) -> dict[str, Any]:
    """The newest backup restored into a copy: its revision, tables and rows."""
    if not backup_id:
        return {"error": "there is no backup"}
    record = next(one for one in database.backups(layout) if one["id"] == backup_id)
    for left in glob.glob(f"{layout.root}/shared/.drill-*"):  # of a drill that was killed
        shutil.rmtree(left, ignore_errors=True)
    if narrow := room(record, f"{layout.root}/shared"):
        return {"error": f"there is no room for it: {narrow}"}
    folder = tempfile.mkdtemp(prefix=".drill-", dir=f"{layout.root}/shared")
    try:
        copy = f"{folder}/{record['file']}"
        shutil.copyfile(f"{layout.root}/backups/{record['file']}", copy)
        for path in (folder, copy):
            shutil.chown(path, user, user)
        words = ("drill", copy, "--deadline", str(RESTORE_SECONDS))
        found = database.ask(layout, user, release_id, *words, timeout=RESTORE_SECONDS + 60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {**found, "expected": record.get("revision"), "backup": backup_id}


def rollback(layout: Layout, user: str, release_id: str) -> dict[str, Any]:
    """The release that a rollback would go to, started on its own socket and judged by its own gate; then stopped."""
    target = last_good([describe(layout, one) for one in layout.release_ids()], release_id)
    if not target:
        return {"target": ""}
    left = layout.manifest(target).get("migration", {}).get("after")
    here = database.show(layout, user, release_id)["now"] if left is not None else None
    if left is not None and sorted(left) != sorted(here or []):
        return {"target": target, "schema": {"database": here, "target": left}}
    units = [layout.socket_unit(target), layout.service_unit(target)]
    if target in active_instances(layout):
        return {"target": target, "health": "it runs, and is about to stop"}
    try:
        done = run(["systemctl", "start", *units], check=False, timeout=START_SECONDS)
        text = journal(units[1], 200, layout, target)
        verdicts = re.findall(r"^(?:un)?healthy.*$", text, re.MULTILINE)
        said = verdicts[-1] if verdicts else done.stdout.strip()
        return {"target": target, "health": said} if done.returncode == 0 else {"target": target, "error": said}
    finally:
        if layout.current_id() != target:  # a rollback that took the lock over, or was let in by hand, has gone there
            systemctl("stop", *units, check=False)
            systemctl("reset-failed", *units, check=False)


def drill_unit(text: str, environment_file: str, identifier: str) -> str:
    """A release's service as an instance of a drill: without its gate, its target and its socket, with another environment on top."""
    kept = [
        line
        for line in text.splitlines()
        if not re.match(r"(ExecStartPost|PartOf|Requires|WantedBy|Restart|SyslogIdentifier)=", line)
        and not (line.startswith("After=") and line.endswith(".socket"))
        and line != "[Install]"
    ]
    place = kept.index("[Service]") + 1
    last = max([n for n, line in enumerate(kept) if line.startswith("EnvironmentFile=")], default=place)
    kept.insert(last + 1, f"EnvironmentFile={environment_file}")
    kept.insert(place, f"SyslogIdentifier={identifier}")
    return "\n".join(kept) + "\n"


def nowhere(url: str) -> str:
    """A database of the same kind where there is none."""
    scheme = url.partition("://")[0] or "sqlite"
    return next(place for kind, place in NOWHERE.items() if scheme.startswith(kind)).format(scheme=scheme)


def outage(layout: Layout, release_id: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """The release that serves, started once more with a database that is nowhere, and asked how it is: what it answers there and what it
    answers where it serves, or that it did not start at all."""
    name = f"decant-drill-{layout.name}"
    unit, socket_unit = f"{name}.service", f"{name}.socket"
    place, environment = f"/run/{name}.sock", f"/run/{name}.env"
    url = database.environment(layout, release_id).get("DATABASE_URL", "")
    with open(f"{SYSTEMD_UNITS}/{layout.service_unit(release_id)}", encoding="utf-8") as stream:
        service = drill_unit(stream.read(), environment, name)
    written = {
        environment: f"DATABASE_URL={nowhere(url)}\n",
        f"{RUNTIME_UNITS}/{unit}": service,
        f"{RUNTIME_UNITS}/{socket_unit}": f"[Socket]\nListenStream={place}\nSocketMode=0600\nRemoveOnStop=yes\n",
    }
    serving = first_answer(layout.socket(release_id), path, headers)
    try:
        for where, text in written.items():
            atomic_write(where, text.encode(), 0o600)
        systemctl("daemon-reload")
        started = run(["systemctl", "start", socket_unit, unit], check=False, timeout=START_SECONDS).returncode == 0
        answer = first_answer(place, path, headers, unit) if started else 0
        # gunicorn says that it is up before its workers have loaded the app: one that does not load ends a moment later.
        if not answer and systemctl("is-active", unit, check=False) != "active":
            return {"started": False, "serving": serving}
        told = {found["fingerprint"] for found in database.served(journal(unit, 200, layout, release_id))}
        own = layout.manifest(release_id).get("migration", {}).get("fingerprint")
        return {"started": True, "status": answer, "serving": serving, "elsewhere": own not in told}
    finally:
        systemctl("stop", socket_unit, unit, check=False)
        systemctl("reset-failed", socket_unit, unit, check=False)
        for where in (*written, place):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(where)
        systemctl("daemon-reload", check=False)


def first_answer(place: str, path: str, headers: dict[str, str], unit: str = "") -> int:
    """The status that an instance answers first: its workers are still importing the app when systemd calls it started. 0 for none.

    :param unit: of an instance that may end without an answer.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        try:
            return int(edge_answers.get(edge_answers.Unix(place, ANSWER_SECONDS), path, headers)["status"])
        except (OSError, http.client.HTTPException):
            if unit and systemctl("is-active", unit, check=False) != "active":
                return 0
            time.sleep(0.2)
    return 0


def alerts(layout: Layout, release_id: str) -> dict[str, Any]:
    """A test told to every receiver, by the unit that tells alerts: receiver -> empty, or why it did not take it."""
    try:
        with open(f"/etc/decant/health/{layout.name}.receivers.json", encoding="utf-8") as stream:
            names = [target["name"] for target in json.load(stream)]
    except FileNotFoundError:
        names = []
    if not names:
        return {"receivers": {}}
    now, unit = time.time(), f"{layout.name}-health-alert.service"
    event = {
        "kind": "test",
        "check": "readiness",
        "severity": "info",
        "title": "a test: nothing is broken",
        "problem": f"readiness-{int(now)}",
        "since": now,
        "at": now,
        "seconds": 0,
        "cause": "readiness.yml asks whether alerts arrive",
        "app": layout.name,
        "host": socket.gethostname(),
        "release": release_id,
        "version": "",
        "commit": "",
        "done": [],
        "runbook": "",
    }
    file = f"{now:.6f}-readiness.json"
    # Written beside and renamed: whatever is in the spool is taken at once.
    if not os.path.isdir(SPOOL.format(layout.name)):  # nothing was checked yet: the first check makes its place
        systemctl("start", f"{layout.name}-health.service", check=False)
    spool, queue = SPOOL.format(layout.name), QUEUE.format(layout.name)
    beside = f"{os.path.dirname(spool)}/.{file}"
    atomic_write(beside, json.dumps(event).encode(), 0o600)
    os.rename(beside, f"{spool}/{file}")
    told: dict[str, str] = dict.fromkeys(names, "it has not answered yet")
    deadline = time.monotonic() + ALERT_SECONDS * len(names)  # one is asked after the other
    while time.monotonic() < deadline and any(told.values()):
        text = run(
            ["journalctl", "--no-pager", "--output=cat", f"--unit={unit}", f"--since=@{int(now)}"], check=False
        ).stdout
        for name in names:
            refused = re.findall(rf"^{re.escape(name)} did not take it, and is asked again: (.*)$", text, re.MULTILINE)
            told[name] = "" if f"told {name}: test readiness\n" in f"{text}\n" else (refused or [told[name]])[-1]
        time.sleep(0.5)
    # A test is no alert: nobody needs it tomorrow. A unit that is at it would write it down again.
    deadline = time.monotonic() + ALERT_SECONDS
    while unit_properties(unit, "SubState").get("SubState") == "start" and time.monotonic() < deadline:
        time.sleep(0.2)
    for folder in (spool, queue):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/{file}")
    return {"receivers": told}
