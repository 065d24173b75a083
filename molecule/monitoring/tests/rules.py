# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules with the roles' own defaults, and what they must make of hours that are played to them (promtool test rules)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from testing import ROOT, STATE

TEMPLATE = ROOT / "roles/monitoring/templates/rules.yml.j2"
HOST = {"app": "shop", "instance": "web1"}
LABELS = 'app="shop",instance="web1"'
SILENCED = f"decant_silenced_until_timestamp_seconds{{{LABELS}}}"
# A host's check -> its alert, how bad it is, and how its sentence goes on.
CHECKS = {
    "live": ("DecantLive", "critical", "the instance does not answer"),
    "ready": ("DecantReady", "critical", "the backend is not ready"),
    "database": ("DecantDatabase", "critical", "the database does not answer"),
    "disk": ("DecantDisk", "critical", "little space is free for the backend"),
    "inodes": ("DecantInodes", "critical", "few inodes are free for the backend"),
    "backup": ("DecantBackup", "warning", "the last backup is old, or there is none"),
    "schema": ("DecantSchema", "warning", "the database is not at the head of the release"),
    "drift": ("DecantDrift", "warning", "the host is not what was deployed"),
    "restarts": ("DecantRestarts", "warning", "the instance is started again and again"),
    "memory": ("DecantMemory", "warning", "the instance is near its limit of memory"),
    "units": ("DecantUnits", "warning", "systemd gave a unit of the backend up"),
}


def defaults() -> dict[str, Any]:
    """What the role has by default, with nobody to tell and no runbooks."""
    text = (ROOT / "roles/monitoring/defaults/main.yml").read_text(encoding="utf-8")
    return {**yaml.safe_load(text), "monitoring_runbook_url": "", "monitoring_alerts": []}


DEFAULTS = defaults()


def render(variables: dict[str, Any]) -> str:
    """The rules as Ansible writes them."""
    target = Path(STATE, "rules.yml")
    words = ["ansible", "localhost", "--connection", "local", "-m", "ansible.builtin.template"]
    words += ["-a", f"src={TEMPLATE} dest={target} mode=0600"]
    extra = {**variables, "ansible_python_interpreter": sys.executable}
    subprocess.run([*words, "--extra-vars", json.dumps(extra)], check=True, capture_output=True, cwd=ROOT)
    return target.read_text(encoding="utf-8")


def series(name: str, values: str) -> dict[str, str]:
    return {"series": name, "values": values}


def expect(minute: int, alert: str, severity: str = "", summary: str = "", **labels: str) -> dict[str, Any]:
    """What an alert is at a minute; without a severity, nothing."""
    wanted = (
        [{"exp_labels": {**labels, "severity": severity}, "exp_annotations": {"summary": summary}}] if severity else []
    )
    return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": wanted}


def played(inputs: list[dict[str, str]], *expected: dict[str, Any]) -> dict[str, Any]:
    return {"interval": "1m", "input_series": inputs, "alert_rule_test": list(expected)}


def clients() -> list[dict[str, Any]]:
    """What clients see of a backend."""
    probe = f'probe_success{{job="site",{LABELS}}}'
    good, bad = (f'decant_http_requests_total{{{LABELS},method="GET",status="{status}"}}' for status in (200, 500))
    slower = [(le, 100) for le in ("2.5", "5", "10", "+Inf")]
    times = [(le, 0) for le in ("0.01", "0.025", "0.05", "0.1", "0.25", "0.5")] + [("1", 90), *slower]
    bucket = "decant_http_request_duration_seconds_bucket"
    down = expect(6, "DecantDown", "critical", "shop on web1 does not answer as a client asks.", **HOST)
    return [
        # One bad answer is none; two minutes of them are; a silence holds it back; and it is over at the first good one.
        played(
            [series(probe, "1 0 1 1 0 0 0 0 0 1 1")],
            expect(2, "DecantDown"),
            expect(4, "DecantDown"),
            down,
            expect(9, "DecantDown"),
        ),
        played([series(probe, "0x10"), series(SILENCED, "3600x2 _x7")], expect(8, "DecantDown")),
        # 6 errors in 60 answers a minute; before that none at all, and afterwards none.
        played(
            [series(good, "0+60x10 600+54x20 1680+60x30"), series(bad, "0x10 0+6x20 120x30")],
            expect(9, "DecantErrors"),
            expect(25, "DecantErrors", "critical", "shop answers 10% of its requests with an error.", app="shop"),
            expect(50, "DecantErrors"),
        ),
        # One error among six answers is a large share, and one client's bad luck.
        played(
            [series(good, "0+5x20"), series(bad, "0x10 1x10")],
            expect(12, "DecantErrors"),
            expect(12, "DecantBudgetFast"),
        ),
        # A backend that nobody asks has no errors.
        played([series(good, "5x20"), series(bad, "5x20")], expect(15, "DecantErrors"), expect(15, "DecantLatency")),
        # Of 100 answers a minute 90 take up to a second, and 10 up to two and a half: the 95th percentile is in the middle of these.
        played(
            [series(f'{bucket}{{{LABELS},le="{le}"}}', f"0+{count}x20") for le, count in times],
            expect(15, "DecantLatency", "warning", "shop takes 1.75s for the slowest 5 % of its answers.", app="shop"),
        ),
        # 2 % of errors for an hour use the budget of 0.1 % up 20 times too fast; five minutes after they end, it is no alert any more.
        played(
            [series(good, "0+98x90 8820+100x60"), series(bad, "0+2x90 180x60")],
            expect(
                80,
                "DecantBudgetFast",
                "critical",
                "shop uses up its error budget 14.4 times as fast as it may: 2% errors.",
                app="shop",
            ),
            expect(100, "DecantBudgetFast"),
        ),
        # 1 % is 10 times too fast: for the morning, and not for the night.
        played(
            [series(good, "0+99x400"), series(bad, "0+1x400")],
            expect(390, "DecantBudgetFast"),
            expect(
                390,
                "DecantBudgetSlow",
                "warning",
                "shop uses up its error budget 6 times as fast as it may: 1% errors.",
                app="shop",
            ),
        ),
        # The certificate of the site ends in ten days; another's in twenty.
        played(
            [
                series(f'probe_ssl_earliest_cert_expiry{{job="site",{LABELS}}}', "864000x20"),
                series('probe_ssl_earliest_cert_expiry{job="site",app="shop",instance="web2"}', "1728000x20"),
            ],
            expect(10, "DecantCertificate", "warning", "A certificate of web1 ends soon.", **HOST),
        ),
    ]


def hosts() -> list[dict[str, Any]]:
    """What a host says of itself."""
    found = []
    for check, (alert, severity, what) in CHECKS.items():
        name = f'decant_check_ok{{{LABELS},check="{check}"}}'
        told = expect(6, alert, severity, f"shop on web1: {what}.", **HOST, check=check)
        found.append(played([series(name, "1 1 0 0 0 0 0 0 1 1")], expect(3, alert), told, expect(8, alert)))
        found.append(played([series(name, "0x10"), series(SILENCED, "3600x2 _x7")], expect(8, alert)))
    away = [series(f'decant_check_ok{{{LABELS},check="{check}"}}', "0x10") for check in ("database", "ready", "live")]
    down = series(f'probe_success{{job="site",{LABELS}}}', "0x10")
    told = expect(
        6, "DecantDatabase", "critical", "shop on web1: the database does not answer.", **HOST, check="database"
    )
    explained = (expect(6, alert) for alert in ("DecantReady", "DecantLive", "DecantDown"))
    found.append(played([*away, down], told, *explained))
    disk = 'device="/dev/vda1",fstype="ext4",instance="web1",job="node",mountpoint="/var"'
    full = {"instance": "web1", "job": "node", "mountpoint": "/var"}
    lock, last = (f"decant_{name}_timestamp_seconds{{{LABELS}}}" for name in ("lock_since", "last_run"))
    return [
        *found,
        played(
            [
                series(f"node_filesystem_avail_bytes{{{disk}}}", "50 50 3x10"),
                series(f"node_filesystem_size_bytes{{{disk}}}", "100x12"),
            ],
            expect(1, "DecantFilesystem"),
            expect(8, "DecantFilesystem", "critical", "/var of web1 has 3 % free.", **full),
        ),
        played(
            [series(lock, "0x60")],
            expect(20, "DecantDeployLong"),
            expect(40, "DecantDeployLong", "warning", "A deploy of shop on web1 has held the lock for 40m 0s.", **HOST),
        ),
        played(
            [series(last, "0+60x10 600x10")],
            expect(10, "DecantChecksSilent"),
            expect(18, "DecantChecksSilent", "critical", "The checks of shop on web1 say nothing.", **HOST),
        ),
        # A host that answers, and whose checks have never said anything; and one where nobody wants them.
        played(
            [
                series(f'probe_success{{job="site",checks="on",{LABELS}}}', "1x20"),
                series('probe_success{job="site",checks="off",app="shop",instance="web2"}', "1x20"),
                series('up{instance="web1",job="node"}', "1x20"),
                series('up{instance="web2",job="node"}', "1x20"),
            ],
            expect(1, "DecantChecksSilent"),
            expect(10, "DecantChecksSilent", "critical", "The checks of shop on web1 say nothing.", **HOST),
        ),
        # Silenced, and away since: within the silence nothing is told, and after it everything.
        played(
            [
                series(f'probe_success{{job="site",{LABELS}}}', "1 0x140"),
                series(SILENCED, "3600 3600 _x140"),
            ],
            expect(50, "DecantDown"),
            expect(130, "DecantDown", "critical", "shop on web1 does not answer as a client asks.", **HOST),
        ),
        played(
            [series('up{instance="web1",job="node"}', "1 1 0 0 0 0 0 1")],
            expect(3, "DecantExporterDown"),
            expect(
                5, "DecantExporterDown", "warning", "Prometheus cannot read node of web1.", instance="web1", job="node"
            ),
            expect(7, "DecantExporterDown"),
        ),
    ]


def scenarios() -> dict[str, Any]:
    """The file that promtool reads, beside the rules."""
    return {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [*clients(), *hosts()]}
