# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host around a backend: what the inputs of the role baseline must be like, and the rules that they become."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
SIZE = re.compile(r"[1-9][0-9]*[KMGT]")
SPAN = re.compile(r"[1-9][0-9]*(min|h|day|week|month|year)")
INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}|[A-Za-z0-9_.-]{1,14}\*")


def is_port(value: Any) -> bool:
    """Whether a value is a TCP port, or the text of one: the keys of a mapping may be either."""
    return not isinstance(value, bool) and bool(re.fullmatch(r"[1-9][0-9]{0,4}", str(value))) and int(value) <= 65535


def rules(ports: Iterable[int], addresses: Mapping[Any, Iterable[str]], ssh_port: int) -> list[str]:
    """The rules of nftables that let in: one for the ports that are open to everybody, and those with networks one by one."""
    restricted = {int(port): [ipaddress.ip_network(text) for text in found] for port, found in addresses.items()}
    everybody = sorted({ssh_port, *map(int, ports)} - set(restricted))
    lines = [f"tcp dport {{ {', '.join(map(str, everybody))} }} accept"] if everybody else []
    for port, networks in sorted(restricted.items()):
        for family, version in (("ip", 4), ("ip6", 6)):
            sources = ", ".join(map(str, collapsed(networks, version)))
            if sources:
                lines.append(f"{family} saddr {{ {sources} }} tcp dport {port} accept")
    return lines


def collapsed(networks: Iterable[Any], version: int) -> list[Any]:
    """The networks of one family, without those that others hold: a set of nftables takes no overlaps."""
    return list(ipaddress.collapse_addresses(sorted(one for one in networks if one.version == version)))


def shuts_out(addresses: Mapping[Any, Iterable[str]], ssh_port: int, client: str) -> bool:
    """Whether the client of an SSH connection could not come back.

    :param client: its address, as the host sees it; empty when it is not known.
    """
    networks = {int(port): list(found) for port, found in addresses.items()}.get(ssh_port, [])
    if not networks or not client:
        return False
    address = ipaddress.ip_address(client.split("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return not any((mapped or address) in ipaddress.ip_network(text) for text in networks)


def problems(v: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the inputs of the role baseline."""
    return [*open_ports(v), *open_addresses(v), *updates(v), *journal(v)]


def open_ports(v: Mapping[str, Any]) -> list[str]:
    """Ports and interfaces."""
    found = [
        f"baseline_open_ports has '{port}'. Write TCP ports from 1 to 65535, for example [80, 443]."
        for port in v.get("baseline_open_ports") or []
        if not is_port(port)
    ]
    for name in v.get("baseline_trusted_interfaces") or []:
        if not INTERFACE.fullmatch(str(name)):
            found.append(
                f"baseline_trusted_interfaces has '{name}'. Write names of network interfaces, of at most 15 characters; a * at the "
                "end stands for any ending, for example [podman0] or ['br-*']."
            )
    return found


def open_addresses(v: Mapping[str, Any]) -> list[str]:
    """Ports that are open to some networks alone."""
    found = []
    for port, networks in (v.get("baseline_open_addresses") or {}).items():
        if not is_port(port):
            found.append(
                f"baseline_open_addresses has the port '{port}'. Write TCP ports from 1 to 65535, each with its networks, for example "
                "{9100: [192.0.2.0/24]}."
            )
        if not isinstance(networks, list) or not networks:
            found.append(
                f"baseline_open_addresses has '{networks}' for port {port}. Write a list of addresses and networks, for example "
                f"{{{port}: [192.0.2.0/24]}}; a port that is open to everybody belongs in baseline_open_ports."
            )
            continue
        for text in networks:
            try:
                network = ipaddress.ip_network(str(text), strict=True)
            except ValueError as error:
                found.append(
                    f"baseline_open_addresses has '{text}' for port {port}: {error}. Write an address or a network, for example "
                    "192.0.2.0/24; names are not looked up."
                )
            else:
                if network.prefixlen == 0:
                    found.append(
                        f"baseline_open_addresses has '{text}' for port {port}, which is everybody. Write the port in "
                        "baseline_open_ports instead."
                    )
    return found


def updates(v: Mapping[str, Any]) -> list[str]:
    """When a host may reboot."""
    clock = str(v.get("baseline_reboot_time") or "")
    if clock and not CLOCK.fullmatch(clock):
        return [
            f"baseline_reboot_time is '{clock}'. Write hours and minutes in quotes, for example '04:00' (YAML reads 14:00 without "
            "quotes as the number 840), or nothing: then no host reboots by itself."
        ]
    if clock and v.get("baseline_security_upgrades_enabled") is False:
        return [
            f"baseline_reboot_time is '{clock}', and without baseline_security_upgrades_enabled nothing would reboot. Remove one of "
            "them."
        ]
    return []


def journal(v: Mapping[str, Any]) -> list[str]:
    """Size and age."""
    found = []
    size, age = str(v.get("baseline_journal_max_use", "1G")), str(v.get("baseline_journal_retention", "30day"))
    if not SIZE.fullmatch(size):
        found.append(
            f"baseline_journal_max_use is '{size}'. Write a number and K, M, G or T, for example 1G: journald passes over a value "
            "that it does not understand."
        )
    if not SPAN.fullmatch(age):
        found.append(
            f"baseline_journal_retention is '{age}'. Write a number and min, h, day, week, month or year, for example 30day: journald "
            "passes over a value that it does not understand, and reads a bare number as seconds."
        )
    return found
