# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the inputs of the role baseline must be like, and the rules that they become."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.plugin_utils import baseline, contract, edge, settings

PLAIN: dict[str, Any] = {
    "baseline_open_ports": [80],
    "baseline_open_addresses": {},
    "baseline_trusted_interfaces": [],
    "baseline_security_upgrades_enabled": True,
    "baseline_reboot_time": "",
    "baseline_journal_max_use": "1G",
    "baseline_journal_retention": "30day",
}


def found(**changes: Any) -> list[str]:
    return baseline.problems({**PLAIN, **changes})


def test_the_defaults_are_fine():
    assert found() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"baseline_open_ports": [1, 65535]},
        {"baseline_open_addresses": {"9100": ["192.0.2.5", "192.0.2.0/24", "2001:db8::/32"]}},
        {"baseline_open_addresses": {9100: ["192.0.2.5"]}},
        {"baseline_trusted_interfaces": ["podman0", "br-*", "eth0.7"]},
        {"baseline_reboot_time": "04:00"},
        {"baseline_reboot_time": "23:59"},
        {"baseline_journal_max_use": "500M", "baseline_journal_retention": "2week"},
    ],
)
def test_what_is_taken(changes: dict[str, Any]):
    assert found(**changes) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"baseline_open_ports": [0]}, ["baseline_open_ports has '0'", "[80, 443]"]),
        ({"baseline_open_ports": [65536]}, ["baseline_open_ports has '65536'", "1 to 65535"]),
        ({"baseline_open_ports": [True]}, ["baseline_open_ports has 'True'"]),
        ({"baseline_open_addresses": {"ssh": ["192.0.2.5"]}}, ["the port 'ssh'", "9100"]),
        ({"baseline_open_addresses": {"9100": []}}, ["'[]' for port 9100", "baseline_open_ports"]),
        ({"baseline_open_addresses": {"9100": "192.0.2.5"}}, ["'192.0.2.5' for port 9100", "a list"]),
        ({"baseline_open_addresses": {"9100": ["db.example.org"]}}, ["'db.example.org'", "not looked up"]),
        ({"baseline_open_addresses": {"9100": ["192.0.2.5/24"]}}, ["'192.0.2.5/24'", "host bits set"]),
        ({"baseline_open_addresses": {"9100": ["0.0.0.0/0"]}}, ["'0.0.0.0/0'", "everybody", "baseline_open_ports"]),
        ({"baseline_open_addresses": {"9100": ["::/0"]}}, ["'::/0'", "everybody"]),
        ({"baseline_trusted_interfaces": ['x" accept']}, ["baseline_trusted_interfaces has 'x\" accept'", "podman0"]),
        ({"baseline_trusted_interfaces": ["*"]}, ["baseline_trusted_interfaces has '*'"]),
        ({"baseline_trusted_interfaces": ["a-name-that-is-too-long"]}, ["at most 15"]),
        ({"baseline_reboot_time": "840"}, ["baseline_reboot_time is '840'", "in quotes", "04:00"]),
        ({"baseline_reboot_time": "24:00"}, ["baseline_reboot_time is '24:00'"]),
        (
            {"baseline_reboot_time": "04:00", "baseline_security_upgrades_enabled": False},
            ["baseline_security_upgrades_enabled", "Remove one"],
        ),
        ({"baseline_journal_max_use": "1 GB"}, ["baseline_journal_max_use is '1 GB'", "1G"]),
        ({"baseline_journal_max_use": "0"}, ["baseline_journal_max_use is '0'"]),
        ({"baseline_journal_retention": "30"}, ["baseline_journal_retention is '30'", "30day", "seconds"]),
        ({"baseline_journal_retention": "a month"}, ["baseline_journal_retention is 'a month'"]),
    ],
)
def test_what_is_refused_and_how(changes: dict[str, Any], words: list[str]):
    (message,) = found(**changes)
    assert [word for word in words if word not in message] == []


def test_the_contract_asks_only_where_the_role_runs():
    values = {**PLAIN, "app_name": "projects", "baseline_open_ports": [0]}
    known = settings.specs()
    assert any("baseline_open_ports" in text for text in contract.problems(values, list(values), known, ["baseline"]))
    assert not any("baseline_open_ports" in text for text in contract.problems(values, list(values), known, ["app"]))


@pytest.mark.parametrize(
    ("inputs", "ports"),
    [
        ({"nginx_listen_port": 80, "nginx_tls": "off", "nginx_tls_port": 443}, [80]),
        ({"nginx_listen_port": 80, "nginx_tls": False, "nginx_tls_port": 443}, [80]),
        ({"nginx_listen_port": 80, "nginx_tls": "acme", "nginx_tls_port": 443}, [80, 443]),
        ({"nginx_listen_port": "http", "nginx_tls": "off"}, []),
        ({}, []),
    ],
)
def test_the_ports_of_the_site(inputs: dict[str, Any], ports: list[int]):
    assert edge.ports(inputs) == ports


def test_ssh_is_always_open():
    assert baseline.rules([], {}, 22) == ["tcp dport { 22 } accept"]
    assert baseline.rules([443, 80, 80], {}, 2222) == ["tcp dport { 80, 443, 2222 } accept"]


def test_a_port_with_networks_is_open_to_those_alone():
    addresses = {"9100": ["192.0.2.7", "192.0.2.0/24", "2001:db8::1"], "80": ["192.0.2.5"]}
    assert baseline.rules([80, 443], addresses, 22) == [
        "tcp dport { 22, 443 } accept",
        "ip saddr { 192.0.2.5/32 } tcp dport 80 accept",
        "ip saddr { 192.0.2.0/24 } tcp dport 9100 accept",
        "ip6 saddr { 2001:db8::1/128 } tcp dport 9100 accept",
    ]
    assert baseline.rules([], {22: ["192.0.2.5"]}, 22) == ["ip saddr { 192.0.2.5/32 } tcp dport 22 accept"]


@pytest.mark.parametrize(
    ("addresses", "client", "wanted"),
    [
        ({}, "192.0.2.7", False),
        ({"9100": ["192.0.2.5"]}, "192.0.2.7", False),
        ({"22": ["192.0.2.0/24"]}, "192.0.2.7", False),
        ({22: ["192.0.2.0/24"]}, "::ffff:192.0.2.7", False),
        ({"22": ["192.0.2.5"]}, "192.0.2.7", True),
        ({22: ["192.0.2.5"]}, "2001:db8::1", True),
        ({22: ["fe80::/10"]}, "fe80::1%eth0", False),
        ({22: ["192.0.2.5"]}, "", False),
    ],
)
def test_nobody_shuts_himself_out(addresses: dict[Any, list[str]], client: str, wanted: bool):
    assert baseline.shuts_out(addresses, 22, client) is wanted
