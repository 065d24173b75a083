# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs a playbook of the role kit on this machine alone, with an inventory of one host that nobody asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def play(
    place: Path, name: str, dest: Path, variables: dict[str, Any], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """playbooks/<name> for the repository in dest, from a folder that keeps the inventory and Ansible's own files."""
    inventory = {"backend": {"hosts": {"web.example.org": {}}, "vars": variables}}
    (place / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")}
    program = str(Path(sys.executable).parent / "ansible-playbook")
    words = [program, "-i", str(place / "hosts.yml"), *arguments, str(ROOT / "playbooks" / name)]
    return subprocess.run(
        [*words, "-e", f"kit_dest={dest}"],
        env={**os.environ, **settings, "ANSIBLE_HOME": str(place / "home"), "ANSIBLE_NOCOLOR": "1"},
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
