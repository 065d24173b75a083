# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Starts an instance of a release beside the one that serves, and lets it be judged on its own socket."""

from __future__ import annotations

import re
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import database
from ansible_collections.decant.flask.plugins.module_utils.files import FilesError, with_units
from ansible_collections.decant.flask.plugins.module_utils.host import active_instances, journal, run, systemctl
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout

# What the candidate said last and what the probe said of it, without systemd's bookkeeping.
NOISE = re.compile(
    r"^(Starting|Started|Stopping|Stopped|Failed to start) |: (Control process exited|Failed with result|Main process exited|Consumed )"
)


def explain(text: str) -> tuple[str, list[str]]:
    """The probe's verdict and the last exception of a failed start, from its journal."""
    lines = [line for line in text.splitlines() if line.strip() and not NOISE.search(line)]
    verdicts = [line for line in lines if line.startswith("unhealthy")]
    errors = [line for line in lines if re.match(r"^(?:\w+\.)*\w*(?:Error|Exception|Exit)\b.*", line)]
    words = [*(errors[-1:] or []), *(verdicts[-1:] or [])]
    return "; ".join(words) or (lines[-1] if lines else "its journal is empty"), lines[-25:]


def other_database(migration: dict[str, Any], text: str) -> str:
    """Why what the workers serve is not what was migrated; empty when it is, or when they did not say."""
    if not migration.get("fingerprint"):
        return ""
    others = [found for found in database.served(text) if found["fingerprint"] != migration["fingerprint"]]
    if not others:
        return ""
    return (
        f"its workers resolve the database {others[0]['database']}, and Alembic migrated {migration.get('database', 'another one')}. "
        "Both must come from app_factory with the same environment: look at the URL in migrations/env.py"
    )


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "id": {"type": "str", "required": True},
    "event": {"type": "str", "choices": ["deploy", "rollback"], "default": "deploy"},
    "files": {"type": "list", "elements": "dict", "default": []},
    "pending": {"type": "path", "default": ""},
    "timeout": {"type": "int", "default": 120},
    "migration": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
}


def main(module: AnsibleModule) -> None:
    p = module.params
    layout = Layout(p["name"], p["root"])
    service, sock = layout.service_unit(p["id"]), layout.socket_unit(p["id"])
    up = all(systemctl("is-active", unit, check=False) == "active" for unit in (service, sock))
    if p["state"] == "stopped":
        running = sorted({*active_instances(layout), p["id"]})
        if not module.check_mode:
            systemctl("stop", *[unit for i in running for unit in (layout.service_unit(i), layout.socket_unit(i))])
        module.exit_json(changed=up)
    units = with_units(p["files"], p["pending"], module.check_mode)
    try:
        units.make()
    except FilesError as error:
        layout.failed(p["id"], "gate", str(error).splitlines()[-1])
        module.fail_json(msg=f"The units of release {p['id']} cannot be written. {error}\n{layout.serving()}")
    if up or module.check_mode:
        module.exit_json(changed=units.changed or not up, diff=units.diff)
    # A drain left from an earlier switch away from this release would stop it again.
    systemctl("stop", f"{layout.drain_unit(p['id'])}.timer", check=False)
    systemctl("reset-failed", service, sock, check=False)
    try:
        done = run(["systemctl", "start", sock, service], check=False, timeout=p["timeout"])
        code, said = done.returncode, done.stdout.strip()
    except subprocess.TimeoutExpired:
        code, said = 1, f"still starting after {p['timeout']} s"
    text = journal(service, 1000, layout, p["id"])
    wrong = other_database(p["migration"], text) if code == 0 else ""
    if code != 0 or wrong:
        why, lines = (wrong, []) if wrong else explain(text or said)
        is_current = p["id"] == layout.current_id()
        if not is_current:
            systemctl("stop", service, sock, check=False)
            layout.failed(p["id"], "gate", why, p["event"])
        systemctl("reset-failed", service, sock, check=False)
        then = {
            "deploy": "Mend the backend and deploy again.",
            "rollback": "Name another release, or deploy a mended one.",
        }[p["event"]]
        module.fail_json(
            msg=f"Release {p['id']} {'is not served from the migrated database' if wrong else 'did not become healthy'}, "
            f"so it gets no traffic: {why}\n"
            + (
                f"It is the current release, and systemd goes on trying: systemctl status {service}"
                if is_current
                else layout.serving()
            )
            + f" {then} The whole start: journalctl -u {service}",
            journal=lines,
        )
    if p["migration"] and "migration" not in layout.manifest(p["id"]):
        record = {
            key: p["migration"][key] for key in ("before", "after", "backup", "fingerprint") if key in p["migration"]
        }
        layout.record(p["id"], migration=record)
    healthy = [line for line in text.splitlines() if line.startswith("healthy")]
    said_database = [found["database"] for found in database.served(text)]
    if p["migration"].get("fingerprint") and not said_database:
        module.warn(
            f"The workers of {p['id']} did not say which database they serve, so it is not proved to be the migrated one."
        )
    module.exit_json(
        changed=True, diff=units.diff, health=healthy[-1] if healthy else "", database=(said_database or [""])[0]
    )
