# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Certificates: issued on an empty host, issued again for other names, renewed under load, and what is said when that fails."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from testing import STATE, App, Load, address, deploy, open_host, play, until, write

NAME = "projects.example.org"
LIVE = "/etc/letsencrypt/live/decant-projects"
UNVERIFIED = ssl._create_unverified_context()


@pytest.fixture(scope="module")
def ca() -> Iterator[str]:
    """The CA that pebble has made for itself at its start; another one after each."""
    path = STATE / "roots.pem"
    path.write_text(roots(), encoding="utf-8")
    yield str(path)


def roots() -> str:
    with urllib.request.urlopen(f"https://{address('acme')}:15000/roots/0", context=UNVERIFIED) as answer:
        return answer.read().decode()


@pytest.fixture
def site(ca: str) -> App:
    Path(ca).write_text(roots(), encoding="utf-8")
    return App("web", port=443, ca=ca)


@pytest.fixture(scope="module")
def plain() -> App:
    return App("web")


def shown(name: str = NAME) -> dict[str, str]:
    """Serial, end and names of the certificate that nginx shows for a name."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"{address('web')}:443", "-servername", name],
        input="",
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-serial", "-enddate", "-ext", "subjectAltName"],
        input=done.stdout,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return {
        "serial": "".join(re.findall(r"serial=(\w+)", text)),
        "names": ",".join(sorted(re.findall(r"DNS:([\w.-]+)", text))),
    }


def certbot(app: App, words: str) -> None:
    """certbot by hand, with the CA that its timer's unit has in its environment."""
    app.host.check_output(f"env REQUESTS_CA_BUNDLE=/etc/ssl/private-acme.pem certbot {words}")


def nginx_pid(app: App) -> str:
    return app.host.check_output("systemctl show --value --property MainPID nginx.service")


# --- as it was issued on an empty host -----------------------------------------------------------


def test_a_client_that_trusts_the_ca_gets_an_answer(site: App) -> None:
    assert site.ask("/api/health").json()["status"] == "ok"
    assert shown()["names"] == NAME


def test_nginx_was_not_restarted_for_it(plain: App) -> None:
    """It runs since before the certificate was issued."""
    since = plain.host.check_output(
        'date +%s -d "$(systemctl show --value --property ActiveEnterTimestamp nginx.service)"'
    )
    issued = plain.host.check_output(f"stat --dereference --format %Y {LIVE}/fullchain.pem")
    assert int(since) < int(issued)
    assert plain.host.check_output("systemctl show --value --property NRestarts nginx.service") == "0"


def test_plain_http_leads_to_https(plain: App) -> None:
    answer = plain.ask("/api/projects?page=2", method="POST", body={})
    assert answer.status == 308
    assert answer.headers["location"] == f"https://{NAME}/api/projects?page=2"


def test_the_key_is_roots_alone(plain: App) -> None:
    found = plain.host.check_output(f"stat --dereference --format '%a %U' {LIVE}/privkey.pem")
    assert found == "600 root"


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
def test_versions(version: ssl.TLSVersion, taken: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection((address("web"), 443), timeout=10) as raw:
        if taken:
            with context.wrap_socket(raw, server_hostname=NAME) as tls:
                assert tls.version()
        else:
            with pytest.raises((ssl.SSLError, OSError)):
                context.wrap_socket(raw, server_hostname=NAME)


def test_http2_is_spoken() -> None:
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((address("web"), 443)) as raw, context.wrap_socket(raw, server_hostname=NAME) as tls:
        assert tls.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("name", ["unknown.example.org", None])
def test_an_unknown_name_sees_no_certificate(name: str | None) -> None:
    with socket.create_connection((address("web"), 443), timeout=10) as raw, pytest.raises((ssl.SSLError, OSError)):
        UNVERIFIED.wrap_socket(raw, server_hostname=name)


def test_a_known_name_with_another_host_header_gets_nothing(site: App) -> None:
    connection = site.connection()
    connection.request("GET", "/api/health", headers={"Host": "unknown.example.org"})
    with pytest.raises((OSError, Exception)) as found:
        connection.getresponse()
    assert "closed connection" in str(found.value) or isinstance(found.value, OSError)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("strict-transport-security", "max-age=31536000"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "SAMEORIGIN"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("content-security-policy", "default-src 'none'"),
    ],
)
@pytest.mark.parametrize("path", ["/api/health", "/api/projects", "/nowhere"])
def test_headers(site: App, path: str, header: str, value: str) -> None:
    assert site.ask(path).headers.get(header) == value


def test_hsts_is_not_sent_over_plain_http(plain: App) -> None:
    assert "strict-transport-security" not in plain.ask("/").headers


def test_the_backend_knows_that_it_was_https(site: App) -> None:
    answer = site.ask("/api/projects", method="POST", body={"name": f"by https, {time.time()}"})
    assert answer.status == 201
    assert answer.headers["location"].startswith(("/", f"https://{NAME}/"))


def test_the_timer_of_certbot_is_on(plain: App) -> None:
    assert plain.host.check_output("systemctl is-active certbot.timer") == "active"
    assert plain.host.check_output("systemctl is-enabled certbot.timer") == "enabled"


def test_a_second_deploy_asks_nobody(site: App) -> None:
    before, pid = shown()["serial"], nginx_pid(site)
    run = deploy().ok()
    assert run.changed() == 0
    assert (shown()["serial"], nginx_pid(site)) == (before, pid)


# --- later ---------------------------------------------------------------------------------------


def test_other_names_get_another_certificate(site: App) -> None:
    before, pid = shown()["serial"], nginx_pid(site)
    with Load(site, "/api/health", clients=2, pause=0.02) as load:
        deploy(nginx_server_names=[NAME, "www.example.org"]).ok()
        time.sleep(2)
    load.clean()
    found = shown("www.example.org")
    assert found["names"] == f"{NAME},www.example.org"
    assert found["serial"] != before
    assert nginx_pid(site) == pid
    assert deploy(nginx_server_names=[NAME, "www.example.org"]).ok().changed() == 0


def test_a_forced_renewal_under_load_fails_nobody(site: App) -> None:
    before = shown()["serial"]
    with Load(site, clients=4) as load:
        for _ in range(2):
            certbot(site, "renew --force-renewal --cert-name decant-projects --no-random-sleep-on-renew")
            time.sleep(2)
    load.clean()
    until(lambda: shown()["serial"] != before, 20, "another certificate")


def test_the_timer_renews_by_date(site: App) -> None:
    """A certificate that has ten days left: certbot's own unit, as its timer starts it, renews it. One with more is left alone."""
    acme = open_host("acme")

    def validity(days: int) -> None:
        acme.check_output(
            f"""sed -i 's/"certificateValidityPeriod": [0-9]*/"certificateValidityPeriod": {days * 86400}/' /etc/pebble/config.json"""
        )
        acme.check_output("systemctl restart pebble.service")
        until(lambda: acme.run("ss -ltn | grep -q ':14000 '").succeeded, 20, "pebble")

    validity(10)
    # pebble has forgotten its accounts; a real server does not.
    site.host.check_output("rm -rf /etc/letsencrypt/accounts/*:14000")
    deploy(nginx_server_names=[NAME]).ok()
    short = shown()["serial"]
    validity(90)
    site.host.check_output("rm -rf /etc/letsencrypt/accounts/*:14000")
    certbot(
        site,
        "register --agree-tos --register-unsafely-without-email --non-interactive "
        f"--server https://{address('acme')}:14000/dir",
    )
    account = site.host.check_output("ls /etc/letsencrypt/accounts/*:14000/dir").split()[0]
    site.host.check_output(
        f"sed -i 's/^account = .*/account = {account}/' /etc/letsencrypt/renewal/decant-projects.conf"
    )
    site.host.check_output("systemctl start certbot.service")
    until(lambda: shown()["serial"] != short, 20, "another certificate")
    kept = shown()["serial"]
    site.host.check_output("systemctl start certbot.service")
    assert shown()["serial"] == kept


def test_a_certificate_that_is_not_renewed_is_a_failed_health_check(plain: App) -> None:
    """The site has one for 90 days; asked for 100, the timer's unit says what is the matter."""
    deploy(health_certificate_days=100).ok()
    assert plain.host.run("systemctl start projects-health.service").rc != 0
    assert "its renewal fails" in plain.journal("--unit projects-health.service", "--lines 20")
    deploy().ok()
    plain.host.check_output("systemctl start projects-health.service")


def test_a_challenge_that_fails_says_what_to_check(site: App) -> None:
    """The ACME server sees another host under the new name: nothing is issued, and what was there goes on."""
    acme = open_host("acme")
    before, release = shown()["serial"], site.current()
    acme.check_output("sh -c \"echo '203.0.113.1 lost.example.org' >> /etc/hosts\"")
    run = deploy(nginx_server_names=[NAME, "lost.example.org"]).refused()
    assert "No certificate was issued" in run.says()
    assert "lost.example.org" in run.says() and "resolves to this host" in run.says()
    assert "The one that was there stays in use" in run.says()
    assert (shown()["serial"], site.current()) == (before, release)
    assert site.ask("/api/health").status == 200
    deploy().ok()


def test_an_acme_server_that_is_not_trusted_is_named(site: App) -> None:
    run = deploy(nginx_acme_ca_bundle="", nginx_server_names=[NAME, "api.example.org"]).refused()
    assert "name its CA in nginx_acme_ca_bundle" in run.says()
    deploy().ok()


# --- the other sources ---------------------------------------------------------------------------


def make_certificate(folder: Path, names: list[str], *more: str) -> tuple[str, str]:
    """A certificate and key as an operator would bring them."""
    folder.mkdir(exist_ok=True)
    paths = str(folder / "certificate.pem"), str(folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-subj", "/CN=x", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
        + [*(more or ("-days", "60")), "-out", paths[0], "-keyout", paths[1]],
        check=True,
        capture_output=True,
    )
    return paths


def files(pair: tuple[str, str]) -> dict[str, object]:
    return {
        "nginx_tls": "files",
        "nginx_tls_certificate": pair[0],
        "nginx_tls_key": pair[1],
        "nginx_hsts_max_age_seconds": 0,
    }


def test_files_of_the_controller(plain: App) -> None:
    pair = make_certificate(STATE / "given", [NAME])
    run = deploy("-vvv", "--diff", **files(pair)).ok()
    lines = Path(pair[1]).read_text(encoding="utf-8").splitlines()[1:-1]
    assert not [line for line in lines if line in run.output], "the key is in the output"
    assert App("web", port=443, ca=pair[0]).ask("/api/health").status == 200
    found = plain.host.check_output("stat --dereference --format '%a %U' /etc/decant/tls/projects/files/privkey.pem")
    assert found == "600 root"
    assert deploy(**files(pair)).ok().changed() == 0


@pytest.mark.parametrize("wrong", ["another key", "another name", "ended"])
def test_files_that_cannot_be_served_are_refused(plain: App, wrong: str) -> None:
    good = make_certificate(STATE / "good", [NAME])
    deploy(**files(good)).ok()
    bad = make_certificate(STATE / "bad", [NAME if wrong != "another name" else "other.example.org"])
    if wrong == "another key":
        bad = (bad[0], make_certificate(STATE / "other", [NAME])[1])
    if wrong == "ended":
        subprocess.run(
            [
                "openssl",
                "x509",
                "-in",
                bad[0],
                "-signkey",
                bad[1],
                "-days",
                "-1",
                "-copy_extensions",
                "copy",
                "-out",
                bad[0],
            ],
            check=True,
            capture_output=True,
        )
    run = deploy(**files(bad)).refused()
    said = {
        "another key": "belongs to another certificate",
        "another name": "is for other.example.org",
        "ended": "has ended",
    }
    assert said[wrong] in run.says()
    assert App("web", port=443, ca=good[0]).ask("/api/health").status == 200


def test_files_that_are_on_the_host(plain: App) -> None:
    pair = make_certificate(STATE / "placed", [NAME])
    plain.host.check_output("mkdir -p /etc/own")
    for path in pair:
        name = Path(path).name
        write("web", f"/etc/own/{name}", Path(path).read_text(encoding="utf-8"))
    settings = {**files(("/etc/own/certificate.pem", "/etc/own/key.pem")), "nginx_tls_files_on_host": True}
    deploy(**settings).ok()
    assert App("web", port=443, ca=pair[0]).ask("/api/health").status == 200
    assert deploy(**settings).ok().changed() == 0


def test_selfsigned(plain: App) -> None:
    settings = {"nginx_tls": "selfsigned", "nginx_hsts_max_age_seconds": 0}
    deploy(**settings).ok()
    first = shown()
    assert first["names"] == NAME
    assert deploy(**settings).ok().changed() == 0
    deploy(**settings, nginx_server_names=[NAME, "www.example.org"]).ok()
    assert shown("www.example.org")["names"] == f"{NAME},www.example.org"
    assert shown()["serial"] != first["serial"]


def test_without_a_redirect_both_ports_serve(plain: App) -> None:
    deploy(nginx_tls="selfsigned", nginx_hsts_max_age_seconds=0, nginx_tls_redirect_enabled=False).ok()
    assert plain.ask("/api/health").status == 200
    assert shown()["names"] == NAME


def test_off_again(plain: App) -> None:
    deploy(nginx_tls=False, nginx_hsts_max_age_seconds=0).ok()
    assert plain.ask("/api/health").status == 200
    # The port's catch-all may belong to others as well: it stays, and shows no certificate.
    with socket.create_connection((address("web"), 443), timeout=5) as raw, pytest.raises((ssl.SSLError, OSError)):
        UNVERIFIED.wrap_socket(raw, server_hostname=NAME)


def test_back_to_acme(site: App) -> None:
    deploy().ok()
    assert site.ask("/api/health").status == 200


def test_status_is_as_it_should_be(site: App) -> None:
    assert play("playbooks/status.yml").ok()
