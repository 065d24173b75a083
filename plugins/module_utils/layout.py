# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a backend lives on a host, and the only code that reads and writes the records kept there.

Paths are those of docs/architecture.md: releases/<id>/, venvs/<hash>/, shared/, current, deploys.jsonl.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import json
import os
import tempfile
import time
from typing import Any

MANIFEST = "release.json"
SECRETS_FILE = ".env"
CREDENTIALS = "credentials"
VENV_MARKER = ".decant.json"  # in a virtual environment that is whole
SYSTEMD_UNITS = "/etc/systemd/system"
# The parts of decant-health, and its units besides the checks' own.
WATCHERS = (
    *(f"{own}.py" for own in ("__main__", "checks", "records", "rootly", "receivers", "decant_probe", "health_page")),
    *(
        f"ansible_collections/decant/flask/plugins/module_utils/{borrowed}.py"
        for borrowed in ("layout", "host", "envfile", "database", "lease", "readers", "switching")
    ),
)
WATCHING = (
    *(("survey", kind) for kind in ("service", "timer", "path")),
    *((verb, kind) for verb in ("heal", "alert") for kind in ("service", "path")),
    ("edge", "service"),
)


def now() -> str:
    """The time in UTC as ISO 8601 with seconds, for example 2026-11-22T10:15:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def seconds_since(stamp: str) -> int | None:
    """Whole seconds since a time that now() wrote; None when there is none."""
    try:
        return int(time.time()) - calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return None


def atomic_write(path: str, data: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one and nothing between."""
    folder = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(prefix=".decant-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
    sync_folder(folder)


def atomic_symlink(target: str, path: str) -> None:
    """Point a link somewhere with one rename(2)."""
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}")
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, path)
    sync_folder(folder)


def sync_folder(folder: str) -> None:
    """Make a rename in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: str) -> str:
    """sha256 of a file in hex; empty when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):  # a backup may be larger than the memory
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


class Layout:
    """The paths of one backend on one host.

    :param name: the backend's name, which is also the prefix of its units.
    :param root: its directory, an absolute path.
    """

    def __init__(self, name: str, root: str) -> None:
        self.name = name
        self.root = root.rstrip("/")
        self.releases = f"{self.root}/releases"
        self.venvs = f"{self.root}/venvs"
        self.shared = f"{self.root}/shared"
        self.current = f"{self.root}/current"
        self.audit_log = f"{self.root}/deploys.jsonl"
        # There before the backend's own directory is, and gone with a reboot.
        self.lock_file = f"/run/decant/{name}.lock"

    def release(self, release_id: str) -> str:
        return f"{self.releases}/{release_id}"

    def credentials(self, release_id: str) -> dict[str, str]:
        """Name -> path of the secrets that a release reads from files (dotenv_delivery: credential)."""
        folder = f"{self.release(release_id)}/{CREDENTIALS}"
        try:
            return {name: f"{folder}/{name}" for name in sorted(os.listdir(folder))}
        except OSError:
            return {}

    def secrets_of(self, release_id: str) -> dict[str, str]:
        """Name -> value of the same."""
        found = {}
        for name, path in self.credentials(release_id).items():
            with contextlib.suppress(OSError), open(path, encoding="utf-8") as stream:
                found[name] = stream.read()
        return found

    def code(self, release_id: str, subdir: str) -> str:
        return f"{self.release(release_id)}/src/{subdir}".rstrip("/")

    def venv_known(self, lock: str) -> bool:
        """Whether the virtual environment of a lock is there, and whole."""
        return bool(lock) and os.path.exists(f"{self.venvs}/{lock}/{VENV_MARKER}")

    def link_venv(self, release_id: str, lock: str) -> bool:
        """Let a release use the virtual environment of its lock; whether that is a change."""
        link, target = f"{self.release(release_id)}/venv", f"../../venvs/{lock}"
        if os.path.islink(link) and os.readlink(link) == target:
            return False
        atomic_symlink(target, link)
        return True

    def socket(self, release_id: str) -> str:
        return f"/run/{self.name}/{release_id}.sock"

    def service_unit(self, release_id: str) -> str:
        return f"{self.name}@{release_id}.service"

    def socket_unit(self, release_id: str) -> str:
        return f"{self.name}@{release_id}.socket"

    def migrate_unit(self, release_id: str) -> str:
        return f"{self.name}-migrate@{release_id}.service"

    def drain_unit(self, release_id: str) -> str:
        return f"{self.name}-drain@{release_id}"

    def units(self, release_id: str) -> list[str]:
        """The unit files that belong to one release and go with it."""
        return [self.service_unit(release_id), self.socket_unit(release_id), self.migrate_unit(release_id)]

    def lasting_files(self, ports: list[int]) -> list[str]:
        """What a deploy keeps as it must be and what belongs to no release: programs, units, sites, notes of killed runs."""
        units = ("-health.service", "-health.timer", "-backup.timer", "-backup@.service", "-restore@.service")
        units += tuple(f"-health-{verb}.{kind}" for verb, kind in WATCHING)
        wanted = [f"timers.target.wants/{self.name}-{timer}.timer" for timer in ("health", "health-survey", "backup")]
        wanted += [f"paths.target.wants/{self.name}-health-{verb}.path" for verb in ("survey", "heal", "alert")]
        wanted += [f"{self.name}{unit}@.service.d/decant-health.conf" for unit in ("", "-backup")]
        return [
            *(f"{self.root}/bin/{program}" for program in ("decant-probe", "decant-database")),
            *(f"{self.root}/bin/decant-health/{source}" for source in WATCHERS),
            *(f"/etc/decant/health/{self.name}.{part}" for part in ("json", "receivers.json")),
            *(f"{SYSTEMD_UNITS}/{unit}" for unit in (*(f"{self.name}{end}" for end in units), *wanted)),
            *(f"/etc/nginx/{place}/{self.name}.conf" for place in ("sites-available", "sites-enabled")),
            *(f"/etc/nginx/conf.d/decant-catch-all-{port}.conf" for port in ports),
            f"{SYSTEMD_UNITS}/certbot.service.d/decant-{self.name}.conf",
            "/etc/nginx/sites-enabled/default",
            f"{SYSTEMD_UNITS}/nginx.service.d/decant.conf",
            *(f"{self.root}/.pending-{role}" for role in ("nginx", "nginx-unit", "certbot", "health", "backup")),
        ]

    def written_files(self, release_id: str) -> dict[str, str]:
        """Path -> sha256 of the files that make a release what it is, besides its code: where drift shows."""
        paths = [f"{self.release(release_id)}/{name}" for name in (SECRETS_FILE, "gunicorn.conf.py")]
        paths += self.credentials(release_id).values()
        paths += [f"{SYSTEMD_UNITS}/{unit}" for unit in (self.service_unit(release_id), self.socket_unit(release_id))]
        return {path: file_digest(path) for path in paths}

    def current_id(self) -> str:
        """The release that `current` names; empty when nothing has been switched to yet."""
        try:
            return os.path.basename(os.readlink(self.current).rstrip("/"))
        except OSError:
            return ""

    def release_ids(self) -> list[str]:
        """Every staged release, oldest first. Ids start with a UTC time, so their order is the order of deploys."""
        try:
            names = os.listdir(self.releases)
        except OSError:
            return []
        return sorted(name for name in names if not name.startswith("."))

    def manifest(self, release_id: str) -> dict[str, Any]:
        """The record of a release; empty when it is missing or cannot be read."""
        try:
            with open(f"{self.release(release_id)}/{MANIFEST}", encoding="utf-8") as stream:
                record = json.load(stream)
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def record(self, release_id: str, **changes: Any) -> dict[str, Any]:
        """Write changes into a release's manifest and return all of it."""
        record = {**self.manifest(release_id), **changes}
        text = json.dumps(record, indent=2, sort_keys=True) + "\n"
        atomic_write(f"{self.release(release_id)}/{MANIFEST}", text.encode(), 0o644)
        return record

    def audit(self, **entry: Any) -> None:
        """Append one line to deploys.jsonl. One write(2) with O_APPEND: two writers cannot mix their lines."""
        line = json.dumps({"at": now(), **entry}, sort_keys=True) + "\n"
        descriptor = os.open(self.audit_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def failed(self, release_id: str, phase: str, reason: str, event: str = "deploy") -> None:
        """Mark a release that did not make it, so that nothing ever goes back to it, and tell the audit log.

        In a rollback the release keeps its mark: it was good, and may be again when what it needs is back.

        Best effort: it runs while an error is being reported, perhaps on a full disk, and must not hide that error.
        """
        record = self.manifest(release_id)
        with contextlib.suppress(OSError):
            if record and event == "deploy":
                record = self.record(release_id, outcome="failed", phase=phase, reason=reason)
            self.audit(
                event=event,
                release=release_id,
                outcome="failed",
                phase=phase,
                reason=reason,
                who=record.get("who", ""),
                seconds=seconds_since(record.get("staged_at", "")),
            )

    def serving(self) -> str:
        """A sentence for error messages: what answers requests right now."""
        release_id = self.current_id()
        if not release_id:
            return "No release serves yet."
        return f"Release {release_id} goes on serving."
