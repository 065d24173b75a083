# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The supported ansible-cores at both ends, each with a Python of this machine and an environment with nothing but it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def pythons() -> list[tuple[str, str]]:
    """Version of ansible-core and the Python that it is tested on; no Python where this machine has none for it."""
    candidates = [
        shutil.which("python3.13"),
        "/usr/bin/python3.13",
        *sorted(map(str, Path.home().glob(".pyenv/versions/3.13*/bin/python3.13"))),
    ]
    found = (one for one in candidates if one and Path(one).exists() and makes_environments(one))
    return [("2.19", sys.executable), ("2.21", next(found, ""))]


def makes_environments(python: str) -> bool:
    return subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0


def environment(version: str, python: str, folder: Path) -> Path:
    """The bin directory of an environment with nothing but ansible-core, made when it is not there."""
    venv = folder / f"core-{version}"
    if not (venv / "bin/ansible").exists():
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(venv / "bin/pip"), "install", "--quiet", f"ansible-core=={version}.*"], check=True)
    said = subprocess.run([str(venv / "bin/ansible"), "--version"], capture_output=True, text=True, check=True).stdout
    if f"core {version}." not in said:
        sys.exit(f"{venv} should have ansible-core {version}, and says: {said.splitlines()[0]}. Remove the directory.")
    return venv / "bin"
