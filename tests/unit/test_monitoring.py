# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the inputs of Prometheus and of the exporters must be like, whom Alertmanager tells, and where a certificate is good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.filter import quoting
from ansible_collections.decant.flask.plugins.module_utils import certificates
from ansible_collections.decant.flask.plugins.plugin_utils import contract, monitoring, settings

PLAIN: dict[str, Any] = {
    "exporters_password": "0123456789abcdef",
    "exporters_address": "192.0.2.10",
    "exporters_port": 9443,
    "exporters_allow": ["192.0.2.20", "2001:db8::/64"],
    "exporters_latency_buckets_seconds": [0.1, 1.0],
    "monitoring_scrape_seconds": 15,
    "monitoring_rate_window_seconds": 300,
    "monitoring_burn_fast_window_seconds": 3600,
    "monitoring_burn_slow_window_seconds": 21600,
    "monitoring_slo_percent": 99.9,
    "monitoring_alerts": [],
    "monitoring_smtp_smarthost": "localhost:25",
}
BOTH = ["exporters", "monitoring"]


def said(**changes: Any) -> list[str]:
    return monitoring.problems({**PLAIN, **changes}, BOTH)


def test_what_is_right_is_taken():
    assert said() == []
    assert said(exporters_address="2001:db8::1", monitoring_smtp_smarthost="mail.example.org:587") == []


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"exporters_password": ""}, ["exporters_password is missing", "16 characters", "openssl rand", "vault"]),
        ({"exporters_password": "short"}, ["has fewer than 16 characters"]),
        (
            {"exporters_address": "web1.example.org"},
            ["exporters_address is 'web1.example.org'", "IP address", "host_vars"],
        ),
        ({"exporters_port": 0}, ["exporters_port is '0'", "9443"]),
        ({"exporters_allow": []}, ["exporters_allow is empty", "group monitoring"]),
        ({"exporters_allow": ["monitor"]}, ["exporters_allow has 'monitor'", "monitoring_address"]),
        ({"exporters_latency_buckets_seconds": [0]}, ["exporters_latency_buckets_seconds is '[0]'"]),
        ({"exporters_latency_buckets_seconds": [1.0, 1.0]}, ["exporters_latency_buckets_seconds"]),
        ({"monitoring_slo_percent": 100}, ["monitoring_slo_percent is 100", "no error budget"]),
        ({"monitoring_rate_window_seconds": 30}, ["monitoring_rate_window_seconds is 30", "at least 60"]),
        ({"monitoring_burn_fast_window_seconds": 600}, ["monitoring_burn_fast_window_seconds is 600", "at least 720"]),
        ({"monitoring_burn_slow_window_seconds": 600}, ["monitoring_burn_slow_window_seconds is 600"]),
        ({"monitoring_p95_seconds": 1.0}, ["monitoring_p95_seconds is 1.0", "up to 1.0 s alone"]),
        (
            {"monitoring_silent_seconds": 60, "health_timer_seconds": 30},
            ["monitoring_silent_seconds is 60", "At least 90"],
        ),
        ({"monitoring_scrape_seconds": 0}, ["monitoring_scrape_seconds is 0", "from 1 to 300"]),
        ({"monitoring_error_percent": 101}, ["monitoring_error_percent is 101"]),
        ({"monitoring_smtp_smarthost": "mail"}, ["monitoring_smtp_smarthost is 'mail'", "host:port"]),
        ({"monitoring_ca_bundle": "none.pem"}, ["monitoring_ca_bundle is 'none.pem'", "no such file"]),
        ({"monitoring_alerts": [{"name": "x", "kind": "fax"}]}, ["entry 1 of monitoring_alerts has the kind 'fax'"]),
        ({"monitoring_runbook_url": "wiki"}, ["monitoring_runbook_url is 'wiki'"]),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(changes: dict[str, Any], parts: list[str]):
    found = said(**changes)
    assert len(found) == 1
    assert all(part in found[0] for part in parts), found


def test_no_password_is_in_a_sentence():
    assert all("tooshort" not in text for text in said(exporters_password="tooshort"))


def test_a_play_asks_for_what_it_needs():
    assert contract.problems({"app_name": "shop", "exporters_address": "x"}, [], settings.specs(), ["nginx"]) != []
    without = contract.problems({"app_name": "shop"}, [], settings.specs(), ["baseline"])
    assert not [text for text in without if "exporters" in text]
    needed = contract.problems({"app_name": "shop"}, [], settings.specs(), ["exporters"])
    assert [text for text in needed if "exporters_password is missing" in text]


ENTRIES = [
    {"name": "bus", "kind": "webhook", "url": "https://bus.example.org/x"},
    {"name": "team", "kind": "slack", "url": "https://hooks.example.org/a"},
    {"name": "room", "kind": "mattermost", "url": "https://chat.example.org/b"},
    {"name": "pager", "kind": "pagerduty", "routing_key": "r"},
    {"name": "own", "kind": "pagerduty", "routing_key": "s", "url": "https://events.example.org/"},
    {"name": "ops", "kind": "email", "to": "ops@example.org"},
    {"name": "tell", "kind": "command", "command": ["/bin/true"]},
]


def test_receivers_in_alertmanagers_form():
    found = quoting.alertmanager_receivers(ENTRIES, "localhost:25", "alerts@mon")
    assert found["webhook_configs"] == [{"url": "https://bus.example.org/x", "send_resolved": True}]
    assert [one["api_url"] for one in found["slack_configs"]] == [
        "https://hooks.example.org/a",
        "https://chat.example.org/b",
    ]
    assert [one.get("url") for one in found["pagerduty_configs"]] == [None, "https://events.example.org/"]
    (mail,) = found["email_configs"]
    assert (mail["from"], mail["smarthost"], mail["require_tls"]) == ("alerts@mon", "localhost:25", False)
    assert "/bin/true" not in str(found)
    away = quoting.alertmanager_receivers(ENTRIES, "mail.example.org:587", "alerts@mon")
    assert away["email_configs"][0]["require_tls"] is True


def test_where_prometheus_comes_from():
    hosts = {
        "a": {"ansible_host": "192.0.2.1"},
        "b": {"monitoring_address": "10.0.0.2", "ansible_host": "192.0.2.2"},
        "c": {},
    }
    assert quoting.monitoring_addresses({"monitoring": ["a", "b", "c"]}, hosts) == ["192.0.2.1", "10.0.0.2", "c"]
    assert quoting.monitoring_addresses({}, {}) == []


def test_what_is_read_is_what_the_hosts_have_said():
    target = {
        "door": "192.0.2.1:9443",
        "paths": ["node"],
        "certificates": [],
        "site": {"url": "https://192.0.2.1:443/h", "host": "x.org", "watched": True},
    }
    found = quoting.monitoring_targets({"a": {"__exporters_target": target}, "b": {}})
    assert list(found) == ["a"]
    (entry,) = quoting.monitoring_site({**found, "db": {**target, "site": {}}}, "shop")
    assert entry["targets"] == ["https://192.0.2.1:443/h"]
    assert entry["labels"] == {
        "app": "shop",
        "instance": "a",
        "checks": "on",
        "__param_module": "site a",
        "__param_hostname": "x.org",
    }
    doors = quoting.monitoring_doors({**found, "six": {**target, "door": "[2001:db8::1]:9443"}})
    assert [one["targets"] for one in doors] == [["192.0.2.1:9443"], ["[2001:db8::1]:9443"]]
    assert doors[0]["labels"] == {"instance": "a", "__param_module": "door"}


def test_a_certificate_may_be_for_an_address():
    text = "notAfter=Nov 24 16:00:00 2099 GMT\n    DNS:a.org, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1\n"
    names = certificates.parse(text)["names"]
    assert names == ["192.0.2.1", "2001:db8::1", "a.org"]
    wanted = {"mode": "selfsigned", "names": ["a.org", "192.0.2.1", "2001:db8:0::1"]}
    assert certificates.as_wanted(wanted, certificates.parse(text))
    assert not certificates.as_wanted({**wanted, "names": ["192.0.2.2"]}, certificates.parse(text))


def test_every_alert_has_its_page():
    root = Path(__file__).resolve().parents[2]
    text = (root / "roles/monitoring/templates/rules.yml.j2").read_text(encoding="utf-8")
    pages = {
        line.rpartition(", '")[2].split("'")[0]
        for line in text.splitlines()
        if line.startswith("{{ told(") and "one." not in line
    }
    pages |= {line.split("'check': '")[1].split("'")[0] for line in text.splitlines() if "'check': '" in line}
    assert len(pages) >= 17
    for page in pages:
        assert (root / "docs/runbooks" / f"{page}.md").is_file(), page
        assert page in (root / "docs/monitoring.md").read_text(encoding="utf-8")
