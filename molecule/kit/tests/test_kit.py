# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The production kit of two backends of different shapes, used as its guides say: what it writes and leaves, the files of a host that
was deployed, a host where a person follows the guide, the start script, the workflow's steps. In the order of the file."""

from __future__ import annotations

import functools
import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from testinfra.host import Host
from testing import (
    INVENTORY,
    STATE,
    App,
    Run,
    connections,
    deploy,
    open_host,
    pipe,
    play,
    secret,
    source_copy,
    until,
    write,
)
from testing import ROOT as CHECKOUT

ID = "v1.2.3"  # as the guide has it


@dataclass(frozen=True)
class Backend:
    """One of the two: its inventory, its code, how many files its kit has, where its start script listens, how its table is read."""

    name: str
    inventory: Path
    source: str
    subdir: str
    port: int
    plan: str
    index: str

    @property
    def checkout(self) -> Path:
        return STATE / "sources" / self.name

    def kit(self, *arguments: str, **variables: object) -> Run:
        """playbooks/kit.yml. Whether the test's hosts have IPv6 is this machine's business."""
        said = {"kit_dest": str(self.checkout), "kit_ipv6_enabled": ipv6(), **variables}
        return play("playbooks/kit.yml", *arguments, inventory=self.inventory, **said)

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(["git", *who, *arguments], cwd=self.checkout, check=True, capture_output=True, text=True)
        return done.stdout

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def text(self, path: str) -> str:
        return (self.checkout / path).read_text(encoding="utf-8")

    def app(self, host: str) -> App:
        return App(host, self.name, server_name=f"{self.name}.example.org")

    def address(self, database: str) -> str:
        """The URL of a PostgreSQL database of the plain host."""
        return f"postgresql+psycopg://{database}:{password()}@127.0.0.1:5432/{database}"

    def environment(self, database: str, folder: str) -> str:
        """deploy/env.example, filled in. A file of SQLite's is in this folder."""
        url = f"sqlite:///{folder}/{database}.db" if self.name == "projects" else self.address(database)
        text = re.sub(
            r"^DATABASE_URL=.*$", f'DATABASE_URL="{url}"', self.text("deploy/env.example"), flags=re.MULTILINE
        )
        return re.sub(r"^SECRET_KEY=$", f'SECRET_KEY="{secret()}"', text, flags=re.MULTILINE)


BACKENDS = {
    one.name: one
    for one in (
        Backend("projects", INVENTORY, "examples/backend", "api", 8101, "- SCAN projects", "- unique: name"),
        Backend(
            "shop",
            CHECKOUT / "molecule/kit/shop",
            "molecule/alternative/backend",
            ".",
            8102,
            "- Index Scan using notes_pkey on notes",
            "- primary key: id",
        ),
    )
}
both = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)


@functools.cache
def ipv6() -> bool:
    return open_host("web").file("/proc/net/if_inet6").exists


def password() -> str:
    return (STATE / "password").read_text(encoding="utf-8").strip()


@pytest.fixture(scope="module", autouse=True)
def first() -> dict[str, Run]:
    """The kit in a checkout of each, committed; and its health blueprint dropped into the one that has none."""
    found = {}
    for one in BACKENDS.values():
        source_copy(one.name, one.source)
        one.git("init", "--quiet", "--initial-branch=main")
        one.commit("The backend")
        found[one.name] = one.kit().ok()
        one.commit("The production kit")
    shop = BACKENDS["shop"]
    (shop.checkout / "health.py").write_text(shop.text("deploy/health.py"), encoding="utf-8")
    with (shop.checkout / "wsgi.py").open("a", encoding="utf-8") as stream:
        stream.write(
            '\n\nfrom health import health  # noqa: E402\n\napp.register_blueprint(health, url_prefix="/api")\n'
        )
    shop.commit("Tell liveness and readiness apart")
    return found


@pytest.fixture(scope="module")
def deployed(first: dict[str, Run]) -> dict[str, App]:
    """Both on one host: molecule has deployed the example, the other comes with its PostgreSQL on the plain host."""
    shop = BACKENDS["shop"]
    play("playbooks/provision.yml", inventory=shop.inventory).ok()
    deploy(inventory=shop.inventory).ok()
    return {one.name: one.app("web") for one in BACKENDS.values()}


# --- what is written, and what is left -----------------------------------------------------------


@both
def test_the_second_run_changes_nothing(first: dict[str, Run], backend: Backend) -> None:
    assert first[backend.name].changed() == 1
    written = json.loads(backend.text(".decant-kit.json"))["files"]
    assert len(written) == 19 and set(backend.git("ls-files").split()) > set(written)
    run = backend.kit().ok()
    assert run.changed() == 0 and backend.git("status", "--porcelain") == ""
    assert "PLAY RECAP" in backend.kit("--check").ok().output


@pytest.mark.parametrize(
    ("name", "changes", "stale"),
    [
        ("shop", {"gunicorn_timeout_seconds": 45}, ["deploy/gunicorn.conf.py"]),
        ("shop", {"nginx_client_max_body_size": "7m"}, ["deploy/nginx-shop.conf"]),
        (
            "shop",
            {"app_env": {"NOTES_TITLE": "Other"}},
            ["PRODUCTION.md", "deploy/env.example", "tests/test_performance.py", "tests/test_production_config.py"],
        ),
        (
            "projects",
            {"gunicorn_memory_max": "300M", "nginx_tls": "selfsigned", "release_keep": 9},
            [
                "DEPLOYMENT.md",
                "PRODUCTION.md",
                "deploy/nginx-projects.conf",
                "deploy/projects@.service",
                "docs/releases/checklist.md",
                "docs/releases/transition-plan.md",
            ],
        ),
    ],
)
def test_check_names_exactly_what_is_stale(name: str, changes: dict[str, object], stale: list[str]) -> None:
    run = BACKENDS[name].kit("--check", **changes).refused()
    assert f"{len(stale)} files of the kit are stale: {', '.join(stale)}. Nothing was written." in run.says()
    assert BACKENDS[name].git("status", "--porcelain") == ""


@both
def test_what_a_person_has_changed_is_theirs(backend: Backend) -> None:
    script = backend.checkout / "start_production.sh"
    script.write_text(script.read_text().replace("set -euo pipefail\n", "set -euo pipefail\nulimit -n 4096\n"))
    run = backend.kit().ok()
    assert run.changed() == 0 and "start_production.sh is yours" in run.output and "\n-ulimit -n 4096\n" in run.output
    assert "ulimit" in script.read_text()
    assert backend.kit(kit_overwrite=True).ok().changed() == 1
    assert backend.git("status", "--porcelain") == "", "the kit's own text and mode"


# --- a host that was deployed --------------------------------------------------------------------


@both
def test_the_plain_files_are_what_the_host_has(deployed: dict[str, App], backend: Backend) -> None:
    """Byte by byte, with systemd's %i for the release's id."""
    app, name = deployed[backend.name], backend.name
    release = app.current()
    there = {
        f"{name}.target": f"/etc/systemd/system/{name}.target",
        f"{name}@.service": f"/etc/systemd/system/{app.service()}",
        f"{name}@.socket": f"/etc/systemd/system/{name}@{release}.socket",
        "gunicorn.conf.py": f"{app.root}/current/gunicorn.conf.py",
        f"nginx-{name}.conf": f"/etc/nginx/sites-available/{name}.conf",
        "bin/decant-probe": f"{app.root}/bin/decant-probe",
        "bin/decant-database": f"{app.root}/bin/decant-database",
    }
    for path, place in there.items():
        assert backend.text(f"deploy/{path}") == app.host.file(place).content_string.replace(release, "%i"), path


def test_the_dropped_in_blueprint_tells_the_database_from_the_process(deployed: dict[str, App]) -> None:
    app, server = deployed["shop"], open_host("plain")
    live, ready = app.ask("/api/health"), app.ask("/api/ready")
    assert (live.status, live.json()) == (200, {"status": "ok", "release": app.current()})
    assert (ready.status, ready.json()["status"], ready.headers["cache-control"]) == (200, "ok", "no-store")
    server.check_output("systemctl stop 'postgresql@*'")
    try:
        ready = app.ask("/api/ready", timeout=60)
        assert (ready.status, ready.json()["reasons"]) == (503, ["the database is not reachable"])
        assert app.ask("/api/health").status == 200
    finally:
        server.check_output("systemctl start postgresql")
    until(lambda: app.ask("/api/ready").status == 200, what="readiness")
    server.check_output("runuser -u postgres -- psql -qc \"UPDATE alembic_version SET version_num = 'a1'\" shop")
    ready = app.ask("/api/ready")
    server.check_output("runuser -u postgres -- psql -qc \"UPDATE alembic_version SET version_num = 'a2'\" shop")
    assert (ready.status, ready.json()["reasons"]) == (503, ["the schema is at ['a1'], this release expects ['a2']"])


# --- a host without Decant -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(deployed: dict[str, App]) -> Host:
    """A host with a clone of each in the home of an unprivileged user, and a database for each use of the second one."""
    host = open_host("plain")
    for one in BACKENDS.values():
        bundle = subprocess.run(
            ["git", "bundle", "create", "--quiet", "-", "main"], cwd=one.checkout, check=True, capture_output=True
        )
        pipe("plain", f"cat > /var/tmp/{one.name}.bundle", bundle.stdout)
        clone(host, one, one.name)
        clone(host, one, one.name, "root")
    for name in ("byhand", "script"):
        database(host, name, password())
    return host


def clone(host: Host, backend: Backend, folder: str, user: str = "ada") -> str:
    """A fresh clone in the user's home; its path."""
    bundle, home = f"/var/tmp/{backend.name}.bundle", "/root" if user == "root" else f"/home/{user}"
    host.check_output(f"runuser -u {user} -- git clone --quiet --branch main {bundle} {home}/{folder}")
    return f"{home}/{folder}"


def database(host: Host, name: str, word: str) -> None:
    """An empty database with an owner of its own. The password goes through standard input."""
    sql = f"CREATE ROLE {name} LOGIN PASSWORD '{word}';\nCREATE DATABASE {name} OWNER {name};\n"
    pipe("plain", "runuser -u postgres -- psql -qX -v ON_ERROR_STOP=1", sql.encode())


def shell(
    host: Host, script: str, folder: str, user: str = "root", environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """A script in a folder of the host as GitHub and a careful person run it, with this network's index: its status, and what it said."""
    how = connections()["plain"]
    own = {"PIP_CERT": how.get("venv_ca_bundle", ""), "PIP_INDEX_URL": how.get("venv_index_url", "")}
    words = {name: value for name, value in {**own, **(environment or {})}.items() if value}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in words.items())
    done = host.run("cd %s && runuser -u %s -- bash -euo pipefail -c %s 2>&1", folder, user, exports + script)
    return done.rc, done.stdout


def by_hand(backend: Backend) -> tuple[str, str]:
    """The commands of the guide: until .env is to be filled in, and from there on."""
    before, after = re.findall(r"^```sh\n(.*?)^```$", backend.text("DEPLOYMENT.md"), re.MULTILINE | re.DOTALL)
    assert before.startswith(f"id={ID}\n")
    return before, f"id={ID}\n{after}"


@both
def test_the_guide_serves_by_hand(plain: Host, backend: Backend) -> None:
    before, after = by_hand(backend)
    write("plain", f"/root/{backend.name}/.env", "of the checkout")
    code, said = shell(plain, before, f"/root/{backend.name}", environment={"DEBIAN_FRONTEND": "noninteractive"})
    assert code == 0, said[-3000:]
    assert not plain.file(f"/srv/{backend.name}/releases/{ID}/src/.env").exists, "what is committed, and nothing else"
    env, app = f"/srv/{backend.name}/releases/{ID}/.env", backend.app("plain")
    write("plain", "/root/env", backend.environment("byhand", f"/srv/{backend.name}/shared"))
    plain.check_output(f"cp --no-preserve=all /root/env {env}")  # into the file that is there, with its owner and mode
    assert plain.check_output(f"stat -c '%a %U:%G' {env}") == f"640 root:{backend.name}"
    code, said = shell(plain, after, "/")
    assert code == 0, said[-3000:]
    until(lambda: app.ask("/api/ready").status == 200, what="the site after nginx' reload")
    assert app.ask("/api/health").json()["release"] == ID
    units = [app.service(ID), f"{backend.name}@{ID}.socket", f"{backend.name}.target"]
    assert [app.show(unit, "UnitFileState") for unit in units] == ["enabled"] * 3
    assert plain.check_output(f"ps -o user= -p {app.main_pid()}") == backend.name
    assert "healthy: 3 of 3 answers 200" in app.journal(f"-u {app.service(ID)}")
    assert "decant-database: serves {" in app.journal(f"-u {app.service(ID)}"), "gunicorn.conf.py finds its program"


# --- the start script ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(plain: Host) -> None:
    """.env beside each start script, as env.example says: mode 0600."""
    for one in BACKENDS.values():
        write("plain", f"/home/ada/{one.name}/.env", one.environment("script", "/home/ada"))
        plain.check_output(f"chown ada: /home/ada/{one.name}/.env")


def start(backend: Backend, more: str = "") -> str:
    """The command of the start script, with the environment that the guide has made."""
    return f"VENV=/srv/{backend.name}/releases/{ID}/venv BIND=127.0.0.1:{backend.port} {more} ./start_production.sh"


def settings(text: str) -> dict[str, str]:
    """gunicorn's --print-config, without what says where it runs and as whom, and not how."""
    found = dict(re.findall(r"^(\w+)\s+= (.*)$", text, re.MULTILINE))
    elsewhere = ("bind", "chdir", "config", "control_socket", "gid", "group", "uid", "user")
    return {name: value for name, value in found.items() if name not in elsewhere}


@both
def test_the_script_starts_what_the_unit_starts(plain: Host, filled: None, backend: Backend) -> None:
    folder, url = f"/home/ada/{backend.name}", f"http://127.0.0.1:{backend.port}"
    code, said = shell(plain, f"{start(backend)} > start.log 2>&1 < /dev/null & disown", folder, "ada")
    assert code == 0, said
    probe = f"/srv/{backend.name}/bin/decant-probe --url {url} --path /api/ready --deadline 60"
    try:
        assert plain.run(probe).rc == 0, plain.check_output(f"cat {folder}/start.log")
        pid = plain.check_output("pgrep --oldest --euid ada gunicorn")
        argv = plain.check_output(f"tr '\\0' ' ' < /proc/{pid}/cmdline")
        ours = settings(shell(plain, f"set -a; . ./.env; cd {backend.subdir}; {argv} --print-config", folder, "ada")[1])
    finally:
        plain.run("pkill --euid ada gunicorn")
    assert "Running upgrade" in plain.check_output(f"cat {folder}/start.log"), "the database was a new one"
    unit = backend.app("plain")
    exec_start = re.search(r"argv\[\]=(.*?) ;", unit.show(unit.service(ID), "ExecStart"))[1]
    release = f"/srv/{backend.name}/releases/{ID}"
    theirs = settings(
        shell(plain, f"set -a; . {release}/.env; {exec_start} --print-config", f"{release}/src/{backend.subdir}")[1]
    )
    assert len(ours) > 60 and ours == theirs and ours["workers"] == "2"


@both
def test_the_script_names_what_is_wrong(plain: Host, filled: None, backend: Backend) -> None:
    folder = f"/home/ada/{backend.name}"
    lines = backend.environment("script", "/home/ada").splitlines()
    broken = [*lines[:4], "touch /tmp/never; OTHER=1", *lines[4:]]
    missing = [line for line in lines if not line.startswith("DATABASE_URL=")]
    for wrong, words in ((broken, "a line that is no KEY=value: line 5"), (missing, "DATABASE_URL is not set in")):
        write("plain", f"{folder}/wrong", "\n".join(wrong))
        plain.check_output(f"chown ada: {folder}/wrong")
        code, said = shell(plain, start(backend, "ENV_FILE=wrong"), folder, "ada")
        assert code == 1 and words in said and "Listening at" not in said and secret() not in said, said
    assert not plain.file("/tmp/never").exists


# --- the workflow --------------------------------------------------------------------------------


@both
def test_each_step_of_the_workflow_is_green(plain: Host, backend: Backend) -> None:
    """In a fresh clone, with the services that it names: both jobs, line by line."""
    jobs = yaml.safe_load(backend.text(".github/workflows/production.yml"))["jobs"]
    assert list(jobs) == ["configuration", "script"]
    said = {}
    for name, job in jobs.items():
        folder = clone(plain, backend, f"ci-{backend.name}-{name}")
        for service in job.get("services", {}).values():
            own = service["env"]
            assert service["image"].startswith("postgres:") and own["POSTGRES_USER"] == own["POSTGRES_DB"]
            database(plain, own["POSTGRES_DB"], own["POSTGRES_PASSWORD"])
        plain.check_output(f"runuser -u ada -- python3 -m venv {folder}.venv")  # what actions/setup-python brings
        place = f"{folder}/{job.get('defaults', {}).get('run', {}).get('working-directory', '.')}"
        for step in job["steps"]:
            if "run" in step:
                words = {"PATH": f"{folder}.venv/bin:/usr/bin:/bin", **step.get("env", {})}
                code, said[step["run"]] = shell(plain, step["run"], place, "ada", words)
                assert code == 0, f"{step['run']}\n{said[step['run']][-3000:]}"
        if name == "configuration":
            report = plain.check_output(f"cat {place}/performance-report.md")
    assert {
        "python -m pytest -q tests/test_production_config.py",
        "python -m pytest -q",
        "shellcheck start_production.sh",
    } < set(said)
    assert "1 passed" in said["python -m pytest -q -m performance"], "asked for, it is not skipped"
    assert re.search(r"\d+ passed, 1 skipped", said["python -m pytest -q"]), "not asked for, it is"
    assert "| path | 100 rows, ms | 1,000 rows, ms | 10,000 rows, ms |" in report
    rows = re.findall(r"^\| `(/[^`]+)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", report, re.MULTILINE)
    assert len(rows) == report.count("## What the database does for") > 0 and "SELECT" in report
    assert backend.plan in report and backend.index in report, report
