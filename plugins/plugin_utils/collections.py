# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collections that optional roles use: is each one on the controller, in a version that will do?"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from . import settings

# Role -> the collection it uses, and the input by which alone it does, if any. What is not here runs with ansible-core alone.
NEEDS = {
    "postgresql": ("community.postgresql", ""),
    "exporters": ("community.postgresql", "exporters_postgresql_enabled"),
}
INSTALL = (
    "Install it on the controller and run again: ansible-galaxy collection install -r requirements.yml (or '{name}:{wanted}' by "
    "its name), or, where Galaxy is out of reach, python3 -m pip install ansible, which carries it."
)


def problems(roles: Iterable[str], inputs: Mapping[str, Any] | None = None) -> list[str]:
    """What the roles of a play miss on the controller.

    :param inputs: the public variables of the host.
    """
    found = []
    asked = [NEEDS[role] for role in roles if role in NEEDS]
    for name in sorted({name for name, by in asked if not by or (inputs or {}).get(by)}):
        version, wanted = installed_version(name), wanted_range(name)
        install = INSTALL.format(name=name, wanted=wanted)
        if version is None:
            found.append(f"The collection {name} is not installed, and this playbook needs it ({wanted}). {install}")
        elif version and not fits(version, wanted):
            found.append(f"The collection {name} is installed in version {version}, and {wanted} is needed. {install}")
    return found


def installed_version(name: str) -> str | None:
    """The version that Ansible would use; empty when its files do not say; None when there is none."""
    try:
        spec = importlib.util.find_spec(f"ansible_collections.{name}")
    except ModuleNotFoundError:  # not even the namespace
        return None
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or []:
        manifest = Path(folder, "MANIFEST.json")
        if manifest.is_file():
            return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    return ""


def wanted_range(name: str) -> str:
    """The range that requirements.yml names."""
    document = yaml.safe_load(settings.collection_file("requirements.yml").read_text(encoding="utf-8"))
    return next(str(entry["version"]) for entry in document["collections"] if entry["name"] == name)


def fits(version: str, wanted: str) -> bool:
    """Whether a version is in a range like >=4.0.0,<5.0.0."""
    tests = {">=": lambda a, b: a >= b, "<": lambda a, b: a < b}
    return all(
        tests[operator](numbers(version), numbers(bound))
        for operator, bound in re.findall(r"(>=|<)\s*([\d.]+)", wanted)
    )


def numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, without what marks a test version."""
    return tuple(int(part) for part in re.match(r"[\d.]*\d", version).group().split("."))
