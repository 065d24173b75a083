#!/usr/bin/env python3
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes docs/variables.md from the roles' argument specs; with --check, says whether it is up to date."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/variables.md"
ROLES = (
    "lock",
    "app",
    "release",
    "venv",
    "dotenv",
    "migrate",
    "gunicorn",
    "nginx",
    "health",
    "backup",
    "rollback",
    "restore",
    "status",
    "maintenance",
    "silence",
    "postgresql",
    "baseline",
    "exporters",
    "monitoring",
    "kit",
    "readiness",
)
HEAD = """# Variables

Every input of every role, generated from `roles/*/meta/argument_specs.yml` by `tools/variables.py`. A variable that begins
with a role's name and is not on this page is refused, with the name that was probably meant.
"""


def cell(option: dict[str, Any]) -> str:
    """The default, as one writes it."""
    if option.get("required"):
        return "required"
    return f"`{json.dumps(option['default'])}`" if "default" in option else ""


def kind(option: dict[str, Any]) -> str:
    """The type, with what a list holds and what may be chosen."""
    text = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
    if "choices" in option:
        text += ": " + ", ".join(str(choice) for choice in option["choices"])
    return text + (", secret" if option.get("no_log") else "")


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for role in ROLES:
        document = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
        main = document["argument_specs"]["main"]
        rows = [
            f"| `{name}` | {kind(option)} | {cell(option)} | {' '.join(option['description'].split())} |"
            for name, option in main["options"].items()
        ]
        head = f"\n## {role}: {main['short_description']}\n\n| variable | type | default | meaning |\n| --- | --- | --- | --- |\n"
        parts.append(head + "\n".join(rows) + "\n")
    return "".join(parts)


def main() -> int:
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/variables.md is not what the argument specs say. Run tools/variables.py and commit the result.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
