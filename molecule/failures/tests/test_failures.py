# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every failure that users meet: its message, what is left on the host, and who serves meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testing import STATE, App, Load, deploy, secret, until

GOOD_KEY = "k" * 40


@pytest.fixture(scope="module")
def app() -> App:
    return App("web")


def snapshot(app: App) -> str:
    """Everything on the host that a deploy may touch, as one text."""
    script = """
    find /srv /etc/systemd/system /etc/nginx /usr/local/lib /usr/local/bin -printf '%p %M %u:%g %s %T@ %l\\n' 2>/dev/null | sort
    cat /etc/passwd /etc/group; dpkg-query --show --showformat '${Package} ${Status}\\n'
    systemctl list-units --plain --no-legend --all --type=service,socket,target | grep -v -e user@ -e session- | awk '{print $1, $3}' | sort
    """
    done = app.host.run("sh -c %s", script)
    assert done.rc == 0, done.stderr
    own = ("projects-health.service", "projects-health-survey.service", "/shared")  # what runs beside, by itself
    return "\n".join(line for line in done.stdout.splitlines() if not any(name in line for name in own))


@pytest.fixture
def serving(app: App) -> Iterator[str]:
    """The release that serves, and goes on serving: same id, same process, no request lost."""
    before = (app.current(), app.main_pid())
    with Load(app, clients=2, pause=0.03) as load:
        yield before[0]
    assert (app.current(), app.main_pid()) == before
    assert not load.failures, load.failures[:5]
    assert app.active() == {before[0]}, "a candidate was left running"


# --- refused before anything on a host has changed -----------------------------------------------

REFUSED = {
    "typo": ({"app_fatory": "app:x"}, "app_fatory is not an input of Decant. Did you mean app_factory?"),
    "name with capitals": ({"app_name": "My_App"}, "app_name is 'My_App'. Use lower-case letters, digits and dashes"),
    "name of a helper unit": (
        {"app_name": "shop-health"},
        "Endings -health, -migrate, -drain, -backup, -restore name the helper units",
    ),
    "name of a user": ({"app_name": "mail"}, "user 'mail' exists with home /var/mail"),
    "name of a unit": ({"app_name": "getty"}, "would shadow units of this host's own software"),
    "text for a list": (
        {"nginx_server_names": "projects.example.org"},
        "and it must be a list, for example [projects.example.org]",
    ),
    "wrong type": ({"gunicorn_workers": "many"}, "gunicorn_workers"),
    "placeholder": (
        {"app_secrets": {"SECRET_KEY": "change-me-change-me-change-me-change-me"}},
        "SECRET_KEY in app_secrets is still a placeholder",
    ),
    "short key": ({"app_secrets": {"SECRET_KEY": "Zk3nq8v0"}}, "SECRET_KEY has 8 characters; 32 are needed"),
    "no key": ({"app_secrets": {}}, "app_secrets has no SECRET_KEY"),
    "undefined vault": ({"app_secrets": {"SECRET_KEY": "{{ vault_nowhere }}"}}, "'vault_nowhere' is undefined"),
    "debug": ({"app_env": {"FLASK_DEBUG": True}}, "FLASK_DEBUG is 'True'. The debugger runs code"),
    "cors": ({"app_env": {"CORS_ALLOWED_ORIGINS": "*"}}, "CORS_ALLOWED_ORIGINS allows every origin"),
    "relative database": ({"app_env": {"DATABASE_URL": "sqlite:///instance/x.db"}}, "relative SQLite path"),
    "database in a release": (
        {"app_env": {"DATABASE_URL": "sqlite:////srv/projects/current/x.db"}},
        "puts the database inside a release",
    ),
    "database outside": ({"app_env": {"DATABASE_URL": "sqlite:////var/lib/x.db"}}, "that the sandbox keeps read-only"),
    "two sources": ({"app_path": "/nowhere"}, "this inventory sets app_repo and app_path. Set exactly one."),
    "unknown ref": ({"app_version": "secnd"}, "app_version 'secnd' is no branch, tag or commit"),
    "unreachable repository": ({"app_repo": "ssh://git@127.0.0.1:9/x.git"}, "cannot be fetched from the controller"),
    "wrong checksum": (
        {"app_repo": "", "app_archive": "{{ inventory_dir }}/hosts.tar", "app_archive_checksum": "sha256:" + "0" * 64},
        "app_archive",
    ),
    "no such sub-directory": ({"app_subdir": "backend"}, "There is no file in app_subdir 'backend'"),
    "no such factory": ({"app_factory": "app:make_app()"}, "does not define 'make_app'"),
    "no such module": ({"app_factory": "app.nothing:create_app()"}, "the code has no module app.nothing"),
    "no requirements": ({"app_version": "no-requirements"}, "neither requirements.txt nor pyproject.toml"),
    "named requirements missing": ({"venv_requirements": ["prod.txt"]}, "prod.txt"),
    "no such Python": (
        {"venv_python": "python3.7"},
        "venv_python is 'python3.7', which does not run on this host. It has /usr/bin/python3",
    ),
    "gevent without gevent": ({"gunicorn_worker_class": "gevent"}, "the backend does not require gevent"),
    "port in use": ({"nginx_listen_port": 22}, "port 22 is held by 'sshd'"),
    "unwritable secret": (
        {"app_secrets": {"SECRET_KEY": GOOD_KEY, "PASSWORD": "hunter2-'$x'"}},
        "PASSWORD: the value holds a single quote together with '$' or a backtick",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_any_change(app: App, serving: str, case: str) -> None:
    variables, message = REFUSED[case]
    if case == "wrong checksum":
        archive = STATE / "source.tar"
        archive.write_bytes(b"anything")
        variables = {**variables, "app_archive": str(archive)}
    before = snapshot(app)
    run = deploy(**variables).refused()
    assert message in run.says(), run.output[-3000:]
    assert snapshot(app) == before
    assert "hunter2" not in run.output


def test_a_wrongly_typed_secret_is_not_printed(app: App, serving: str) -> None:
    run = deploy("-vvv", app_secrets="hunter2-hunter2-hunter2").refused()
    assert "app_secrets is not a mapping" in run.says()
    said = run.output.replace('{"app_secrets": "hunter2-hunter2-hunter2"}', "")
    assert "hunter2" not in said


def test_a_site_conflict_is_seen_before_any_change(app: App, serving: str) -> None:
    other = "server { listen 80; server_name taken.example.org; return 204; }"
    app.host.check_output(f"sh -c \"echo '{other}' > /etc/nginx/conf.d/other.conf && systemctl reload nginx\"")
    before = snapshot(app)
    run = deploy(nginx_server_names=["projects.example.org", "taken.example.org"]).refused()
    assert "/etc/nginx/conf.d/other.conf already answers to taken.example.org on port 80" in run.says()
    assert snapshot(app) == before
    app.host.check_output("sh -c 'rm /etc/nginx/conf.d/other.conf && systemctl reload nginx'")


def test_a_database_that_leads_into_a_release_by_a_link(app: App, serving: str) -> None:
    app.host.check_output("ln -sfn /srv/projects/current/src /srv/projects/shared/data")
    run = deploy(app_env={"DATABASE_URL": "sqlite:////srv/projects/shared/data/x.db"}).refused()
    assert "which a later deploy prunes" in run.says()
    app.host.check_output("rm /srv/projects/shared/data")


def test_check_mode_on_a_host_that_never_had_the_backend(app: App, serving: str) -> None:
    before = snapshot(app)
    run = deploy("--check", "--diff", app_name="fresh", nginx_server_names=["fresh.example.org"]).ok()
    assert "(now: none): first release on this host" in run.says()
    assert "flask db upgrade, before the switch" in run.says()
    assert "+Description=fresh release" in run.output
    assert snapshot(app) == before


# --- stopped on the way, without damage ----------------------------------------------------------

STOPPED = {
    "unsatisfiable requirement": ({"app_version": "unsatisfiable"}, "venv", "no version of flask==99.0"),
    "import error": (
        {"app_version": "import-error"},
        "migrate",
        "cannot load app:create_app('production'): RuntimeError: boom at import",
    ),
    "import error at boot": (
        {"app_version": "import-error", "migrate_enabled": False},
        "gate",
        "RuntimeError: boom at import",
    ),
    "health 500": (
        {"app_version": "health-500", "health_deadline_seconds": 12},
        "gate",
        "ValueError: broken health; unhealthy within 12 s: status 500 (wanted 200)",
    ),
    "health never": ({"app_version": "health-never", "health_deadline_seconds": 8}, "gate", "timed out after 5 s"),
    "health redirects": (
        {"app_version": "health-redirects", "health_deadline_seconds": 12},
        "gate",
        "a redirect to",
    ),
    "wrong json": (
        {"health_expect_json": {"status": "perfect"}, "health_deadline_seconds": 12},
        "gate",
        'status is "ok" (wanted "perfect")',
    ),
    "factory missing at run time": (
        {"app_version": "hidden-factory", "app_factory": "launch:create_app()"},
        "migrate",
        "cannot load launch:create_app()",
    ),
    "failing migration": ({"app_version": "failing-migration"}, "migrate", "no such table: nowhere"),
    "two heads": ({"app_version": "two-heads"}, "migrate", "The migrations have 2 heads"),
}


@pytest.mark.parametrize("case", STOPPED)
def test_stopped_on_the_way(app: App, serving: str, case: str) -> None:
    variables, phase, message = STOPPED[case]
    run = deploy(**variables).refused()
    assert message in run.says(), run.output[-4000:]
    assert f"Release {serving} goes on serving" in run.says()
    last = app.audit()[-1]
    assert (last["outcome"], last["phase"]) == ("failed", phase)
    assert app.manifest(last["release"])["outcome"] == "failed"
    assert secret() not in run.output


def test_a_bad_nginx_directive_is_put_back(app: App) -> None:
    """The site is written after the switch, so the new release may serve; the site that serves is the old one."""
    run = deploy(nginx_extra_directives="no_such_directive on;").refused()
    assert "'nginx -t' refuses the new files, so they were put back as they were" in run.says()
    assert 'unknown directive "no_such_directive"' in run.says()
    assert "no_such_directive" not in app.host.check_output("cat /etc/nginx/sites-available/projects.conf")
    app.host.check_output("nginx -t")
    assert app.ask("/api/health").status == 200
    deploy().ok()


def test_a_full_disk_while_staging(app: App, serving: str) -> None:
    """A file system of its own, and really full: first seen beforehand, then met on the way."""
    app.host.check_output("sh -c 'mkdir -p /srv/tiny && mount -t tmpfs -o size=16m,nr_inodes=24 tmpfs /srv/tiny'")
    other = {"app_name": "tiny", "nginx_server_names": ["tiny.example.org"]}
    try:
        run = deploy(**other).refused()
        assert "has 16 MiB free and this release needs" in run.says() or "MiB free and this release needs" in run.says()
        app.host.check_output("mount -o remount,size=400m /srv/tiny")
        run = deploy(**other).refused()
        assert "the disk is full" in run.says(), run.output[-3000:]
        assert "What was written of it is removed" in run.says()
        assert app.host.check_output("ls -A /srv/tiny/releases") == ""
    finally:
        app.host.run("sh -c 'umount /srv/tiny; rmdir /srv/tiny; userdel tiny'")


# --- what comes after ----------------------------------------------------------------------------


def test_the_mended_migration_goes_through(app: App) -> None:
    """After the failing attempt: nothing of it is left in the database."""
    before = app.current()
    with Load(app) as load:
        run = deploy(app_version="mended-migration").ok()
        app.drained()
    load.clean()
    assert app.current() != before
    migration = app.manifest()["migration"]
    assert (migration["before"], migration["after"]) == (["0003"], ["0004"])
    assert run.changed() > 0


def test_health_after_all_of_it(app: App) -> None:
    assert until(lambda: app.ask("/api/ready").status == 200)
