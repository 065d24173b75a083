# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filters: values that end up in another language's file."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.decant.flask.plugins.filter import quoting
from ansible_collections.decant.flask.plugins.module_utils import envfile
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), max_size=40)


def test_every_filter_is_known_by_its_own_name():
    filters = quoting.FilterModule().filters()
    assert sorted(filters) == sorted(
        [
            "alertmanager_receivers",
            "backup_line",
            "backend_addresses",
            "database_host",
            "database_place",
            "dotenv",
            "env_salt",
            "firewall_rules",
            "hook_paths",
            "lock_line",
            "migration_lines",
            "monitoring_addresses",
            "monitoring_doors",
            "monitoring_site",
            "monitoring_targets",
            "nginx_value",
            "pg_hba",
            "pg_listen",
            "pg_value",
            "postgresql_cluster",
            "postgresql_url",
            "probe_words",
            "rate_zones",
            "readiness_questions",
            "release_line",
            "response_headers",
            "sandbox",
            "shuts_out",
            "site_ports",
            "sqlite_path",
            "switch_steps",
            "systemd_value",
            "to_python",
            "traffic_worse",
        ]
    )
    assert all(function.__name__ == name for name, function in filters.items())


# --- systemd -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("/srv/projects/bin", "/srv/projects/bin"),
        ("a=b", "a=b"),
        ("100%", "100%%"),
        ("%i", "%%i"),
        ("", '""'),
        ("two words", '"two words"'),
        ("tab\tbed", None),
        ('say "hi"', '"say \\"hi\\""'),
        ("it's", '"it\'s"'),
        ("back\\slash", '"back\\\\slash"'),
        ("a;b", '"a;b"'),
        ("$HOME", '"$$HOME"'),
        ("50% of $x", '"50%% of $$x"'),
        (7, "7"),
        (True, "True"),
    ],
)
def test_systemd_value(value: Any, written: str | None):
    if written is None:
        with pytest.raises(AnsibleFilterError, match="control character"):
            quoting.systemd_value(value)
    else:
        assert quoting.systemd_value(value) == written


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\0", "\x1b[0m"])
def test_a_unit_file_holds_no_control_character(value: str):
    with pytest.raises(AnsibleFilterError, match="control character"):
        quoting.systemd_value(value)


def systemd_reads(word: str) -> str:
    """systemd.syntax(7), systemd.service(5): specifiers, then quotes and C escapes, then variables, as for ExecStart=."""
    assert "%" not in word.replace("%%", "")
    text = word.replace("%%", "%")
    if text.startswith('"'):
        assert text.endswith('"')
        body, text, position = text[1:-1], "", 0
        while position < len(body):
            if body[position] == "\\":
                position += 1
                assert body[position] in '\\"'
            else:
                assert body[position] != '"'
            text += body[position]
            position += 1
    else:
        assert text
        assert not set(text) & set(" \t\"'\\;")
    assert "$" not in text.replace("$$", "")
    return text.replace("$$", "$")


@given(TEXT)
def test_systemd_reads_back_what_was_meant(value: str):
    assert systemd_reads(quoting.systemd_value(value)) == value


# --- nginx ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("projects.example.org", "projects.example.org"),
        ("/static/", "/static/"),
        ("*.example.org", "*.example.org"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a;b", '"a;b"'),
        ("{a}", '"{a}"'),
        ("a#b", '"a#b"'),
        ('"', '"\\""'),
        ("it's", '"it\'s"'),
        ("a\\b", '"a\\\\b"'),
        (7, "7"),
    ],
)
def test_nginx_value(value: Any, written: str):
    assert quoting.nginx_value(value) == written


@pytest.mark.parametrize("value", ["$host", "a$b", "a $b", "${x}"])
def test_nginx_has_no_way_to_write_a_dollar(value: str):
    with pytest.raises(AnsibleFilterError, match="nginx would read as a variable"):
        quoting.nginx_value(value)


@pytest.mark.parametrize("value", ["a\nb", "a\tb", "\0"])
def test_nginx_takes_no_control_character(value: str):
    with pytest.raises(AnsibleFilterError, match="control character"):
        quoting.nginx_value(value)


@given(TEXT.filter(lambda text: "$" not in text))
def test_nginx_reads_back_what_was_meant(value: str):
    word = quoting.nginx_value(value)
    if word.startswith('"'):
        body = word[1:-1]
        assert "\\" not in body.replace("\\\\", "").replace('\\"', "")
        assert body.replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\") == value
    else:
        assert word == value
        assert value
        assert not set(value) & set(" ;{}#\"'\\")


# --- Python --------------------------------------------------------------------------------------


class Tagged(str):
    """What Ansible passes: a subclass, whose repr need not be a literal."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<tagged>"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("gthread", "'gthread'"),
        (True, "True"),
        (False, "False"),
        (None, "None"),
        (3, "3"),
        (0.5, "0.5"),
        ([1, "a"], "[1, 'a']"),
        ({"a": None}, "{'a': None}"),
        ("it's", '"it\'s"'),
        ('a"b\n', "'a\"b\\n'"),
        (Tagged("x"), "'x'"),
        ([Tagged("x")], "['x']"),
    ],
)
def test_to_python(value: Any, written: str):
    assert quoting.to_python(value) == written


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXT, lambda x: st.lists(x) | st.dictionaries(TEXT, x), max_leaves=8
    )
)
def test_python_reads_back_what_was_meant(value: Any):
    assert ast.literal_eval(quoting.to_python(value)) == value


# --- .env ----------------------------------------------------------------------------------------


def test_dotenv():
    assert quoting.dotenv({"B": "two words", "A": 1, "C": True}) == "A='1'\nB='two words'\nC='true'\n"
    assert quoting.dotenv({"A": Tagged("x")}) == "A='x'\n"
    assert quoting.dotenv({}) == ""


@pytest.mark.parametrize("value", [None, ["hunter2"], {"a": "hunter2"}, "hunter2\\", "${hunter2}"])
def test_dotenv_refuses_by_name_and_not_by_value(value: Any):
    with pytest.raises(AnsibleFilterError) as refusal:
        quoting.dotenv({"TOKEN": value})
    assert "TOKEN" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_env_salt():
    assert quoting.env_salt("A='1'\n") == quoting.env_salt("A='1'\n") != quoting.env_salt("A='2'\n")
    assert len(quoting.env_salt("x")) == 64
    assert envfile.digest(quoting.env_salt("x"), "A", "1") != envfile.digest(quoting.env_salt("y"), "A", "1")


# --- SQLite --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////srv/p/shared/p.db", "/srv/p/shared/p.db"),
        ("sqlite:////srv/p.db?timeout=3", "/srv/p.db"),
        ("sqlite:///relative.db", ""),
        ("sqlite://", ""),
        ("sqlite:///:memory:", ""),
        ("postgresql://u:p@192.0.2.1/db", ""),
        ("", ""),
    ],
)
def test_sqlite_path(url: str, path: str):
    assert quoting.sqlite_path(url) == path


# --- the probe -----------------------------------------------------------------------------------


def test_probe_words():
    options = {
        "path": "/api/health",
        "status": 200,
        "timeout": 5.0,
        "json": {"status": "ok", "checks.db": True, "n": 3, "none": None},
        "header": {"X-Forwarded-Proto": "https", "Accept": "application/json"},
    }
    assert quoting.probe_words(options) == [
        *["--path", "/api/health", "--status", "200", "--timeout", "5.0"],
        *["--json", "checks.db=true", "--json", "n=3", "--json", "none=null", "--json", 'status="ok"'],
        *["--header", "Accept:application/json", "--header", "X-Forwarded-Proto:https"],
    ]
    assert quoting.probe_words({"json": {}, "header": {}}) == []


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), min_size=1))
def test_a_json_value_survives_the_probes_reading(value: str):
    _, word = quoting.probe_words({"json": {"field": value}})
    assert json.loads(word.split("=", 1)[1]) == value


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "  20261122T101500Z-3f2a9c1  retired  v1  3f2a9c1  1 h 30 min  schema 0003"),
        (
            {"current": True, "outcome": "live"},
            "* 20261122T101500Z-3f2a9c1  live  v1  3f2a9c1  1 h 30 min  schema 0003",
        ),
        ({"age_seconds": 3 * 86400}, "  20261122T101500Z-3f2a9c1  retired  v1  3f2a9c1  3 d  schema 0003"),
        (
            {"age_seconds": None, "schema": "", "version": "", "reason": "gate: boom"},
            "  20261122T101500Z-3f2a9c1  retired  3f2a9c1  ?  schema unknown  (gate: boom)",
        ),
    ],
)
def test_release_line(changes: dict, line: str):
    release = {"id": "20261122T101500Z-3f2a9c1", "outcome": "retired", "version": "v1", "commit": "3f2a9c1"}
    release |= {"age_seconds": 5400, "schema": "0003", "reason": "", "current": False}
    assert quoting.release_line({**release, **changes}) == line


def test_a_migration_as_lines():
    done = {"pending": [{"revision": "0004", "title": "Notes"}], "destructive": ["0004 drops table x"], "backup": "B"}
    assert quoting.migration_lines(done) == ["0004  Notes", "destructive, and allowed: 0004 drops table x", "backup: B"]
    assert quoting.migration_lines({"pending": [{"revision": "1", "title": ""}], "backup": ""}) == [
        "1",
        "backup: none, the database was empty or backups are off",
    ]


def test_a_backup_as_a_line():
    record = {"id": "I", "at": "2026-11-22T10:15:00Z", "revision": ["0003"], "bytes": 40960, "release": "R"}
    assert quoting.backup_line(record) == "I  2026-11-22T10:15:00Z  schema 0003  40 KiB  of release R"
    assert quoting.backup_line({**record, "revision": [], "release": ""}).endswith(
        "schema none  40 KiB  of release unknown"
    )


# --- PostgreSQL ----------------------------------------------------------------------------------

DATABASE = {
    "postgresql_host": "db.example.org",
    "postgresql_port": 5432,
    "postgresql_database": "projects",
    "postgresql_user": "projects",
    "postgresql_password": "p@ss/w:rd?#%25 +&=\u00e9",
}


@pytest.mark.parametrize(
    ("changes", "driver", "url"),
    [
        ({}, "psycopg", "postgresql+psycopg://projects:simple@db.example.org:5432/projects"),
        ({}, "psycopg2", "postgresql+psycopg2://projects:simple@db.example.org:5432/projects"),
        ({}, "", "postgresql://projects:simple@db.example.org:5432/projects"),
        ({"postgresql_port": 5433}, "pg8000", "postgresql+pg8000://projects:simple@db.example.org:5433/projects"),
        (
            {"postgresql_host": "2001:db8::1"},
            "psycopg",
            "postgresql+psycopg://projects:simple@[2001:db8::1]:5432/projects",
        ),
        (
            {"postgresql_host": "/run/postgresql"},
            "psycopg",
            "postgresql+psycopg://projects:simple@/projects?host=/run/postgresql&port=5432",
        ),
        (
            {"postgresql_host": "/run/postgresql"},
            "pg8000",
            "postgresql+pg8000://projects:simple@/projects?unix_sock=/run/postgresql/.s.PGSQL.5432",
        ),
    ],
)
def test_the_url_of_a_database(changes: dict[str, Any], driver: str, url: str):
    assert quoting.postgresql_url({**DATABASE, "postgresql_password": "simple", **changes}, driver) == url


@given(password=TEXT.filter(bool), user=TEXT.filter(bool))
def test_sqlalchemy_reads_back_what_went_in(password: str, user: str):
    url = make_url(
        quoting.postgresql_url({**DATABASE, "postgresql_password": password, "postgresql_user": user}, "psycopg")
    )
    assert (url.username, url.password) == (user, password)
    assert (url.host, url.port, url.database) == ("db.example.org", 5432, "projects")


def test_the_driver_gets_the_socket_and_the_password():
    url = make_url(quoting.postgresql_url({**DATABASE, "postgresql_host": "/run/postgresql"}, "psycopg"))
    _, words = create_engine(url).dialect.create_connect_args(url)
    assert (words["host"], str(words["port"]), words["dbname"]) == ("/run/postgresql", "5432", "projects")
    assert words["password"] == DATABASE["postgresql_password"]


@pytest.mark.parametrize(
    ("groups", "host", "addresses"),
    [
        ({}, "", []),
        ({"backend": ["web1"]}, "", ["192.0.2.11"]),
        ({"backend": ["web1", "web2"], "database": ["db"]}, "192.0.2.21", ["192.0.2.11", "web2"]),
        ({"backend": ["web1"], "database": ["web2"]}, "web2", ["192.0.2.11"]),
        ({"backend": ["web1"], "database": ["web1"]}, "/run/postgresql", ["192.0.2.11"]),
        ({"backend": ["web1", "web2"], "database": ["web1"]}, "192.0.2.11", ["192.0.2.11", "web2"]),
    ],
)
def test_who_talks_to_whom(groups: dict[str, list[str]], host: str, addresses: list[str]):
    hostvars = {"web1": {"ansible_host": "192.0.2.11"}, "web2": {}, "db": {"ansible_host": "192.0.2.21"}}
    assert quoting.database_host(groups, hostvars) == host
    assert quoting.backend_addresses(groups, hostvars) == addresses


MAIN = "15 main 5432 online postgres /var/lib/postgresql/15/main /var/log/postgresql/postgresql-15-main.log\n"
NEXT = "17 main 5433 down postgres /var/lib/postgresql/17/main /var/log/postgresql/postgresql-17-main.log\n"


@pytest.mark.parametrize(
    ("listing", "port", "found"),
    [
        (MAIN, 5432, ("15", 5432)),
        (MAIN, 6000, ("15", 5432)),  # it is the only one, and will be moved
        (MAIN + NEXT, 5432, ("15", 5432)),
        (MAIN + NEXT, 5433, ("17", 5433)),
    ],
)
def test_which_cluster(listing: str, port: int, found: tuple[str, int]):
    cluster = quoting.postgresql_cluster(listing, port)
    assert (cluster["version"], cluster["port"], cluster["name"]) == (*found, "main")


@pytest.mark.parametrize(
    ("listing", "has"), [("", "none"), (MAIN + NEXT, "15/main on port 5432, 17/main on port 5433")]
)
def test_no_cluster_to_choose(listing: str, has: str):
    with pytest.raises(AnsibleFilterError) as refusal:
        quoting.postgresql_cluster(listing, 6000)
    assert has in str(refusal.value) and "Set postgresql_port" in str(refusal.value)


RULES = "# A comment of Debian's\nlocal   all             postgres                                peer\n"
SHOP = """\
# BEGIN decant shop
# listen *
local shop shop scram-sha-256
host shop shop 192.0.2.0/28 scram-sha-256
host shop shop 192.0.2.99/32 scram-sha-256
host shop shop 2001:db8::1/128 scram-sha-256
# END decant shop
"""


def test_the_rules_of_a_backend_stand_first():
    addresses = ["192.0.2.99", "192.0.2.0/28", "2001:db8::1", "192.0.2.99/32"]
    assert quoting.pg_hba(RULES, "shop", "shop", "shop", addresses, ["*"]) == SHOP + RULES


def test_an_address_that_left_is_gone_and_nothing_else_is():
    before = quoting.pg_hba(RULES, "shop-api", "shop_api", "shop_api", ["192.0.2.5"], ["localhost"])
    both = quoting.pg_hba(before, "shop", "shop", "shop", ["192.0.2.11", "192.0.2.12"], ["*"])
    after = quoting.pg_hba(both, "shop", "shop", "shop", ["192.0.2.11"], ["*"])
    assert "192.0.2.12" not in after and "192.0.2.5" in after and after.endswith(RULES)
    assert after.count("# BEGIN") == 2


@pytest.mark.parametrize("text", ["", RULES, SHOP + RULES, RULES + SHOP + RULES])
def test_the_same_rules_again_are_the_same_file(text: str):
    once = quoting.pg_hba(text, "shop", "shop", "shop", ["192.0.2.11"], ["*"])
    assert quoting.pg_hba(once, "shop", "shop", "shop", ["192.0.2.11"], ["*"]) == once
    assert once.count("# BEGIN decant shop\n") == 1


def test_two_backends_do_not_take_turns():
    """One server, two inventories: neither run changes what the other has written."""
    first = quoting.pg_hba(RULES, "shop", "shop", "shop", ["192.0.2.11"], ["*"])
    both = quoting.pg_hba(first, "blog", "blog", "blog", ["192.0.2.12"], ["localhost"])
    assert quoting.pg_hba(both, "shop", "shop", "shop", ["192.0.2.11"], ["*"]) == both


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([], []),
        ([["localhost"]], ["localhost"]),
        ([["localhost"], ["*"]], ["*"]),
        ([["localhost", "192.0.2.21"], ["192.0.2.22", "localhost"]], ["192.0.2.21", "192.0.2.22", "localhost"]),
    ],
)
def test_a_server_listens_for_all_of_its_backends(asked: list[list[str]], found: list[str]):
    text = RULES
    for number, listen in enumerate(asked):
        text = quoting.pg_hba(text, f"shop{number}", "shop", "shop", ["192.0.2.11"], listen)
    assert quoting.pg_listen(text) == found


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("*", "'*'"),
        (["localhost", "192.0.2.21"], "'localhost, 192.0.2.21'"),
        (5432, "'5432'"),
        ("it's", "'it''s'"),
        ([], "''"),
    ],
)
def test_a_value_of_postgresql_conf(value: Any, written: str):
    assert quoting.pg_value(value) == written
