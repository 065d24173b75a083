# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way in under clients that do not behave, and what it does for those that do. Runs before test_tls.py, on the site as deployed."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from test_tls import NAME, UNVERIFIED, roots
from testing import STATE, App, address, deploy, open_host, play, source_copy, until

MALFORMED = 10_000
SLOW_CONNECTIONS = 500
LOG = "/var/log/nginx/projects.access.log"


@pytest.fixture(scope="module")
def site() -> App:
    path = STATE / "edge-roots.pem"
    path.write_text(roots(), encoding="utf-8")
    return App("web", port=443, ca=str(path))


def workers(app: App) -> set[str]:
    """Processes of nginx and of the backend: none of them may die."""
    return set(app.host.check_output("sh -c 'pgrep nginx; pgrep --full --uid projects gunicorn'").split())


def logged(app: App, token: str) -> list[dict[str, str]]:
    """What nginx's log says of the requests with a mark in their URL."""
    lines = app.host.run(f"grep -F {token} {LOG}").stdout.splitlines()
    return [json.loads(line) for line in lines]


# --- who is believed -----------------------------------------------------------------------------


def test_a_client_is_not_believed_about_itself(site: App) -> None:
    site.ask("/api/projects?mark=spoof", headers={"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "ftp"})
    found = until(lambda: logged(site, "mark=spoof"), 10)
    assert found[-1]["client"] != "203.0.113.7"


def test_a_declared_proxy_is_believed(site: App) -> None:
    here = until(lambda: logged(site, "mark=spoof"), 10)[-1]["client"]
    deploy(nginx_trusted_proxies=[here]).ok()
    site.ask("/api/projects?mark=proxied", headers={"X-Forwarded-For": "192.0.2.9, 203.0.113.7"})
    assert until(lambda: logged(site, "mark=proxied"), 10)[-1]["client"] == "203.0.113.7"
    deploy().ok()


def test_the_request_id_is_in_the_log_and_in_the_backend(site: App) -> None:
    site.ask("/api/projects?mark=request-id")
    found = until(lambda: logged(site, "mark=request-id"), 10)[-1]
    assert len(found["request_id"]) == 32
    assert found["upstream_seconds"]


# --- pages of nginx's own ------------------------------------------------------------------------


def test_without_a_backend_there_is_a_page_for_whoever_asks(site: App) -> None:
    site.host.check_output("systemctl stop projects.target")
    try:
        # systemctl waits for the target, and not for what it takes along.
        answer = until(
            lambda: (found := site.ask("/api/projects")).status == 502 and found, 15, "the end of the instance"
        )
        assert answer.headers["content-type"] == "application/json"
        said = answer.json()
        assert said["status"] == 502 and len(said["request_id"]) == 32 and said["error"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        answer = site.ask("/api/projects", headers={"Accept": "text/html,*/*"})
        assert (answer.status, answer.headers["content-type"]) == (502, "text/html")
        assert b"<h1>The service cannot answer right now</h1>" in answer.body
        assert b"nginx" not in answer.body.lower()
    finally:
        site.host.check_output("systemctl start projects.target")
    until(lambda: site.ask("/api/health").status == 200, 30)


def test_an_error_of_the_backend_is_the_backends(site: App) -> None:
    assert "request_id" not in site.ask("/api/projects/999999").json()


def test_nothing_tells_a_version(site: App) -> None:
    for path in ("/api/health", "/nowhere"):
        assert site.ask(path).headers["server"] == "nginx"


# --- limits --------------------------------------------------------------------------------------


def test_limits_by_path_and_in_general(site: App) -> None:
    deploy(
        nginx_rate_limit="20r/s",
        nginx_rate_limit_burst=20,
        nginx_rate_limited_paths=[{"path": "/api/projects/1", "rate": "2r/m", "burst": 1}],
    ).ok()
    strict = [site.ask("/api/projects/1") for _ in range(5)]
    assert [answer.status == 429 for answer in strict] == [False, False, True, True, True]
    assert strict[-1].headers["retry-after"] == "1"
    assert strict[-1].json()["error"] == "Too many requests"
    with ThreadPoolExecutor(16) as pool:
        found = Counter(pool.map(lambda _: site.ask("/api/projects").status, range(300)))
    assert found[429] > 0 and found[200] >= 20, found
    with ThreadPoolExecutor(16) as pool:
        health = Counter(pool.map(lambda _: site.ask("/api/health").status, range(100)))
    assert health == {200: 100}, "health stands before every limit"
    deploy().ok()


def answered(site: App, path: str, **options: Any) -> int:
    """The status of an answer; 0 when nginx has answered, and closed while the client was still sending."""
    try:
        return site.ask(path, **options).status
    except (ConnectionError, ssl.SSLEOFError):
        return 0


def test_a_body_or_a_header_that_is_too_large(site: App) -> None:
    big = {"name": "x" * (11 * 1024 * 1024)}
    assert answered(site, "/api/projects", method="POST", body=big) in (0, 413)
    assert until(lambda: answered(site, "/api/projects", headers={"X-Big": "x" * 40_000})) in (400, 494)
    assert until(lambda: answered(site, "/" + "x" * 40_000)) == 414


def test_connections_per_client(site: App) -> None:
    deploy(nginx_connections_per_client=4).ok()
    held = [raw_tls() for _ in range(8)]
    for connection in held:
        # A request whose body does not end is in flight.
        connection.sendall(f"POST /api/projects HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 10\r\n\r\n".encode())
    time.sleep(1)
    answered = 0
    for connection in held:
        connection.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            answered += connection.recv(100).startswith(b"HTTP/1.1 429")
        connection.close()
    assert answered == 4
    deploy().ok()


# --- maintenance ---------------------------------------------------------------------------------


def maintenance(state: object, **variables: object) -> None:
    play("playbooks/maintenance.yml", maintenance_state=state, **variables).ok()


def test_maintenance(site: App) -> None:
    pid = site.host.check_output("systemctl show --value --property MainPID nginx.service")
    maintenance("on", maintenance_reason="the disk moves")
    answer = site.ask("/api/projects")
    assert (answer.status, answer.headers["retry-after"]) == (503, "120")
    assert answer.json()["status"] == 503
    assert site.ask("/", headers={"Accept": "text/html"}).headers["content-type"] == "text/html"
    assert site.ask("/api/health").status == 200
    assert deploy().ok().changed() == 0
    assert site.ask("/api/projects").status == 503, "a deploy leaves it on"
    maintenance(False)
    assert site.ask("/api/projects").status == 200
    assert site.host.check_output("systemctl show --value --property MainPID nginx.service") == pid


def test_maintenance_lets_some_in(site: App) -> None:
    here = until(lambda: logged(site, "mark=spoof"), 10)[-1]["client"]
    deploy(nginx_maintenance_allow=[here]).ok()
    maintenance(True)
    assert site.ask("/api/projects").status == 200
    assert site.host.run(
        f"curl -sk -o /dev/null -w '%{{http_code}}' --resolve {NAME}:443:127.0.0.1 https://{NAME}/api/projects"
    ).stdout in ("503", "")
    maintenance("off")
    deploy().ok()


def test_maintenance_wants_a_state(site: App) -> None:
    assert "maintenance_state=on" in play("playbooks/maintenance.yml").refused().says()


# --- what a site may bring along -----------------------------------------------------------------


def test_events_arrive_as_they_are_sent(site: App) -> None:
    source = source_copy("events")
    view = source / "api/app/api/projects.py"
    text = view.read_text(encoding="utf-8")
    view.write_text(
        text
        + """

@projects.get("/events")
def events() -> Response:
    import time

    def lines():
        for number in range(4):
            yield f"data: {number}\\n\\n"
            time.sleep(1)

    return Response(lines(), mimetype="text/event-stream")
""",
        encoding="utf-8",
    )
    deploy(app_path=str(source), nginx_streaming_paths=["/api/projects/events"]).ok()
    connection = site.connection(30)
    began = time.monotonic()
    connection.request("GET", "/api/projects/events", headers={"Host": NAME})
    response = connection.getresponse()
    first = response.readline()
    at_first = time.monotonic() - began
    response.read()
    whole = time.monotonic() - began
    connection.close()
    assert first == b"data: 0\n"
    assert at_first < whole / 2, f"the first event came after {at_first:.1f} of {whole:.1f} s"
    deploy().ok()


def test_a_template_of_ones_own_extends_the_site(site: App) -> None:
    template = STATE / "site.j2"
    template.write_text(
        "{% extends 'site.conf.j2' %}\n{% block locations %}\n    location = /teapot { return 418; }\n{% endblock %}\n",
        encoding="utf-8",
    )
    deploy(nginx_site_template=str(template), nginx_http_directives="map $uri $own { default 1; }").ok()
    assert site.ask("/teapot").status == 418
    assert site.ask("/api/health").status == 200
    deploy().ok()
    assert site.ask("/teapot").status == 404


def test_the_logs_are_rotated(site: App) -> None:
    assert site.host.check_output("systemctl is-enabled logrotate.timer") == "enabled"
    site.host.check_output("logrotate --force /etc/logrotate.d/nginx")
    site.ask("/api/projects?mark=rotated")
    until(lambda: logged(site, "mark=rotated"), 10, "the request in the new log")


# --- bad clients ---------------------------------------------------------------------------------


def raw_tls() -> ssl.SSLSocket:
    return UNVERIFIED.wrap_socket(socket.create_connection((address("web"), 443), timeout=10), server_hostname=NAME)


def malformed(number: int) -> tuple[str, bytes]:
    """A request that nobody may answer, with a mark in its URL; the same number is always the same request."""
    chance = random.Random(number)
    mark = f"/bad-{number}"
    host = f"Host: {NAME}\r\n"
    padding = "x" * chance.randint(0, 60)
    smuggled = f"GET {mark}-inner HTTP/1.1\r\n{host}\r\n"
    kinds = {
        "no such method": f"{chance.choice(['FOO', 'get', 'TRACE', 'CONNECT', 'PROPFIND', 'G' * 40])} {mark} HTTP/1.1\r\n{host}\r\n",
        "length and chunks": f"POST {mark} HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
        "chunks and length": f"POST {mark} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: {len(smuggled)}\r\n\r\n0\r\n\r\n",
        "two lengths": f"POST {mark} HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: {len(smuggled)}\r\n\r\n{smuggled}",
        "no length": f"POST {mark} HTTP/1.1\r\n{host}Content-Length: {chance.choice(['-1', '1e3', '0x10', '+5', ''])}\r\n\r\n",
        "other encoding": f"POST {mark} HTTP/1.1\r\n{host}Transfer-Encoding: {chance.choice(['xchunked', 'chunked, identity', 'gzip'])}\r\n\r\n",
        "null byte": f"GET {mark}\0{padding} HTTP/1.1\r\n{host}\r\n",
        "null byte in a header": f"GET {mark} HTTP/1.1\r\n{host}X-A: a\0{padding}\r\n\r\n",
        "encoded null byte": f"GET {mark}%00{padding} HTTP/1.1\r\n{host}\r\n",
        "too long": f"GET {mark}{'y' * chance.randint(33_000, 40_000)} HTTP/1.1\r\n{host}\r\n",
        "another absolute URL": f"GET https://evil.example.org{mark} HTTP/1.1\r\n{host}\r\n",
        "no host": f"GET {mark} HTTP/1.1\r\n\r\n",
        "two hosts": f"GET {mark} HTTP/1.1\r\n{host}Host: evil.example.org\r\n\r\n",
        "blank in the target": f"GET {mark} {padding}y HTTP/1.1\r\n{host}\r\n",
        "no such version": f"GET {mark} HTTP/{chance.choice(['9.9', '1.x', '-1.1', '2.0'])}\r\n{host}\r\n",
        "climbing": f"GET /../..{mark} HTTP/1.1\r\n{host}\r\n",
        "bad escape": f"GET {mark}%zz HTTP/1.1\r\n{host}\r\n",
    }
    kind = sorted(kinds)[number % len(kinds)]
    return kind, kinds[kind].encode("latin-1")


def send(number: int) -> tuple[str, bytes]:
    kind, data = malformed(number)
    try:
        with raw_tls() as connection:
            connection.settimeout(25)
            connection.sendall(data)
            return kind, connection.recv(64)
    except (ConnectionError, ssl.SSLError):
        return kind, b""


def test_malformed_requests_never_reach_the_backend(site: App) -> None:
    before = workers(site)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, range(MALFORMED)))
    wrong = Counter(
        (kind, answer[:12])
        for kind, answer in answers
        if answer and not answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"<html>"))
    )
    assert not wrong, wrong
    reached = [entry["uri"] for entry in logged(site, "/bad-") if entry["upstream_seconds"]]
    assert not reached, reached[:5]
    assert workers(site) == before
    assert site.ask("/api/health").status == 200


def test_streams_that_are_opened_and_reset(site: App) -> None:
    """HTTP/2: a thousand requests on a connection, each taken back at once."""
    before = workers(site)
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2"])
    name = NAME.encode()
    # HPACK: GET, https, /, and the name as a literal of the static table's :authority.
    block = b"\x82\x87\x84\x41" + bytes([len(name)]) + name

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    for _ in range(5):
        with (
            socket.create_connection((address("web"), 443), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=NAME) as tls,
        ):
            data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
            for stream in range(1, 2000, 2):
                data += frame(1, 5, stream, block) + frame(3, 0, stream, (8).to_bytes(4, "big"))
            try:
                tls.sendall(data)
                tls.settimeout(5)
                while tls.recv(65536):
                    pass
            except (OSError, ssl.SSLError):
                pass  # closed by nginx
    until(lambda: site.ask("/api/health").status == 200, 30)
    assert workers(site) == before


class Client:
    """One client that asks again and again, and how long it waited."""

    def __init__(self, site: App) -> None:
        self.site, self.seconds, self.failures = site, [], []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                status = self.site.ask("/api/projects").status
                if status != 200:
                    self.failures.append(str(status))
            except OSError as error:
                self.failures.append(repr(error))
            self.seconds.append(time.monotonic() - began)
            self._stop.wait(0.02)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


@pytest.mark.parametrize(
    "mode",
    [
        ("slow header", "-H -i 5"),
        ("slow body", "-B -i 5 -s 8192 -t POST"),
        ("slow read", "-X -w 10 -y 20 -n 5 -z 32 -k 3"),
    ],
    ids=lambda mode: mode[0],
)
def test_slow_clients_do_not_slow_down_others(site: App, mode: tuple[str, str]) -> None:
    before = workers(site)
    with Client(site) as quiet:
        time.sleep(10)
    acme = open_host("acme")
    acme.check_output(
        f"systemd-run --quiet --unit slow --property LimitNOFILE=4096 slowhttptest -c {SLOW_CONNECTIONS} -r 100 -l 25 -x 24 "
        f"{mode[1]} -u https://{NAME}/api/projects"
    )
    time.sleep(6)  # until all of them are connected
    with Client(site) as busy:
        time.sleep(15)
    acme.run("systemctl stop slow")
    print(
        f"{mode[0]}: p99 {quiet.p99() * 1000:.0f} ms quiet, {busy.p99() * 1000:.0f} ms beside {SLOW_CONNECTIONS} slow clients"
    )
    assert len(busy.seconds) > 50
    assert not busy.failures, busy.failures[:5]
    assert busy.p99() <= 3 * max(quiet.p99(), 0.03)
    assert workers(site) == before


# --- what a scanner says -------------------------------------------------------------------------

# Findings that a CA of one's own causes, by the ids of testssl.sh.
OF_THE_CA = {
    "cert_chain_of_trust": "no public CA",
    "cert_crlDistributionPoints_OCSP_URI": "pebble names neither a CRL nor OCSP",
    "cert_ocspURL": "the same",
    "cert_notAfter": "90 days less some hours",
    "OCSP_stapling": "nothing to staple",
    "DNS_CAArecord": "example.org is in a hosts file",
    "cert_revocation": "pebble names neither a CRL nor OCSP",
}
# What it says of the openssl that it runs with itself.
OF_THE_SCANNER = {"engine_problem", "secure_renego", "sessionresumption_ticket"}


def test_testssl_finds_nothing(site: App) -> None:
    acme = open_host("acme")
    acme.run("rm -f /root/testssl.json")
    acme.run(
        f"testssl --quiet --color 0 --nodns none --warnings off --ip {address('web')} --jsonfile /root/testssl.json https://{NAME}"
    )
    found = json.loads(acme.check_output("cat /root/testssl.json"))
    assert len(found) > 100, "testssl.sh has looked at nothing"
    bad = [
        f"{one['severity']} {one['id']}: {one['finding']}"
        for one in found
        if one["severity"] not in ("OK", "INFO", "DEBUG")
        and one["id"].split(" ")[0] not in {*OF_THE_CA, *OF_THE_SCANNER}
    ]
    assert not bad, "\n".join(bad)
