# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The decisions of a deploy: how many workers, whether a release is needed and why, what a host cannot take, what is said."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from ansible_collections.decant.flask.plugins.action import plan as action
from ansible_collections.decant.flask.plugins.module_utils import envfile
from ansible_collections.decant.flask.plugins.plugin_utils import plans, settings


def defaults() -> dict[str, Any]:
    """The defaults of all roles, with the two that build on app_name as they are for projects."""
    found: dict[str, Any] = {}
    for role in settings.ROLES:
        with open(settings.role_file(role, "defaults/main.yml"), encoding="utf-8") as stream:
            found.update(yaml.safe_load(stream))
    return {**found, "app_root": "/srv/projects", "app_user": "projects"}


SETTINGS: dict[str, Any] = {
    **defaults(),
    "app_name": "projects",
    "app_factory": "app:create_app()",
    "app_secrets": {"SECRET_KEY": "k" * 40, "API_TOKEN": "t" * 40},
    "health_path": "/api/health",
    "nginx_server_names": ["projects.example.org"],
}
HOST: dict[str, Any] = {
    "systemd": 252,
    "foreign_units": [],
    "account": {},
    "cpus": 2,
    "port_holders": {"80": ""},
    "nginx": {"conflicts": [], "default_servers": {}, "debian_default": False},
    "python_version": "3.11.2",
    "pythons": ["/usr/bin/python3"],
    "sqlite_trouble": "",
    "free_bytes": 10 * 1024 * plans.MIB,
    "packages_missing": [],
    "undrained": [],
    "venvs": [],
    "env_digests": {},
    "current": {"id": "", "manifest": {}, "intact": False, "drift": [], "running": False, "enabled": []},
}
SOURCE: dict[str, Any] = {
    "kind": "git",
    "version": "v1.4.0",
    "commit": "c" * 40,
    "subject": "Say more",
    "origin": "https://git.example.org/projects.git",
    "revision": "c" * 40,
    "digest": "d" * 64,
    "bytes": 1000,
    "lock": {"mode": "requirements", "content": [["requirements.txt", "flask\n"]], "extras": [], "additions": []},
}
ENVIRONMENT = {
    "APP_CONFIG": "production",
    "DATABASE_URL": "sqlite:////srv/projects/shared/projects.db",
    "SECRET_KEY": "k" * 40,
}


def make(
    host: dict[str, Any] | None = None, source: Any = None, environment: Any = None, **changes: Any
) -> dict[str, Any]:
    return action.make(
        {**SETTINGS, **changes},
        {**HOST, **(host or {})},
        {**SOURCE, **(source or {})},
        {**ENVIRONMENT, **(environment or {})},
    )


def serving(plan: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The host after the deploy of a plan."""
    manifest = {"fingerprint": plan["fingerprint"], "parts": plan["parts"], "outcome": "live"}
    current = {"id": "R1", "manifest": manifest, "intact": True, "drift": [], "running": True, "enabled": ["R1"]}
    return {"current": {**current, **changes}}


# --- concurrency ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "cpus", "workers", "threads"),
    [
        ({}, 1, 3, 4),
        ({}, 2, 5, 4),
        ({}, 4, 9, 4),
        ({}, 5, 11, 4),
        ({}, 6, 12, 4),
        ({}, 64, 12, 4),
        ({"gunicorn_workers_max": 40}, 8, 17, 4),
        ({"gunicorn_workers": 20}, 1, 20, 4),  # what is written is meant
        ({"gunicorn_worker_class": "sync"}, 2, 5, 1),
        ({"gunicorn_worker_class": "gevent"}, 2, 5, 1),
        ({"gunicorn_threads": 8}, 2, 5, 8),
        ({"gunicorn_threads": 1}, 2, 5, 1),
        ({"gunicorn_workers": "3", "gunicorn_threads": "2"}, 2, 3, 2),  # -e gunicorn_workers=3
    ],
)
def test_concurrency(changes: dict[str, Any], cpus: int, workers: int, threads: int):
    assert plans.concurrency({**SETTINGS, **changes}, cpus) == (workers, threads)


# --- the hash of the units -----------------------------------------------------------------------

TEMPLATES = {"gunicorn/service.j2": "1", "sandbox": "2"}


def unit_hash(workers: int = 5, threads: int = 4, templates: dict[str, str] | None = None, **changes: Any) -> str:
    return plans.unit_hash({**SETTINGS, **changes}, workers, threads, templates or TEMPLATES)


def another(value: Any) -> Any:
    """Some other value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, list):
        return [*value, "another"]
    if isinstance(value, dict):
        return {**value, "another": "value"}
    return f"{value}x"


SERVED = {name for name in SETTINGS if name.startswith(("gunicorn_", "migrate_"))} - {
    "gunicorn_drain_seconds",
    "migrate_enabled",
    "migrate_allow_destructive",
    "migrate_lock_timeout_seconds",
    "migrate_rehearse_postgresql",
    "migrate_statement_timeout_seconds",
} | {
    "app_name",
    "app_root",
    "app_user",
    "app_factory",
    "app_subdir",
    "app_shared_paths",
    "dotenv_delivery",
    "dotenv_secret_key_generated",
    "nginx_static_paths",
    "health_path",
    "health_expect_status",
    "health_expect_json",
    "health_headers",
    "health_host",
    "health_successes",
    "health_timeout_seconds",
    "health_deadline_seconds",
}


@pytest.mark.parametrize("name", sorted(SERVED))
def test_a_setting_of_the_instance_changes_the_hash(name: str):
    assert unit_hash(**{name: another(SETTINGS[name])}) != unit_hash()


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - SERVED))
def test_any_other_setting_does_not(name: str):
    assert unit_hash(**{name: another(SETTINGS[name])}) == unit_hash()


def test_workers_threads_and_templates_change_the_hash():
    hashes = {
        unit_hash(),
        unit_hash(workers=6),
        unit_hash(threads=5),
        unit_hash(workers=4, threads=5),
        unit_hash(templates={**TEMPLATES, "gunicorn/service.j2": "3"}),
        unit_hash(templates={**TEMPLATES, "gunicorn/new.j2": "3"}),
    }
    assert len(hashes) == 6


def test_order_does_not_change_the_hash():
    backwards = dict(reversed(list(SETTINGS.items())))
    assert plans.unit_hash(backwards, 5, 4, dict(reversed(list(TEMPLATES.items())))) == unit_hash()


def test_all_that_units_are_made_from_is_in_the_hash():
    found = action.templates()
    assert {
        "gunicorn/service.j2",
        "gunicorn/socket.j2",
        "gunicorn/gunicorn.conf.py.j2",
        "migrate/migrate.service.j2",
        "sandbox",
        "__health_gate_command",
        "__health_words",
    } <= set(found)
    assert all(len(value) == 64 for value in found.values())


# --- whether, and why ----------------------------------------------------------------------------

PARTS = {"source": "s", "commit": "c", "lock": "l", "env": "e", "unit": "u"}


def current(**changes: Any) -> dict[str, Any]:
    manifest = {"fingerprint": "F", "parts": PARTS}
    return {"id": "R1", "intact": True, "drift": [], "manifest": manifest, **changes}


def test_nothing_to_do():
    assert plans.reasons(current(), "F", PARTS) == []


def test_the_first_release():
    assert plans.reasons(current(id="", manifest={}, intact=False), "F", PARTS) == ["first release on this host"]


def test_drift():
    drift = ["/x is not what the release wrote", "venv is gone"]
    assert plans.reasons(current(intact=False, drift=drift), "F", PARTS) == drift


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["source"], "source"),
        (["commit"], "commit"),
        (["lock"], "dependencies"),
        (["env"], "environment"),
        (["unit"], "unit settings"),
        (["source", "commit", "lock"], "source, commit, dependencies"),
        (list(PARTS), "source, commit, dependencies, environment, unit settings"),
        ([], "fingerprint"),
    ],
)
def test_what_changed(changed: list[str], said: str):
    parts = {**PARTS, **dict.fromkeys(changed, "new")}
    assert plans.reasons(current(), "G", parts) == [f"{said} changed"]


def test_a_manifest_without_parts():
    assert plans.reasons(current(manifest={}), "F", PARTS) == [
        "source, commit, dependencies, environment, unit settings changed"
    ]


# --- the environment -----------------------------------------------------------------------------


def test_env_changes():
    key = plans.salt("text")
    digests = {name: envfile.digest(key, name, value) for name, value in {"A": "1", "B": "true", "C": "x"}.items()}
    found = plans.env_changes({"A": 1, "B": False, "D": "new"}, digests, key)
    assert found == {"added": ["D"], "removed": ["C"], "changed": ["B"]}
    assert plans.env_changes({"A": "1", "B": True, "C": "x"}, digests, key) == {
        "added": [],
        "removed": [],
        "changed": [],
    }


def test_the_salt_comes_from_all_of_the_environment():
    assert plans.salt("a") != plans.salt("b")
    assert plans.salt("a") == plans.salt("a")
    assert "a" * 40 not in plans.salt("a" * 40)


# --- what a host cannot take ---------------------------------------------------------------------


def host_problems(
    host: dict[str, Any] | None = None, source: Any = SOURCE, roles: Any = settings.ROLES, **changes: Any
) -> list[str]:
    return plans.host_problems({**SETTINGS, **changes}, {**HOST, **(host or {})}, source, list(roles))


def test_a_good_host():
    assert host_problems() == []
    assert host_problems({"account": {"home": "/srv/projects"}, "port_holders": {"80": "nginx"}, "systemd": 249}) == []


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ({"systemd": 248}, ["systemd is 248", "at least 249", "Debian 12"]),
        (
            {"foreign_units": ["/lib/systemd/system/projects.target"]},
            ["app_name 'projects'", "/lib/systemd/system/projects.target", "another app_name"],
        ),
        (
            {"account": {"home": "/var/www"}},
            ["user 'projects' exists with home /var/www", "home /srv/projects", "app_user"],
        ),
        ({"port_holders": {"80": "apache2"}}, ["port 80 is held by 'apache2'", "nginx_listen_port"]),
        ({"port_holders": {"80": "", "443": "haproxy"}}, ["port 443 is held by 'haproxy'", "nginx_tls_port"]),
        (
            {"nginx": {"conflicts": ["/etc/x already answers to a on port 80"], "default_servers": {}}},
            ["/etc/x already answers to a on port 80", "nginx_server_names"],
        ),
        (
            {"nginx": {"conflicts": [], "default_servers": {"80": "/etc/y"}}},
            ["/etc/y is already the default server of port 80", "nginx_catch_all_enabled: false"],
        ),
        (
            {"python_version": "", "pythons": ["/usr/bin/python3", "/usr/bin/python3.11"]},
            ["venv_python is 'python3'", "/usr/bin/python3, /usr/bin/python3.11", "correct venv_python"],
        ),
        ({"python_version": "", "pythons": []}, ["It has none"]),
        ({"sqlite_trouble": "/a leads to /b"}, ["DATABASE_URL: /a leads to /b", "/srv/projects/shared"]),
        (
            {"free_bytes": 63 * plans.MIB},
            ["/srv/projects has 63 MiB free and this release needs 64 MiB", "release_keep (now 5)"],
        ),
    ],
)
def test_one_problem(host: dict[str, Any], says: list[str]):
    found = host_problems(host)
    assert len(found) == 1, found
    for words in says:
        assert words in found[0]


def test_space_is_twice_the_source_and_64_mib():
    source = {**SOURCE, "bytes": 100 * plans.MIB}
    assert host_problems({"free_bytes": 264 * plans.MIB}, source) == []
    assert "needs 264 MiB" in host_problems({"free_bytes": 264 * plans.MIB - 1}, source)[0]


def test_a_catch_all_that_is_off_leaves_the_default_server():
    nginx = {"nginx": {"conflicts": [], "default_servers": {"80": "/etc/y"}}}
    assert host_problems(nginx, nginx_catch_all_enabled=False) == []


def test_what_does_not_run_is_not_looked_at():
    nginx = {"port_holders": {"80": "apache2"}, "nginx": {"conflicts": ["x"], "default_servers": {"80": "/etc/y"}}}
    assert host_problems(nginx, roles=["app", "release", "gunicorn"]) == []
    release = {"python_version": "", "sqlite_trouble": "x", "free_bytes": 0}
    assert host_problems(release, source={}, roles=["app", "health"]) == []


def test_all_problems_at_once():
    everything = {
        "systemd": 1,
        "foreign_units": ["x"],
        "account": {"home": "/"},
        "port_holders": {"80": "x"},
        "nginx": {"conflicts": ["x", "y"], "default_servers": {"80": "z"}},
        "python_version": "",
        "sqlite_trouble": "x",
        "free_bytes": 0,
    }
    assert len(host_problems(everything)) == 10


# --- the plan ------------------------------------------------------------------------------------


def test_a_first_plan():
    plan = make()
    assert plan["needed"] is True
    assert (plan["workers"], plan["threads"], plan["current"], plan["running"], plan["tidy"]) == (
        5,
        4,
        "",
        False,
        False,
    )
    assert plan["secret_keys"] == ["API_TOKEN", "SECRET_KEY"]
    assert plan["env_changes"]["added"] == ["APP_CONFIG", "DATABASE_URL", "SECRET_KEY"]
    assert plan["database"] == "sqlite"
    assert plan["venv_known"] is False


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"app_database": "postgresql"}, ["API_TOKEN", "DATABASE_URL", "SECRET_KEY"]),
        ({"app_database": "postgresql", "app_env": {"DATABASE_URL": "postgresql://db/x"}}, ["API_TOKEN", "SECRET_KEY"]),
        ({"app_database": "sqlite"}, ["API_TOKEN", "SECRET_KEY"]),
    ],
)
def test_a_url_with_a_password_is_a_secret(changes: dict[str, Any], keys: list[str]):
    assert make(**changes)["secret_keys"] == keys


def test_a_second_plan_needs_nothing():
    plan = make(serving(make()))
    assert (plan["needed"], plan["reasons"], plan["tidy"]) == (False, [], False)
    assert plan["lines"] == ["R1 serves and is what is wanted: no new release"]


def test_an_instance_that_is_down_is_said():
    assert "is not running: it is started" in make(serving(make(), running=False))["lines"][0]


def test_a_switch_that_was_killed_before_its_record_is_tidied():
    host = serving(make())
    host["current"]["manifest"]["outcome"] = "staged"
    assert make(host)["tidy"] is True


def test_an_instance_that_nothing_will_stop_is_tidied():
    assert make({**serving(make()), "undrained": ["R0"]})["tidy"] is True


def test_a_release_that_is_still_enabled_beside_is_tidied():
    plan = make(serving(make(), enabled=["R0", "R1"]))
    assert (plan["needed"], plan["tidy"]) == (False, True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": {"digest": "e" * 64}}, "source changed"),
        ({"source": {"commit": "e" * 40}}, "commit changed"),
        ({"source": {"lock": {**SOURCE["lock"], "additions": ["gunicorn==1"]}}}, "dependencies changed"),
        ({"host": {"python_version": "3.13.1"}}, "dependencies changed"),
        ({"environment": {"LOG_LEVEL": "debug"}}, "environment changed"),
        ({"environment": {"SECRET_KEY": "j" * 40}}, "environment changed"),
        ({"gunicorn_timeout_seconds": 60}, "unit settings changed"),
        ({"host": {"cpus": 4}}, "unit settings changed"),
    ],
)
def test_what_makes_another_release(change: dict[str, Any], reason: str):
    before = serving(make())
    host = {**before, **change.get("host", {})}
    plan = make(**{**change, "host": host})
    assert plan["reasons"] == [reason]


@pytest.mark.parametrize(
    "change",
    [
        {"source": {"subject": "other", "version": "v1.4.1", "origin": "elsewhere"}},  # another name of the same commit
        {"host": {"python_version": "3.11.9"}},
        {"gunicorn_drain_seconds": 9.0},
        {"release_keep": 9},
        {"health_timer_seconds": 9},
        {"nginx_listen_port": 8080},
        {"environment": dict(reversed(list(ENVIRONMENT.items())))},
    ],
)
def test_what_makes_none(change: dict[str, Any]):
    before = serving(make())
    plan = make(**{**change, "host": {**before, **change.get("host", {})}})
    assert plan["reasons"] == []


def test_a_known_environment_is_reused():
    lock = make()["lock"]
    plan = make({"venvs": ["other", lock]})
    assert plan["venv_known"] is True
    assert f"venv      {lock}: known, reused, Python 3.11.2" in plan["lines"]


def test_hosts_with_one_database_have_one_digest_of_it():
    url = "postgresql://projects:hunter2@192.0.2.10/projects"
    plan = make(environment={"DATABASE_URL": url})
    assert plan["database"] == make(environment={"DATABASE_URL": url, "LOG_LEVEL": "debug"})["database"]
    assert plan["database"] != make(environment={"DATABASE_URL": url + "2"})["database"]
    assert "hunter2" not in plan["database"]


def test_a_plan_shows_no_secret():
    host = {"env_digests": {"SECRET_KEY": "0", "OLD": "1"}}
    text = repr(make(host, environment={"API_TOKEN": "t" * 40, "DATABASE_URL": "postgresql://u:hunter2@192.0.2.1/d"}))
    assert "k" * 40 not in text
    assert "t" * 40 not in text
    assert "hunter2" not in text


def test_the_lines():
    host = copy.deepcopy(HOST) | {
        "packages_missing": ["nginx", "iproute2"],
        "env_digests": {"OLD": "0", "SECRET_KEY": "0"},
    }
    plan = make(host)
    assert plan["lines"] == [
        "release   <id> (now: none): first release on this host",
        "source    git v1.4.0 at cccccccccccc 'Say more'",
        "packages  to install: nginx iproute2",
        f"venv      {plan['lock']}: new, built with uv, Python 3.11.2",
        ".env      +APP_CONFIG +DATABASE_URL -OLD ~SECRET_KEY",
        "migrate   flask db upgrade, before the switch",
        "gunicorn  5 gthread workers, 4 threads each; gate: 3 x 200 from /api/health; then the switch",
        "restart   starts projects@<id>; stops nothing",
    ]


def test_the_lines_of_a_directory_without_migrations():
    source = {"kind": "directory", "version": "", "subject": "", "commit": "", "origin": "/x", "revision": "d" * 64}
    plan = make(serving(make()), source=source, migrate_enabled=False)
    assert plan["lines"][0] == "release   <id> (now: R1): commit changed"
    assert plan["lines"][1] == "source    directory /x at dddddddddddd"
    assert plan["lines"][2] == "packages  all there"
    assert plan["lines"][5] == "migrate   off (migrate_enabled)"


# --- what a plan says of commits, revisions and instances ----------------------------------------

OLD = "a" * 40


def commit_lines(brings: int = 0, leaves: int = 0) -> list[str]:
    found = {
        name: [f"c{n} subject {n}" for n in range(count)] for name, count in (("brings", brings), ("leaves", leaves))
    }
    return plans.commit_lines({"old": OLD, "found": found})


def test_the_commits_since():
    assert plans.commit_lines(None) == []
    assert commit_lines(2) == ["commits   2 since aaaaaaa:", "          c0 subject 0", "          c1 subject 1"]


def test_a_rollback_is_said_as_such():
    assert commit_lines(0, 1) == ["commits   a rollback: 1 up to aaaaaaa left out:", "          c0 subject 0"]


def test_a_history_that_parted():
    assert commit_lines(1, 1) == [
        "commits   1 since the history parted from aaaaaaa:",
        "          c0 subject 0",
        "          and back: 1 up to aaaaaaa left out:",
        "          c0 subject 0",
    ]


def test_twenty_commits_are_enough():
    assert len(commit_lines(20)) == 21
    lines = commit_lines(23)
    assert (len(lines), lines[0], lines[-1]) == (22, "commits   23 since aaaaaaa:", "          and 3 more")


@pytest.mark.parametrize(
    ("old", "why"),
    [(OLD, "the mirror of this controller does not have aaaaaaa"), ("", "what serves was not made from git")],
)
def test_a_history_that_is_not_known(old: str, why: str):
    assert plans.commit_lines({"old": old, "found": None}) == [f"commits   history not known: {why}"]


@pytest.mark.parametrize(
    ("manifest", "source", "asked"),
    [
        ({}, {}, None),
        ({"parts": {"commit": SOURCE["commit"]}}, {}, None),
        ({"parts": {"commit": OLD}}, {"kind": "directory", "commit": ""}, None),
        ({"parts": {"commit": ""}}, {}, {"old": "", "found": None}),
        ({"parts": {"commit": OLD}}, {}, {"old": OLD, "found": "asked"}),
    ],
)
def test_git_is_asked_only_when_the_commit_is_another(
    monkeypatch: pytest.MonkeyPatch, manifest: dict[str, Any], source: dict[str, Any], asked: Any
):
    monkeypatch.setattr(action.sources, "commits_between", lambda *_: "asked")
    host = {"current": {**HOST["current"], "manifest": manifest}}
    v = {**SETTINGS, "app_repo": "https://git.example.org/projects.git"}
    assert action.history(v, host, {**SOURCE, **source}) == asked


REVISIONS = [
    {"revision": "0003", "after": [], "subject": "Tags"},
    {"revision": "0004", "after": ["0003"], "subject": "A table"},
    {"revision": "0005", "after": ["0004"], "subject": ""},
]
USUAL = "migrate   flask db upgrade, before the switch"


@pytest.mark.parametrize(
    ("now", "error", "found", "lines"),
    [
        (None, "", REVISIONS, [USUAL]),
        (
            ["0003"],
            "",
            REVISIONS,
            [f"{USUAL}: 2 pending, the database is at 0003:", "          0004 A table", "          0005"],
        ),
        (["0005"], "", REVISIONS, ["migrate   nothing pending, the database is at 0005"]),
        (
            [],
            "",
            REVISIONS[:1],
            [f"{USUAL}: 1 pending, the database is at nothing:", "          0003 Tags"],
        ),
        (
            ["0009"],
            "",
            REVISIONS,
            ["migrate   the database is at 0009, which this source does not have: the migration will refuse it"],
        ),
        (
            ["0003"],
            "",
            None,
            [f"{USUAL}; the database is at 0003, and the source's revisions cannot be read without running them"],
        ),
        ([], "boom", REVISIONS, [f"{USUAL}; the revision of the database is not known: boom"]),
    ],
)
def test_the_pending_revisions(now: Any, error: str, found: Any, lines: list[str]):
    schema = None if now is None else {"now": now, "heads": [], "error": error}
    assert plans.migration_lines(SETTINGS, {"schema": schema}, {"revisions": found}) == lines


def test_what_starts_and_stops():
    current = {**HOST["current"], "id": "R1", "running": True}
    assert plans.restart_line(SETTINGS, HOST) == "restart   starts projects@<id>; stops nothing"
    assert plans.restart_line(SETTINGS, {**HOST, "current": current, "undrained": ["R0"]}) == (
        "restart   starts projects@<id>; 3 s after the switch stops projects@R1 and projects@R0"
    )
    down = {**HOST, "current": {**current, "running": False}}
    assert plans.restart_line(SETTINGS, down) == "restart   starts projects@<id>; stops nothing"


def test_a_stray_instance_is_a_line_of_its_own():
    plan = make({**serving(make()), "undrained": ["R0"]})
    assert plan["lines"][1:] == ["restart   stops projects@R0, which nothing else would"]
