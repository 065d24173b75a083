# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nearly every variable changed, seen by its effect; and two backends on one host that never meet."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from testing import ROOT as CHECKOUT
from testing import STATE, App, Run, deploy, play, source_copy, until

OTHER = CHECKOUT / "molecule/alternative/shop-api"
# Without the database URL of another backend, which is readable well enough and refused for where it leads.
CORPUS = [
    value
    for value in json.loads((CHECKOUT / "tests/unit/envfile_corpus.json").read_text(encoding="utf-8"))
    if not value.startswith("sqlite:")
]
DATABASE = "sqlite:////opt/shop/shared/notes.sqlite"

# Two files on the host: one loads a .env in a shell, one prints what a process got of it as JSON.
READER = """
cat > /tmp/show.py <<'END'
import json, os
print(json.dumps({k: v for k, v in os.environ.items() if k.startswith("V") and k[1:].isdigit()}))
END
cat > /tmp/read.sh <<'END'
set -a
. ENV_FILE
exec /usr/bin/python3 /tmp/show.py
END
"""


@pytest.fixture(scope="module")
def shop() -> App:
    return App("web", "shop", "/opt/shop", "shop.example.org", 8080)


@pytest.fixture(scope="module")
def api(shop: App) -> App:
    """The second backend, deployed from an inventory of its own."""
    deploy_api().ok()
    return App("web", "shop-api", server_name="api.shop.example.org")


def deploy_api(*arguments: str, **variables: object) -> Run:
    return play("deploy.yml", *arguments, inventory=OTHER, **variables)


def everything_of(app: App) -> str:
    """Files to the byte, units, processes, site and user of one backend. Of the shared files, which the backend itself
    writes, only who may do what."""
    name, root = app.name, app.root
    script = f"""
    set -e
    find {root} -path {root}/shared -prune -o -printf '%p %M %u:%g %T@ %l\\n' | sort
    find {root} -path {root}/shared -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
    find {root}/shared -not -name '*-wal' -not -name '*-shm' -printf '%p %M %u:%g\\n' | sort
    for f in /etc/systemd/system/{name}.target* /etc/systemd/system/{name}@* /etc/systemd/system/{name}-migrate@* \
      /etc/systemd/system/{name}-health.* /etc/nginx/sites-*/{name}.conf; do
        stat --format '%N %A %U:%G %y' $f
        test -d $f || sha256sum $f
    done
    systemctl show --property Id,ActiveState,ActiveEnterTimestamp,MainPID,NRestarts {name}.target '{name}@*'
    pgrep --parent {app.main_pid()}
    owner=$(stat --format %U {root}/shared)
    getent passwd $owner
    id $owner
    """
    done = app.host.run("bash -c %s", script)
    assert done.rc == 0, done.stderr
    return done.stdout


def in_sandbox(app: App, line: str) -> int:
    """The exit code of a command that sees the file system as the service does."""
    return app.host.run(f"nsenter --target {app.main_pid()} --mount -- {line}").rc


# --- one backend, nearly everything changed ------------------------------------------------------


def test_it_serves_on_its_own_port(shop: App) -> None:
    answer = shop.ask("/")
    assert answer.json() == {"title": 'It\'s the "shop" #1', "release": shop.current()}
    assert answer.headers["x-extra"] == "yes"
    assert shop.ask("/", host="www.shop.example.org").status == 200


def test_the_worker_class_and_count(shop: App) -> None:
    assert shop.ask("/healthz").json()["worker"] == "gevent"
    assert int(shop.host.check_output(f"pgrep --count --parent {shop.main_pid()}")) == 2
    owners = shop.host.check_output(f"ps -o user:32= -p {shop.main_pid()} --ppid {shop.main_pid()}").split()
    assert owners == ["shopkeeper"] * 3


def test_what_is_installed(shop: App) -> None:
    python = "/opt/shop/current/venv/bin/python"
    packages = shop.host.check_output(f"{python} -m pip freeze").split()
    assert {"gunicorn==26.2.0", "tenacity==8.2.3", "python-dotenv==1.2.4"} <= set(packages)
    assert shop.host.check_output(f"readlink -f {python}") == "/usr/bin/python3.11"
    assert shop.host.package("jq").is_installed and shop.host.package("pkg-config").is_installed
    first = shop.host.check_output("head -1 /opt/shop/current/venv/bin/flask")
    assert first == f"#!/opt/shop/venvs/{shop.manifest()['parts']['lock']}/bin/python"
    assert shop.host.run("/opt/shop/current/venv/bin/flask --version").rc == 0


def test_the_unit_has_its_limits(shop: App) -> None:
    unit = shop.service()
    assert shop.show(unit, "MemoryMax") == str(400 * 1024**2)
    assert shop.show(unit, "CPUQuotaPerSecUSec") == "1.500000s"
    assert shop.show(unit, "TasksMax") == "128"
    assert shop.show(unit, "TimeoutStopUSec") == "25s"
    assert shop.show(unit, "TimeoutStartUSec") == "55s", "health_deadline_seconds and 15"
    assert " --successes 2 " in shop.show(unit, "ExecStartPost")
    assert "OnUnitActiveUSec=10s" in shop.show("shop-health.timer", "TimersMonotonic")
    socket_file = f"/run/shop/{shop.current()}.sock"
    assert shop.host.check_output(f"ss -Hxl src {socket_file}").split()[3] == "512", (
        "what the kernel has as the backlog"
    )


def test_it_may_write_where_it_is_told(shop: App) -> None:
    assert in_sandbox(shop, "touch /var/opt/here") == 0
    assert in_sandbox(shop, "touch /opt/shop/shared/here") == 0
    assert in_sandbox(shop, "touch /opt/shop/current/src/here") != 0
    assert in_sandbox(shop, "touch /srv/here") != 0


def test_gunicorns_settings_reach_it(shop: App) -> None:
    conf = shop.host.check_output("cat /opt/shop/current/gunicorn.conf.py")
    values: dict[str, object] = {}
    exec(conf, values)
    wanted = {
        "timeout": 45,
        "graceful_timeout": 20,
        "keepalive": 3,
        "max_requests": 5000,
        "max_requests_jitter": 50,
        "loglevel": "debug",
    }
    assert {name: values[name] for name in wanted} == wanted
    assert shop.ask("/" + "x" * 400).status == 400, "limit_request_line"
    assert "GET /healthz 200 host=www.shop.example.org probe=yes, a probe" in shop.journal("-t shop"), "from the gate"


def test_nginx_settings_by_effect(shop: App) -> None:
    assert shop.ask("/uploads/big.bin", "PUT", "x" * 70000).status == 413
    static = shop.ask("/static/robots.txt")
    assert (static.status, static.headers["cache-control"]) == (200, "max-age=60")
    assert shop.ask("/slow?seconds=6").status == 504
    assert shop.ask("/notes", "POST", {"text": "x" * 2000, "author": "a"}).status == 201
    assert "content-encoding" not in shop.ask("/notes", headers={"Accept-Encoding": "gzip"}).headers
    assert not shop.host.file("/var/log/nginx/shop.access.log").exists


def test_a_client_that_stops_in_its_header_is_let_go(shop: App) -> None:
    """nginx_client_timeout_seconds is 5, by default 15."""
    begin = time.monotonic()
    with socket.create_connection((shop.address, shop.port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: shop.example.org\r\n")
        while connection.recv(4096):
            pass
    assert 4 < time.monotonic() - begin < 14


def test_code_is_public_only_where_it_is_static(shop: App) -> None:
    assert shop.host.run("runuser -u www-data -- cat /opt/shop/current/src/wsgi.py").rc != 0
    assert shop.host.run("runuser -u www-data -- cat /opt/shop/current/src/static/robots.txt").rc == 0


def test_the_record_names_who_and_what(shop: App) -> None:
    record = shop.manifest()
    assert (record["who"], record["source"]["kind"], record["source"]["version"]) == (
        "release-robot@example.org",
        "archive",
        "shop.tar.gz",
    )
    assert (record["migration"]["before"], record["migration"]["after"]) == ([], ["a2"])
    assert shop.host.file("/opt/shop/shared/notes.sqlite").user == "shopkeeper"
    assert "APP_CONFIG='live'" in shop.host.check_output("cat /opt/shop/current/.env")


def test_a_secret_must_be_as_long_as_the_inventory_asks(shop: App) -> None:
    before = shop.current()
    refused = deploy(app_secrets={"SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz"}).refused()
    assert "SECRET_KEY" in refused.says() and "40" in refused.says()
    assert "0123456789abcdef" not in refused.output
    assert shop.current() == before


def test_uploads_survive_and_releases_are_pruned(shop: App) -> None:
    """Two more releases with other locks: two are kept, and with the first go its units and its environment."""
    assert shop.ask("/uploads/kept.txt", "PUT", "precious").status == 201
    before = shop.current()
    for version in ("8.5.0", "9.0.0"):
        deploy(venv_extra_packages=[f"tenacity=={version}"]).ok()
        shop.drained()
    assert shop.ask("/uploads/kept.txt").body == b'"precious"'
    kept = shop.releases()
    assert len(kept) == 2 and shop.current() in kept and before not in kept
    assert shop.manifest()["previous"] in kept
    units = shop.host.check_output("ls /etc/systemd/system")
    for unit in (r"shop@(.+)\.service", r"shop@(.+)\.socket", r"shop-migrate@(.+)\.service"):
        assert set(re.findall(f"^{unit}$", units, re.MULTILINE)) == set(kept), unit
    venvs = set(shop.host.check_output("ls --almost-all /opt/shop/venvs").split())
    assert venvs == {shop.manifest(release)["parts"]["lock"] for release in kept}


def test_what_was_tampered_with_is_drift(shop: App) -> None:
    before = shop.current()
    unit, env = f"/etc/systemd/system/shop@{before}.service", f"/opt/shop/releases/{before}/.env"
    shop.host.check_output(f"sed -i s/TasksMax=128/TasksMax=64/ {unit}")
    shop.host.check_output(f'sh -c "echo NOTES_TITLE=Tampered >> {env}"')
    said = deploy().ok().says()
    assert f"{unit} is not what the release wrote" in said and f"{env} is not what the release wrote" in said
    assert shop.current() != before and shop.show(shop.service(), "TasksMax") == "128"
    assert "Tampered" not in shop.host.check_output("cat /opt/shop/current/.env")
    assert shop.ask("/").json()["release"] == shop.current()


def test_threads_by_another_worker_class_and_a_long_drain(shop: App) -> None:
    shop.drained()
    before = shop.current()
    deploy(
        gunicorn_worker_class="gthread",
        gunicorn_threads=3,
        gunicorn_max_requests=10,
        gunicorn_max_requests_jitter=0,
        gunicorn_drain_seconds=600,
        health_expect_json={"ok": True, "worker": "thread"},
    ).ok()
    assert shop.ask("/healthz").json()["worker"] == "thread"
    assert "threads = 3" in shop.host.check_output("cat /opt/shop/current/gunicorn.conf.py")
    pids = {shop.ask("/healthz").json()["pid"] for _ in range(60)}
    assert len(pids) > 2, "gunicorn_max_requests replaces workers"
    assert shop.active() == {before, shop.current()}, "the old one answers for ten minutes more"
    timers = shop.host.check_output("systemctl list-units --plain --no-legend --type=timer 'shop-drain*'").split()
    assert "OnActiveUSec=10min" in shop.show(timers[0], "TimersMonotonic")
    shop.host.check_output(f"systemctl start {timers[0].removesuffix('.timer')}.service")
    shop.drained()
    deploy().ok()
    assert shop.ask("/healthz").json()["worker"] == "gevent"
    shop.drained()


def test_without_a_timer(shop: App) -> None:
    before = shop.current()
    deploy(health_timer_enabled=False).ok()
    assert not shop.host.file("/etc/systemd/system/shop-health.timer").exists
    assert shop.host.run("systemctl is-active shop-health.timer").stdout.strip() != "active"
    deploy().ok()
    assert shop.host.check_output("systemctl is-active shop-health.timer") == "active"
    assert shop.current() == before, "no release for what serves nothing"


# --- two backends --------------------------------------------------------------------------------


def test_the_second_backend_came_by_a_deploy_key_and_hashes(api: App) -> None:
    record = api.manifest()
    assert (record["source"]["kind"], record["source"]["version"]) == ("git", "v1.0.0")
    assert re.fullmatch(r"[0-9a-f]{40}", record["parts"]["commit"])
    assert api.ask("/api/ready").json()["release"] == api.current()
    key = (STATE / "deploy_key").read_text(encoding="utf-8").splitlines()[1]
    assert api.host.run(f"grep -rlF {key} /home /root /srv /opt /etc /tmp /var/tmp").stdout == "", "it stays here"


def test_what_the_second_one_changes(api: App) -> None:
    conf = api.host.check_output("cat /srv/shop-api/current/gunicorn.conf.py")
    assert "worker_class = 'gthread'" in conf and "threads = 6" in conf
    assert int(api.host.check_output(f"pgrep --count --parent {api.main_pid()}")) == 2, "gunicorn_workers_max"
    loaded = api.host.run(f"grep -c markupsafe /proc/{api.main_pid()}/maps")
    assert int(loaded.stdout) > 0, "with gunicorn_preload_enabled the master has the app"
    assert api.host.file("/usr/local/lib/decant/uv-0.13.8/bin/uv").exists
    assert api.ask("/api/health", host="unknown.example.org").status == 200, "no catch-all on its port"
    assert api.ask("/", headers={"Accept-Encoding": "gzip"}).headers["content-encoding"] == "gzip"


def test_a_wrong_hash_is_refused(api: App) -> None:
    before = (api.current(), api.main_pid())
    run = deploy_api(app_version="wrong-hash").refused()
    assert "could not be built" in run.says() and "hash" in run.says().lower()
    assert (api.current(), api.main_pid()) == before


def test_both_serve_what_is_theirs(shop: App, api: App) -> None:
    assert shop.ask("/healthz").json()["ok"] is True
    assert api.ask("/api/health").json()["status"] == "ok"
    assert shop.ask("/api/health").status == 404
    assert deploy().ok().changed() == 0
    assert deploy_api().ok().changed() == 0


def test_a_deploy_of_one_leaves_the_other_alone(shop: App, api: App) -> None:
    shop.drained()
    api.drained()
    theirs = everything_of(api)
    deploy(app_env={"NOTES_TITLE": "Other", "DATABASE_URL": DATABASE}).ok()
    shop.drained()
    assert shop.ask("/").json()["title"] == "Other"
    assert everything_of(api) == theirs
    ours = everything_of(shop)
    deploy_api(
        gunicorn_worker_class="sync",
        gunicorn_threads=0,
        gunicorn_preload_enabled=False,
        health_path="/api/nowhere",
        health_expect_status=404,
    ).ok()
    api.drained()
    assert "worker_class = 'sync'" in api.host.check_output("cat /srv/shop-api/current/gunicorn.conf.py")
    assert api.ask("/api/ready").json()["release"] == api.current()
    assert everything_of(shop) == ours
    shop.host.check_output("systemctl restart shop.target")
    until(lambda: shop.ask("/healthz").status == 200)
    assert shop.active() == {shop.current()} and api.active() == {api.current()}


# --- readers of the .env, and uv.lock ------------------------------------------------------------


def test_the_env_file_is_read_alike_by_systemd_a_shell_and_dotenv(shop: App) -> None:
    """The whole corpus at once, in the file of a release: systemd, dash, bash and python-dotenv, on the host."""
    values = {f"V{number:03d}": value for number, value in enumerate(CORPUS)}
    deploy("--extra-vars", f"@{unsafe({'NOTES_TITLE': 'corpus', 'DATABASE_URL': DATABASE, **values})}").ok()
    env = "/opt/shop/current/.env"
    readers = {
        "systemd": f"systemd-run --quiet --wait --pipe -p EnvironmentFile={env} /usr/bin/python3 /tmp/show.py",
        "dash": "env -i dash /tmp/read.sh",
        "bash": "env -i bash /tmp/read.sh",
    }
    shop.host.check_output("bash -c %s", READER.replace("ENV_FILE", env))
    for name, line in readers.items():
        assert json.loads(shop.host.check_output(line)) == values, name
    code = f"import json, dotenv; print(json.dumps({{k: v for k, v in dotenv.dotenv_values('{env}').items() if k[1:].isdigit()}}))"
    said = shop.host.check_output("/opt/shop/current/venv/bin/python -c %s", code)
    assert json.loads(said) == values


def unsafe(values: dict[str, str]) -> Path:
    """app_env as a file of variables, every value marked as what Ansible is not to template."""
    lines = [
        f'  {name}: !unsafe "{"".join(f"{chr(92)}U{ord(c):08x}" for c in value)}"' for name, value in values.items()
    ]
    path = STATE / "corpus.yml"
    path.write_text("\n".join(["app_env:", *lines, ""]), encoding="utf-8")
    return path


def test_a_uv_lock_is_what_gets_installed(shop: App) -> None:
    source = source_copy("locked", "molecule/alternative/backend")
    (source / "left.over").write_text("", encoding="utf-8")
    uv = shutil.which("uv")
    assert uv, "requirements-test.txt names it"
    subprocess.run(
        [uv, "lock", "--quiet", "--project", str(source), "--python", "3.11"], check=True, capture_output=True
    )
    locked: dict[str, Any] = {
        "app_archive": "",
        "app_archive_checksum": "",
        "app_path": str(source),
        "migrate_directory": "migrations",
        "release_exclude": ["*.over", "__pycache__"],
    }
    assert (source / "uv.lock").exists()
    refused = deploy(**locked).refused()
    assert "venv_installer is 'pip', which cannot read this source's uv.lock" in refused.says()
    assert "new, built with uv" in deploy(**locked, venv_installer="uv").ok().says()
    assert shop.ask("/healthz").json()["worker"] == "gevent"
    assert "left.over" not in shop.host.check_output("ls /opt/shop/current/src")
    dotenv = "import importlib.metadata as m; print(m.version('python-dotenv'))"
    assert shop.host.check_output("/opt/shop/current/venv/bin/python -c %s", dotenv) == "1.2.4", "venv_extras"
