#!/usr/bin/env python3
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs ansible-test sanity on the collection as its tarball has it: sanity.py CORE REPORT. Called by bin/test, in the environment it made.

What is not in the tarball (bin, tests, molecule, the link to the checkout) has lint of its own: ansible-test takes all of bin for Python, and a
link to a directory for an error. Environments, and a home for ansible-test, are kept in the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import build
import cores

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ["DECANT_CACHE"]) / "sanity"
# pylint takes longer than all others together, and says the same of the same files, so that one core is enough; and the one that ansible-core
# 2.21 asks for (4.0.5, with astroid 4.0.4) ends in an AssertionError of its own on a named tuple of Python 3.13.
SKIPPED = {"2.21": ("pylint",)}
# ansible-test would download a program that installs pip from a host of its own. Python brings the same.
GET_PIP = "import ensurepip\n\nensurepip.bootstrap()\n"


def collection(folder: Path) -> Path:
    """The checkout, uncommitted work included, as an installed collection that git tracks: ansible-test asks git for its files."""
    copy, place = folder / "copy", folder / "ansible_collections/decant/flask"
    build.working_copy(copy)
    place.mkdir(parents=True)
    with tarfile.open(build.galaxy_build(copy, folder)) as tar:
        tar.extractall(place)
    shutil.copytree(ROOT / "tests/sanity", place / "tests/sanity")
    for words in (["init"], ["add", "--all"]):
        subprocess.run(["git", words[0], *words[1:]], cwd=place, check=True, stdout=subprocess.DEVNULL)
    return place


def home(core: Path) -> Path:
    """ansible-test's own home, with the program that it would download, named by the version of pip that it wants."""
    (requirements,) = core.parent.glob("lib/python*/site-packages/ansible_test/_internal/python_requirements.py")
    (version,) = re.findall(r"\bpip='([\d.]+)'", requirements.read_text(encoding="utf-8"))
    place = CACHE / "home"
    program = place / f".ansible/test/cache/get_pip_{version.replace('.', '_')}.py"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(GET_PIP, encoding="utf-8")
    return place


def merged(reports: Path) -> ElementTree.ElementTree:
    """The report of each test as one."""
    whole = ElementTree.Element("testsuites")
    for path in sorted(reports.glob("*.xml")):
        whole.extend(ElementTree.parse(path).getroot().iter("testsuite"))
    return ElementTree.ElementTree(whole)


def main(version: str, report: Path) -> int:
    python = dict(cores.pythons())[version]
    core = cores.environment(version, python, CACHE)
    number = subprocess.run(
        [python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    own = {"HOME": str(home(core)), "PATH": f"{core}:{os.environ['PATH']}"}
    # pip's settings of whoever runs this still count.
    own["XDG_CONFIG_HOME"] = os.environ.get("XDG_CONFIG_HOME", str(Path.home() / ".config"))
    words = ["sanity", "--python", number, "--color", "no", "--junit"]
    words += [word for name in SKIPPED.get(version, ()) for word in ("--skip-test", name)]
    with tempfile.TemporaryDirectory() as name:
        place = collection(Path(name))
        code = subprocess.run([core / "ansible-test", *words], cwd=place, env={**kept, **own}, check=False).returncode
        merged(place / "tests/output/junit").write(report)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
