# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write and read the `.env` of a release: one quoting routine, four readers.

The same file is read by systemd (EnvironmentFile=, 252 and newer), by python-dotenv (load_dotenv with
interpolation on, as the Flask CLI calls it) and by `set -a; . ./.env` in dash and bash. They agree on less
than it seems; each rule here is a disagreement seen in a run:

    written as   systemd                   python-dotenv                       dash, bash
    single       literal                   \\\\ -> \\, ${x} is replaced           literal
    double       escapes: \\ before \\ " ` $   escapes: \\ before \\ " ' abfnrtv     as systemd; $ and ` expand
    either                                 carriage return -> newline

Two quoted pieces in a row are one value for all but python-dotenv, which rejects the line. So a value is written
in single quotes when it can be; in double quotes when it holds a single quote or two backslashes in a row and
neither `$` nor a backtick; and is refused by the name of its key when no form is read alike. Newlines, control
characters, `#`, `!`, `%` and blanks at the ends are alike everywhere inside quotes.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping
from urllib.parse import quote as url_quote
from urllib.parse import quote_plus, unquote

# The kernel's MAX_ARG_STRLEN: one KEY=value string with its NUL, in bytes. A longer one fails every exec.
MAX_ASSIGNMENT_BYTES = 131072

# Shorter secrets are not masked: replacing "1" or "true" everywhere would make a message unreadable.
MIN_MASKED_CHARS = 6

MASK = "***"

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Assigning these in a shell fails, gives them another value or changes the shell itself (dash 0.5.12, bash 5.2).
_SHELL_KEYS = frozenset(
    (
        "_",
        "BASHOPTS",
        "BASHPID",
        "BASH_ALIASES",
        "BASH_ARGC",
        "BASH_ARGV",
        "BASH_ARGV0",
        "BASH_CMDS",
        "BASH_LINENO",
        "BASH_SOURCE",
        "BASH_SUBSHELL",
        "BASH_VERSINFO",
        "COMP_WORDBREAKS",
        "DIRSTACK",
        "EPOCHREALTIME",
        "EPOCHSECONDS",
        "EUID",
        "FUNCNAME",
        "GROUPS",
        "HISTCMD",
        "IFS",
        "LINENO",
        "OPTIND",
        "PIPESTATUS",
        "POSIXLY_CORRECT",
        "PPID",
        "RANDOM",
        "SECONDS",
        "SHELLOPTS",
        "SHLVL",
        "SRANDOM",
        "UID",
    )
)

# How systemd talks to the service: the file's value would win over the real one and break the start.
_SYSTEMD_KEYS = frozenset(
    (
        "CREDENTIALS_DIRECTORY",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "MAINPID",
        "NOTIFY_SOCKET",
        "SYSTEMD_EXEC_PID",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    )
)

# python-dotenv replaces these even in single quotes. Wider than its present pattern, which spares ${a:b}.
_INTERPOLATION = re.compile(r"\$\{[^}]*\}")

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=('[^']*'|\"(?:\\.|[^\"\\])*\")(?:\n|\Z)", re.DOTALL)
_DOUBLE_ESCAPE = re.compile(r"\\([\\\"])")

_ANOTHER = "Choose another value, or store it base64-encoded and decode it in the application's configuration."


class EnvFileError(ValueError):
    """A key or a value that cannot be in the file. The message names the key and the rule, never the value."""


def quote(key: str, value: str) -> str:
    """Return the assignment `KEY='value'` that every reader of the file reads as `value`.

    The result has no trailing newline; it spans several lines when the value does.

    Raises EnvFileError: the key is not a usable name, or no quoting of the value is read alike everywhere.
    """
    _check_key(key)
    if not isinstance(value, str):
        raise EnvFileError(f"{key}: expected text, got {type(value).__name__}. Write it as a quoted string.")
    _check_characters(key, value)
    if len(f"{key}={value}".encode()) + 1 > MAX_ASSIGNMENT_BYTES:
        raise EnvFileError(
            f"{key}: the value is longer than an environment variable can be ({MAX_ASSIGNMENT_BYTES} bytes with"
            " its name). Put it in a file and set the variable to the file's path."
        )
    if _INTERPOLATION.search(value):
        raise EnvFileError(f"{key}: the value holds '${{...}}', which python-dotenv replaces in any quotes. {_ANOTHER}")
    if value.endswith("\\"):
        raise EnvFileError(
            f"{key}: the value ends in a backslash, which python-dotenv 1.1 and older takes for an escaped quote."
            f" {_ANOTHER}"
        )
    if "'" not in value and "\\\\" not in value:
        return f"{key}='{value}'"
    if "$" in value or "`" in value:
        what = "a single quote" if "'" in value else "two backslashes in a row"
        raise EnvFileError(
            f"{key}: the value holds {what} together with '$' or a backtick; no form of quotes carries both to"
            f" systemd, python-dotenv and the shell. {_ANOTHER}"
        )
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{key}="{escaped}"'


def render(values: Mapping[str, object], header: str = "") -> str:
    """Return the whole file: the header as comments, then one assignment per key, sorted by key.

    Text, numbers and booleans are accepted (booleans become `true` and `false`); the result ends in a newline
    unless it is empty.

    Raises EnvFileError: see quote(); also for null, lists, dicts and any other type.
    """
    for key in values:
        _check_key(key)
    lines = [_comment(line) for line in header.splitlines()]
    lines += [quote(str(key), as_text(str(key), values[key])) for key in sorted(values)]
    return "".join(f"{line}\n" for line in lines)


def as_text(key: str, value: object) -> str:
    """Return the text of one input value.

    Raises EnvFileError: the type has no single spelling as text; the message says what to write instead.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    if value is None:
        raise EnvFileError(f'{key}: the value is null. Write "" for an empty variable, or leave the key out.')
    if isinstance(value, (list, tuple, set, Mapping)):
        kind = "a dict" if isinstance(value, Mapping) else "a list"
        raise EnvFileError(
            f"{key}: the value is {kind}, an environment variable is text. Write the text the application parses, for"
            ' example "a,b" or "{{ my_value | to_json }}".'
        )
    raise EnvFileError(f"{key}: the value is of type {type(value).__name__}. Put it in quotes to make it text.")


def parse(text: str) -> dict[str, str]:
    """Return the values of a file that render() wrote, in the order of the file.

    Strict: anything render() never writes is an error, so that a file edited by hand is not half understood.

    Raises EnvFileError: names the line number, never its content.
    """
    values: dict[str, str] = {}
    position = 0
    while position < len(text):
        line_number = text.count("\n", 0, position) + 1
        if text[position] == "#":
            end = text.find("\n", position)
            position = len(text) if end < 0 else end + 1
            continue
        match = _ASSIGNMENT.match(text, position)
        if match is None:
            raise EnvFileError(f"line {line_number}: not an assignment that Decant writes. Deploy to write it again.")
        key, raw = match.groups()
        value = raw[1:-1] if raw[0] == "'" else _DOUBLE_ESCAPE.sub(r"\1", raw[1:-1])
        if key in values:
            raise EnvFileError(f"line {line_number}: {key} is set twice. Deploy to write the file again.")
        if quote(key, value) != f"{key}={raw}":
            raise EnvFileError(f"line {line_number}: {key} is quoted in a way Decant never writes. Deploy again.")
        values[key] = value
        position = match.end()
    return values


def mask(text: str, values: Iterable[object] | Mapping[str, object]) -> str:
    """Return the text with every secret replaced by ***.

    A secret is found as itself and as Python, JSON, URL, shell, HTML and this module write it; the password inside
    a URL and each line of a text of several lines are secrets too. Shorter than MIN_MASKED_CHARS: left alone.
    """
    secrets = values.values() if isinstance(values, Mapping) else values
    spellings: set[str] = set()
    for secret in secrets:
        if isinstance(secret, str):
            for part in _parts(str(secret)):
                spellings |= _spellings(part)
    if not spellings:
        return text
    # Longest first: a secret that contains another one is replaced as a whole.
    longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
    return re.sub("|".join(re.escape(spelling) for spelling in longest_first), MASK, text)


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise EnvFileError(
            f"{key!r} is not a variable name. Use letters, digits and underscores, not starting with a digit,"
            " for example MAIL_SERVER."
        )
    if key in _SHELL_KEYS:
        raise EnvFileError(f"{key}: a variable that the shell itself sets or refuses. Choose another name.")
    if key in _SYSTEMD_KEYS:
        raise EnvFileError(f"{key}: a variable that systemd sets for the service. Choose another name.")


def _check_characters(key: str, value: str) -> None:
    for character in value:
        code = ord(character)
        if code == 0:
            raise EnvFileError(f"{key}: the value holds a NUL byte, which no environment can carry. {_ANOTHER}")
        if code == 0x0D:
            raise EnvFileError(
                f"{key}: the value holds a carriage return, which python-dotenv reads as a newline. Save the value with"
                " Unix line ends."
            )
        if 0xD800 <= code <= 0xDFFF:
            raise EnvFileError(f"{key}: the value holds half of a surrogate pair, which is not text. {_ANOTHER}")
        if 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE:
            raise EnvFileError(
                f"{key}: the value holds U+{code:04X}, a code point that is not a character: systemd rejects the whole"
                f" file. {_ANOTHER}"
            )


def _comment(line: str) -> str:
    # A backslash at the end would make systemd take the next line into the comment.
    return f"# {line}".rstrip(" \t\\")


def _parts(secret: str) -> set[str]:
    parts = {secret, *secret.splitlines()}
    for match in re.finditer(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#:@]*:([^\s/?#]+)@", secret):
        parts |= {match.group(1), unquote(match.group(1))}
    return {part for part in (part.strip() for part in parts) if len(part) >= MIN_MASKED_CHARS}


def _spellings(secret: str) -> set[str]:
    url = {url_quote(secret), url_quote(secret, safe=""), quote_plus(secret)}
    shell = secret.replace("\\", "\\\\").replace('"', '\\"')
    return {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        shell,
        re.sub(r"([$`])", r"\\\1", shell),
        shlex.quote(secret),
        html.escape(secret),
        *url,
        *(re.sub(r"%[0-9A-F]{2}", lambda code: code.group(0).lower(), spelling) for spelling in url),
    }


def digest(salt: str, key: str, value: str) -> str:
    """Return a keyed digest (HMAC-SHA256, 16 hex digits) of one variable: files compare without showing a value."""
    return hmac.new(salt.encode(), f"{key}={value}".encode(), hashlib.sha256).hexdigest()[:16]
