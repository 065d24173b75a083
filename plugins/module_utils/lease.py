# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lock of a backend on a host: a record of who holds it, and until when. For the module lock, and for a host that switches
back by itself (decant-health)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils.layout import atomic_write, now, seconds_since

KEPT = ("owner", "host", "pid", "token", "controller", "event", "message")


@contextlib.contextmanager
def guarded(folder: str) -> Iterator[None]:
    """Reading and writing the lock are one step."""
    os.makedirs(folder, mode=0o755, exist_ok=True)
    with open(f"{folder}/.guard", "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def read(path: str) -> dict[str, Any]:
    """The lock; empty when there is none. One that cannot be read is somebody's, from now on for one lease."""
    try:
        with open(path, encoding="utf-8") as stream:
            record = json.load(stream)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        record = None
    return record if isinstance(record, dict) else {"owner": "an unreadable lock", "token": "unreadable", "expires": ""}


def expired(record: dict[str, Any]) -> bool:
    """Whether the lease is over, by this host's own clock, which also wrote its end."""
    past = seconds_since(str(record.get("expires", "")))
    return past is not None and past >= 0


def take(path: str, p: dict[str, Any]) -> dict[str, Any]:
    """Take it, or say who has it.

    :param p: KEPT, with lease_seconds and the stale_token that may be taken over whatever its lease says.
    :returns: held_by, or taken_over: the stale lock in whose place this one is, if there was any.
    """
    with guarded(os.path.dirname(path)):
        return held(path, p)


def held(path: str, p: dict[str, Any]) -> dict[str, Any]:
    """take(), with the guard in hand."""
    found = read(path)
    mine = bool(found) and found.get("token") == p["token"]
    stale = bool(found) and not mine and (expired(found) or found.get("token") == p["stale_token"])
    if found and not mine and not stale:
        return {"held_by": found}
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + p["lease_seconds"]))
    record = {**{key: p[key] for key in KEPT}, "since": found.get("since", now()) if mine else now(), "expires": end}
    atomic_write(path, (json.dumps(record, sort_keys=True) + "\n").encode(), 0o644)
    return {"taken_over": found if stale else {}}


@contextlib.contextmanager
def borrowed(path: str, owner: str, event: str, message: str, seconds: int) -> Iterator[dict[str, Any]]:
    """With the lock that deploys take, for work of the host's own, for so many seconds at most. Who has it, when it is not to be had."""
    host = socket.gethostname()
    ours = {
        "owner": f"{owner}@{host}",
        "host": host,
        "pid": os.getpid(),
        "token": secrets.token_hex(10),
        "controller": "",
        "event": event,
        "message": message,
        "lease_seconds": seconds,
        "stale_token": "",
    }
    holder = take(path, ours).get("held_by", {})
    try:
        yield holder
    finally:
        give_back(path, ours["token"])


def give_back(path: str, token: str, whoevers: bool = False) -> dict[str, Any]:
    """Remove one's own lock, or whoever's it is; the lock that went, if any."""
    with guarded(os.path.dirname(path)):
        found = read(path)
        if not found or not (whoevers or found.get("token") == token):
            return {}
        os.unlink(path)
        return found
