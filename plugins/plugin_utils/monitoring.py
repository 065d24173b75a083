# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prometheus for a fleet: what the inputs of the roles exporters and monitoring must be like, and whom Alertmanager tells."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from . import alerts
from .baseline import is_port

PASSWORD_CHARS = 16
SMARTHOST = re.compile(r"[^\s:]+:[0-9]{1,5}")
# Input -> lowest and highest value.
LIMITS: dict[str, tuple[float, float]] = {
    "monitoring_scrape_seconds": (1, 300),
    "monitoring_retention_days": (1, 3650),
    "monitoring_group_wait_seconds": (0, 3600),
    "monitoring_repeat_hours": (0.01, 720),
    "monitoring_for_seconds": (0, 86400),
    "monitoring_error_percent": (0, 100),
    "monitoring_errors_least": (1, 1000000),
    "monitoring_p95_seconds": (0.001, 600),
    "monitoring_certificate_days": (0, 365),
    "monitoring_disk_free_percent": (0, 100),
    "monitoring_deploy_seconds": (1, 86400),
    "monitoring_silent_seconds": (1, 86400),
}
TITLE = "[{{ .Status | toUpper }}] {{ .CommonLabels.alertname }}{{ if .CommonLabels.app }} of {{ .CommonLabels.app }}{{ end }}"
TEXT = (
    "{{ range .Alerts }}{{ .Status }}: {{ .Annotations.summary }}"
    "{{ if .Annotations.runbook_url }} {{ .Annotations.runbook_url }}{{ end }}\n{{ end }}"
)


def is_address(text: str, network: bool = False) -> bool:
    """Whether a text is an IP address, or a network of them."""
    try:
        (ipaddress.ip_network if network else ipaddress.ip_address)(text)
    except ValueError:
        return False
    return True


def problems(v: Mapping[str, Any], needs: Iterable[str], place: str = "") -> list[str]:
    """Everything that is wrong with the inputs of the two roles.

    :param v: every public variable that is set or has a default.
    :param needs: the roles that run in this play.
    :param place: the inventory's directory.
    """
    found = password(v)
    if "exporters" in needs:
        found += door(v)
    if "monitoring" in needs:
        found += server(v, place)
    return found


def password(v: Mapping[str, Any]) -> list[str]:
    """The secret that both sides know."""
    if len(str(v.get("exporters_password") or "")) >= PASSWORD_CHARS:
        return []
    said = "has fewer than" if v.get("exporters_password") else "is missing. It needs at least"
    return [
        f"exporters_password {said} {PASSWORD_CHARS} characters. Make one with openssl rand -hex 24, and write it into the vault of the "
        'groups backend, database and monitoring, for example exporters_password: "{{ vault_exporters_password }}" in group_vars/all.'
    ]


def door(v: Mapping[str, Any]) -> list[str]:
    """Where a host lets Prometheus in."""
    found = []
    address = str(v.get("exporters_address") or "")
    if not is_address(address):
        found.append(
            f"exporters_address is '{address}'. nginx listens there, so it must be an IP address of the host itself, for example "
            "192.0.2.10: write it into its host_vars."
        )
    if not is_port(v.get("exporters_port")):
        found.append(f"exporters_port is '{v.get('exporters_port')}'. Write a port from 1 to 65535, for example 9443.")
    clients = v.get("exporters_allow") or []
    if not clients:
        found.append(
            "exporters_allow is empty, and nobody could come in. Put the host that runs Prometheus into the group monitoring."
        )
    for client in clients:
        if not is_address(str(client), network=True):
            found.append(
                f"exporters_allow has '{client}'. nginx looks up no names: write an address or a network, for example 192.0.2.20; that of "
                "a host of the group monitoring is its monitoring_address."
            )
    bounds = v.get("exporters_latency_buckets_seconds") or []
    if (
        not bounds
        or any(not isinstance(one, (int, float)) or one <= 0 for one in bounds)
        or len(set(bounds)) < len(bounds)
    ):
        found.append(
            f"exporters_latency_buckets_seconds is '{bounds}'. Write different seconds above 0, for example [0.1, 0.5, 1.0, 5.0]."
        )
    return found


def server(v: Mapping[str, Any], place: str) -> list[str]:
    """What Prometheus is told."""
    found = []
    for name, (least, most) in LIMITS.items():
        if isinstance(v.get(name), (int, float)) and not least <= v[name] <= most:
            found.append(f"{name} is {v[name]}. Write a number from {least:g} to {most:g}.")
    if isinstance(v.get("monitoring_slo_percent"), (int, float)) and not 50 <= v["monitoring_slo_percent"] < 100:
        found.append(
            f"monitoring_slo_percent is {v['monitoring_slo_percent']}. Write a share from 50 to below 100, for example 99.9: 100 leaves no "
            "error budget."
        )
    scrape = v.get("monitoring_scrape_seconds")
    for name, parts in (
        ("monitoring_rate_window_seconds", 1),
        ("monitoring_burn_fast_window_seconds", 12),
        ("monitoring_burn_slow_window_seconds", 12),
    ):
        if isinstance(v.get(name), int) and isinstance(scrape, int) and v[name] < 4 * scrape * parts:
            found.append(
                f"{name} is {v[name]}, and what is read every {scrape} s (monitoring_scrape_seconds) needs at least {4 * scrape * parts}."
            )
    largest = max(
        (one for one in v.get("exporters_latency_buckets_seconds") or [] if isinstance(one, (int, float))), default=0
    )
    if largest and isinstance(v.get("monitoring_p95_seconds"), (int, float)) and v["monitoring_p95_seconds"] >= largest:
        found.append(
            f"monitoring_p95_seconds is {v['monitoring_p95_seconds']}, and exporters_latency_buckets_seconds tells times apart up to "
            f"{largest} s alone. Write a smaller limit, or a larger bucket."
        )
    timer, silent = v.get("health_timer_seconds"), v.get("monitoring_silent_seconds")
    if isinstance(timer, int) and isinstance(silent, int) and silent < 3 * timer:
        found.append(
            f"monitoring_silent_seconds is {silent}, and the checks run every {timer} s (health_timer_seconds). At least {3 * timer} is needed."
        )
    if v.get("monitoring_smtp_smarthost") and not SMARTHOST.fullmatch(str(v["monitoring_smtp_smarthost"])):
        found.append(
            f"monitoring_smtp_smarthost is '{v['monitoring_smtp_smarthost']}'. Write host:port, for example mail.example.org:587."
        )
    bundle = str(v.get("monitoring_ca_bundle") or "")
    if bundle and not os.path.isfile(os.path.join(place, bundle)):
        found.append(
            f"monitoring_ca_bundle is '{bundle}', and there is no such file ({os.path.join(place, bundle)}). Write the path of a PEM file on "
            "the controller, absolute or relative to the inventory's directory."
        )
    found += [
        text.replace("health_alerts", "monitoring_alerts").replace("health_runbook_url", "monitoring_runbook_url")
        for text in alerts.problems(
            {"health_alerts": v.get("monitoring_alerts"), "health_runbook_url": v.get("monitoring_runbook_url")}
        )
    ]
    return found


def receivers(entries: Iterable[Mapping[str, Any]], smarthost: str, sender: str) -> dict[str, list[dict[str, Any]]]:
    """health_alerts in Alertmanager's form.

    :param smarthost: mail server, host:port.
    :param sender: address that mail comes from, where an entry has none.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        kind = entry["kind"]
        if kind == "webhook":
            found.setdefault("webhook_configs", []).append({"url": entry["url"], "send_resolved": True})
        elif kind in ("slack", "mattermost"):  # Mattermost takes Slack's form
            config = {"api_url": entry["url"], "send_resolved": True, "title": TITLE, "text": TEXT}
            found.setdefault("slack_configs", []).append(config)
        elif kind == "pagerduty":
            config = {"routing_key": entry["routing_key"], "send_resolved": True}
            config |= {"url": entry["url"]} if entry.get("url") else {}
            found.setdefault("pagerduty_configs", []).append(config)
        elif kind == "email":
            local = smarthost.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]")
            config = {"to": entry["to"], "from": entry.get("from") or sender, "smarthost": smarthost}
            config |= {"require_tls": not local, "send_resolved": True}
            found.setdefault("email_configs", []).append(config)
    return found


def site_targets(targets: Mapping[str, Mapping[str, Any]], app: str) -> list[dict[str, Any]]:
    """Each host's own way in, for file_sd: what starts with two underscores is the question, the rest are labels."""
    found = []
    for name, target in sorted(targets.items()):
        site = target.get("site") or {}
        if site:
            labels = {"app": app, "instance": name, "checks": "on" if site["watched"] else "off"}
            labels |= {"__param_module": f"site {name}", "__param_hostname": site["host"]}
            found.append({"targets": [site["url"]], "labels": labels})
    return found


def door_targets(targets: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The doors of the exporters, for file_sd."""
    return [
        {"targets": [target["door"]], "labels": {"instance": name, "__param_module": "door"}}
        for name, target in sorted(targets.items())
    ]
