# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which revisions a source's migrations hold and which of them a database lacks, read from the files' text alone: nothing
of the source runs on the controller."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

NAMES = ("revision", "down_revision", "depends_on")


def read(files: Mapping[str, bytes], folder: str) -> list[dict[str, Any]] | None:
    """The revisions under a Flask-Migrate directory; None when one of the files does not say plainly which it is.

    :param files: path relative to the code -> content.
    """
    prefix = f"{folder.strip('/')}/versions/"
    found = []
    for path, data in sorted(files.items()):
        name = path[len(prefix) :]
        if not path.startswith(prefix) or "/" in name or not name.endswith(".py") or name.startswith("__init__"):
            continue
        try:
            entry = one(data)
        except (SyntaxError, ValueError):
            return None
        if entry:
            found.append(entry)
    return found


def one(data: bytes) -> dict[str, Any] | None:
    """What one file says: revision, those it comes after, and the first line of its docstring.

    :raises SyntaxError, ValueError: when an expression would have to be run to know.
    """
    tree = ast.parse(data)
    values: dict[str, Any] = {}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and target.id in NAMES and node.value is not None:
                values[target.id] = ast.literal_eval(node.value)
    if not values.get("revision"):
        return None
    lines = (ast.get_docstring(tree) or "").strip().splitlines()
    after = [*as_list(values.get("down_revision")), *as_list(values.get("depends_on"))]
    return {"revision": str(values["revision"]), "after": after, "subject": lines[0].strip() if lines else ""}


def as_list(value: Any) -> list[str]:
    """None, a revision, or several."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def pending(found: Iterable[Mapping[str, Any]], now: Iterable[str]) -> dict[str, list[Any]]:
    """What a database at `now` lacks, in the order in which it would run, and what it has that the source does not."""
    known = {entry["revision"]: entry for entry in found}
    has, waiting = set(), list(now)
    while waiting:
        revision = waiting.pop()
        if revision not in has:
            has.add(revision)
            waiting += known[revision]["after"] if revision in known else []
    ordered: list[Mapping[str, Any]] = []
    done, left = set(has), [entry for name, entry in sorted(known.items()) if name not in has]
    while left:
        ready = [e for e in left if all(name in done or name not in known for name in e["after"])] or left
        ordered += ready
        done |= {entry["revision"] for entry in ready}
        left = [entry for entry in left if entry["revision"] not in done]
    return {"pending": ordered, "foreign": sorted(name for name in set(now) if name not in known)}
