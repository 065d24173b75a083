# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ansible-doc prints of this collection is complete: every module, filter, lookup, callback and role, read by ansible-doc itself."""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
FOLDERS = {"module": "modules", "filter": "filter", "lookup": "lookup", "callback": "callback"}
NO_FILTERS = {"quoting"}  # the code of all of them
# What Ansible itself makes of a result, or shows; nothing to look up.
ANSIBLES = {"changed", "diff", "failed", "msg", "ansible_facts", "warnings", "skipped", "exception"}


def names(kind: str) -> list[str]:
    if kind == "role":
        return sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    found = {path.stem for path in (ROOT / "plugins" / FOLDERS[kind]).iterdir() if path.suffix in (".py", ".yml")}
    return sorted(found - NO_FILTERS - {"__init__"})


PLUGINS = [(kind, name) for kind in FOLDERS for name in names(kind)]


@functools.cache
def said(kind: str) -> dict[str, Any]:
    """ansible-doc's answer, by short name."""
    command = [str(BIN / "ansible-doc"), "--type", kind, "--json", *(f"decant.flask.{name}" for name in names(kind))]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"}
    environment.pop("ANSIBLE_CONFIG", None)
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.rsplit(".", 1)[-1]: found for name, found in json.loads(done.stdout).items()}


def loaded(text: Any) -> Any:
    return yaml.safe_load(text) if isinstance(text, str) else text


def incomplete(options: dict[str, Any], at: str = "") -> list[str]:
    """Options without a sentence or a type, those inside of others included."""
    found = []
    for name, option in options.items():
        if not option.get("description") or not option.get("type"):
            found.append(f"{at}{name}")
        if option.get("type") == "list" and "elements" not in option:
            found.append(f"{at}{name}: elements")
        found += incomplete(option.get("suboptions") or option.get("options") or {}, f"{at}{name}.")
    return found


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_plugin_is_documented(kind: str, name: str):
    found = said(kind)[name]
    document = found["doc"]
    assert not {"short_description", "description", "version_added", "author"} - set(document)
    assert incomplete(document.get("options") or {}) == []
    if kind != "callback":
        examples = loaded(found["examples"])
        assert examples and f"decant.flask.{name}" in json.dumps(examples)
        returned = loaded(found["return"])
        assert returned is not None and all(
            entry.get("description") and entry.get("type") for entry in returned.values()
        )


@pytest.mark.parametrize("role", names("role"))
def test_a_role_is_documented(role: str):
    points = said("role")[role]["entry_points"]
    assert points
    for point in points.values():
        assert point["short_description"] and point["description"]
        assert incomplete(point["options"]) == []


def returned_names(path: Path) -> set[str]:
    """Names that a module or an action puts into its result, as far as they stand there by name: keywords of exit_json, keys of what is
    called result or answer, and keys of what run() and the like return with those in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        literal = None
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "exit_json":
            found |= {word.arg for word in node.keywords if word.arg}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and target.id in ("result", "answer"):
                    literal = node.value
                if isinstance(target, ast.Subscript) and getattr(target.value, "id", "") in ("result", "answer"):
                    found |= {target.slice.value} if isinstance(target.slice, ast.Constant) else set()
        elif isinstance(node, ast.Return):
            literal = node.value
        if isinstance(literal, ast.Dict):
            spread = {getattr(value, "id", "") for key, value in zip(literal.keys, literal.values) if key is None}
            if not isinstance(node, ast.Return) or spread & {"result", "answer"}:
                found |= {key.value for key in literal.keys if isinstance(key, ast.Constant)}
    return found - ANSIBLES


@pytest.mark.parametrize("name", names("module"))
def test_what_is_returned_is_documented(name: str):
    paths = [path for folder in ("modules", "action") if (path := ROOT / f"plugins/{folder}/{name}.py").exists()]
    assert set().union(*map(returned_names, paths)) <= set(loaded(said("module")[name]["return"]))
