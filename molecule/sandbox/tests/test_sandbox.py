# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sandbox from inside: what a worker cannot do, what it still can, what comes back by name, and what systemd thinks of it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from testing import ROOT, App, address, deploy, source_copy, until

DRILL = Path(__file__).parent.parent / "drill.py"
SECURITY = ROOT / "docs/security.md"
OTHER = {
    "app_name": "other",
    "nginx_server_names": ["other.example.org"],
    "app_secrets": {"SECRET_KEY": "another backend's, forty characters long"},
}


def load_drill() -> Any:
    spec = importlib.util.spec_from_file_location("drill", DRILL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ATTEMPTS, WORKING = list(load_drill().ATTEMPTS), list(load_drill().WORKING)


@pytest.fixture(scope="module")
def source() -> Path:
    """The example backend with a back door."""
    found = source_copy("drill")
    (found / "api/app/api/drill.py").write_text(DRILL.read_text(encoding="utf-8"), encoding="utf-8")
    view = found / "api/app/api/projects.py"
    door = """

@projects.post("/drill")
def drill() -> dict:
    from app.api import drill as intruder

    return intruder.attempt(request.get_json()["name"])


@projects.get("/fetch")
def fetch() -> dict:
    import ssl
    import urllib.request

    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request.args["url"], context=context, timeout=4) as answer:
            return {"got": answer.status}
    except OSError as error:
        return {"refused": f"{type(error).__name__}: {error}"}
"""
    view.write_text(view.read_text(encoding="utf-8") + door, encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def app(source: Path) -> App:
    """The backend with the back door, and a neighbour that serves beside it."""
    deploy(**OTHER).ok()
    deploy(app_path=str(source), gunicorn_workers=2).ok()
    found = App("web")
    found.drained()
    return found


def attempt(app: App, name: str) -> dict[str, str]:
    return app.ask("/api/projects/drill", method="POST", body={"name": name}).json()


def instance(app: App) -> str:
    return app.service()


# --- from inside a worker ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_intruder_cannot(app: App, name: str) -> None:
    answer = attempt(app, name)
    assert "refused" in answer, answer


@pytest.mark.parametrize("name", WORKING)
def test_the_backend_can(app: App, name: str) -> None:
    answer = attempt(app, name)
    assert "got" in answer, answer


# What changes the process, or the host, when nothing refuses it.
OUTSIDE_HARMS = {
    "a namespace of its own",
    "become another user",
    "become root",
    "change its root",
    "mount",
    "move current",
    "run a shell",
    "switch Ctrl-Alt-Del off",
}


def test_the_drill_would_have_noticed(app: App) -> None:
    """The same attempts outside of the sandbox, as root: most of them succeed, so they measure something."""
    app.host.check_output("mkdir -p /tmp/drill")
    script = (
        "import sys, json; sys.path.insert(0, '/srv/projects/current/src/api/app/api'); import drill; "
        f"skip = {OUTSIDE_HARMS!r}; "
        "print(json.dumps([n for n in drill.ATTEMPTS if n not in skip and not n.startswith('write') and 'got' in drill.attempt(n)]))"
    )
    try:
        done = app.host.run(f'/srv/projects/current/venv/bin/python -c "{script}"')
    finally:
        app.host.run("rm -f /srv/projects/shared/setuid /srv/projects/shared/uploaded")
        app.host.run("chown -R projects: /srv/projects/shared")
    assert done.rc == 0, done.stderr
    got = json.loads(done.stdout)
    assert len(got) >= 12, got
    assert {"read the other's environment", "connect to the other's socket", "run what was uploaded"} <= set(got)


def test_the_account_is_good_for_nothing_else(app: App) -> None:
    user = app.host.user("projects")
    assert user.shell == "/usr/sbin/nologin"
    assert user.groups == ["projects"]
    assert app.host.run("sudo -u projects sudo -n true").rc != 0
    assert app.host.check_output("passwd --status projects").split()[1] in ("L", "LK")


# --- what comes back by name ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("subprocesses", "run a shell"),
        ("jit", "memory to write and to run"),
        ("resources", "raise its limits"),
    ],
)
def test_one_thing_given_back(app: App, source: Path, given: str, name: str) -> None:
    deploy(app_path=str(source), gunicorn_workers=2, gunicorn_sandbox_allow=[given]).ok()
    answer = attempt(app, name)
    # Lowering a nice value needs a privilege as well; without the filter it is the kernel that says so.
    assert "got" in answer or given == "resources", answer
    assert "refused" in attempt(app, "read the other's environment")


def test_a_path_given_back(app: App, source: Path) -> None:
    app.host.check_output("install -d -o projects /var/lib/projects-own")
    deploy(app_path=str(source), gunicorn_workers=2, gunicorn_writable_paths=["/var/lib/projects-own"]).ok()
    assert "ReadWritePaths=/srv/projects/shared /var/lib/projects-own" in app.host.check_output(
        f"systemctl cat {instance(app)}"
    )


# --- networks ------------------------------------------------------------------------------------


def fetched(app: App, url: str) -> dict[str, Any]:
    return app.ask(f"/api/projects/fetch?url={url}").json()


@pytest.fixture(scope="module")
def outside(app: App) -> str:
    """A page over HTTPS that is neither this host's nor far away: the neighbour's, which answers on the host's own address."""
    deploy(**{**OTHER, "nginx_tls": "selfsigned", "nginx_catch_all_enabled": False}).ok()
    return f"https://{address('web')}/api/health"


def test_outgoing_https(app: App, source: Path, outside: str) -> None:
    deploy(app_path=str(source), gunicorn_workers=2).ok()
    assert fetched(app, outside) == {"got": 200}


def test_no_network_at_all(app: App, source: Path, outside: str) -> None:
    deploy(app_path=str(source), gunicorn_workers=2, gunicorn_egress="none").ok()
    assert "refused" in fetched(app, outside)
    assert (
        app.ask("/api/projects", method="POST", body={"name": f"by {app.current()}, without a network"}).status == 201
    )
    assert score(app, instance(app)) <= 0.6
    assert score(app, f"projects-migrate@{app.current()}.service") <= 0.6
    assert score(app, "projects-backup@manual.service") <= 0.6
    assert score(app, "projects-health.service") <= 0.6


def test_only_what_is_declared(app: App, source: Path, outside: str) -> None:
    deploy(app_path=str(source), gunicorn_workers=2, gunicorn_egress=["192.0.2.1"]).ok()
    assert "refused" in fetched(app, outside)
    deploy(app_path=str(source), gunicorn_workers=2, gunicorn_egress=[address("web")]).ok()
    assert fetched(app, outside) == {"got": 200}


def test_egress_and_a_database_that_is_far_away_exclude_each_other(app: App) -> None:
    run = deploy(app_database="postgresql", postgresql_host="db.example.org", gunicorn_egress="none").refused()
    assert "gunicorn_egress is none, and the database is reached over TCP" in run.says()


# --- databases -----------------------------------------------------------------------------------


def test_postgresql_over_tcp_and_over_a_socket(app: App, source: Path) -> None:
    app.host.check_output("apt-get install --yes --no-install-recommends postgresql")
    app.host.check_output(
        'su postgres -c "psql -qc \\"CREATE ROLE projects LOGIN PASSWORD \'sixteen letters and more\'\\""'
    )
    app.host.check_output('su postgres -c "createdb --owner projects projects"')
    common = {
        "app_path": str(source),
        "gunicorn_workers": 2,
        "app_database": "postgresql",
        "postgresql_password": "sixteen letters and more",
    }
    for egress, host in ((["127.0.0.1"], "127.0.0.1"), ("none", "/var/run/postgresql")):
        deploy(**common, postgresql_host=host, gunicorn_egress=egress).ok()
        assert app.ask("/api/projects", method="POST", body={"name": f"by {host}"}).status == 201
        app.host.check_output("systemctl start projects-backup@manual.service")
    assert app.host.run("ls /srv/projects/backups/*.dump").stdout.count(".dump") >= 2
    deploy(app_path=str(source), gunicorn_workers=2).ok()


# --- figures -------------------------------------------------------------------------------------


def score(app: App, unit: str) -> float:
    """systemd-analyze's figure of a unit's exposure: 0 for none, 10 for all of it."""
    text = app.host.check_output(f"systemd-analyze security --no-pager {unit} | tail -1")
    return float(re.search(r": (\d+\.\d+) ", text).group(1))


def test_the_figures_are_those_of_the_documentation(app: App, source: Path) -> None:
    """docs/security.md holds what was measured; DECANT_WRITE_FIGURES=1 writes it anew."""
    rows = []
    for egress in ("any", "none"):
        deploy(app_path=str(source), gunicorn_workers=2, gunicorn_egress=egress).ok()
        units = {
            "gunicorn": instance(app),
            "migration": f"projects-migrate@{app.current()}.service",
            "probe": "projects-health.service",
            "backup": "projects-backup@manual.service",
        }
        if egress == "any":
            units["nginx"] = "nginx.service"
        for name, unit in units.items():
            rows.append((name, egress if name != "nginx" else "-", score(app, unit)))
    assert all(figure <= (0.6 if egress == "none" else 1.2) for name, egress, figure in rows if name != "nginx"), rows
    table = "\n".join(
        ["| unit | gunicorn_egress | exposure |", "| --- | --- | --- |", *(f"| {n} | {e} | {f} |" for n, e, f in rows)]
    )
    begin, end = "<!-- exposure: begin -->\n", "\n<!-- exposure: end -->"
    text = SECURITY.read_text(encoding="utf-8")
    written = text.partition(begin)[2].partition(end)[0]
    if os.environ.get("DECANT_WRITE_FIGURES") and written != table:
        SECURITY.write_text(text.replace(begin + written + end, begin + table + end), encoding="utf-8")
    else:
        assert written == table


def test_lynis_says_of_the_web_server_what_the_documentation_says(app: App) -> None:
    app.host.check_output("apt-get install --yes --no-install-recommends lynis")
    app.host.run("lynis audit system --quick --quiet --no-colors --tests-from-group webservers")
    report = app.host.check_output("cat /var/log/lynis-report.dat")
    assert "lynis_tests_done" in report or "hardening_index" in report
    found = [line for line in report.splitlines() if line.startswith(("warning[]", "suggestion[]")) and "HTTP" in line]
    documented = set(re.findall(r"^\| `(HTTP-\d+)`", SECURITY.read_text(encoding="utf-8"), re.MULTILINE))
    assert {re.search(r"HTTP-\d+", line).group() for line in found} == documented, found


def test_a_nginx_that_is_kept_from_things_still_reloads(app: App) -> None:
    assert app.host.check_output("systemctl show --value --property NoNewPrivileges nginx.service") == "yes"
    app.host.check_output("systemctl reload nginx.service")
    app.host.check_output("systemctl restart nginx.service")
    until(lambda: app.ask("/api/health").status == 200)
