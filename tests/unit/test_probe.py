# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The probe as a program, against real servers on a Unix socket and on loopback. Nothing here measures time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROBE = Path(__file__).resolve().parents[2] / "roles/health/files/decant-probe"

OK = (200, {}, b'{"status": "ok"}')
Answer = tuple[int, dict[str, str], bytes]


class Backend:
    """What the server answers, and what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.default: Answer = OK
        self.requests: list[tuple[str, dict[str, str]]] = []

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if self.answers else self.default


def _handler(backend: Backend) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            backend.requests.append((self.path, dict(self.headers.items())))
            status, headers, body = backend.next_answer()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


class UnixHttpServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, _ = super().get_request()
        return connection, ("local", 0)


@contextlib.contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Target:
    def __init__(self, backend: Backend, *arguments: str) -> None:
        self.backend = backend
        self.arguments = arguments

    def probe(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*self.arguments, *arguments)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", str(PROBE), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def assert_says(done: subprocess.CompletedProcess[str], code: int, pattern: str) -> None:
    assert (done.returncode, done.stderr) == (code, ""), done
    assert re.fullmatch(pattern, done.stdout.removesuffix("\n")), done.stdout


@pytest.fixture(params=["unix", "tcp"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    backend = Backend()
    if request.param == "unix":
        path = str(tmp_path / "s.sock")
        with _serving(UnixHttpServer(path, _handler(backend))):
            yield Target(backend, "--unix", path)
    else:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(backend))
        with _serving(server):
            yield Target(backend, "--url", f"http://127.0.0.1:{server.server_address[1]}")


@pytest.fixture
def unix_target(tmp_path: Path) -> Iterator[Target]:
    backend = Backend()
    path = str(tmp_path / "s.sock")
    with _serving(UnixHttpServer(path, _handler(backend))):
        yield Target(backend, "--unix", path)


@contextlib.contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that runs `talk` for each connection; yields its URL."""

    class Raw(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                talk(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    server = Server(("127.0.0.1", 0), Raw)
    with _serving(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


def test_healthy(target: Target) -> None:
    assert_says(target.probe(), 0, r"healthy: 1 of 1 answers 200 in \d+\.\d\d s")
    path, headers = target.backend.requests[0]
    assert path == "/api/health"
    assert headers["User-Agent"] == "decant-probe"
    assert headers["Connection"] == "close"
    assert list(headers).count("Host") == 1


def test_several_successes_are_asked_for_one_by_one(target: Target) -> None:
    done = target.probe("--successes", "3", "--interval", "0")
    assert_says(done, 0, r"healthy: 3 of 3 answers 200 in \d+\.\d\d s")
    assert len(target.backend.requests) == 3


def test_path_host_and_headers_are_sent(target: Target) -> None:
    done = target.probe(
        "--path=/ready?deep=1",
        "--host=projects.example.org",
        "--header=X-Forwarded-Proto: https",
        "--header=User-Agent:mine",
    )
    assert done.returncode == 0
    path, headers = target.backend.requests[0]
    assert path == "/ready?deep=1"
    assert headers["Host"] == "projects.example.org"
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["User-Agent"] == "mine"


def test_quiet_silences_success_alone(unix_target: Target) -> None:
    assert_says(unix_target.probe("--quiet"), 0, "")
    unix_target.backend.default = (500, {}, b"no")
    assert_says(unix_target.probe("--quiet"), 1, r"unhealthy: status 500 \(wanted 200\): no")


def test_another_status_can_be_wanted(unix_target: Target) -> None:
    unix_target.backend.default = (204, {}, b"")
    assert_says(unix_target.probe("--status", "204"), 0, "healthy: 1 of 1 answers 204 .*")
    assert_says(unix_target.probe(), 1, r"unhealthy: status 204 \(wanted 200\)")


def test_wrong_status_shows_the_body_on_one_short_line(target: Target) -> None:
    body = "<h1>Internal\r\n Server\tError</h1>\x1b[31m\u2028é" + "x" * 500
    target.backend.default = (500, {}, body.encode() + b"\xff")
    done = target.probe()
    assert_says(done, 1, r"unhealthy: status 500 \(wanted 200\): <h1>Internal Server Error</h1> \[31m éx+\.\.\.")
    excerpt = done.stdout.split("200): ", 1)[1].strip()
    assert len(excerpt) == 203


def test_redirect_is_not_followed_and_says_what_to_set(target: Target) -> None:
    target.backend.default = (302, {"Location": "/login?next=/api/health"}, b"")
    done = target.probe()
    assert_says(done, 1, r"unhealthy: status 302, a redirect to /login\?next=/api/health: .*set health_path to .*")
    assert len(target.backend.requests) == 1


def test_wanted_redirect_is_healthy(unix_target: Target) -> None:
    unix_target.backend.default = (302, {"Location": "/"}, b"")
    assert unix_target.probe("--status", "302").returncode == 0


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"status": "ok"}, "status=ok"),
        ({"status": "ok"}, 'status="ok"'),
        ({"checks": {"db": {"up": True}}}, "checks.db.up=true"),
        ({"checks": [{"up": True}]}, "checks.0.up=true"),
        ({"n": 3}, "n=3"),
        ({"n": 3.0}, "n=3"),
        ({"n": None}, "n=null"),
        ({"n": ""}, "n="),
        ({"n": "a=b"}, "n=a=b"),
        ({"n": [1, {"a": True}]}, 'n=[1, {"a": true}]'),
        ({"é": "ü"}, "é=ü"),
    ],
)
def test_json_field_as_wanted(unix_target: Target, body: object, wanted: str) -> None:
    unix_target.backend.default = (200, {}, json.dumps(body).encode())
    assert_says(unix_target.probe("--json", wanted), 0, "healthy: .*")


@pytest.mark.parametrize(
    ("body", "wanted", "reason"),
    [
        ({"db": "down"}, "db=ok", r'JSON field db is "down" \(wanted "ok"\)'),
        ({"db": 1}, "db=true", r"JSON field db is 1 \(wanted true\)"),
        ({"db": True}, "db=1", r"JSON field db is true \(wanted 1\)"),
        ({"db": "1"}, "db=1", r'JSON field db is "1" \(wanted 1\)'),
        ({"db": [True]}, "db=[1]", r"JSON field db is \[true\] \(wanted \[1\]\)"),
        ({"db": {"a": True}}, 'db={"a": 1}', r"JSON field db is .*"),
        ({"db": {"a": 1}}, 'db={"b": 1}', r"JSON field db is .*"),
        ({"a": {"b": 1}}, "a.c=1", r"JSON field a\.c is missing \(wanted 1\)"),
        ({"a": 1}, "a.b=1", r"JSON field a\.b is missing \(wanted 1\)"),
        ([1], "1=1", r"JSON field 1 is missing \(wanted 1\)"),
        ("ok", "status=ok", r'JSON field status is missing \(wanted "ok"\)'),
        ({"db": "x" * 999}, "db=ok", r'JSON field db is "x{199}\.\.\. \(wanted "ok"\)'),
    ],
)
def test_json_field_not_as_wanted(unix_target: Target, body: object, wanted: str, reason: str) -> None:
    unix_target.backend.default = (200, {}, json.dumps(body).encode())
    assert_says(unix_target.probe("--json", wanted), 1, "unhealthy: " + reason)


def test_every_json_field_counts(unix_target: Target) -> None:
    unix_target.backend.default = (200, {}, b'{"a": 1, "b": 2}')
    assert unix_target.probe("--json", "a=1", "--json", "b=2").returncode == 0
    assert_says(unix_target.probe("--json", "a=1", "--json", "b=3"), 1, r"unhealthy: JSON field b is 2 \(wanted 3\)")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>\nhello", r"body is not JSON: <html> hello"),
        (b"", r"body is not JSON: \(empty\)"),
        (b"\xff\xfe{", r"body is not JSON: .*"),
        (b"[" * 60000, r"body is not JSON: \[+\.\.\."),
        (b'"' + b"x" * 70000 + b'"', r"body is longer than 65536 bytes: too long for a health answer"),
    ],
)
def test_body_that_is_not_a_json_answer(unix_target: Target, body: bytes, reason: str) -> None:
    unix_target.backend.default = (200, {}, body)
    assert_says(unix_target.probe("--json", "a=1"), 1, "unhealthy: " + reason)


def test_long_body_is_fine_when_no_field_is_wanted(target: Target) -> None:
    target.backend.default = (200, {}, b"x" * 200000)
    assert target.probe().returncode == 0


def test_retries_until_healthy(unix_target: Target) -> None:
    unix_target.backend.answers = [(503, {}, b"")] * 3
    assert_says(unix_target.probe("--deadline", "50", "--interval", "0"), 0, r"healthy: 1 of 1 answers 200 .*")
    assert len(unix_target.backend.requests) == 4


def test_a_failure_in_between_starts_the_count_again(unix_target: Target) -> None:
    unix_target.backend.answers = [OK, OK, (503, {}, b"")]
    done = unix_target.probe("--successes", "3", "--deadline", "50", "--interval", "0")
    assert_says(done, 0, r"healthy: 3 of 3 answers 200 .*")
    assert len(unix_target.backend.requests) == 6


def test_without_deadline_the_first_failure_is_final(unix_target: Target) -> None:
    unix_target.backend.answers = [OK, (503, {}, b"busy"), OK, OK]
    done = unix_target.probe("--successes", "3", "--interval", "0")
    assert_says(done, 1, r"unhealthy: status 503 \(wanted 200\): busy")
    assert len(unix_target.backend.requests) == 2


def test_deadline_gives_the_last_reason(unix_target: Target) -> None:
    unix_target.backend.answers = [(503, {}, b"first")]
    unix_target.backend.default = (500, {}, b"last")
    done = unix_target.probe("--deadline", "2", "--interval", "0.05")
    assert_says(done, 1, r"unhealthy within 2 s: status 500 \(wanted 200\): last")


def test_deadline_with_too_few_successes(unix_target: Target) -> None:
    unix_target.backend.answers = [(503, {}, b"warming up")]
    done = unix_target.probe("--successes", "100000", "--deadline", "2", "--interval", "0.05")
    assert_says(
        done,
        1,
        r"unhealthy: only \d+ of 100000 answers 200 within 2 s; before that: status 503 \(wanted 200\): warming up",
    )


def test_no_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "none.sock")
    assert_says(run("--unix", path), 3, rf"unhealthy: no socket at {re.escape(path)}")
    done = run("--unix", path, "--deadline", "0.2", "--interval", "0.05")
    assert_says(done, 3, rf"unhealthy within 0\.2 s: no socket at {re.escape(path)}")


def test_a_socket_that_appears_later_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    probe = subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROBE), "--unix", path, "--deadline", "50", "--interval", "0.05"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with _serving(UnixHttpServer(path, _handler(Backend()))):
        stdout, _ = probe.communicate(timeout=60)
    assert probe.returncode == 0
    assert stdout.startswith("healthy: 1 of 1")


def test_refused_on_a_socket_nobody_listens_on(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        assert_says(run("--unix", path), 3, r"unhealthy: connection refused by .*s\.sock: nothing listens there")


def test_refused_on_tcp() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        done = run("--url", f"http://127.0.0.1:{port}")
    assert_says(done, 3, rf"unhealthy: connection refused by 127\.0\.0\.1:{port}: nothing listens there")


def test_path_through_a_file_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_says(run("--unix", str(tmp_path / "file/s.sock")), 3, r"unhealthy: cannot reach .*: Not a directory")


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="needs an unprivileged user")
def test_permission_denied(tmp_path: Path) -> None:
    # tmp_path's parents are closed to others, so the unprivileged probe fails at the directory, as on a host.
    path = str(tmp_path / "closed/s.sock")
    (tmp_path / "closed").mkdir()
    command = [sys.executable, "-I", "-S", "-c", PROBE.read_text(encoding="utf-8"), "--unix", path]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", *command[1:]]
    with _serving(UnixHttpServer(path, _handler(Backend()))):
        (tmp_path / "closed").chmod(0)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
        (tmp_path / "closed").chmod(0o700)
    assert_says(done, 3, r"unhealthy: permission denied on .*s\.sock: this user may not connect")


def test_name_that_does_not_resolve() -> None:
    # RFC 6761: .invalid never exists; a resolver that asks a network without answers for it is slower than the limit.
    reason = r"(the name backend\.invalid does not resolve|timed out after 2 s)"
    assert_says(run("--url", "http://backend.invalid"), 3, f"unhealthy: {reason}")


def test_server_that_accepts_and_is_silent() -> None:
    with raw_server(lambda sock: threading.Event().wait(60)) as url:
        assert_says(run("--url", url, "--timeout", "0.3"), 3, r"unhealthy: timed out after 0\.3 s")


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]
)
def test_server_that_trickles_is_cut_by_the_whole_request_limit(start: bytes) -> None:
    def trickle(sock: socket.socket) -> None:
        sock.sendall(start)
        while True:
            sock.sendall(b"x")
            threading.Event().wait(0.02)

    with raw_server(trickle) as url:
        assert_says(run("--url", url, "--timeout", "0.5"), 3, r"unhealthy: timed out after 0\.5 s")


def test_server_that_never_accepts(tmp_path: Path) -> None:
    # As a held socket whose service does not come up: the kernel queues the connection, nobody answers.
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(8)
        assert_says(run("--unix", path, "--timeout", "0.3"), 3, r"unhealthy: timed out after 0\.3 s")
        done = run("--unix", path, "--timeout", "0.2", "--deadline", "0.6", "--interval", "0.05")
        assert_says(done, 3, r"unhealthy within 0\.6 s: timed out after 0\.2 s")


def test_full_queue_of_a_socket_is_cut_as_well(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as sock, contextlib.ExitStack() as clients:
        sock.bind(path)
        sock.listen(0)
        for _ in range(2):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(path)
        assert_says(run("--unix", path, "--timeout", "0.3"), 3, r"unhealthy: timed out after 0\.3 s")


def test_deadline_that_cuts_a_try_keeps_the_reason_before_it() -> None:
    first = threading.Event()

    def talk(sock: socket.socket) -> None:
        if first.is_set():
            threading.Event().wait(60)
        first.set()
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")

    with raw_server(talk) as url:
        done = run("--url", url, "--timeout", "50", "--deadline", "2", "--interval", "0")
    assert_says(done, 1, r"unhealthy within 2 s: status 503 \(wanted 200\): busy")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", r"127\.0\.0\.1:\d+ closed the connection without an answer"),
        (b"SSH-2.0-x\r\n", r"the answer is not HTTP \(BadStatusLine\)"),
        (b"HTTP/1.1 200 " + b"x" * 70000, r"the answer is not HTTP \(LineTooLong\)"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", r"the answer is not HTTP \(HTTPException\)"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", r"the answer ended before its announced length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc", r"the answer ended before .*"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", r"the answer (is not|ended before) .*"),
    ],
)
def test_answer_that_is_broken(answer: bytes, reason: str) -> None:
    def talk(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(answer)

    with raw_server(talk) as url:
        assert_says(run("--url", url), 3, "unhealthy: " + reason)


def test_connection_that_is_reset() -> None:
    def talk(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 200 OK\r\n")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    with raw_server(talk) as url:
        assert_says(run("--url", url), 3, r"unhealthy: 127\.0\.0\.1:\d+ (broke the connection|closed .*)")


def test_chunked_answer_is_read() -> None:
    def talk(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n')

    with raw_server(talk) as url:
        assert_says(run("--url", url, "--json", "a=1"), 0, "healthy: .*")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    directory = tmp_path_factory.mktemp("tls")
    key, crt = str(directory / "key.pem"), str(directory / "crt.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=decant"
    command += f" -addext subjectAltName=DNS:projects.example.org -keyout {key} -out {crt}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return key, crt


@pytest.fixture
def tls_target(certificate: tuple[str, str]) -> Iterator[Target]:
    backend = Backend()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(backend))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with _serving(server):
        yield Target(backend, "--url", f"https://127.0.0.1:{server.server_address[1]}")


def test_tls_verifies_the_name_of_the_host_option(tls_target: Target, certificate: tuple[str, str]) -> None:
    for host in ("projects.example.org", "projects.example.org:8443"):
        assert_says(tls_target.probe("--ca", certificate[1], "--host", host), 0, "healthy: .*")


def test_tls_with_another_name_or_unknown_authority_fails(tls_target: Target, certificate: tuple[str, str]) -> None:
    done = tls_target.probe("--ca", certificate[1], "--host", "other.example.org")
    assert_says(done, 3, r"unhealthy: TLS with 127\.0\.0\.1:\d+ failed: .*other\.example\.org.*")
    done = tls_target.probe("--host", "projects.example.org")
    assert_says(done, 3, r"unhealthy: TLS with 127\.0\.0\.1:\d+ failed: self.signed certificate.*")
    done = tls_target.probe("--ca", certificate[0])
    assert_says(done, 3, r"unhealthy: TLS with .* failed: .+")


def test_tls_to_a_server_that_does_not_speak_it() -> None:
    def talk(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with raw_server(talk) as url:
        assert_says(run("--url", url.replace("http:", "https:")), 3, r"unhealthy: TLS with .* failed: .+")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --unix --url is required"),
        (["--unix", "/s", "--url", "http://x"], "not allowed with argument"),
        (["--unix", "/" + "x" * 107], "longer than 107 bytes"),
        (["--url", "ftp://x"], "--url: expected http"),
        (["--url", "http://x/path"], "the path goes to --path"),
        (["--url", "http://x:99999"], "--url: expected http"),
        (["--url", "http://x:0"], "--url: expected http"),
        (["--url", "http://user@x"], "--url: expected http"),
        (["--unix", "/s", "--path", "api"], "--path: expected a path"),
        (["--unix", "/s", "--path", "/a b"], "--path: expected a path"),
        (["--unix", "/s", "--path", "/a\r\nX: y"], "--path: expected a path"),
        (["--unix", "/s", "--host", "a\nb"], "--host: expected"),
        (["--unix", "/s", "--host", ""], "--host: expected"),
        (["--unix", "/s", "--status", "99"], "--status: expected"),
        (["--unix", "/s", "--status", "ok"], "invalid int value"),
        (["--unix", "/s", "--successes", "0"], "--successes: expected"),
        (["--unix", "/s", "--timeout", "0"], "--timeout: expected seconds above 0"),
        (["--unix", "/s", "--timeout", "nan"], "--timeout: expected seconds above 0"),
        (["--unix", "/s", "--deadline", "-1"], "--deadline: expected seconds above 0"),
        (["--unix", "/s", "--interval", "-1"], "--interval: expected 0 or more"),
        (["--unix", "/s", "--json", "status"], "--json: expected FIELD=VALUE"),
        (["--unix", "/s", "--json", "=ok"], "--json: expected FIELD=VALUE"),
        (["--unix", "/s", "--json", "a..b=ok"], "--json: expected FIELD=VALUE"),
        (["--unix", "/s", "--header", "novalue"], "--header: expected NAME:VALUE"),
        (["--unix", "/s", "--header", "A: b\r\nC: d"], "--header: expected NAME:VALUE"),
        (["--unix", "/s", "--ca", "/nonexistent"], "--ca: cannot read /nonexistent"),
        (["--unix", "/s", "--succ", "3"], "unrecognized arguments"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.replace("\n", " ")


def test_help_documents_the_exit_codes() -> None:
    done = run("--help")
    assert done.returncode == 0
    for code in ("0  healthy", "1  an answer", "2  wrong usage", "3  no answer"):
        assert code in done.stdout


def test_runs_by_its_own_first_line() -> None:
    assert os.access(PROBE, os.X_OK)
    assert PROBE.read_text(encoding="utf-8").startswith("#!/usr/bin/python3\n")


def test_a_process_that_ended_is_not_waited_for(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = run("--unix", str(tmp_path / "none.sock"), "--deadline", "60", "--pid", str(gone.pid))
    assert_says(done, 3, f"unhealthy: process {gone.pid} ended before it answered")
