# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nearly every variable changed, seen by its effect; and two backends on one host that never meet."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from testing import ROOT as CHECKOUT
from testing import App, Run, deploy, play, source_copy, until

OTHER = CHECKOUT / "molecule/alternative/shop-api"
# Without what Ansible itself would read as a template in an inventory, and without what the contract takes for a database.
CORPUS = json.loads((CHECKOUT / "tests/unit/envfile_corpus.json").read_text(encoding="utf-8"))
CORPUS = [value for value in CORPUS if "{" not in value and not value.startswith("sqlite")]

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


def everything_of(app: App, name: str, root: str) -> str:
    """Files, units and processes of one backend, to the byte and the process."""
    script = f"""
    find {root} -path '*/shared/*' -prune -o -printf '%p %M %u:%g %T@ %l\\n' | sort
    for f in /etc/systemd/system/{name}.target /etc/systemd/system/{name}@* /etc/systemd/system/{name}-migrate@* \
      /etc/systemd/system/{name}-health.* /etc/nginx/sites-*/{name}.conf; do stat --format '%n %Y' $f; sha256sum $f; done
    systemctl show --property Id,ActiveState,MainPID {name}.target '{name}@*'
    """
    done = app.host.run("bash -c %s", script)
    assert done.rc == 0, done.stderr
    return done.stdout


# --- one backend, nearly everything changed ------------------------------------------------------


def test_it_serves_on_its_own_port(shop: App) -> None:
    answer = shop.ask("/")
    assert answer.json() == {"title": 'It\'s the "shop" #1', "release": shop.current()}
    assert answer.headers["x-extra"] == "yes"
    assert shop.ask("/", host="www.shop.example.org").status == 200


def test_the_worker_class_and_count(shop: App) -> None:
    assert shop.ask("/healthz").json()["worker"] == "gevent"
    assert int(shop.host.check_output(f"pgrep --count --parent {shop.main_pid()}")) == 2
    owners = shop.host.check_output(f"ps -o user= -p {shop.main_pid()} --ppid {shop.main_pid()}").split()
    assert set(owners) == {"shopkeep+"} or set(owners) == {"shopkeeper"}


def test_what_is_installed(shop: App) -> None:
    python = "/opt/shop/current/venv/bin/python"
    assert "gunicorn 26.2.0" in re.sub(r"\s+", " ", shop.host.check_output(f"{python} -m pip list"))
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
    assert shop.show(unit, "ReadWritePaths") == "/opt/shop/shared /var/opt"
    assert shop.show(f"shop@{shop.current()}.socket", "Backlog") == "512"
    assert shop.show(unit, "TimeoutStopUSec") == "25s"
    assert shop.show("shop-health.timer", "TimersMonotonic").count("10s") >= 1


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
    assert '"GET /healthz HTTP/1.0" 200' in shop.journal("-t shop") or "GET /healthz" in shop.journal("-t shop")


def test_nginx_settings_by_effect(shop: App) -> None:
    assert shop.ask("/uploads/big.bin", "PUT", "x" * 70000).status == 413
    static = shop.ask("/static/robots.txt")
    assert (static.status, static.headers["cache-control"]) == (200, "max-age=60")
    assert shop.ask("/slow?seconds=6").status == 504
    zipped = shop.ask("/notes", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in zipped.headers
    assert not shop.host.file("/var/log/nginx/shop.access.log").exists


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
    assert record["migration"]["after"] == ["a2"] or len(record["migration"]["after"]) == 1
    assert shop.host.file("/opt/shop/shared/notes.sqlite").user == "shopkeeper"
    assert "APP_CONFIG='live'" in shop.host.check_output("cat /opt/shop/current/.env")


def test_uploads_survive_and_releases_are_pruned(shop: App) -> None:
    """Three more releases with other locks: two are kept, and with the others go their units and environments."""
    assert shop.ask("/uploads/kept.txt", "PUT", "precious").status == 201
    before = shop.current()
    for version in ("8.5.0", "9.0.0", "9.1.2"):
        deploy(venv_extra_packages=["python-dotenv==1.2.4", f"tenacity=={version}"]).ok()
        shop.drained()
    assert shop.ask("/uploads/kept.txt").body == b'"precious"'
    kept = shop.releases()
    assert len(kept) == 2 and shop.current() in kept and before not in kept
    assert shop.manifest()["previous"] in kept
    units = shop.host.check_output("ls /etc/systemd/system")
    assert set(re.findall(r"^shop@(.+)\.service$", units, re.MULTILINE)) == set(kept)
    assert set(re.findall(r"^shop-migrate@(.+)\.service$", units, re.MULTILINE)) == set(kept)
    venvs = set(shop.host.check_output("ls /opt/shop/venvs").split())
    assert venvs == {shop.manifest(release)["parts"]["lock"] for release in kept}


def test_a_tampered_unit_is_drift(shop: App) -> None:
    before = shop.current()
    shop.host.check_output(f"sed -i s/TasksMax=128/TasksMax=64/ /etc/systemd/system/shop@{before}.service")
    run = deploy().ok()
    assert f"/etc/systemd/system/shop@{before}.service is not what the release wrote" in run.says()
    assert shop.current() != before and shop.show(shop.service(), "TasksMax") == "128"


def test_threads_by_another_worker_class(shop: App) -> None:
    deploy(
        gunicorn_worker_class="gthread", gunicorn_threads=3, health_expect_json={"ok": True, "worker": "thread"}
    ).ok()
    assert shop.ask("/healthz").json()["worker"] == "thread"
    assert "threads = 3" in shop.host.check_output("cat /opt/shop/current/gunicorn.conf.py")
    deploy().ok()
    assert shop.ask("/healthz").json()["worker"] == "gevent"


def test_without_a_timer(shop: App) -> None:
    deploy(health_timer_enabled=False).ok()
    assert not shop.host.file("/etc/systemd/system/shop-health.timer").exists
    assert shop.host.run("systemctl is-active shop-health.timer").stdout.strip() != "active"
    deploy().ok()
    assert shop.host.check_output("systemctl is-active shop-health.timer") == "active"


# --- two backends --------------------------------------------------------------------------------


def test_the_second_backend_came_by_a_deploy_key_and_hashes(api: App) -> None:
    record = api.manifest()
    assert (record["source"]["kind"], record["source"]["version"]) == ("git", "v1.0.0")
    assert re.fullmatch(r"[0-9a-f]{40}", record["parts"]["commit"])
    assert api.ask("/api/ready").json()["release"] == api.current()
    assert "worker_class = 'sync'" in api.host.check_output("cat /srv/shop-api/current/gunicorn.conf.py")
    assert api.host.run("ls /home/git/.ssh/deploy_key /srv/shop-api/.ssh").rc != 0, "the key stays on the controller"


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
    theirs = everything_of(shop, "shop-api", "/srv/shop-api")
    deploy(app_env={"NOTES_TITLE": "Other", "DATABASE_URL": "sqlite:////opt/shop/shared/notes.sqlite"}).ok()
    shop.drained()
    assert everything_of(shop, "shop-api", "/srv/shop-api") == theirs
    ours = everything_of(shop, "shop", "/opt/shop")
    deploy_api(app_env={"LOG_LEVEL": "WARNING"}).ok()
    api.drained()
    assert everything_of(shop, "shop", "/opt/shop") == ours
    shop.host.check_output("systemctl restart shop.target")
    until(lambda: shop.ask("/healthz").status == 200)
    assert shop.active() == {shop.current()} and api.active() == {api.current()}


# --- readers of the .env, and uv.lock ------------------------------------------------------------


def test_the_env_file_is_read_alike_by_systemd_a_shell_and_dotenv(shop: App) -> None:
    """The whole corpus at once, in the file of a release: systemd, dash, bash and python-dotenv, on the host."""
    values = {f"V{number:03d}": value for number, value in enumerate(CORPUS)}
    base = {"NOTES_TITLE": "corpus", "DATABASE_URL": "sqlite:////opt/shop/shared/notes.sqlite"}
    deploy(app_env={**base, **values}).ok()
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


def test_a_uv_lock_is_what_gets_installed(shop: App) -> None:
    source = source_copy("locked", "molecule/alternative/backend")
    uv = shutil.which("uv")
    assert uv, "requirements-test.txt names it"
    subprocess.run(
        [uv, "lock", "--quiet", "--project", str(source), "--python", "3.11"], check=True, capture_output=True
    )
    assert Path(source, "uv.lock").exists()
    refused = deploy(app_archive="", app_archive_checksum="", app_path=str(source)).refused()
    assert "venv_installer is 'pip', which cannot read this source's uv.lock" in refused.says()
    deploy(app_archive="", app_archive_checksum="", app_path=str(source), venv_installer="uv").ok()
    assert shop.ask("/healthz").status == 200
    assert (
        "new, built with uv"
        in deploy(
            app_archive="", app_archive_checksum="", app_path=str(source), venv_installer="uv", venv_extra_packages=[]
        )
        .ok()
        .says()
    )
