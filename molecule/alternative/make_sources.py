# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The sources of the two backends: an archive with its checksum, and a git repository behind SSH with a deploy key."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
STATE = Path(os.environ["DECANT_TEST_STATE"])
UNWANTED = shutil.ignore_patterns("__pycache__", ".pytest_cache", "*.db", "instance")


def git(*arguments: str, cwd: Path) -> None:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True)


def make_archive() -> None:
    """As a release archive is: one directory at the top."""
    folder = STATE / "notes-1.0.0"
    shutil.copytree(ROOT / "molecule/alternative/backend", folder, ignore=UNWANTED)
    archive = STATE / "shop.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    (STATE / "shop.sha256").write_text(hashlib.sha256(archive.read_bytes()).hexdigest(), encoding="utf-8")


def make_repository() -> None:
    """The example backend with hashes in its requirements, under a tag."""
    work = STATE / "work"
    shutil.copytree(ROOT / "examples/backend", work, ignore=UNWANTED)
    requirements = work / "api/requirements.txt"
    uv = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "compile",
        "--quiet",
        "--generate-hashes",
        "--python-version",
        "3.11",
    ]
    subprocess.run(
        [*uv, "--output-file", str(work / "api/hashed.txt"), str(requirements)], check=True, capture_output=True
    )
    shutil.move(work / "api/hashed.txt", requirements)
    git("init", "--quiet", "--initial-branch=main", cwd=work)
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "--message", "The example backend, with hashes", cwd=work)
    git("tag", "--annotate", "--message", "First", "v1.0.0", cwd=work)
    text = requirements.read_text(encoding="utf-8")
    requirements.write_text(
        re.sub("sha256:(.)", lambda m: f"sha256:{'1' if m[1] == '0' else '0'}", text), encoding="utf-8"
    )
    git("commit", "--quiet", "--all", "--message", "A wrong hash", cwd=work)
    git("tag", "wrong-hash", cwd=work)
    git("clone", "--quiet", "--bare", str(work), str(STATE / "shop-api.git"), cwd=STATE)
    with tarfile.open(STATE / "repository.tar", "w") as tar:
        tar.add(STATE / "shop-api.git", arcname="shop-api.git")


def make_access() -> None:
    """A deploy key, and the host's own key as the controller's known_hosts has it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(STATE / "deploy_key")], check=True)
    host = json.loads(Path(os.environ["DECANT_HOSTS"]).read_text(encoding="utf-8"))["web"]["ansible_host"]
    scanned = subprocess.run(["ssh-keyscan", host], check=True, capture_output=True, text=True).stdout
    (STATE / "known_hosts").write_text(scanned, encoding="utf-8")


if __name__ == "__main__":
    make_archive()
    make_repository()
    make_access()
