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

TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), max_size=40)


def test_every_filter_is_known_by_its_own_name():
    filters = quoting.FilterModule().filters()
    assert sorted(filters) == sorted(
        [
            "backup_line",
            "dotenv",
            "env_salt",
            "hook_paths",
            "lock_line",
            "migration_lines",
            "nginx_value",
            "probe_words",
            "release_line",
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
