# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way in: what the inputs of the role nginx must be like, and the parts of its site that are computed."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Any

RATE = re.compile(r"[1-9][0-9]*r/[sm]")
BUFFERS = re.compile(r"[1-9][0-9]* [1-9][0-9]*[km]")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
METHOD = re.compile(r"[A-Z]+")
URL_PATH = re.compile(r"/[!#%-~]*")
YEAR = 31_536_000


def mode(v: Mapping[str, Any]) -> str:
    """The value of nginx_tls. YAML reads an unquoted off as false."""
    value = v.get("nginx_tls", "off")
    return "off" if value in (False, None, "", "False") else str(value)


def ports(v: Mapping[str, Any]) -> list[int]:
    """The TCP ports that the site listens on, or will once there is a certificate. What is no number is refused elsewhere."""
    given = [v.get("nginx_listen_port"), v.get("nginx_tls_port") if mode(v) != "off" else None]
    return [port for port in given if isinstance(port, int)]


def response_headers(headers: Mapping[str, Any]) -> list[dict[str, str]]:
    """name, value and field (the form of the name in nginx's variables) of each header that has a value."""
    return [
        {"name": str(name), "value": str(value), "field": str(name).lower().replace("-", "_")}
        for name, value in headers.items()
        if value not in (None, "")
    ]


def rate_zones(paths: list[Mapping[str, Any]], upstream: str) -> list[dict[str, Any]]:
    """nginx_rate_limited_paths with the name of each one's zone."""
    return [
        {
            "name": f"{upstream}-path-{number}",
            "path": one["path"],
            "rate": one["rate"],
            "burst": int(one.get("burst", 5)),
        }
        for number, one in enumerate(paths, 1)
    ]


def problems(v: Mapping[str, Any], place: str) -> list[str]:
    """Everything that is wrong with the inputs of the role nginx.

    :param place: the inventory's directory, which relative paths start from.
    """
    return [*tls(v, place), *hsts(v), *headers(v), *limits(v), *networks(v), *paths(v, place)]


def tls(v: Mapping[str, Any], place: str) -> list[str]:
    """Where the certificate comes from."""
    found = []
    kind, names = mode(v), [str(name) for name in v.get("nginx_server_names") or []]
    port = v.get("nginx_tls_port")
    if isinstance(port, int) and not 1 <= port <= 65535:
        found.append(f"nginx_tls_port is {port}. Write a TCP port from 1 to 65535, for example 443.")
    if kind != "off" and port == v.get("nginx_listen_port"):
        found.append(f"nginx_tls_port and nginx_listen_port are both {port}. TLS and plain HTTP need a port each.")
    given = [name for name in ("nginx_tls_certificate", "nginx_tls_key") if v.get(name)]
    if kind == "files":
        for name in ("nginx_tls_certificate", "nginx_tls_key"):
            found += file_problem(name, str(v.get(name) or ""), bool(v.get("nginx_tls_files_on_host")), place)
    elif given:
        found.append(
            f"{' and '.join(given)} have no effect with nginx_tls: {kind}. Write nginx_tls: files, or remove them."
        )
    if kind == "acme":
        wild = [name for name in names if name.startswith("*.")]
        if wild:
            found.append(
                f"nginx_server_names has '{wild[0]}', and HTTP-01 proves no wildcard. Name each host, or bring a certificate "
                "(nginx_tls: files)."
            )
        if v.get("nginx_listen_port") not in (None, 80):
            found.append(
                f"nginx_listen_port is {v['nginx_listen_port']} with nginx_tls: acme, and an ACME server asks port 80. "
                "Write 80, or lead port 80 here and bring the certificate yourself (nginx_tls: files)."
            )
        url = str(v.get("nginx_acme_directory_url") or "")
        if not re.fullmatch(r"https://\S+", url):
            found.append(f"nginx_acme_directory_url is '{url}'. Write the https URL of the ACME server's directory.")
        email = str(v.get("nginx_acme_email") or "")
        if email and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
            found.append(f"nginx_acme_email is '{email}'. Write an address, for example 'ops@example.org', or nothing.")
        bundle = str(v.get("nginx_acme_ca_bundle") or "")
        if bundle and not re.fullmatch(r"/[A-Za-z0-9_./-]+", bundle):
            found.append(
                f"nginx_acme_ca_bundle is '{bundle}'. Write an absolute path on the host, for example '/etc/ssl/private-ca.pem'."
            )
    return found


def file_problem(name: str, path: str, on_host: bool, place: str) -> list[str]:
    """Why a certificate or key of the inventory cannot be used."""
    if not path:
        return [f"{name} is missing, and nginx_tls: files needs it. Write a path, for example 'tls/fullchain.pem'."]
    if "\n" in path or "-----BEGIN" in path:  # a key must not be printed
        return [
            f"{name} holds the file's content. Write its path, for example 'tls/privkey.pem'; its value is not shown here."
        ]
    if on_host:
        if not re.fullmatch(r"/[A-Za-z0-9_./-]+", path):
            return [f"{name} is '{path}'. With nginx_tls_files_on_host write an absolute path of the host."]
        return []
    where = os.path.join(place, path)
    if not os.path.isfile(where):
        return [
            f"{name} is '{path}', and there is no such file on the controller ({where}). Write its path, absolute or relative to "
            "the inventory's directory; with nginx_tls_files_on_host: true a path of the host."
        ]
    return []


def hsts(v: Mapping[str, Any]) -> list[str]:
    """A promise to browsers that cannot be taken back."""
    age = int(v.get("nginx_hsts_max_age_seconds") or 0)
    found = []
    if age and mode(v) in ("off", "selfsigned"):
        found.append(
            f"nginx_hsts_max_age_seconds is {age} with nginx_tls: {mode(v)}. Browsers would refuse the site until a certificate "
            "that they trust is there. Write 0, or nginx_tls: acme or files."
        )
    if v.get("nginx_hsts_preload_enabled") and (age < YEAR or not v.get("nginx_hsts_subdomains_enabled")):
        found.append(
            f"nginx_hsts_preload_enabled needs nginx_hsts_subdomains_enabled: true and nginx_hsts_max_age_seconds of {YEAR} or more "
            f"(it is {age}). Raise it step by step: 300, 86400, 2592000, {YEAR}."
        )
    elif v.get("nginx_hsts_subdomains_enabled") and not age:
        found.append("nginx_hsts_subdomains_enabled has no effect while nginx_hsts_max_age_seconds is 0.")
    return found


def headers(v: Mapping[str, Any]) -> list[str]:
    """Response headers and methods."""
    found = []
    given = {**(v.get("nginx_headers") or {}), "Content-Security-Policy": v.get("nginx_content_security_policy") or ""}
    for name, value in given.items():
        if not HEADER.fullmatch(str(name)):
            found.append(
                f"nginx_headers has '{name}', which is no header's name. Write for example X-Frame-Options: DENY."
            )
        elif "$" in str(value) or any(ord(c) < 32 or ord(c) > 126 for c in str(value)):
            found.append(
                f"The header {name} is '{value}'. Write printable ASCII without $, which nginx reads as a variable."
            )
        elif str(name).lower() == "strict-transport-security":
            found.append("nginx_headers has Strict-Transport-Security. Write nginx_hsts_max_age_seconds instead.")
    for method in v.get("nginx_methods") or []:
        if not METHOD.fullmatch(str(method)) or method in ("CONNECT", "TRACE"):
            found.append(
                f"nginx_methods has '{method}'. Write methods in capitals, for example [GET, HEAD, POST]; CONNECT and TRACE never pass."
            )
    if v.get("nginx_methods") == []:
        found.append("nginx_methods is empty, so nothing would reach the backend. Write for example [GET, HEAD, POST].")
    return found


def limits(v: Mapping[str, Any]) -> list[str]:
    """Rates, bursts and buffers."""
    found = []
    rates = [("nginx_rate_limit", v.get("nginx_rate_limit") or "")]
    for one in v.get("nginx_rate_limited_paths") or []:
        if not isinstance(one, Mapping) or set(one) - {"path", "rate", "burst"} or not {"path", "rate"} <= set(one):
            found.append(
                f"nginx_rate_limited_paths has {dict(one) if isinstance(one, Mapping) else one!r}. Each needs path and rate, and may "
                "have burst, for example {path: /api/login, rate: 5r/m, burst: 5}."
            )
            continue
        rates.append(("nginx_rate_limited_paths", one["rate"]))
        if not str(one.get("burst", 5)).isdigit():
            found.append(f"nginx_rate_limited_paths has the burst '{one['burst']}'. Write a number of requests.")
        if not URL_PATH.fullmatch(str(one["path"])):
            found.append(
                f"nginx_rate_limited_paths has the path '{one['path']}'. Write a URL path, for example /api/login."
            )
    for name, rate in rates:
        if rate and not RATE.fullmatch(str(rate)):
            found.append(
                f"{name} has the rate '{rate}'. Write requests per second or minute, for example 50r/s or 300r/m."
            )
    buffers = str(v.get("nginx_client_header_buffers") or "4 8k")
    if not BUFFERS.fullmatch(buffers):
        found.append(f"nginx_client_header_buffers is '{buffers}'. Write a number and a size, for example '4 8k'.")
    return found


def networks(v: Mapping[str, Any]) -> list[str]:
    """Addresses and networks."""
    found = []
    for name in ("nginx_trusted_proxies", "nginx_maintenance_allow", "nginx_resolvers", "nginx_status_allow"):
        for text in v.get(name) or []:
            try:
                ipaddress.ip_network(str(text), strict=True)
            except ValueError as error:
                found.append(f"{name} has '{text}': {error}. Write an address or a network, for example 192.0.2.0/24.")
            else:
                if name == "nginx_trusted_proxies" and ipaddress.ip_network(str(text)).prefixlen == 0:
                    found.append(f"{name} has '{text}', which is everybody. Write the addresses of your proxies.")
    return found


def paths(v: Mapping[str, Any], place: str) -> list[str]:
    """Locations, each of which nginx takes once; and the template."""
    found = []
    taken = {"/": "the site", **{str(path): "nginx_static_paths" for path in v.get("nginx_static_paths") or {}}}
    health = str(v.get("health_path") or "").split("?", 1)[0]
    streaming = [("nginx_streaming_paths", path) for path in v.get("nginx_streaming_paths") or []]
    limited = [
        ("nginx_rate_limited_paths", one["path"])
        for one in v.get("nginx_rate_limited_paths") or []
        if isinstance(one, Mapping) and "path" in one
    ]
    for name, path in [*streaming, *limited]:
        if not URL_PATH.fullmatch(str(path)):
            if name == "nginx_streaming_paths":
                found.append(f"{name} has '{path}'. Write URL prefixes, for example /events/.")
        elif str(path) in taken:
            found.append(f"{name} has '{path}', which {taken[str(path)]} has too. Write it once.")
        elif str(path) == health:
            found.append(f"{name} has '{path}', which is the health path: no limit stands before that.")
        taken[str(path)] = name
    status = str(v.get("nginx_status_path") or "")
    if status and not re.fullmatch(r"/([A-Za-z0-9_.~-]+/)+", status):
        found.append(
            f"nginx_status_path is '{status}'. Write a URL path that starts and ends with a slash, for example /decant-status/."
        )
    elif status in taken:
        found.append(f"nginx_status_path is '{status}', which {taken[status]} has too. Write another path.")
    template = str(v.get("nginx_site_template") or "")
    if template and not os.path.isfile(os.path.join(place, template)):
        found.append(
            f"nginx_site_template is '{template}', and there is no such file ({os.path.join(place, template)}). Write a path on the "
            "controller, absolute or relative to the inventory's directory."
        )
    return found
