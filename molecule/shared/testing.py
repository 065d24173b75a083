# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the scenarios' tests share: reaching the hosts, deploying again, asking through nginx, load while something happens."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import build
import testinfra
from testinfra.host import Host

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
STATE = Path(os.environ["DECANT_TEST_STATE"])
GROUP = os.environ.get("DECANT_GROUP") or os.environ["MOLECULE_SCENARIO_NAME"]
INVENTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "inventory")
T = TypeVar("T")


def connections() -> dict[str, dict[str, str]]:
    """How to reach each host, as tools/hosts.py says."""
    return json.loads(Path(os.environ["DECANT_HOSTS"]).read_text(encoding="utf-8"))


def open_host(name: str) -> Host:
    """A host over SSH, commands run with sudo: what an operator has."""
    how = connections()[name]
    return testinfra.get_host(
        f"ssh://{how['ansible_user']}@{how['ansible_host']}",
        ssh_identity_file=how["ansible_ssh_private_key_file"],
        ssh_extra_args=how["ansible_ssh_common_args"],
        sudo=True,
    )


def address(name: str) -> str:
    return connections()[name]["ansible_host"]


def pipe(name: str, command: str, data: bytes) -> None:
    """A command of root's on a host, with this as its standard input."""
    how = connections()[name]
    target = f"{how['ansible_user']}@{how['ansible_host']}"
    argv = ["ssh", "-i", how["ansible_ssh_private_key_file"], *how["ansible_ssh_common_args"].split(), target]
    subprocess.run([*argv, f"sudo sh -c '{command}'"], input=data, check=True, capture_output=True)


def write(name: str, path: str, text: str) -> None:
    """A file of root's on a host, its text through standard input: a command that held it would be in argv and in sudo's journal."""
    pipe(name, f"umask 077; cat > {path}", text.encode())


def secret() -> str:
    """The scenario's SECRET_KEY."""
    return (STATE / "secret_key").read_text(encoding="utf-8").strip()


def until(check: Callable[[], T], seconds: float = 30, what: str = "") -> T:
    """Ask again until the answer is true; after the deadline, the last answer is in the error."""
    end = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what or check} was still {answer!r} after {seconds} s"
        time.sleep(0.2)


# --- deploys -------------------------------------------------------------------------------------


@dataclass
class Run:
    """One run of ansible-playbook."""

    rc: int
    output: str
    recap: dict[str, dict[str, int]] = field(default_factory=dict)

    def changed(self) -> int:
        return sum(counts["changed"] for counts in self.recap.values())

    def says(self) -> str:
        """All of the output on one line, since YAML wraps messages."""
        return re.sub(r"\s+", " ", self.output)

    def ok(self) -> Run:
        """This run, when it succeeded."""
        assert self.rc == 0, self.output[-6000:]
        return self

    def refused(self) -> Run:
        """This run, when it failed as a deploy fails: not from a crash."""
        assert self.rc != 0, self.output[-3000:]
        assert "Traceback (most recent call last)" not in self.output.split("journal:")[0], self.output[-6000:]
        return self


def command(
    playbook: str,
    *arguments: str,
    inventory: str | Path = INVENTORY,
    executable: str = "ansible-playbook",
    **variables: Any,
) -> list[str]:
    """The command line of a run; keyword arguments are extra variables."""
    extra = ["--extra-vars", json.dumps(variables)] if variables else []
    return [executable, "--inventory", str(inventory), *extra, *arguments, playbook]


def play(
    playbook: str = "deploy.yml",
    *arguments: str,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> Run:
    """Run a playbook against the scenario's hosts: of the checkout, unless cwd names another place."""
    done = subprocess.run(
        command(playbook, *arguments, **options),
        cwd=cwd,
        env={**(env or os.environ), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    recap = {}
    for host, counts in re.findall(r"^(\S+)\s+: (ok=.*)$", done.stdout, re.MULTILINE):
        recap[host] = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)}
    return Run(done.returncode, done.stdout, recap)


def deploy(*arguments: str, **variables: Any) -> Run:
    """deploy.yml with extra variables."""
    return play("deploy.yml", *arguments, **variables)


def checkout(target: Path) -> Path:
    """What git would clone, uncommitted files included, in an empty place."""
    shutil.rmtree(target, ignore_errors=True)
    build.working_copy(target)
    return target


def source_copy(name: str, source: str = "examples/backend") -> Path:
    """A copy of a source that a test may change, without what a run leaves beside it."""
    target = STATE / "sources" / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(
        ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", "*.db", "instance")
    )
    return target


def pack(folder: Path, archive: Path) -> Path:
    """A release archive of a folder, with one top directory."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return archive


# --- the backend on a host -----------------------------------------------------------------------


class Tls(http.client.HTTPConnection):
    """HTTPS to an address under a name, as a client that trusts one CA file."""

    def __init__(self, address: str, port: int, name: str, ca: str, timeout: float) -> None:
        super().__init__(address, port, timeout=timeout)
        self.name, self.context = name, ssl.create_default_context(cafile=ca)

    def connect(self) -> None:
        super().connect()
        self.sock = self.context.wrap_socket(self.sock, server_hostname=self.name)


class App:
    """A backend on a host, seen from outside.

    :param ca: file of the CA whose certificates a client of the site trusts; without one the client speaks plain HTTP.
    """

    def __init__(
        self,
        host_name: str,
        name: str = "projects",
        root: str = "",
        server_name: str = "projects.example.org",
        port: int = 80,
        ca: str = "",
    ) -> None:
        self.host = open_host(host_name)
        self.address = address(host_name)
        self.name, self.root, self.server_name, self.port = name, root or f"/srv/{name}", server_name, port
        self.ca = ca

    def current(self) -> str:
        """The id of the release that serves."""
        return self.host.run(f"basename $(readlink {self.root}/current)").stdout.strip()

    def service(self, release_id: str = "") -> str:
        return f"{self.name}@{release_id or self.current()}.service"

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.host.check_output(f"systemctl show --value --property {name} {unit}")

    def main_pid(self) -> int:
        return int(self.show(self.service(), "MainPID"))

    def manifest(self, release_id: str = "") -> dict[str, Any]:
        return json.loads(
            self.host.check_output(f"cat {self.root}/releases/{release_id or self.current()}/release.json")
        )

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.host.check_output(f"cat {self.root}/deploys.jsonl").splitlines()]

    def releases(self) -> list[str]:
        return self.host.check_output(f"ls {self.root}/releases").split()

    def active(self) -> set[str]:
        """Ids of the instances that run."""
        units = self.host.check_output(
            f"systemctl list-units --plain --no-legend --state=active '{self.name}@*.service'"
        )
        return {line.split()[0][len(self.name) + 1 : -len(".service")] for line in units.splitlines()}

    def drained(self) -> None:
        """Wait until the release that serves is the only one that runs."""
        until(lambda: self.active() == {self.current()}, 60, "the set of running instances")

    def connection(self, timeout: float = 15) -> http.client.HTTPConnection:
        """A connection of one's own to nginx, not open yet."""
        if self.ca:
            return Tls(self.address, self.port, self.server_name, self.ca, timeout)
        return http.client.HTTPConnection(self.address, self.port, timeout=timeout)

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        host: str = "",
        timeout: float = 15,
    ) -> Answer:
        """One request through nginx, from the controller."""
        connection = self.connection(timeout)
        data = None if body is None else json.dumps(body)
        send = {
            "Host": host or self.server_name,
            **({"Content-Type": "application/json"} if data else {}),
            **(headers or {}),
        }
        try:
            connection.request(method, path, body=data, headers=send)
            response = connection.getresponse()
            return Answer(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
        finally:
            connection.close()

    def journal(self, *arguments: str) -> str:
        return self.host.check_output(f"journalctl --no-pager --output=cat {' '.join(arguments)}")


@dataclass
class Answer:
    """What nginx answered."""

    status: int
    body: bytes
    headers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.body)


class Load:
    """Clients that ask without pause while something else happens, and remember everything that went wrong.

    Closed loop: each client sends its next request when the last one is answered. A connection per request, since a kept
    one would hide a moment in which none could be made.

    :param pause: seconds between an answer and the next request; 0 measures, a little leaves the machine to what is watched.
    """

    def __init__(
        self, app: App, path: str = "/api/projects", clients: int = 4, expect: int = 200, pause: float = 0
    ) -> None:
        self.app, self.path, self.clients, self.expect, self.pause = app, path, clients, expect, pause
        self.sent, self.failures = 0, []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def _client(self) -> None:
        while not self._stop.is_set():
            try:
                status = self.app.ask(self.path).status
                problem = "" if status == self.expect else f"status {status}"
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
            with self._lock:
                self.sent += 1
                if problem:
                    self.failures.append(problem)
            self._stop.wait(self.pause)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        until(lambda: self.sent >= self.clients, what="the first answers of the load")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def clean(self) -> None:
        """No request failed, and there were some."""
        assert self.sent > 100, f"only {self.sent} requests were sent"
        assert not self.failures, f"{len(self.failures)} of {self.sent} requests failed: {self.failures[:5]}"


@contextlib.contextmanager
def every_argv(host: Host) -> Iterator[str]:
    """The command lines of all processes, taken many times a second, in a file of the host."""
    path = "/root/argv"
    look = f'while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " "; echo; sleep 0.05; done > {path}'
    host.check_output(f"systemd-run --quiet --unit=argv-watch sh -c '{look}'")
    try:
        yield path
    finally:
        host.check_output("systemctl stop argv-watch.service")


class Writer:
    """A client that makes rows without pause, and remembers every one that the backend has acknowledged with a 201.

    :param pause: seconds between an answer and the next row; a little leaves the machine to what is watched.
    """

    def __init__(self, app: App, name: str, pause: float = 0) -> None:
        self.app, self.name, self.pause = app, f"{name}-{os.getpid()}-{int(time.time())}", pause
        self.acknowledged: dict[int, str] = {}
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def _write(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            name = f"{self.name}-{number}"
            try:
                answer = self.app.ask("/api/projects", "POST", {"name": name}, timeout=60)
                if answer.status == 201:
                    self.acknowledged[answer.json()["id"]] = name
                    self._stop.wait(self.pause)
                    continue
                problem = f"status {answer.status}"
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
            self.failures.append(f"{name}: {problem}")

    def __enter__(self) -> Writer:
        self._thread.start()
        until(lambda: len(self.acknowledged) > 0 or self.failures, what="the first row")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(90)

    def clean(self, lost: int = 0) -> None:
        """No request failed, but for so many that a killed process had in its hands."""
        assert len(self.acknowledged) > 100, f"only {len(self.acknowledged)} rows were acknowledged"
        assert len(self.failures) <= lost, (
            f"{len(self.failures)} of {len(self.acknowledged)} failed: {self.failures[:5]}"
        )

    def missing(self, app: App | None = None) -> dict[int, str]:
        """The acknowledged rows that the backend does not have any more."""
        found, page = {}, 1
        while True:
            answer = (app or self.app).ask(f"/api/projects?q={self.name}&sort=id&per_page=100&page={page}").json()
            found.update({item["id"]: item["name"] for item in answer["items"]})
            if page >= answer["pages"]:
                break
            page += 1
        return {row: name for row, name in self.acknowledged.items() if found.get(row) != name}

    def all_there(self, app: App | None = None) -> None:
        """Every acknowledged row is in the database."""
        missing = self.missing(app)
        assert not missing, (
            f"{len(missing)} of {len(self.acknowledged)} acknowledged rows are lost: {list(missing)[:5]}"
        )


def reboot(host_name: str) -> None:
    """Restart the container, which is a reboot, and wait until it is up."""
    argv = [sys.executable, str(ROOT / "tools/hosts.py"), "reboot", "--group", GROUP, host_name]
    subprocess.run(argv, check=True, capture_output=True)
