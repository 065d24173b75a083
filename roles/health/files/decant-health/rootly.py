# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What only root may do for a backend that is watched: look at its backups and files, restart it, switch it back, tell people.

A check, which runs as the backend's user, leaves word in its state directory; what it asks for is judged again here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time

from ansible_collections.decant.flask.plugins.module_utils import database, envfile, lease, readers, switching
from ansible_collections.decant.flask.plugins.module_utils.host import CommandError, run, secret_values, systemctl
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout, atomic_write, now
from checks import ROOTS, STATE, epoch, read

WISH_BYTES = 65536
ACTIONS = 20
HOUR = 3600
LEASE_MORE = 60  # seconds that the lock outlives the unit by, at most


class Root:
    """A backend as root's verbs see it."""

    def __init__(self, path: str) -> None:
        self.config = read(path)
        if not self.config:
            raise SystemExit(f"decant-health: {path} cannot be read. Deploy to write it again.")
        self.app = self.config["app"]
        self.layout = Layout(self.app, self.config["root"])
        self.folder = f"{ROOTS}/{self.app}"
        os.makedirs(f"{self.folder}/queue", mode=0o755, exist_ok=True)
        os.chmod(f"{self.folder}/queue", 0o700)  # journal lines are nobody else's business

    def put(self, name: str, content: dict, mode: int = 0o644) -> None:
        atomic_write(f"{self.folder}/{name}", json.dumps(content).encode(), mode)


def taken(path: str) -> dict:
    """What the backend's user wrote, and gone from there: a plain file of a sensible size, or nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:
            data = stream.read(WISH_BYTES + 1)
        os.unlink(path)
        found = json.loads(data) if len(data) <= WISH_BYTES else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        print(f"decant-health: {path} is left out: {error}", file=sys.stderr)
        if os.path.lexists(path):
            os.unlink(path)
        return {}
    return found if isinstance(found, dict) else {}


def failed_units(app: str) -> list[str]:
    """Units of the backend that systemd gave up. The health unit's own result is what it is there to say."""
    out = systemctl("list-units", "--plain", "--no-legend", "--state=failed", f"{app}@*", f"{app}-*@*", check=False)
    names = [text.split()[0] for text in out.splitlines() if text.split()]
    ours = (f"{app}@", f"{app}-backup@", f"{app}-migrate@", f"{app}-restore@")
    return sorted(name for name in names if name.startswith(ours))


def survey(path: str) -> int:
    """Read what the checks compare and may not read themselves."""
    root = Root(path)
    layout = root.layout
    current = readers.current_state(layout)
    release = current["id"]
    if not release:
        return 0
    drift = list(current["drift"])
    if readers.undrained(layout, release) and not os.path.exists(layout.lock_file):
        drift += [
            f"{layout.service_unit(other)} runs beside the one that serves"
            for other in readers.undrained(layout, release)
        ]
    others = [other for other in current["enabled"] if other != release]
    if others and not os.path.exists(layout.lock_file):
        drift.append(f"{', '.join(others)} would be started by a boot, beside {release}")
    records = [record for record in database.backups(layout) if isinstance(record.get("at"), str)]
    schema = readers.schema(layout, root.config["user"], release) if root.config["schema"] else None
    first = min((layout.manifest(one).get("live_at") or "9" for one in layout.release_ids()), default="")
    root.put(
        "survey.json",
        {
            "at": now(),
            "release": release,
            "drift": drift,
            "backup": {"at": records[-1]["at"] if records else ""},
            "deployed": first,
            "schema": schema,
            "failed": failed_units(root.app),
        },
    )
    print(f"surveyed: {len(drift)} drifts, {len(records)} backups")
    return 0


# --- healing -------------------------------------------------------------------------------------


def way_back(layout: Layout, user: str, release: str) -> tuple[str, str]:
    """The release to switch back to, and why there is none. One that was good, at the schema that the database has now."""
    previous = layout.manifest(release).get("previous", "")
    before = layout.manifest(previous) if previous else {}
    if not before:
        return "", "there is no release before it"
    if before.get("outcome") != "retired":
        return "", f"{previous} before it did not end well itself"
    found = readers.schema(layout, user, previous)  # None: a release without migrations
    if found and found["error"]:
        return "", f"whether {previous} before it fits the database could not be read: {found['error']}"
    if found and found["now"] != found["heads"]:
        return "", f"{previous} before it has another schema; see playbooks/rollback.yml"
    return previous, ""


def go_back(layout: Layout, release: str, previous: str, drain_seconds: float, cause: str) -> None:
    """Switch to the release before, as a failed deploy would; the one that is left is no failed unit for ever."""
    systemctl("start", layout.socket_unit(previous), layout.service_unit(previous))
    switching.switch(layout, previous, drain_seconds, "decant-health", "revert", cause)
    systemctl("reset-failed", layout.service_unit(release), check=False)


def heal(path: str) -> int:
    """Restart the instance, or switch back: as often as the inventory allows, and never while a deploy runs."""
    root = Root(path)
    wish = taken(f"{STATE}/{root.app}/wanted.json")
    if not wish:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the unit took too long: give the lock back
    seconds = root.config["heal_seconds"] + LEASE_MORE
    with lease.borrowed(root.layout.lock_file, "decant-health", "heal", "the host heals itself", seconds) as holder:
        return 0 if holder else healed(root, wish)


def healed(root: Root, wish: dict) -> int:
    """heal(), with the lock in hand."""
    layout, limits = root.layout, root.config["limits"]
    release = layout.current_id()
    if wish.get("release") != release:
        return 0
    cause = str(wish.get("cause", ""))[:500]
    record = read(f"{root.folder}/heal.json")
    moment = time.time()
    actions = [one for one in record.get("actions", []) if moment - one["at"] < HOUR]
    if moment < record.get("next_at", 0):
        return 0
    tried = [one for one in actions if one["release"] == release]
    switched = epoch(layout.manifest(release).get("live_at", "")) or 0
    outcome = "ok"
    previous, reason = "", ""
    if root.config["switch_back"] and tried and moment - switched < limits["rollback_window_seconds"]:
        previous, reason = way_back(layout, root.config["user"], release)
    if previous:
        what = f"switched back to {previous}"
        try:
            go_back(layout, release, previous, limits["drain_seconds"], cause)
        except (CommandError, OSError) as error:
            outcome, what = "failed", f"did not get back to {previous}: {error}"[:300]
    elif len(actions) >= limits["restarts_per_hour"]:
        print(f"not restarted: {len(actions)} restarts in an hour are enough. {reason}".rstrip())
        root.put("heal.json", {**record, "actions": actions, "next_at": actions[0]["at"] + HOUR})
        return 0
    else:
        what = "restarted the instance"
        systemctl("reset-failed", layout.service_unit(release), check=False)  # one that systemd has given up
        try:
            systemctl("restart", layout.service_unit(release))
        except CommandError:
            outcome, what = "failed", "restarted the instance, which did not become healthy"
        layout.audit(event="restart", release=release, outcome=outcome, who="decant-health", reason=cause)
    print(f"{what}: {cause}")
    ended = time.time()
    actions.append({"at": moment, "ended": ended, "release": release, "what": what, "outcome": outcome})
    wait = limits["restart_backoff_seconds"] * 2 ** (len(actions) - 1)
    root.put("heal.json", {"actions": actions[-ACTIONS:], "next_at": ended + wait})
    return 0


# --- telling -------------------------------------------------------------------------------------


def last_lines(root: Root, event: dict) -> list[str]:
    """The end of the journal of what an event is about, with the release's secrets masked."""
    release, count = event.get("release", ""), root.config["limits"]["journal_lines"]
    source = ["--identifier", f"{root.app}-backup"] if event.get("check") == "backup" else ["--identifier", root.app]
    done = run(["journalctl", "--no-pager", "--output=short-iso", f"--lines={count}", "--quiet", *source], check=False)
    text = envfile.mask(done.stdout, secret_values(root.layout, release)) if release else ""
    return [one[:500] for one in text.splitlines()]


def collect(root: Root) -> None:
    """From the spool of the checks into root's own queue, complete: from here on nothing is lost."""
    spool = f"{STATE}/{root.app}/spool"
    for name in sorted(os.listdir(spool)) if os.path.isdir(spool) else []:
        event = taken(f"{spool}/{name}")
        if not event:
            continue
        event["journal"] = last_lines(root, event) if event.get("kind") != "heal" else []
        event["delivered"] = []
        root.put(f"queue/{os.path.basename(name)}", event, 0o600)


def alert(path: str) -> int:
    """Deliver what is queued, in order, to each receiver once. What a receiver did not take stays, and the unit is started
    again."""
    import receivers

    root = Root(path)
    collect(root)
    try:
        with open(root.config["receivers"], encoding="utf-8") as stream:
            targets = json.load(stream)
    except FileNotFoundError:
        targets = []
    down: dict[str, str] = {}
    for name in sorted(os.listdir(f"{root.folder}/queue")):
        event = read(f"{root.folder}/queue/{name}")
        if not event:  # a test that was taken back
            continue
        for target in targets:
            if target["name"] in event.get("delivered", []) or target["name"] in down:
                continue
            try:
                receivers.send(target, event)
            except receivers.NotTaken as error:
                down[target["name"]] = str(error)
                continue
            event["delivered"] = [*event["delivered"], target["name"]]
            root.put(f"queue/{name}", event, 0o600)
            print(f"told {target['name']}: {event['kind']} {event['check']}", flush=True)
        if all(target["name"] in event.get("delivered", []) for target in targets):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{root.folder}/queue/{name}")
    for name, why in down.items():
        print(f"{name} did not take it, and is asked again: {why}", file=sys.stderr)
    return 1 if down else 0
