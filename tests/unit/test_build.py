# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decant's own releases: the same bytes of the same commit, a tarball whose checksums hold, and a version made by its own playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.decant.flask.plugins.plugin_utils import kits, notes
from build import working_copy

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ADA = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_COMMITTER_DATE": "2026-11-22T10:15:00Z"}
ADA |= {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
}
MOMENT = 1795342500  # of the commit


def run(cwd: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOME": f"{cwd}-home",
        **ADA,
        **more,
    }
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def ok(cwd: Path, *command: str, **more: str) -> str:
    done = run(cwd, *command, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as one commit."""
    found = tmp_path_factory.mktemp("release") / "decant"
    working_copy(found)
    ok(found, "git", "init", "--quiet", "--initial-branch", "main")
    ok(found, "git", "add", "--all")
    ok(found, "git", "commit", "--quiet", "--message", "All of it")
    return found


def build(clone: Path, commit: str = "HEAD") -> Path:
    output = clone.parent / f"{clone.name}-built"
    ok(clone, sys.executable, "tools/build.py", "--repository", str(clone), "--commit", commit, "--output", str(output))
    (path,) = output.iterdir()
    return path


@pytest.fixture(scope="module")
def tarball(repository: Path) -> Path:
    return build(repository)


def test_two_clones_build_the_same_bytes(repository: Path, tarball: Path, tmp_path: Path):
    """In another place, later, with other times, another umask, and files that git does not have."""
    ok(tmp_path, "git", "clone", "--quiet", str(repository), "clone")
    clone = tmp_path / "clone"
    for path in clone.rglob("*.py"):
        os.utime(path, (1, 1))
    (clone / "roles/app/notes.txt").write_text("mine\n")
    before = os.umask(0o077)
    try:
        while time.time() < tarball.stat().st_mtime + 1.1:  # ansible-galaxy's own would differ by the second
            time.sleep(0.1)
        second = build(clone)
    finally:
        os.umask(before)
    assert second.name == tarball.name and second.read_bytes() == tarball.read_bytes()


def test_members_are_nobodys_and_of_the_commits_time(tarball: Path):
    with tarfile.open(tarball) as tar:
        members = tar.getmembers()
    assert {member.mtime for member in members} == {MOMENT}
    assert {(member.uid, member.gid) for member in members} == {(0, 0)}
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {member.mode for member in members if not member.issym()} == {0o644, 0o755}


def test_the_installed_tarball_verifies(tarball: Path, tmp_path: Path):
    """In a path with nothing else in it; bin/test collection deploys from there."""
    galaxy = ("ansible-galaxy", "collection")
    ok(tmp_path, *galaxy, "install", "--offline", "-p", "there", str(tarball))
    verify = (*galaxy, "verify", "--offline", "decant.flask", "-p", "there")
    place = {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "there")}
    ok(tmp_path, *verify, **place)
    with (tmp_path / "there/ansible_collections/decant/flask/README.md").open("a") as stream:
        stream.write("changed\n")
    assert run(tmp_path, *verify, **place).returncode != 0


def test_a_commit_that_is_not_there_is_named(repository: Path):
    done = run(repository, sys.executable, "tools/build.py", "--repository", str(repository), "--commit", "v9")
    assert done.returncode == 1 and "v9" in done.stderr and "Traceback" not in done.stderr


# --- a version of Decant -------------------------------------------------------------------------


def own(repository: Path, name: str, *arguments: str) -> str:
    words = ("-i", "tools/release.yml", f"playbooks/{name}.yml", "-e", f"kit_dest={repository}")
    return ok(repository, "ansible-playbook", *words, *arguments, ANSIBLE_CONFIG=str(repository / "ansible.cfg"))


def test_the_pages_are_those_of_the_kit(repository: Path):
    """bin/release pages writes them, and nobody else does but for ticks."""
    assert "changed=0" in own(repository, "kit", "--check")
    record = kits.read_record((repository / kits.RECORD).read_text())
    assert set(record) == {"docs/releases/README.md", "docs/releases/checklist.md"}
    texts = {path: notes.unticked((repository / path).read_text()) for path in record}
    assert {path: kits.digest(text) for path, text in texts.items()} == record


def test_decant_releases_itself(repository: Path, tmp_path: Path):
    ok(tmp_path, "git", "clone", "--quiet", "--no-local", str(repository), "clone")
    clone = tmp_path / "clone"
    checklist = clone / "docs/releases/checklist.md"
    before, heading, after = checklist.read_text().partition("## During")
    checklist.write_text(before.replace("[ ]", "[x]") + heading + after)
    fragments = sorted(path.name for path in (clone / "changelogs/fragments").glob("*.yml"))
    if not fragments:
        (clone / "changelogs/fragments").mkdir(exist_ok=True)
        (clone / "changelogs/fragments/x.yml").write_text("bugfixes:\n  - Something.\n")
        ok(clone, "git", "add", "--all")
        ok(clone, "git", "commit", "--quiet", "--message", "x")
    own(clone, "release", "-e", "kit_release=9.0.0", "-e", "kit_release_date=2026-11-22")
    assert ok(clone, "git", "status", "--porcelain") == ""
    assert yaml.safe_load((clone / "galaxy.yml").read_text())["version"] == "9.0.0"
    written = yaml.safe_load((clone / "changelogs/changelog.yaml").read_text())["releases"]["9.0.0"]
    assert str(written["release_date"]) == "2026-11-22" and "changes" in written
    assert "## v9\\.0\\.0" in (clone / "CHANGELOG.md").read_text()
    assert (clone / "docs/releases/9.0.0.md").is_file() and not list((clone / "changelogs/fragments").glob("*.yml"))
    assert ok(clone, "git", "show", "--no-patch", "--format=%s", "v9.0.0^{commit}") == "Release 9.0.0"
    names = ok(clone, "git", "show", "--name-only", "--format=", "HEAD").splitlines()
    assert "changelogs/.plugin-cache.yaml" not in names
    ok(clone, "yamllint", "--strict", "changelogs", "galaxy.yml")
    with tarfile.open(build(clone, "v9.0.0")) as tar:
        stream = tar.extractfile("MANIFEST.json")
        assert stream and json.load(stream)["collection_info"]["version"] == "9.0.0"


def test_the_changelog_is_generated(tmp_path: Path):
    """From what is released; before the first version there is nothing to make it of, and fragments are all."""
    if not (ROOT / "changelogs/changelog.yaml").exists():
        assert list((ROOT / "changelogs/fragments").glob("*.yml"))
        assert "no version yet" in (ROOT / "CHANGELOG.md").read_text()
        return
    working_copy(tmp_path / "copy")
    ok(tmp_path / "copy", "antsibull-changelog", "generate")
    assert (tmp_path / "copy/CHANGELOG.md").read_text() == (ROOT / "CHANGELOG.md").read_text()
