# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a review of production asks of a host: facts that are read, and drills that try what is only needed on a bad day.

A drill takes the lock that deploys take, gets no traffic, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import database, drills, edge_answers, envfile, lease
from ansible_collections.decant.flask.plugins.module_utils.host import (
    CommandError,
    run,
    secret_values,
    systemctl,
    unit_properties,
)
from ansible_collections.decant.flask.plugins.module_utils.layout import (
    SECRETS_FILE,
    Layout,
    file_digest,
    seconds_since,
)
from ansible_collections.decant.flask.plugins.module_utils.modules import status
from ansible_collections.decant.flask.plugins.module_utils.readers import last_words, migrates

SHOWN = 5  # paths that a sentence names
SECRET_KEY = "SECRET_KEY"  # a name, and no key
OWN = "DECANT_RELEASE"  # every instance has it


# --- the running process -------------------------------------------------------------------------


def workers(layout: Layout, release_id: str) -> list[int]:
    """Process ids of the serving instance: the master first, then its workers."""
    main = int(unit_properties(layout.service_unit(release_id), "MainPID").get("MainPID") or 0)
    if not main:
        return []
    found = [main]
    with contextlib.suppress(OSError), open(f"/proc/{main}/task/{main}/children", encoding="utf-8") as stream:
        found += [int(word) for word in stream.read().split()]
    return found


def environ(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    with open(f"/proc/{pid}/environ", "rb") as stream:
        pairs = [part.split(b"=", 1) for part in stream.read().split(b"\0") if b"=" in part]
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in pairs}


def process(layout: Layout, release_id: str, user: str) -> dict[str, Any]:
    """What the serving processes are: whose, with which environment, and what a worker said of the app when it had loaded it."""
    pids = workers(layout, release_id)
    if not pids:
        return {"pid": 0}
    wanted = database.environment(layout, release_id)
    actual: dict[str, str] = {}
    uids = set()
    for pid in pids:  # a worker may end meanwhile, and another one take its place
        with contextlib.suppress(OSError):
            uids.add(os.stat(f"/proc/{pid}").st_uid)
            actual = environ(pid) or actual
    invocation = unit_properties(layout.service_unit(release_id), "InvocationID").get("InvocationID", "")
    words = ["journalctl", "--no-pager", "--output=cat", f"_SYSTEMD_INVOCATION_ID={invocation}"]
    told = database.served(run([*words, "--grep=^decant-database: serves "], check=False).stdout)
    return {
        "pid": pids[-1],
        "uids": sorted(uids),
        "expected_uid": pwd.getpwnam(user).pw_uid,
        # A process that names itself (setproctitle) has no environment to look at any more.
        "differs": sorted(name for name, value in wanted.items() if actual.get(name) != value) if OWN in actual else [],
        "told": told,
    }


def neighbours(layout: Layout) -> list[str]:
    """Other backends of this host that sign with the same SECRET_KEY."""

    def key(of: Layout) -> str:
        release_id = of.current_id()
        values = dict(of.secrets_of(release_id)) if release_id else {}
        with contextlib.suppress(OSError, ValueError):
            values.update(database.environment(of, release_id))
        return values.get(SECRET_KEY, "")

    own, found = key(layout), []
    for path in sorted(glob.glob("/etc/decant/health/*.json")):
        config = status.read_object(path) or {}
        name, root = str(config.get("app") or ""), str(config.get("root") or "")
        if own and name and root and name != layout.name and key(Layout(name, root)) == own:
            found.append(name)
    return found


# --- files ---------------------------------------------------------------------------------------


def open_to_all(path: str) -> bool:
    """Whether everybody may read a file: it lets them, and so do the directories above it."""
    if os.path.islink(path) or not os.path.isfile(path) or not os.lstat(path).st_mode & 0o004:
        return False
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            return False
    return True


def wrong_modes(layout: Layout, release_id: str) -> list[str]:
    """Files whose mode or owner lets somebody do what nobody but root should; a sentence each."""
    found = []
    folder = layout.release(release_id)
    for top in (f"{folder}/src", os.path.realpath(f"{folder}/venv")):
        for place, folders, files in os.walk(top):
            for name in (*folders, *files):
                with contextlib.suppress(FileNotFoundError):
                    entry = os.lstat(f"{place}/{name}")
                    if not stat.S_ISLNK(entry.st_mode) and (entry.st_uid != 0 or entry.st_mode & 0o022):
                        found.append(f"{place}/{name} may be written by others than root")
    private = [f"{folder}/{SECRETS_FILE}", f"/etc/decant/health/{layout.name}.receivers.json"]
    private += layout.credentials(release_id).values()
    for place in ("backups/*", "backups/incoming/*", "shared/*"):
        private += glob.glob(f"{layout.root}/{place}")
    for path in private:
        with contextlib.suppress(FileNotFoundError):
            if open_to_all(path):
                found.append(f"{path} may be read by everybody (mode {stat.S_IMODE(os.stat(path).st_mode):04o})")
    return [*found[:SHOWN], *([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])]


# --- the host ------------------------------------------------------------------------------------


def sandbox(unit: str) -> float | None:
    """systemd's own score of a unit's exposure, 0 the best and 10 the worst; None when it gives none."""
    found = re.search(
        r"exposure level for \S+: ([\d.]+)",
        run(["systemd-analyze", "security", "--no-pager", unit], check=False).stdout,
    )
    return float(found.group(1)) if found else None


def disks(paths: list[str]) -> list[dict[str, Any]]:
    """Free bytes and inodes, in percent, of each file system that holds one of the paths; the first of its paths names it."""
    found: dict[int, dict[str, Any]] = {}
    for path in paths:
        if os.path.exists(path):
            now = os.statvfs(path)
            inodes = 100 * now.f_favail / now.f_files if now.f_files else 100.0
            found.setdefault(
                os.stat(path).st_dev,
                {"path": path, "bytes": 100 * now.f_bavail / max(1, now.f_blocks), "inodes": inodes},
            )
    return list(found.values())


def clock(ahead: float) -> dict[str, Any]:
    """How far this host's clock is from the controller's, in seconds, and whether something keeps it right."""
    done = run(["timedatectl", "show", "--property=NTPSynchronized", "--value"], check=False).stdout.strip()
    return {
        "ahead": ahead,
        "synchronised": done == "yes",
        "container": run(["systemd-detect-virt", "--container", "--quiet"], check=False).returncode == 0,
    }


def boot(layout: Layout) -> dict[str, Any]:
    """Whether a reboot would bring back what there is now."""
    units = ["nginx.service", f"{layout.name}.target", f"{layout.name}-health.timer", f"{layout.name}-backup.timer"]
    there = [
        unit for unit in units if systemctl("show", "--property=LoadState", "--value", unit, check=False) == "loaded"
    ]
    return {
        "disabled": [unit for unit in there if systemctl("is-enabled", unit, check=False) not in ("enabled", "static")],
        "required": os.path.exists("/run/reboot-required"),
    }


def updates() -> dict[str, Any]:
    """Packages with a known security update, and how old what apt knows is, in seconds; None when it knows nothing."""
    lists = glob.glob("/var/lib/apt/lists/*_Packages*")
    stamps = [
        os.path.getmtime(path)
        for path in (*lists, "/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists")
        if os.path.exists(path)
    ]
    done = run(
        ["apt-get", "--simulate", "--quiet", "--option=Debug::NoLocking=1", "--with-new-pkgs", "upgrade"], check=False
    )
    pending = re.findall(r"^Inst (\S+) .*\(\S+ [^)]*security[^)]*\)", done.stdout, re.MULTILINE | re.IGNORECASE)
    return {
        "pending": pending,
        "age": time.time() - max(stamps) if lists else None,
        "error": last_words(done.stdout) if done.returncode else "",
    }


# --- all of it -----------------------------------------------------------------------------------


def backups(layout: Layout) -> dict[str, Any]:
    """The newest backup: its record, its age in seconds, and whether its file is what the record says."""
    records = database.backups(layout)
    if not records:
        return {"id": ""}
    newest = records[-1]
    path = f"{layout.root}/backups/{newest.get('file', '')}"
    return {
        "id": newest["id"],
        "age": seconds_since(str(newest.get("at", ""))),
        "intact": os.path.isfile(path) and file_digest(path) == newest.get("sha256"),
        "bytes": newest.get("bytes", 0),
        "timer": systemctl("is-active", f"{layout.name}-backup.timer", check=False) == "active",
    }


def masked(value: Any, secrets: list[str]) -> Any:
    """A value in whose texts no secret is left."""
    if isinstance(value, dict):
        return {key: masked(part, secrets) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(part, secrets) for part in value]
    return envfile.mask(value, secrets) if isinstance(value, str) else value


def told(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was found, or why it could not be asked."""
    try:
        return ask()
    except CommandError as error:
        return {"error": last_words(error.output)}
    except (LookupError, OSError, StopIteration, ValueError, subprocess.SubprocessError) as error:
        return {"error": str(error) or type(error).__name__}


def ended(number: int, dummy: Any) -> None:
    """A signal that ends the review, as an exception: what a drill has begun is put back on the way out."""
    raise SystemExit(f"ended by signal {number}")


def held(layout: Layout, p: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The drills, one after the other, while no deploy can begin; `held_by` says who kept them from being held."""
    release_id = found["status"]["id"]
    for number in (signal.SIGTERM, signal.SIGHUP):  # a review that is ended puts everything back, too
        signal.signal(number, ended)
    headers = {"Host": p["host_header"], **p["headers"]}
    with lease.borrowed(
        layout.lock_file, "decant-readiness", "drill", "a readiness review holds its drills", p["drill_seconds"]
    ) as holder:
        if holder:
            return {"held_by": str(holder.get("owner") or "somebody")}
        return {
            "restore": told(lambda: drills.restore(layout, p["user"], release_id, found["backup"]["id"])),
            "rollback": told(lambda: drills.rollback(layout, p["user"], release_id)),
            "outage": told(lambda: drills.outage(layout, release_id, p["health_url"], headers)),
            "alerts": told(lambda: drills.alerts(layout, release_id)),
        }


def review(p: dict[str, Any]) -> dict[str, Any]:
    """All facts; the drills among them when they are asked for."""
    ahead = time.time() - p["controller_time"]  # before anything that takes time
    layout = Layout(p["name"], p["root"])
    now = status.read_status(
        {"name": p["name"], "root": p["root"], "user": p["user"], "schema": p["schema"], "history": 0}
    )
    found: dict[str, Any] = {"status": now, "clock": clock(ahead)}
    release_id = now["id"]
    if not release_id:
        return found
    words = ("--keys", ",".join(p["keys"]), "--refused", p["refused"])
    found.update(
        process=process(layout, release_id, p["user"]),
        migrated=layout.manifest(release_id).get("migration", {}).get("fingerprint", ""),
        config=told(lambda: database.ask(layout, p["user"], release_id, "inspect", *words)),
        neighbours=neighbours(layout),
        modes=wrong_modes(layout, release_id),
        sandbox=sandbox(layout.service_unit(release_id)),
        edge=edge_answers.ask(p["server_name"], p["health_url"], p["listen_port"], p["tls_port"]),
        backup=backups(layout),
        disks=disks(
            [
                layout.root,
                *(f"{layout.root}/{place}" for place in ("shared", "backups", "backups/incoming")),
                "/var/log",
            ]
        ),
        boot=boot(layout),
        updates=updates(),
        migrates=p["schema"] and migrates(layout, release_id),
    )
    found["drills"] = held(layout, p, found) if p["drills"] else {}
    return masked(found, secret_values(layout, release_id))


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "schema": {"type": "bool", "default": True},
    "keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "refused": {"type": "str", "default": ""},
    "server_name": {"type": "str", "required": True},
    "health_url": {"type": "str", "required": True},
    "host_header": {"type": "str", "default": ""},
    "headers": {"type": "dict", "default": {}},
    "listen_port": {"type": "int", "default": 80},
    "tls_port": {"type": "int", "default": 0},
    "controller_time": {"type": "float", "required": True},
    "drills": {"type": "bool", "default": True},
    "drill_seconds": {"type": "int", "default": 1800},
}


def main(module: AnsibleModule) -> None:
    p = {**module.params, "drills": module.params["drills"] and not module.check_mode}
    module.exit_json(changed=False, review=review(p))
