# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The .env file: whatever is accepted is read back alike by python-dotenv, dash and bash.

systemd is the fourth reader; it needs a booted host, where envfile_corpus.json is the list to compare.
"""

from __future__ import annotations

import datetime
import html
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
from dotenv import dotenv_values, load_dotenv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"decant_{name}", ROOT / f"plugins/module_utils/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


envfile = _load("envfile")
EnvFileError = envfile.EnvFileError

CORPUS: list[str] = json.loads((Path(__file__).parent / "envfile_corpus.json").read_text(encoding="utf-8"))

PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n"
    "-----END PRIVATE KEY-----\n"
)

# (value, a word of the rule): each is read differently by at least one reader in every form of quotes.
REFUSED = [
    ("${HOME}", "python-dotenv replaces"),
    ("pa${}ss", "python-dotenv replaces"),
    ("a${x:-y}b", "python-dotenv replaces"),
    ("a${x:y}b", "python-dotenv replaces"),
    ("a${x\ny}b", "python-dotenv replaces"),
    ("it's $5", "a single quote together"),
    ("it's `id`", "a single quote together"),
    ("a\\\\b$c", "two backslashes in a row together"),
    ("a\\\\b`c", "two backslashes in a row together"),
    ("C:\\srv\\", "ends in a backslash"),
    ("\\", "ends in a backslash"),
    ("\\\\", "ends in a backslash"),
    ("it's\\", "ends in a backslash"),
    ("a\0b", "NUL"),
    ("a\rb", "carriage return"),
    ("line\r\nline", "carriage return"),
    ("\ud800", "surrogate"),
    ("a\udfffb", "surrogate"),
    ("\ufdd0", "U+FDD0"),
    ("\ufdef", "U+FDEF"),
    ("a\ufffe", "U+FFFE"),
    ("\uffff", "U+FFFF"),
    ("\U0001fffe", "U+1FFFE"),
    ("\U0010ffff", "U+10FFFF"),
    ("x" * 131072, "longer than an environment variable"),
]


def _in_shell(shell: list[str], path: Path) -> dict[str, str]:
    """Return the environment that a program started after `set -a; . FILE` gets."""
    done = subprocess.run(
        [*shell, "-c", 'set -eua; . "$0"; exec /usr/bin/env -0', str(path)],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == b""
    items = (item.partition("=") for item in done.stdout.decode("utf-8").split("\0") if item)
    return {key: value for key, _, value in items}


def _loaded(path: Path) -> dict[str, str]:
    with mock.patch.dict(os.environ, {}, clear=True):
        assert load_dotenv(path)
        return dict(os.environ)


READERS = {
    "dotenv_values": dotenv_values,
    "load_dotenv": _loaded,
    "dash": lambda path: _in_shell(["dash"], path),
    "bash": lambda path: _in_shell(["bash", "--norc"], path),
    "bash as sh": lambda path: _in_shell(["bash", "--posix"], path),
}


def _assert_read_alike(values: Mapping[str, str], path: Path, header: str = "") -> None:
    text = envfile.render(values, header)
    assert envfile.parse(text) == dict(values)
    path.write_bytes(text.encode())
    for name, read in READERS.items():
        if name in ("dash", "bash") and shutil.which(name) is None:
            continue
        seen = read(path)
        assert {key: seen.get(key) for key in values} == dict(values), name


def _numbered(values: list[str]) -> dict[str, str]:
    return {f"K{number}": value for number, value in enumerate(values)}


def test_the_corpus_covers_every_accepted_class() -> None:
    assert len(CORPUS) > 200
    assert len(set(CORPUS)) == len(CORPUS)
    forms = {envfile.quote("K", value)[2] for value in CORPUS}
    assert forms == {"'", '"'}
    for part in (
        "\n",
        "$",
        "`",
        "'",
        '"',
        "\\",
        "\\\\",
        "#",
        "\x01",
        "\x7f",
        "é",
        "\u2028",
        "😀",
        "${",
        "!",
        "%",
        "=",
        ";",
    ):
        assert any(part in value for value in CORPUS), repr(part)


def test_the_corpus_is_read_alike(tmp_path: Path) -> None:
    _assert_read_alike(_numbered(CORPUS), tmp_path / ".env", header='Managed.\nit\'s "a" $header `id` \\')


@pytest.mark.parametrize("value", CORPUS[:40])
def test_each_value_is_read_alike_as_the_only_one(value: str, tmp_path: Path) -> None:
    # A quote that stays open ends at the next one in a longer file, so the file of one line is a case of its own.
    _assert_read_alike({"ONLY": value}, tmp_path / ".env")


NASTY = st.text(alphabet=st.sampled_from("ab'\"\\$`{}#=;:!~%&*? \t\n\r\0\x01\x7f-()|<>é😀\u2028\ufeff"), max_size=16)
FRAGMENTS = st.lists(
    st.sampled_from(
        ["\\", "\\\\", "'", '"', "$", "${", "}", "${x}", "$(id)", "`id`", "\n", "\\n", "a", " #x", "=", " "]
    ),
    max_size=8,
).map("".join)


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(NASTY, FRAGMENTS, st.text(max_size=40)), max_size=25))
def test_any_value_is_refused_or_read_alike(tmp_path: Path, values: list[str]) -> None:
    accepted = []
    for value in values:
        try:
            envfile.quote("KEY", value)
        except EnvFileError as error:
            assert str(error).startswith("KEY: ")
        else:
            accepted.append(value)
    if accepted:
        _assert_read_alike(_numbered(accepted), tmp_path / ".env")


@pytest.mark.parametrize(("value", "rule"), REFUSED, ids=[ascii(value[:12]) for value, _ in REFUSED])
def test_refused_by_key_and_rule_but_never_by_value(value: str, rule: str) -> None:
    secret = f"hunter2{value}"
    with pytest.raises(EnvFileError) as caught:
        envfile.quote("MAIL_PASSWORD", secret)
    message = str(caught.value)
    assert message.startswith("MAIL_PASSWORD: ")
    assert rule in message
    assert "hunter2" not in message
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("", "K=''"),
        ("plain", "K='plain'"),
        (" both ends ", "K=' both ends '"),
        ("a#b #c", "K='a#b #c'"),
        ("p$ss", "K='p$ss'"),
        ("$(id)`id`", "K='$(id)`id`'"),
        ('say "hi"', "K='say \"hi\"'"),
        ("a\\b", "K='a\\b'"),
        ("a\nb", "K='a\nb'"),
        ("${open", "K='${open'"),
        ("it's", 'K="it\'s"'),
        ('it\'s "x"', 'K="it\'s \\"x\\""'),
        ("a\\\\b", 'K="a\\\\\\\\b"'),
        ("it's\\n", 'K="it\'s\\\\n"'),
    ],
)
def test_form_of_quotes(value: str, line: str) -> None:
    assert envfile.quote("K", value) == line


def test_longest_value_is_accepted_and_read_alike(tmp_path: Path) -> None:
    # "K=" and the NUL count too; systemd, dash and bash were seen to fail at one byte more.
    longest = "é" * 65534 + "a"
    _assert_read_alike({"K": longest}, tmp_path / ".env")
    with pytest.raises(EnvFileError, match="longer than an environment variable"):
        envfile.quote("K", longest + "a")


@pytest.mark.parametrize("key", ["", "1A", "A-B", "A B", "A.B", "É", "A=B", "A\n", "export A", 7, None])
def test_key_must_be_a_variable_name(key: object) -> None:
    for call in (lambda: envfile.quote(key, "x"), lambda: envfile.render({key: "x"})):
        with pytest.raises(EnvFileError, match="not a variable name"):
            call()


@pytest.mark.parametrize("key", sorted(envfile._SHELL_KEYS))
def test_key_of_the_shell_is_refused(key: str) -> None:
    with pytest.raises(EnvFileError, match=f"^{key}: a variable that the shell"):
        envfile.quote(key, "x")


@pytest.mark.parametrize("key", sorted(envfile._SYSTEMD_KEYS))
def test_key_of_systemd_is_refused(key: str) -> None:
    with pytest.raises(EnvFileError, match=f"^{key}: a variable that systemd"):
        envfile.quote(key, "x")


@pytest.mark.parametrize(
    "key", ["PATH", "HOME", "LANG", "TZ", "_A", "a", "A1", "export", "if", "PS1", "TMOUT", "REPLY"]
)
def test_key_that_looks_special_works(key: str, tmp_path: Path) -> None:
    _assert_read_alike({key: "/usr/bin:/bin x"}, tmp_path / ".env")


def test_quote_wants_text() -> None:
    with pytest.raises(EnvFileError, match=r"^K: expected text, got int"):
        envfile.quote("K", 5)


def test_render_sorts_and_spells_scalars() -> None:
    text = envfile.render({"D": 1.5, "B": True, "A": 7, "C": False, "E": "x"}, header="One\n\nTwo\\")
    assert text == "# One\n#\n# Two\nA='7'\nB='true'\nC='false'\nD='1.5'\nE='x'\n"


def test_render_of_nothing_is_nothing() -> None:
    assert envfile.render({}) == ""


def test_render_does_not_depend_on_the_order_of_the_input() -> None:
    assert envfile.render({"A": "1", "B": "2"}) == envfile.render({"B": "2", "A": "1"})


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (None, 'Write "" for an empty variable'),
        (["hunter2"], "to_json"),
        (("hunter2",), "to_json"),
        ({"a": "hunter2"}, "to_json"),
        (datetime.date(2024, 1, 1), "Put it in quotes"),
        (b"hunter2", "Put it in quotes"),
        (float("nan"), "Put it in quotes"),
        (float("inf"), "Put it in quotes"),
    ],
)
def test_render_refuses_other_types_by_key(value: object, advice: str) -> None:
    with pytest.raises(EnvFileError) as caught:
        envfile.render({"CORS": value})
    assert str(caught.value).startswith("CORS: ")
    assert advice in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_subclasses_of_text_are_text() -> None:
    class Tagged(str):
        """As Ansible hands values to a filter."""

    assert envfile.render({Tagged("A"): Tagged("x")}) == "A='x'\n"
    assert type(envfile.as_text("A", Tagged("x"))) is str


@pytest.mark.parametrize(
    "text",
    [
        "A=x\n",
        'A="x"\n',
        "A='x' \n",
        " A='x'\n",
        "export A='x'\n",
        "A ='x'\n",
        "A='x'B='y'\n",
        "A='x\n",
        "A=\"it's\n",
        "\n",
        "A='x'\n\nB='y'\n",
        "; comment\n",
        "1A='x'\n",
        "A='x'\nA='y'\n",
        "A='${x}'\n",
        "A='a\\\\b'\n",
        "UID='1'\n",
        "nonsense\n",
    ],
)
def test_parse_refuses_what_render_never_writes(text: str) -> None:
    with pytest.raises(EnvFileError):
        envfile.parse(text)


def test_parse_names_the_line_and_not_the_content() -> None:
    with pytest.raises(EnvFileError) as caught:
        envfile.parse("# header\nA='two\nlines'\nSECRET=hunter2\n")
    assert str(caught.value).startswith("line 4: ")
    assert "hunter2" not in str(caught.value)


def test_parse_reads_comments_and_a_file_without_final_newline() -> None:
    assert envfile.parse("# it's a comment\nA='x'\n# another\nB=\"it's\"") == {"A": "x", "B": "it's"}
    assert envfile.parse("") == {}
    assert envfile.parse("# only") == {}


SECRET = "p\\a\"s s/w&<+é'd"


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        repr(SECRET),
        repr({"k": SECRET}),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote(SECRET, safe="").lower(),
        urllib.parse.quote_plus(SECRET),
        shlex.quote(SECRET),
        html.escape(SECRET),
        envfile.quote("K", SECRET),
    ],
)
def test_mask_finds_every_spelling(spelling: str) -> None:
    masked = envfile.mask(f"before {spelling} after", [SECRET])
    assert "***" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert "w&" not in masked
    assert "%2B" not in masked.upper()


def test_mask_takes_mappings_and_ignores_what_is_not_text() -> None:
    assert envfile.mask("key abcdef 123456", {"A": "abcdef", "B": 123456, "C": None}) == "key *** 123456"


def test_mask_leaves_short_values_alone() -> None:
    assert envfile.mask("true 12345 abc", ["true", "12345", "", "      "]) == "true 12345 abc"


def test_mask_prefers_the_longest_secret() -> None:
    assert envfile.mask("<secret-secret-2>", ["secret", "secret-secret-2"]) == "<***>"


def test_mask_covers_lines_of_a_key_and_passwords_in_urls() -> None:
    body = PEM.splitlines()[1]
    assert body not in envfile.mask(f"unit[7]: {body}", [PEM])
    url = "postgresql://app:s3cr%40et@db.example.org/app"
    masked = envfile.mask("password s3cr@et or s3cr%40et for db.example.org", [url])
    assert masked == "password *** or *** for db.example.org"


def test_mask_without_secrets_returns_the_text() -> None:
    assert envfile.mask("a.c", []) == "a.c"
    assert envfile.mask("abcdefg", ["a.cdefg"]) == "abcdefg"


@settings(max_examples=200, database=None)
@given(st.text(min_size=6, max_size=30).filter(lambda value: len(value.strip()) >= 6), st.text(max_size=10))
def test_masked_text_never_holds_the_secret(secret: str, around: str) -> None:
    masked = envfile.mask(f"{around} {secret} {around}", [secret])
    assert secret not in masked or set(secret) <= set(" *")


def test_digest_depends_on_each_part_and_shows_none() -> None:
    digest = envfile.digest("salt", "KEY", "abcdef")
    assert len(digest) == 16
    assert digest == envfile.digest("salt", "KEY", "abcdef")
    others = [
        envfile.digest("s", "KEY", "abcdef"),
        envfile.digest("salt", "K", "abcdef"),
        envfile.digest("salt", "KEY", ""),
    ]
    assert digest not in others
