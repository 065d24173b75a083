# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what a deploy needs to know from requirements files and pyproject.toml: names, includes, hashes.

Nothing is resolved or installed here. The grammar is pip's: "Requirements File Format" in pip's documentation,
names are normalised as PEP 503 and PEP 685 say.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterator

_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(?:[<>=!~;@(]|$|--|\s)")
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9][A-Za-z0-9._-]*)")
_WHEEL = re.compile(r"(?:^|/)([A-Za-z0-9][A-Za-z0-9._]*)-[^-/]+(?:-\d[^-/]*)?-[^-/]+-[^-/]+-[^-/]+\.whl(?:[#?\s].*)?$")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_INCLUDE = re.compile(r"(?:(-r|-c)\s*=?\s*|(--requirements?|--constraints?)(?:\s*=\s*|\s+))(\S.*)$")
_EDITABLE = re.compile(r"(?:-e\s*=?\s*|--editable(?:\s*=\s*|\s+))(\S.*)$")
_HASH = re.compile(r"(?:^|\s)--(?:hash[=\s]|require-hashes\b)")


class RequirementsError(ValueError):
    """A requirements file or pyproject.toml that cannot be used; the message says which and what to write."""


def normalise(name: str) -> str:
    """Return the name of a distribution or an extra in its normal form (PEP 503): `Flask_SQLAlchemy` is
    `flask-sqlalchemy`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(text: str) -> set[str]:
    """Return the normalised names of the distributions that the file itself lists.

    Markers and versions are not looked at. A path or URL that does not tell its name (`-e .`) is left out: see
    local_paths().
    """
    found = (_name_of(line) for line in _logical_lines(text))
    return {normalise(name) for name in found if name}


def includes(text: str) -> list[str]:
    """Return the targets of `-r` and `-c` as written, in the order of the file."""
    return [target for dummy, target in _includes(text)]


def has_hashes(text: str) -> bool:
    """Tell whether pip installs the file in hash-checking mode (one `--hash` is enough to turn it on)."""
    return any(_HASH.search(line) for line in _logical_lines(text))


def local_paths(text: str) -> list[str]:
    """Return the directories and files that the file installs from the source tree, as written (`.`, `./lib`,
    `vendor/x.whl`): what is in them decides the result too, so a hash over the requirements does not cover it."""
    paths = []
    for line in _logical_lines(text):
        editable = _EDITABLE.match(line)
        target = _requirement_part(editable.group(1) if editable else line)
        if line.startswith("-") and not editable:
            continue
        target = re.sub(r"^[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\])?\s*@\s*(?=file:)", "", target)
        if target.startswith("file:"):
            paths.append(re.sub(r"^file:(?://(?:localhost)?(?=/))?", "", target))
        elif not _URL.match(target) and " @ " not in target and _looks_like_path(target, editable=bool(editable)):
            paths.append(re.sub(r"(?:\[[^\]]*\])$", "", target))
    return paths


def closure(read: Callable[[str], str], paths: list[str]) -> list[tuple[str, str]]:
    """Return (path, text) of every file reached from `paths` through `-r` and `-c`, each one once, in the order pip
    meets them.

    Paths are POSIX and relative to the root of the source; a target is relative to the file that includes it.
    `read` returns the text of such a path and raises OSError or KeyError when there is none.

    Raises RequirementsError: a missing file, a path outside the root, a URL.
    """
    return [(path, text) for path, text, dummy in _walk(read, paths)]


def required_names(read: Callable[[str], str], paths: list[str]) -> set[str]:
    """Return the normalised names that `paths` install: their own and those of files reached through `-r`. A name
    that only a constraints file (`-c`) mentions is not installed by it.

    Raises RequirementsError: as closure().
    """
    return {name for dummy, text, installed in _walk(read, paths) if installed for name in names(text)}


def pyproject_requirements(text: str, extras: list[str]) -> list[str]:
    """Return the requirements of [project.dependencies] and of the named optional dependencies, as written.

    An extra that refers to the project itself (`all = ["projects[redis]"]`) is followed. Needs Python 3.11: it runs
    on the controller.

    Raises RequirementsError: not TOML, no [project] table, dynamic dependencies, an extra that does not exist.
    """
    import tomllib  # Python 3.11; the rest of this module also runs on older hosts

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequirementsError(f"pyproject.toml is not valid TOML: {error}.") from None
    project = document.get("project")
    if not isinstance(project, dict):
        raise RequirementsError(_no_project_message(document))
    wanted = _string_list(project, "dependencies", "project.dependencies")
    _refuse_dynamic(project, "dependencies")
    if not extras:
        return wanted
    _refuse_dynamic(project, "optional-dependencies")
    tables = project.get("optional-dependencies", {})
    if not isinstance(tables, dict):
        raise RequirementsError("pyproject.toml: project.optional-dependencies is not a table.")
    known = {normalise(name): name for name in tables}
    itself = normalise(str(project.get("name", "")))
    queue = [(extra, "the settings") for extra in extras]
    seen: set[str] = set()
    while queue:
        extra, origin = queue.pop(0)
        if normalise(extra) in seen:
            continue
        seen.add(normalise(extra))
        if normalise(extra) not in known:
            choice = ", ".join(sorted(tables)) or "none"
            raise RequirementsError(
                f"pyproject.toml has no extra '{extra}' (wanted by {origin}). Extras it has: {choice}."
            )
        name = known[normalise(extra)]
        for requirement in _string_list(tables, name, f"project.optional-dependencies.{name}"):
            nested = re.match(r"([A-Za-z0-9._-]+)\s*\[([^\]]*)\]\s*$", requirement)
            if nested and normalise(nested.group(1)) == itself:
                queue += [(item.strip(), f"extra '{name}'") for item in nested.group(2).split(",") if item.strip()]
            elif requirement not in wanted:
                wanted.append(requirement)
    return wanted


def _logical_lines(text: str) -> list[str]:
    """Join continuation lines, then drop comments and blanks, in pip's order: a comment line ends a continuation."""
    lines: list[str] = []
    pending: list[str] = []
    for line in text.removeprefix("\ufeff").splitlines():
        comment = _COMMENT.match(line) is not None
        if line.endswith("\\") and not comment:
            pending.append(line[:-1])
            continue
        lines.append("".join(pending) + (" " + line if comment else line))
        pending = []
    if pending:
        lines.append("".join(pending))
    stripped = (_COMMENT.sub("", line).strip() for line in lines)
    return [line for line in stripped if line]


def _name_of(line: str) -> str | None:
    editable = _EDITABLE.match(line)
    if editable:
        line = _unquoted(editable.group(1))
    elif line.startswith("-"):
        return None
    for pattern in (_EGG, _WHEEL):
        match = pattern.search(line)
        if match and (pattern is _EGG or "@" not in line.split("://")[0]):
            return match.group(1)
    if _URL.match(line) or _looks_like_path(_requirement_part(line), editable=editable is not None):
        return None
    match = _NAME.match(line)
    return match.group(1) if match else None


def _requirement_part(line: str) -> str:
    """Return the line without its marker and its per-requirement options."""
    return re.split(r"\s+--|\s*;\s", _unquoted(line), maxsplit=1)[0].strip()


def _looks_like_path(target: str, editable: bool) -> bool:
    if "@" in target and re.match(r"[A-Za-z0-9._-]+\s*(?:\[[^\]]*\])?\s*@", target):
        return False
    if target.startswith((".", "/")) or re.search(r"\.(?:whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)$", target):
        return True
    return "/" in target or editable


def _includes(text: str) -> Iterator[tuple[bool, str]]:
    """Yield (is a constraints file, target)."""
    for line in _logical_lines(text):
        match = _INCLUDE.match(line)
        if match:
            option = match.group(1) or match.group(2)
            yield option.startswith(("-c", "--c")), _unquoted(match.group(3))


def _unquoted(target: str) -> str:
    if target[:1] in ("'", '"'):
        try:
            return shlex.split(target)[0]
        except ValueError:
            return target
    return target.strip()


def _walk(read: Callable[[str], str], paths: list[str]) -> list[tuple[str, str, bool]]:
    """Return (path, text, reached through -r alone)."""
    texts: dict[str, str] = {}
    installed: dict[str, bool] = {}
    done: set[tuple[str, bool]] = set()

    def visit(target: str, includer: str | None, is_installed: bool) -> None:
        path = _resolve(target, includer)
        if (path, is_installed) in done:
            return
        done.add((path, is_installed))
        if path not in texts:
            texts[path] = _read(read, path, includer)
        installed[path] = installed.get(path, False) or is_installed
        for is_constraint, nested in _includes(texts[path]):
            visit(nested, path, is_installed and not is_constraint)

    for path in paths:
        visit(path, None, True)
    return [(path, text, installed[path]) for path, text in texts.items()]


def _resolve(target: str, includer: str | None) -> str:
    if _URL.match(target):
        raise RequirementsError(
            f"{_where(target, includer)} is a URL, which may change between two deploys. Put the file into the source."
        )
    path = posixpath.normpath(posixpath.join(posixpath.dirname(includer or ""), target))
    if path.startswith(("/", "../")) or path == "..":
        raise RequirementsError(
            f"{_where(target, includer)} is outside the source. Name a file inside it, for example requirements.txt."
        )
    return path


def _read(read: Callable[[str], str], path: str, includer: str | None) -> str:
    try:
        return read(path)
    except (OSError, KeyError):
        raise RequirementsError(
            f"{_where(path, includer)} is not in the source. Add the file, or correct the name."
        ) from None
    except UnicodeDecodeError:
        raise RequirementsError(f"{_where(path, includer)} is not UTF-8 text. Save it as UTF-8.") from None


def _where(target: str, includer: str | None) -> str:
    return f"requirements file '{target}'" + (f" (included by '{includer}')" if includer else "")


def _no_project_message(document: dict[str, object]) -> str:
    tool = document.get("tool")
    if isinstance(tool, dict) and "poetry" in tool:
        return (
            "pyproject.toml lists its dependencies under [tool.poetry], which only Poetry reads. Move them to"
            " [project], or export a requirements.txt and name that."
        )
    return "pyproject.toml has no [project] table. Add one with 'dependencies', or name a requirements.txt."


def _refuse_dynamic(project: dict[str, object], field: str) -> None:
    dynamic = project.get("dynamic", [])
    if isinstance(dynamic, list) and field in dynamic:
        raise RequirementsError(
            f"pyproject.toml declares {field} as dynamic: only its build backend knows them. List them in [project],"
            " or name the requirements file that they come from."
        )


def _string_list(table: dict[str, object], key: str, label: str) -> list[str]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RequirementsError(f"pyproject.toml: {label} is not a list of strings.")
    return [str(item) for item in value]
