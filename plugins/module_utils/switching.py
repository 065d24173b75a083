# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The switch of a host to another release: for the module switch, and for a host that goes back by itself (decant-health)."""

from __future__ import annotations

import os

from ansible_collections.decant.flask.plugins.module_utils.host import (
    active_instances,
    enabled_instances,
    run,
    systemctl,
)
from ansible_collections.decant.flask.plugins.module_utils.layout import (
    CREDENTIALS,
    Layout,
    atomic_symlink,
    now,
    seconds_since,
)


def drain(layout: Layout, release_id: str, seconds: float) -> None:
    """Stop an instance later, on the host's own clock."""
    unit = layout.drain_unit(release_id)
    if systemctl("is-active", f"{unit}.timer", check=False) == "active":
        return
    systemctl("reset-failed", f"{unit}.service", check=False)
    run(
        [
            "systemd-run",
            "--quiet",
            f"--unit={unit}",
            f"--description=Stop {layout.name} release {release_id}, drained",
            f"--on-active={seconds}s",
            "--timer-property=AccuracySec=100ms",
            "systemctl",
            "stop",
            layout.service_unit(release_id),
            layout.socket_unit(release_id),
        ]
    )


def switch(layout: Layout, release_id: str, seconds: float, who: str, event: str, reason: str = "") -> str:
    """The switch itself. Each step may be the last one of a killed run: before the rename the old release is whole,
    after it the new one is, and the next deploy does what is left."""
    previous = layout.current_id()
    units = [layout.service_unit(release_id), layout.socket_unit(release_id)]
    kept = layout.manifest(release_id).get("previous", "") if event == "revert" else previous
    systemctl("enable", "--quiet", f"{layout.name}.target", *units)
    if previous != release_id:
        os.makedirs(
            f"{layout.release(release_id)}/{CREDENTIALS}", mode=0o700, exist_ok=True
        )  # the backup's unit names it
        layout.record(release_id, previous=kept)
        atomic_symlink(f"releases/{release_id}", layout.current)
    record = layout.manifest(release_id)
    if record.get("outcome") != "live":  # also after a run that was killed right behind the rename
        left = previous if event == "revert" else record.get("previous", "")
        files = layout.written_files(release_id)
        layout.record(release_id, outcome="live", live_at=now(), files=files)
        if layout.manifest(left).get("outcome") == "live":
            mark = {"deploy": "retired", "rollback": "rolled-back", "revert": "failed"}[event]
            why = {"phase": "after the switch", "reason": reason} if event == "revert" else {}
            layout.record(left, outcome=mark, retired_at=now(), **why)
        took = seconds_since(record.get("staged_at", "")) if event == "deploy" else None
        why = {"reason": reason} if event == "revert" else {}
        layout.audit(event=event, release=release_id, previous=left, outcome="live", who=who, seconds=took, **why)
    others = [i for i in enabled_instances(layout) if i != release_id]
    if others:
        stale = [unit for i in others for unit in (layout.service_unit(i), layout.socket_unit(i))]
        systemctl("disable", "--quiet", *stale)
    for other in active_instances(layout):
        if other != release_id:
            drain(layout, other, seconds)
    systemctl("start", f"{layout.name}.target")
    return previous
