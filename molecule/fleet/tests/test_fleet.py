# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Three backends on one PostgreSQL: what provisioning and a deploy leave, what they refuse, and what they never tell."""

from __future__ import annotations

import contextlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from testinfra.host import Host
from testing import ROOT as CHECKOUT
from testing import STATE, App, Load, Run, address, deploy, every_argv, open_host, play, source_copy, until, write

WEBS = ("web1", "web2", "web3")
PATTERN, ARGV, PGPASS = "/root/pattern", "/root/argv", "/root/pgpass"


@pytest.fixture(scope="module")
def apps() -> dict[str, App]:
    return {name: App(name) for name in WEBS}


@pytest.fixture(scope="module")
def db() -> Host:
    return open_host("db")


def password() -> str:
    return (STATE / "password").read_text(encoding="utf-8")


def provision(*arguments: str, **variables: object) -> Run:
    """Like a user of the installed collection: by its name."""
    return play("decant.flask.provision", *arguments, **variables)


def sql(db: Host, statement: str, database: str = "postgres") -> str:
    return db.check_output("runuser -u postgres -- psql -XAtd %s -c %s", database, statement).strip()


def log_in(name: str, user: str, database: str, word: str) -> str:
    """What the server says to a login from a host: 'in' when it lets one in."""
    escaped = word.replace("\\", "\\\\").replace(":", "\\:")
    write(name, PGPASS, f"*:*:*:*:{escaped}\n")
    target = f"host={address('db')} dbname={database} user={user} connect_timeout=5"
    host = open_host(name)
    done = host.run(f"PGPASSFILE={PGPASS} psql -wXAt -d %s -c %s", target, "select 'in'")
    host.check_output(f"rm {PGPASS}")
    return done.stdout.strip() or done.stderr


def serving(apps: dict[str, App]) -> dict[str, tuple[str, int]]:
    return {name: (app.current(), app.main_pid()) for name, app in apps.items()}


def server_start(db: Host) -> str:
    return sql(db, "select pg_postmaster_start_time()")


# --- what is there -------------------------------------------------------------------------------


def test_every_host_serves_the_same_release(apps: dict[str, App]) -> None:
    answers = [app.ask("/api/ready") for app in apps.values()]
    assert {answer.status for answer in answers} == {200}
    assert {answer.json()["release"] for answer in answers} == {apps["web1"].current()}
    assert {tuple(answer.json()["schema"]["found"]) for answer in answers} == {("0003",)}


def test_a_row_made_through_one_host_is_found_through_another(apps: dict[str, App]) -> None:
    made = apps["web1"].ask("/api/projects", "POST", {"name": "Überall", "tags": ["shared"]})
    assert made.status == 201
    path = made.headers["location"].split("projects.example.org")[-1]
    assert [apps[name].ask(path).json()["name"] for name in WEBS] == ["Überall"] * 3


def test_the_migration_ran_on_one_host_alone(apps: dict[str, App]) -> None:
    said = {
        name: app.host.run("journalctl --no-pager --output=cat -t projects-migrate").stdout
        for name, app in apps.items()
    }
    assert "Running upgrade 0002 -> 0003" in said["web1"]
    assert (said["web2"], said["web3"]) == ("", "")
    units = {
        name: app.host.run("ls /etc/systemd/system").stdout.count("projects-migrate@") for name, app in apps.items()
    }
    assert units == {"web1": 1, "web2": 0, "web3": 0}
    records = [app.manifest()["migration"] for app in apps.values()]
    assert (records[0]["before"], records[0]["after"]) == ([], ["0003"])
    assert records[0] == records[1] == records[2], "every host knows which schema its release left behind"
    served = [app.journal("--unit", app.service()) for app in apps.values()]
    assert all(f'"fingerprint": "{records[0]["fingerprint"]}"' in said for said in served), "proved on every host"


def test_the_database_is_the_roles_own_and_utf8(db: Host) -> None:
    found = sql(
        db,
        "select r.rolname, pg_encoding_to_char(encoding), datcollate from pg_database d join pg_roles r on r.oid = datdba "
        "where datname = 'projects'",
    )
    assert found == "projects|UTF8|C.UTF-8"
    flags = sql(
        db, "select rolsuper, rolcreatedb, rolcreaterole, rolreplication from pg_roles where rolname = 'projects'"
    )
    assert flags == "f|f|f|f"
    assert sql(db, "select left(rolpassword, 14) from pg_authid where rolname = 'projects'") == "SCRAM-SHA-256$"


def test_the_url_counts_as_a_secret(apps: dict[str, App]) -> None:
    assert apps["web2"].manifest()["secret_keys"] == ["DATABASE_URL", "SECRET_KEY"]
    url = apps["web2"].host.check_output("grep ^DATABASE_URL= /srv/projects/current/.env")
    assert f"postgresql+psycopg://projects:{quote(password(), safe='')}@{address('db')}:5432/projects" in url


def test_backends_can_dump_and_the_database_host_is_no_backend(apps: dict[str, App], db: Host) -> None:
    assert all(app.host.run("command -v pg_dump").rc == 0 for app in apps.values())
    assert not db.file("/srv/projects").exists and not db.user("projects").exists


# --- the next runs -------------------------------------------------------------------------------


def test_the_second_runs_change_nothing(apps: dict[str, App], db: Host) -> None:
    before = (
        serving(apps),
        server_start(db),
        db.check_output("systemctl show --value -p StateChangeTimestamp postgresql@*"),
    )
    first, second = provision().ok(), deploy().ok()
    assert (first.changed(), second.changed()) == (0, 0), first.output + second.output
    after = (
        serving(apps),
        server_start(db),
        db.check_output("systemctl show --value -p StateChangeTimestamp postgresql@*"),
    )
    assert before == after


def test_a_check_of_a_host_that_has_it_foresees(db: Host) -> None:
    """Another port, other addresses, another password: each is named, none is done."""
    before = server_start(db)
    run = provision("--check", "--diff", postgresql_port=5433, postgresql_allowed_addresses=["192.0.2.1"]).ok()
    assert run.changed() >= 2 and "+port = 5433" in run.output and "+host projects projects 192.0.2.1/32" in run.output
    assert server_start(db) == before and provision().ok().changed() == 0


# --- who gets in ---------------------------------------------------------------------------------


def test_the_server_lets_nobody_else_in(db: Host) -> None:
    sql(db, "create role other login password 'other-password-of-the-test'")
    sql(db, "create database elsewhere")
    try:
        assert log_in("web1", "projects", "projects", password()) == "in", "or what follows proves nothing"
        assert "password authentication failed" in log_in("web1", "projects", "projects", "not-the-password")
        for user, database, word in (
            ("other", "projects", "other-password-of-the-test"),
            ("projects", "elsewhere", password()),
            ("projects", "postgres", password()),
        ):
            assert "no pg_hba.conf entry" in log_in("web1", user, database, word)
        assert "no pg_hba.conf entry" in log_in("web1", "postgres", "postgres", "x")
    finally:
        sql(db, "drop database elsewhere")
        sql(db, "drop role other")


def test_another_address_is_refused() -> None:
    """The database host's own address is not one of the fleet's."""
    assert "no pg_hba.conf entry" in log_in("db", "projects", "projects", password())


def test_a_host_that_leaves_the_fleet_is_shut_out_without_a_restart(db: Host) -> None:
    before, stays = server_start(db), [address("web1"), address("web2")]
    assert provision(postgresql_allowed_addresses=stays).ok().changed() == 1
    until(lambda: "no pg_hba.conf entry" in log_in("web3", "projects", "projects", password()))
    assert log_in("web2", "projects", "projects", password()) == "in"
    assert provision().ok().changed() == 1
    until(lambda: log_in("web3", "projects", "projects", password()) == "in")
    assert server_start(db) == before


def test_a_broken_pg_hba_is_left_as_it_was(db: Host) -> None:
    """A reload would pass over it without a word."""
    path = db.check_output("ls /etc/postgresql/*/main/pg_hba.conf")
    db.check_output("cp -p %s /root/pg_hba", path)
    db.check_output("echo nonsense >> %s", path)
    try:
        run = provision(postgresql_allowed_addresses=[address("web1")]).refused()
        assert "refuses the new files, so they were put back as they were" in run.says()
        assert "invalid connection type" in run.says()
        assert address("web3") in db.file(path).content_string
    finally:
        db.check_output("cp -p /root/pg_hba %s", path)
    assert provision().ok().changed() == 0


# --- refusals ------------------------------------------------------------------------------------


def test_a_missing_collection_is_said_before_anything_changes(apps: dict[str, App]) -> None:
    alone = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections")}
    for playbook in ("playbooks/provision.yml", "decant.flask.provision"):
        run = play(playbook, env=alone).refused()
        assert "The collection community.postgresql is not installed" in run.says()
        assert "ansible-galaxy collection install -r requirements.yml" in run.says()
        assert run.changed() == 0 and "SSH" not in run.output
    assert play("deploy.yml", env=alone).ok().changed() == 0, "a deploy needs ansible-core alone"


def test_no_driver_in_the_lock_is_said_before_anything_changes(apps: dict[str, App]) -> None:
    before = serving(apps)
    source = source_copy("no-driver")
    path = source / "api/requirements.txt"
    path.write_text(re.sub(r"(?m)^psycopg.*\n", "", path.read_text(encoding="utf-8")), encoding="utf-8")
    run = deploy(app_path=str(source)).refused()
    assert "app_database is 'postgresql', and the backend requires no driver for it" in run.says()
    assert "Add psycopg[binary] to the backend's requirements" in run.says()
    assert "No host was changed." in run.says() and run.changed() == 0
    assert serving(apps) == before


def test_a_wrong_password_is_an_answer_an_operator_can_use(apps: dict[str, App]) -> None:
    before, wrong = serving(apps), "wrong-and-l0ng-enough-to-pass"
    with Load(apps["web1"], clients=2) as load:
        run = deploy(postgresql_password=wrong).refused()
    load.clean()
    assert serving(apps) == before
    assert 'password authentication failed for user "projects"' in run.says()
    assert f"Release {before['web1'][0]} goes on serving" in run.says()
    assert wrong not in run.output and password() not in run.output
    assert all(app.active() == {before["web1"][0]} for app in apps.values()), "a candidate was left running"


def test_a_server_that_is_away_stops_the_deploy_and_not_the_backend(apps: dict[str, App], db: Host) -> None:
    before = serving(apps)
    db.check_output("systemctl stop postgresql.service")
    try:
        run = deploy(app_env={"CORS_ALLOWED_ORIGINS": "https://example.org", "LOG_LEVEL": "WARNING"}).refused()
        assert "Connection refused" in run.says() and password()[:32] not in run.output
        assert apps["web2"].ask("/api/health").status == 200 and apps["web2"].ask("/api/ready").status == 503
    finally:
        db.check_output("systemctl start postgresql.service")
    assert serving(apps) == before
    until(lambda: all(app.ask("/api/ready").status == 200 for app in apps.values()))


# --- secrets -------------------------------------------------------------------------------------


def test_the_loudest_runs_tell_no_password(apps: dict[str, App], db: Host) -> None:
    """A new password is all there is to tell: it is set in the database, and in each host's environment."""
    hosts = [*(app.host for app in apps.values()), db]
    before, old = serving(apps), password()
    new = old[:32][::-1] + old[32:]
    (STATE / "password").write_text(new, encoding="utf-8")
    with contextlib.ExitStack() as watched:
        for host in hosts:
            watched.enter_context(every_argv(host))
        first = provision("-vvv", "--diff").ok()
        second = deploy("-vvv", "--diff").ok()
    assert first.changed() == 1 and "~DATABASE_URL" in second.output
    assert "SSH: EXEC" in first.output and "SSH: EXEC" in second.output
    assert set(serving(apps)) == set(before) and all(app.current() != before["web1"][0] for app in apps.values())
    for part in (old[:32], new[:32]):
        assert part not in first.output and part not in second.output
    # The first letters survive any quoting.
    for name, host in zip((*WEBS, "db"), hosts, strict=True):
        write(name, PATTERN, f"{new[:32]}\n{old[:32]}\n")
        marker = "postgres" if name == "db" else "decant-probe"
        assert int(host.run(f"grep -c {marker} {ARGV}").stdout) > 0, "short processes are seen"
        assert host.run(f"grep -cF -f {PATTERN} {ARGV}").stdout.strip() == "0"
        assert host.run(f"journalctl --no-pager --output=export | grep -cF -f {PATTERN}").stdout.strip() == "0"


def test_only_the_env_files_hold_the_password(apps: dict[str, App], db: Host) -> None:
    places = "/srv /etc /run /var /usr/local /opt /tmp /home /dev/shm"
    found = db.run(f"grep -rlsaF -f {PATTERN} {places}").stdout.split()
    assert found == [], "neither the server's log nor its files"
    app = apps["web3"]
    holders = app.host.run(f"grep -rlsaF -f {PATTERN} {places}").stdout.split()
    assert holders and all(re.fullmatch(r"/srv/projects/releases/[^/]+/\.env", path) for path in holders)


def test_the_statement_with_the_password_stays_out_of_a_log_of_everything(db: Host) -> None:
    """Nor is it there when an operator has the server log every statement."""
    sql(db, "alter system set log_statement = 'all'")
    sql(db, "select pg_reload_conf()")
    old = password()
    try:
        for word in (old[:31] + "Z" + old[32:], old):
            (STATE / "password").write_text(word, encoding="utf-8")
            assert provision().ok().changed() == 1
        log = db.check_output("cat /var/log/postgresql/*.log")
    finally:
        (STATE / "password").write_text(old, encoding="utf-8")
        sql(db, "alter system reset log_statement")
        sql(db, "select pg_reload_conf()")
    assert "LOG:  statement: " in log, "the log is loud"
    assert old[:31] not in log and "ALTER USER" not in log
    assert provision().ok().changed() == 0


# --- one host for both ---------------------------------------------------------------------------


def test_a_backend_on_its_database_host_uses_the_socket(apps: dict[str, App], db: Host) -> None:
    """And it is the second backend on that server: the first one's rules and database stay as they are."""
    folder = STATE / "solo"
    folder.mkdir(exist_ok=True)
    link = folder / "group_vars"
    if not link.exists():
        link.symlink_to(CHECKOUT / "molecule/fleet/group_vars")
    groups = {name: {"hosts": {"db": {}}} for name in ("containers", "backend", "database")}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"children": groups}}), encoding="utf-8")
    before = server_start(db)
    other = {"app_name": "solo-api", "nginx_server_names": ["solo.example.org"]}
    play("playbooks/provision.yml", inventory=folder, **other).ok()
    play("deploy.yml", inventory=folder, **other).ok()
    app = App("db", name="solo-api", server_name="solo.example.org")
    assert app.ask("/api/projects", "POST", {"name": "here"}).status == 201
    assert sql(db, "select name from projects", "solo_api") == "here"
    assert sql(db, "select bool_and(client_addr is null) from pg_stat_activity where usename = 'solo_api'") == "t"
    assert "?host=/run/postgresql&port=5432" in app.host.check_output("grep ^DATABASE_URL= /srv/solo-api/current/.env")
    assert play("playbooks/provision.yml", inventory=folder, **other).ok().changed() == 0
    assert provision().ok().changed() == 0, "the two do not take turns"
    assert server_start(db) == before, "another backend is no reason to restart the server"
    assert apps["web1"].ask("/api/ready").status == 200


def test_health_after_all_of_it(apps: dict[str, App]) -> None:
    deploy().ok()
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda app: app.ask("/api/ready").json()["release"], apps.values()))
    assert len(set(answers)) == 1
