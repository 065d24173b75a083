# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the inputs of the way in must be like, each refusal with what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.plugin_utils import edge

PLAIN: dict[str, Any] = {
    "nginx_server_names": ["projects.example.org"],
    "nginx_listen_port": 80,
    "nginx_tls": "off",
    "nginx_tls_port": 443,
    "nginx_acme_directory_url": "https://acme-v02.api.letsencrypt.org/directory",
    "nginx_methods": ["GET", "HEAD", "POST"],
    "health_path": "/api/health",
}


def found(place: str = "/nowhere", **changes: Any) -> list[str]:
    return edge.problems({**PLAIN, **changes}, place)


def test_the_defaults_are_fine():
    assert found() == []
    assert found(nginx_tls="acme") == []
    assert found(nginx_tls="selfsigned") == []


@pytest.mark.parametrize("value", ["off", False, None, "", "False"])
def test_off_in_each_of_its_spellings(value: Any):
    assert edge.mode({"nginx_tls": value}) == "off"
    assert edge.ports({**PLAIN, "nginx_tls": value}) == [80]


def test_the_ports_with_tls():
    assert edge.ports({**PLAIN, "nginx_tls": "acme"}) == [80, 443]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nginx_tls_port": 0}, ["nginx_tls_port is 0", "443"]),
        ({"nginx_tls": "acme", "nginx_tls_port": 80}, ["both 80", "a port each"]),
        ({"nginx_tls": "acme", "nginx_listen_port": 8080}, ["nginx_listen_port is 8080", "port 80"]),
        ({"nginx_tls": "acme", "nginx_server_names": ["*.example.org"]}, ["*.example.org", "wildcard", "files"]),
        ({"nginx_tls": "acme", "nginx_acme_directory_url": "http://x"}, ["nginx_acme_directory_url is 'http://x'"]),
        ({"nginx_tls": "acme", "nginx_acme_email": "ops"}, ["nginx_acme_email is 'ops'", "ops@example.org"]),
        ({"nginx_tls": "acme", "nginx_acme_ca_bundle": "ca.pem"}, ["nginx_acme_ca_bundle is 'ca.pem'", "on the host"]),
        ({"nginx_tls_certificate": "a"}, ["nginx_tls_certificate", "no effect", "nginx_tls: files"]),
        ({"nginx_hsts_max_age_seconds": 300}, ["nginx_hsts_max_age_seconds is 300", "nginx_tls: off"]),
        ({"nginx_tls": "selfsigned", "nginx_hsts_max_age_seconds": 1}, ["nginx_tls: selfsigned"]),
        (
            {"nginx_tls": "acme", "nginx_hsts_subdomains_enabled": True},
            ["no effect", "nginx_hsts_max_age_seconds is 0"],
        ),
        (
            {"nginx_tls": "acme", "nginx_hsts_preload_enabled": True, "nginx_hsts_max_age_seconds": 300},
            ["nginx_hsts_preload_enabled needs", "31536000"],
        ),
        ({"nginx_headers": {"X Y": "a"}}, ["nginx_headers has 'X Y'"]),
        ({"nginx_headers": {"X-A": "a$b"}}, ["X-A is 'a$b'", "without $"]),
        ({"nginx_headers": {"Strict-Transport-Security": "max-age=1"}}, ["nginx_hsts_max_age_seconds"]),
        ({"nginx_content_security_policy": "ü"}, ["Content-Security-Policy is 'ü'"]),
        ({"nginx_methods": ["get"]}, ["nginx_methods has 'get'", "capitals"]),
        ({"nginx_methods": ["TRACE"]}, ["TRACE", "never pass"]),
        ({"nginx_methods": []}, ["nginx_methods is empty"]),
        ({"nginx_rate_limit": "10"}, ["nginx_rate_limit has the rate '10'", "50r/s"]),
        ({"nginx_rate_limited_paths": [{"path": "/a"}]}, ["Each needs path and rate"]),
        ({"nginx_rate_limited_paths": ["/a"]}, ["Each needs path and rate"]),
        ({"nginx_rate_limited_paths": [{"path": "/a", "rate": "5", "burst": 1}]}, ["the rate '5'"]),
        ({"nginx_rate_limited_paths": [{"path": "a", "rate": "5r/m"}]}, ["the path 'a'"]),
        ({"nginx_rate_limited_paths": [{"path": "/a", "rate": "5r/m", "burst": -1}]}, ["the burst '-1'"]),
        ({"nginx_rate_limited_paths": [{"path": "/a", "rate": "5r/m", "size": 1}]}, ["'size'"]),
        ({"nginx_client_header_buffers": "8k"}, ["nginx_client_header_buffers is '8k'", "4 8k"]),
        ({"nginx_trusted_proxies": ["10.0.0.1/8"]}, ["nginx_trusted_proxies has '10.0.0.1/8'"]),
        ({"nginx_trusted_proxies": ["0.0.0.0/0"]}, ["everybody"]),
        ({"nginx_maintenance_allow": ["me"]}, ["nginx_maintenance_allow has 'me'"]),
        ({"nginx_resolvers": ["dns"]}, ["nginx_resolvers has 'dns'"]),
        ({"nginx_streaming_paths": ["ws"]}, ["nginx_streaming_paths has 'ws'"]),
        ({"nginx_streaming_paths": ["/"]}, ["the site has too"]),
        ({"nginx_streaming_paths": ["/a", "/a"]}, ["nginx_streaming_paths has '/a'", "once"]),
        (
            {"nginx_streaming_paths": ["/s/"], "nginx_static_paths": {"/s/": "static"}},
            ["nginx_static_paths has too"],
        ),
        ({"nginx_rate_limited_paths": [{"path": "/api/health", "rate": "5r/m"}]}, ["the health path"]),
        ({"nginx_site_template": "mine.j2"}, ["nginx_site_template is 'mine.j2'", "/nowhere/mine.j2"]),
    ],
)
def test_a_refusal_says_what_to_write(changes: dict[str, Any], words: list[str]):
    said = found(**changes)
    assert len(said) == 1, said
    assert all(word in said[0] for word in words), said


def test_a_certificate_needs_both_files(tmp_path: Path):
    assert len(found(str(tmp_path), nginx_tls="files")) == 2
    (tmp_path / "a.pem").write_text("")
    said = found(str(tmp_path), nginx_tls="files", nginx_tls_certificate="a.pem", nginx_tls_key="b.pem")
    assert len(said) == 1 and f"{tmp_path}/b.pem" in said[0]
    key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----\n"
    said = found(str(tmp_path), nginx_tls="files", nginx_tls_certificate=key, nginx_tls_key=key)
    assert len(said) == 2 and "holds the file's content" in said[1] and "MIGH" not in " ".join(said)
    given = {"nginx_tls_certificate": "/etc/a.pem", "nginx_tls_key": "b.pem", "nginx_tls_files_on_host": True}
    assert len(found(nginx_tls="files", **given)) == 1, "a path on the host is absolute"


def test_headers_for_nginx():
    assert edge.response_headers({"X-A": "1", "X-B": "", "X-C": None}) == [
        {"name": "X-A", "value": "1", "field": "x_a"}
    ]


def test_zones_have_names():
    zones = edge.rate_zones([{"path": "/a", "rate": "1r/s"}, {"path": "/b", "rate": "2r/m", "burst": "9"}], "decant-x")
    assert [zone["name"] for zone in zones] == ["decant-x-path-1", "decant-x-path-2"]
    assert [zone["burst"] for zone in zones] == [5, 9]
