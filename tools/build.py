#!/usr/bin/env python3
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Builds the collection's tarball of a commit: the same bytes of the same commit, whoever builds it, where and when.

    build.py [--repository DIR] [--commit HEAD] [--output DIR]

What git does not have is not in it. ansible-galaxy, the one on PATH, decides what is in the tarball and writes its manifest. But its list of
files has the order of the directory, and its members the time of the build: so the list is sorted, and the members have the commit's time.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.decant.flask.plugins.plugin_utils import sources  # noqa: E402


def working_copy(target: Path) -> None:
    """What git has of this checkout, or is about to have, in another place."""
    listed = sources.git(["ls-files", "--cached", "--others", "--exclude-standard", "-z"], folder=str(ROOT)).decode()
    for name in sorted(set(filter(None, listed.split("\0")))):
        if os.path.lexists(ROOT / name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


def checkout(repository: Path, commit: str, folder: Path) -> int:
    """A commit's files in a folder, and its time in seconds."""
    archive = sources.git(["archive", "--format=tar", commit], folder=str(repository))
    subprocess.run(["tar", "--extract", "--directory", str(folder)], input=archive, check=True)
    return int(sources.git(["log", "-1", "--format=%ct", commit], folder=str(repository)))


def galaxy_build(tree: Path, folder: Path) -> Path:
    """The tarball as ansible-galaxy makes it. The settings of whoever builds have no say in it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    command = ["ansible-galaxy", "collection", "build", "--output-path", str(folder), str(tree)]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"ansible-galaxy could not build: {(done.stdout + done.stderr).strip()}")
    (path,) = folder.glob("*.tar.gz")
    return path


def sorted_manifest(entries: list[sources.Entry]) -> list[sources.Entry]:
    """The members with the list of files in order, and the manifest with that list's checksum."""
    by_path = {entry.path: entry for entry in entries}
    listed = json.loads(by_path["FILES.json"].data)
    listed["files"].sort(key=lambda one: one["name"])
    by_path["FILES.json"].data = json.dumps(listed, indent=True).encode()
    manifest = json.loads(by_path["MANIFEST.json"].data)
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(by_path["FILES.json"].data).hexdigest()
    by_path["MANIFEST.json"].data = json.dumps(manifest, indent=True).encode()
    return list(by_path.values())


def build(repository: Path, commit: str, output: Path) -> Path:
    """The tarball's path."""
    with tempfile.TemporaryDirectory() as name:
        tree, folder = Path(name, "tree"), Path(name, "built")
        tree.mkdir()
        folder.mkdir()
        moment = checkout(repository, commit, tree)
        made = galaxy_build(tree, folder)
        with tarfile.open(made) as tar:
            entries = sorted_manifest(list(sources.tar_entries(tar)))
        output.mkdir(parents=True, exist_ok=True)
        path = output / made.name
        aside = output / f".{made.name}.{os.getpid()}"
        with aside.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as zipped:
            zipped.write(sources.pack(entries, moment))
        aside.rename(path)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repository", type=Path, default=ROOT)
    parser.add_argument("--commit", default="HEAD")
    parser.add_argument("--output", type=Path, default=Path())
    given = parser.parse_args()
    try:
        path = build(given.repository, given.commit, given.output)
    except subprocess.CalledProcessError as error:
        sys.exit(f"git: {error.stderr.decode(errors='replace').strip()}")
    except sources.SourceError as error:
        sys.exit(str(error))
    print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
