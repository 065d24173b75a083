# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whose lock a lock is, and whether its run is still there: what only the controller that took it can tell."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from typing import Any

HEAL_SECONDS = 180


def controller() -> str:
    """A short hash that tells this machine, since its last boot and with its own process ids, from every other one."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
        try:
            with open(path, encoding="utf-8") as stream:
                parts.append(stream.read().strip())
        except OSError:
            parts.append("")
    try:
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        parts.append("")
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:20]


def started(pid: int) -> str:
    """When a process of this machine began, in its kernel's ticks; empty when there is none. Tells two processes with the
    same id apart (proc(5), the 22nd field of stat)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def process_is_gone(holder: Mapping[str, Any], here: str) -> bool:
    """Whether a lock was taken from this controller by a run that has ended without giving it back."""
    if holder.get("controller") != here or not holder.get("token"):
        return False
    pid = int(holder.get("pid") or 0)
    token = hashlib.sha256(f"{here} {pid} {started(pid)}".encode()).hexdigest()[:20]
    return token != holder["token"]


def patience(holder: Mapping[str, Any], wait_seconds: int) -> int:
    """How long a lock is waited for, in seconds. A host that heals itself is always waited for: it is a restart, or a switch."""
    return max(wait_seconds, HEAL_SECONDS) if holder.get("event") == "heal" else wait_seconds


def note(holder: Mapping[str, Any]) -> str:
    """Who holds a lock, for a message."""
    said = f' ("{holder["message"]}")' if holder.get("message") else ""
    return (
        f"{holder.get('owner', 'somebody')}, process {holder.get('pid', '?')} on {holder.get('host', '?')}, "
        f"{holder.get('event', 'deploy')} since {holder.get('since', '?')}{said}"
    )


def refusal(name: str, host: str, holder: Mapping[str, Any], waited: Any) -> str:
    """Why this run does not start, and what to do."""
    how = f" after {waited} s of waiting" if int(waited or 0) else ""
    return (
        f"{name} is locked on {host}{how}: {note(holder)}. Nothing was changed. Wait for it (-e lock_wait_seconds=600 does), or, when "
        f"that run is gone, wait until {holder.get('expires') or 'somebody removes it'}, when the lock is stale, or remove it: "
        "ansible-playbook playbooks/unlock.yml -e \"lock_reason='...'\""
    )


def takeover(host: str, holder: Mapping[str, Any]) -> str:
    """What is said of a stale lock."""
    return f"The lock on {host} was stale and is taken over: {note(holder)}; that run ended without giving it back."
