# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sources: real repositories, directories, archives and downloads become one tar, whose bytes depend on content alone."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.plugin_utils import sources
from ansible_collections.decant.flask.plugins.plugin_utils.sources import Entry, SourceError

IDENTITY = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


class Repository:
    """A git repository with a little history."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        env = {**os.environ, **IDENTITY}
        done = subprocess.run(["git", *arguments], cwd=self.path, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, subject: str, **files: str) -> str:
        for name, text in files.items():
            (self.path / name).write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return self.path.as_uri()


@pytest.fixture(autouse=True)
def _own_git_config(monkeypatch: pytest.MonkeyPatch):
    """Neither the user's configuration nor a repository around the tests decides a result."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repo = Repository(tmp_path / "repository")
    repo.commit("first", app="one")
    return repo


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def contents(found: dict[str, Any]) -> dict[str, bytes]:
    return {e.path: e.data for e in found["entries"] if not e.folder and not e.link}


def digest(entries: list[Entry]) -> str:
    return hashlib.sha256(sources.pack(entries)).hexdigest()


# --- git -----------------------------------------------------------------------------------------


def test_a_branch(repository: Repository, cache: str):
    commit = repository.commit("Second: say more", app="two")
    found = sources.from_git(repository.url, "main", cache)
    assert contents(found) == {"app": b"two"}
    assert (found["kind"], found["commit"], found["version"]) == ("git", commit, "main")
    assert (found["subject"], found["origin"]) == ("Second: say more", repository.url)


def test_a_branch_that_moves_is_fetched_again(repository: Repository, cache: str):
    first = sources.from_git(repository.url, "main", cache)
    commit = repository.commit("second", app="two")
    second = sources.from_git(repository.url, "main", cache)
    assert first["commit"] != second["commit"] == commit
    assert contents(second) == {"app": b"two"}


def test_a_branch_whose_history_was_rewritten(repository: Repository, cache: str):
    sources.from_git(repository.url, "main", cache)
    repository.git("commit", "--quiet", "--amend", "--message", "rewritten")
    assert sources.from_git(repository.url, "main", cache)["subject"] == "rewritten"


def test_a_branch_with_a_slash(repository: Repository, cache: str):
    repository.git("checkout", "--quiet", "-b", "feature/login")
    commit = repository.commit("login", app="login")
    assert sources.from_git(repository.url, "feature/login", cache)["commit"] == commit


def test_a_branch_that_was_removed_is_not_served_from_the_cache(repository: Repository, cache: str):
    repository.git("branch", "gone")
    sources.from_git(repository.url, "gone", cache)
    repository.git("branch", "-D", "gone")
    with pytest.raises(SourceError, match="app_version 'gone' is no branch, tag or commit"):
        sources.from_git(repository.url, "gone", cache)


@pytest.mark.parametrize("annotated", [False, True])
def test_a_tag_gives_its_commit(repository: Repository, cache: str, annotated: bool):
    commit = repository.git("rev-parse", "HEAD")
    repository.git("tag", *(["--annotate", "--message", "release"] if annotated else []), "v1.0.0")
    repository.commit("second", app="two")
    found = sources.from_git(repository.url, "v1.0.0", cache)
    assert found["commit"] == commit
    assert contents(found) == {"app": b"one"}


@pytest.mark.parametrize("length", [7, 12, 40])
def test_a_commit_short_or_whole(repository: Repository, cache: str, length: int):
    commit = repository.git("rev-parse", "HEAD")
    repository.commit("second", app="two")
    found = sources.from_git(repository.url, commit[:length], cache)
    assert found["commit"] == commit
    assert contents(found) == {"app": b"one"}


def test_a_known_commit_needs_no_network(repository: Repository, cache: str, tmp_path: Path):
    commit = sources.from_git(repository.url, "main", cache)["commit"]
    repository.path.rename(tmp_path / "elsewhere")
    assert contents(sources.from_git(repository.url, commit, cache)) == {"app": b"one"}
    with pytest.raises(SourceError, match="cannot be fetched"):
        sources.from_git(repository.url, "main", cache)


@pytest.mark.parametrize("version", ["abcdef1", "f" * 40])
def test_a_commit_that_does_not_exist(repository: Repository, cache: str, version: str):
    with pytest.raises(SourceError, match=f"app_version '{version}' is no branch, tag or commit"):
        sources.from_git(repository.url, version, cache)


def test_a_name_that_is_a_branch_and_a_tag(repository: Repository, cache: str):
    tag = repository.git("rev-parse", "HEAD")
    repository.git("tag", "v2")
    repository.git("checkout", "--quiet", "-b", "v2")
    branch = repository.commit("second", app="two")
    with pytest.raises(SourceError) as refusal:
        sources.from_git(repository.url, "v2", cache)
    assert f"both a branch ({branch[:7]}) and a tag ({tag[:7]})" in str(refusal.value)
    assert "Write the commit instead" in str(refusal.value)
    assert sources.from_git(repository.url, branch, cache)["commit"] == branch


def test_a_branch_and_a_tag_of_one_name_and_commit_are_no_question(repository: Repository, cache: str):
    repository.git("tag", "v2")
    repository.git("branch", "v2")
    assert sources.from_git(repository.url, "v2", cache)["commit"] == repository.git("rev-parse", "main")


def test_a_version_that_is_misspelt(repository: Repository, cache: str):
    for name in ("v1.4.0", "v1.4.1", "unrelated"):
        repository.git("tag", name)
    with pytest.raises(SourceError) as refusal:
        sources.from_git(repository.url, "v1.4.2", cache)
    message = str(refusal.value)
    assert "app_version 'v1.4.2' is no branch, tag or commit" in message
    assert "v1.4.1" in message
    assert "unrelated" not in message
    assert "correct app_version" in message


def test_a_version_unlike_any_other_lists_some(repository: Repository, cache: str):
    with pytest.raises(SourceError, match="It has main"):
        sources.from_git(repository.url, "qqqqqq", cache)


def test_an_empty_repository(tmp_path: Path, cache: str):
    repo = Repository(tmp_path / "empty")
    with pytest.raises(SourceError, match="It has no branch and no tag"):
        sources.from_git(repo.url, "main", cache)


def test_a_repository_that_is_not_there(tmp_path: Path, cache: str):
    url = (tmp_path / "nowhere").as_uri()
    with pytest.raises(SourceError) as refusal:
        sources.from_git(url, "main", cache)
    message = str(refusal.value)
    assert f"app_repo '{url}' cannot be fetched" in message
    assert "does not appear to be a git repository" in message
    assert f"git ls-remote {url}" in message


def test_git_that_is_not_installed(repository: Repository, cache: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="git is not installed on the controller"):
        sources.from_git(repository.url, "main", cache)


def test_submodules_are_refused(repository: Repository, cache: str):
    commit = repository.git("rev-parse", "HEAD")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},library")
    repository.git("commit", "--quiet", "--message", "with a submodule")
    with pytest.raises(SourceError) as refusal:
        sources.from_git(repository.url, "main", cache)
    assert "has git submodules" in str(refusal.value)
    assert "app_archive" in str(refusal.value)


def test_modes_and_links_of_a_repository(repository: Repository, cache: str):
    (repository.path / "run").write_text("#!/bin/sh\n", encoding="utf-8")
    (repository.path / "run").chmod(0o755)
    (repository.path / "link").symlink_to("app")
    repository.commit("more")
    found = {e.path: e for e in sources.from_git(repository.url, "main", cache)["entries"]}
    assert found["run"].executable
    assert not found["app"].executable
    assert found["link"].link == "app"


def test_what_is_not_committed_is_not_deployed(repository: Repository, cache: str):
    (repository.path / "app").write_text("dirty", encoding="utf-8")
    (repository.path / "stray").write_text("stray", encoding="utf-8")
    assert contents(sources.from_git(repository.url, "main", cache)) == {"app": b"one"}


def test_the_repository_of_the_caller_is_not_meant(
    repository: Repository, cache: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    other = Repository(tmp_path / "other")
    other.commit("other", app="other")
    monkeypatch.setenv("GIT_DIR", str(other.path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.path))
    assert contents(sources.from_git(repository.url, "main", cache)) == {"app": b"one"}


def test_two_repositories_do_not_share_a_mirror(repository: Repository, cache: str, tmp_path: Path):
    other = Repository(tmp_path / "other")
    other.commit("other", app="other")
    assert contents(sources.from_git(repository.url, "main", cache)) == {"app": b"one"}
    assert contents(sources.from_git(other.url, "main", cache)) == {"app": b"other"}


def test_the_cache_is_private(repository: Repository, cache: str):
    sources.from_git(repository.url, "main", cache)
    assert os.stat(f"{cache}/git").st_mode & 0o777 == 0o700


def test_concurrent_deploys_of_one_repository(repository: Repository, cache: str):
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: sources.from_git(repository.url, "main", cache), range(6)))
    assert {f["commit"] for f in found} == {repository.git("rev-parse", "HEAD")}
    assert len({digest(f["entries"]) for f in found}) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:hunter2@git.example.org/p.git", "https://user:***@git.example.org/p.git"),
        ("https://:hunter2@git.example.org/p.git", "https://:***@git.example.org/p.git"),
        ("ssh://git@git.example.org:22/p.git", "ssh://git@git.example.org:22/p.git"),
        ("git@git.example.org:p.git", "git@git.example.org:p.git"),
        ("https://git.example.org:8443/p@x.git", "https://git.example.org:8443/p@x.git"),
        ("a https://u:p1@x/ b https://u:p2@y/", "a https://u:***@x/ b https://u:***@y/"),
        ("/srv/git/p.git", "/srv/git/p.git"),
        ("https://u:hun@ter2@x/p", "https://u:***@x/p"),
        ("https://hunter2@git.example.org/p.git", "https://***@git.example.org/p.git"),
    ],
)
def test_passwords_are_masked(text: str, shown: str):
    assert sources.without_password(text) == shown


def test_no_message_of_git_shows_the_password(cache: str):
    with pytest.raises(SourceError) as refusal:
        sources.from_git("http://user:hunter2@127.0.0.1:1/p.git", "main", cache)
    assert "hunter2" not in str(refusal.value)
    assert "user:***@127.0.0.1" in str(refusal.value)


def test_a_git_that_prints_the_password_is_masked(cache: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Older gits do, in the message of a failed fetch."""
    fake = tmp_path / "bin/git"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\n[ "$1" = init ] && mkdir -p "$4" || { echo "fatal: $*" >&2; exit 128; }\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    with pytest.raises(SourceError) as refusal:
        sources.from_git("https://user:hunter2@git.example.org/p.git", "main", cache)
    assert "git says: fatal: fetch" in str(refusal.value)
    assert "https://user:***@git.example.org/p.git" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_deploy_key_that_is_not_there(cache: str, tmp_path: Path):
    with pytest.raises(SourceError, match="app_deploy_key is '.*/key', and there is no such file"):
        sources.git_env(str(tmp_path / "key"), "")


def test_a_deploy_key_is_the_only_key(tmp_path: Path):
    key = tmp_path / "a key"
    key.write_text("x", encoding="utf-8")
    command = sources.git_env(str(key), str(tmp_path / "hosts"))["GIT_SSH_COMMAND"]
    assert command == (
        f"ssh -o BatchMode=yes -i '{key}' -o IdentitiesOnly=yes -o UserKnownHostsFile='{tmp_path / 'hosts'}'"
    )
    assert sources.git_env("", "") == {}


def test_commits_between_two(repository: Repository, cache: str):
    first = repository.git("rev-parse", "HEAD")
    second = repository.commit("Second\x1b[31m", app="2")
    third = repository.commit("Third: {{ braces }}", app="3")
    sources.from_git(repository.url, "main", cache)
    mirror = sources.mirror_of(repository.url, cache)
    brings = [f"{third[:7]} Third: {{{{ braces }}}}", f"{second[:7]} Second [31m"]
    assert sources.commits_between(mirror, first, third) == {"brings": brings, "leaves": []}
    assert sources.commits_between(mirror, third, first) == {"brings": [], "leaves": brings}
    assert sources.commits_between(mirror, third, third) == {"brings": [], "leaves": []}


def test_commits_of_a_history_that_parted(repository: Repository, cache: str):
    first = repository.git("rev-parse", "HEAD")
    ours = repository.commit("Ours", app="2")
    repository.git("checkout", "--quiet", "-b", "side", first)
    theirs = repository.commit("Theirs", app="3")
    sources.from_git(repository.url, "main", cache)
    found = sources.commits_between(sources.mirror_of(repository.url, cache), ours, theirs)
    assert found == {"brings": [f"{theirs[:7]} Theirs"], "leaves": [f"{ours[:7]} Ours"]}


@pytest.mark.parametrize("old", ["f" * 40, "", "main", "--all"])
def test_commits_since_one_that_the_mirror_does_not_have(repository: Repository, cache: str, old: str):
    commit = sources.from_git(repository.url, "main", cache)["commit"]
    assert sources.commits_between(sources.mirror_of(repository.url, cache), old, commit) is None


# --- directory -----------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in (
        "app/main.py",
        "app/__pycache__/main.pyc",
        "docs/build/x.html",
        "build/y",
        ".env",
        "notes.txt",
        "README",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (
            [],
            {"app/main.py", "app/__pycache__/main.pyc", "docs/build/x.html", "build/y", ".env", "notes.txt", "README"},
        ),
        (["__pycache__", ".env"], {"app/main.py", "docs/build/x.html", "build/y", "notes.txt", "README"}),
        (["build"], {"app/main.py", "app/__pycache__/main.pyc", ".env", "notes.txt", "README"}),
        (["docs/build"], {"app/main.py", "app/__pycache__/main.pyc", "build/y", ".env", "notes.txt", "README"}),
        (["/build"], {"app/main.py", "app/__pycache__/main.pyc", "docs/build/x.html", ".env", "notes.txt", "README"}),
        (["*.txt", "app/*"], {"docs/build/x.html", "build/y", ".env", "README"}),
        (
            ["readme"],
            {"app/main.py", "app/__pycache__/main.pyc", "docs/build/x.html", "build/y", ".env", "notes.txt", "README"},
        ),
    ],
)
def test_excludes(tree: Path, exclude: list[str], left: set[str]):
    assert set(contents(sources.from_directory(str(tree), exclude))) == left


def test_links_of_a_directory(tree: Path):
    (tree / "link").symlink_to("app")
    (tree / "app" / "up").symlink_to("../README")
    found = {e.path: e for e in sources.from_directory(str(tree), [])["entries"]}
    assert found["link"].link == "app"
    assert found["app/up"].link == "../README"
    assert not any(path.startswith("link/") for path in found)
    sources.pack(list(found.values()))


def test_a_link_to_itself_ends(tree: Path):
    (tree / "loop").symlink_to(".")
    assert "loop/README" not in contents(sources.from_directory(str(tree), []))


def test_a_directory_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as refusal:
        sources.from_directory("nowhere", [])
    assert (
        f"app_path is 'nowhere', and there is no such directory on the controller (looked at {tmp_path}/nowhere)"
        in str(refusal.value)
    )


def test_a_home_directory(tree: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tree.parent))
    assert sources.from_directory("~/tree", [])["origin"] == str(tree)


# --- archives ------------------------------------------------------------------------------------

FILES = {"app/main.py": b"main", "requirements.txt": b"flask\n", "bin/run": b"#!/bin/sh\n"}


def tar_of(path: Path, files: dict[str, bytes], mode: str = "w:gz", order: Callable[[list[str]], Any] = sorted) -> Path:
    with tarfile.open(path, mode) as tar:
        for name in order(list(files)):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            info.mode = 0o755 if name.endswith("run") else 0o644
            tar.addfile(info, io.BytesIO(files[name]))
    return path


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100755 if name.endswith("run") else 0o100644) << 16
            archive.writestr(info, data)
    return path


def checksum(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def read(path: Path) -> dict[str, Any]:
    return sources.from_archive(str(path), checksum(path))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
@pytest.mark.parametrize("top", ["", "projects-1.4.0/"])
def test_archives_with_and_without_a_top_directory(tmp_path: Path, mode: str, top: str):
    files = {top + name: data for name, data in FILES.items()}
    path = tmp_path / "source"
    found = read(zip_of(path, files) if mode == "zip" else tar_of(path, files, mode))
    assert contents(found) == FILES
    assert {e.path for e in found["entries"] if e.executable} == {"bin/run"}
    assert (found["kind"], found["version"], found["origin"]) == ("archive", "source", str(path))


def test_a_top_directory_with_an_entry_of_its_own(tmp_path: Path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("top", "top/app"):
            info = tarfile.TarInfo(f"./{name}")
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("./top/app/main.py"))
    assert [e.path for e in read(path)["entries"]] == ["app", "app/main.py"]


def test_two_top_directories_stay(tmp_path: Path):
    files = {"a/x": b"1", "b/y": b"2"}
    assert contents(read(tar_of(tmp_path / "a.tar", files))) == files


def test_one_file_alone_is_no_top_directory(tmp_path: Path):
    assert contents(read(tar_of(tmp_path / "a.tar", {"wsgi.py": b"app"}))) == {"wsgi.py": b"app"}


def test_what_git_archive_writes_can_be_read(repository: Repository, tmp_path: Path):
    repository.git("archive", "--prefix=p-1/", "--output", str(tmp_path / "p.tar.gz"), "HEAD")
    assert contents(read(tmp_path / "p.tar.gz")) == {"app": b"one"}


def test_a_checksum_that_differs_is_told_before_anything_is_read(tmp_path: Path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"not an archive at all")
    wrong = "sha256:" + "0" * 64
    with pytest.raises(SourceError) as refusal:
        sources.from_archive(str(path), wrong)
    assert f"has checksum {checksum(path)}, and app_archive_checksum says {wrong}" in str(refusal.value)


@pytest.mark.parametrize("data", [b"", b"not an archive at all", b"\x1f\x8b\x08\x00broken", b"PK\x03\x04broken"])
def test_what_is_no_archive(tmp_path: Path, data: bytes):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="is neither a tar nor a zip that can be read"):
        read(path)


def test_a_truncated_archive(tmp_path: Path):
    whole = tar_of(tmp_path / "a.tar.gz", {"x": os.urandom(100_000), "y": b"y"}).read_bytes()
    path = tmp_path / "b.tar.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="is neither a tar nor a zip that can be read"):
        read(path)


def test_an_archive_that_is_not_there(tmp_path: Path):
    with pytest.raises(
        SourceError, match="app_archive is '.*/no.zip', and it cannot be read .*: No such file or directory"
    ):
        sources.from_archive(str(tmp_path / "no.zip"), "sha256:" + "0" * 64)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a/b/../../../evil"])
def test_members_that_leave_the_source(tmp_path: Path, name: str):
    for path in (
        tar_of(tmp_path / "a.tar", {"ok": b"", "ok2/x": b"", name: b"evil"}),
        zip_of(tmp_path / "a.zip", {"ok": b"", "ok2/x": b"", name: b"evil"}),
    ):
        with pytest.raises(SourceError, match="outside of itself"):
            sources.pack(read(path)["entries"])


def link_tar(path: Path, name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Path:
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("README"))
        tar.addfile(tarfile.TarInfo("app/main.py"))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        tar.addfile(info)
    return path


@pytest.mark.parametrize(
    ("name", "target", "good"),
    [
        ("link", "app/main.py", True),
        ("app/link", "../README", True),
        ("app/link", "../app/../README", True),
        ("link", "missing", True),
        ("link", "..", False),
        ("link", "../x", False),
        ("app/link", "../../x", False),
        ("app/link", "a/../../../x", False),
        ("link", "/etc/passwd", False),
    ],
)
def test_links_stay_inside(tmp_path: Path, name: str, target: str, good: bool):
    entries = read(link_tar(tmp_path / "a.tar", name, target))["entries"]
    if good:
        sources.pack(entries)
    else:
        with pytest.raises(SourceError) as refusal:
            sources.pack(entries)
        assert f"a link '{name}' to '{target}', outside of itself" in str(refusal.value)
        assert "app_shared_paths" in str(refusal.value)


def test_links_of_a_zip(tmp_path: Path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README", "x")
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(SourceError, match="a link 'link' to '/etc/passwd'"):
        sources.pack(read(path)["entries"])


def test_a_hard_link_becomes_a_file(tmp_path: Path):
    path = link_tar(tmp_path / "a.tar", "copy", "README", tarfile.LNKTYPE)
    assert "copy" in contents(read(path))


def test_a_hard_link_to_nothing(tmp_path: Path):
    with pytest.raises(SourceError):
        read(link_tar(tmp_path / "a.tar", "copy", "/etc/passwd", tarfile.LNKTYPE))


def test_links_that_leave_the_source_together():
    entries = [
        Entry("here", link="."),
        Entry("up", link="here/.."),  # by its text the source itself, on disk the directory above it
        Entry("up/evil", data=b"written by root, outside"),
    ]
    with pytest.raises(SourceError):
        sources.pack(entries)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(tmp_path: Path, kind: bytes):
    with pytest.raises(SourceError, match="'odd', which is neither a file, a directory nor a link"):
        read(link_tar(tmp_path / "a.tar", "odd", "", kind))


# --- downloads -----------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_download(server: str, tmp_path: Path):
    path = tar_of(tmp_path / "p-1.0.tar.gz", {f"p-1.0/{name}": data for name, data in FILES.items()})
    found = sources.from_archive(f"{server}/p-1.0.tar.gz", checksum(path))
    assert contents(found) == FILES
    assert (found["version"], found["origin"]) == ("p-1.0.tar.gz", f"{server}/p-1.0.tar.gz")


def test_a_download_with_another_checksum(server: str, tmp_path: Path):
    tar_of(tmp_path / "p.tar.gz", FILES)
    with pytest.raises(SourceError, match="app_archive_checksum says"):
        sources.from_archive(f"{server}/p.tar.gz", "sha256:" + "0" * 64)


def test_a_download_that_is_not_there(server: str):
    with pytest.raises(SourceError, match="cannot be downloaded to the controller: File not found"):
        sources.from_archive(f"{server}/no.zip", "sha256:" + "0" * 64)


def test_a_server_that_is_not_there():
    with pytest.raises(SourceError) as refusal:
        sources.from_archive("http://user:hunter2@127.0.0.1:1/p.zip", "sha256:" + "0" * 64)
    assert "cannot be downloaded" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_the_query_of_a_url_is_not_recorded(server: str, tmp_path: Path):
    path = tar_of(tmp_path / "p.tar.gz", FILES)
    found = sources.from_archive(f"{server}/p.tar.gz?token=hunter2", checksum(path))
    assert "hunter2" not in found["origin"] + found["version"]


# --- the tar -------------------------------------------------------------------------------------


def test_equal_content_gives_equal_bytes(tmp_path: Path):
    """Order, times, umask, owner and the way the content came make no difference."""
    digests = set()
    for number, (umask, order) in enumerate([(0o022, sorted), (0o077, lambda names: sorted(names, reverse=True))]):
        root = tmp_path / str(number)
        before = os.umask(umask)
        try:
            for name in order(list(FILES)):
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(FILES[name])
                if name.endswith("run"):
                    path.chmod(path.stat().st_mode | 0o100)
                os.utime(path, (number * 1000, number * 1000))
        finally:
            os.umask(before)
        digests.add(digest(sources.from_directory(str(root), [])["entries"]))
    assert len(digests) == 1


def test_equal_files_give_equal_bytes_from_tar_and_zip(tmp_path: Path):
    tar = read(tar_of(tmp_path / "a.tar", FILES))
    back = read(tar_of(tmp_path / "b.tar.xz", FILES, "w:xz", lambda names: sorted(names, reverse=True)))
    zipped = read(zip_of(tmp_path / "a.zip", {f"top/{name}": data for name, data in FILES.items()}))
    assert len({digest(found["entries"]) for found in (tar, back, zipped)}) == 1


@pytest.mark.parametrize(
    "other",
    [
        [Entry("a", data=b"2"), Entry("b", link="a")],
        [Entry("A", data=b"1"), Entry("b", link="a")],
        [Entry("a", data=b"1", executable=True), Entry("b", link="a")],
        [Entry("a", data=b"1"), Entry("b", link="A")],
        [Entry("a", data=b"1"), Entry("b", data=b"a")],
        [Entry("a", data=b"1"), Entry("b", folder=True)],
        [Entry("a", data=b"1")],
    ],
)
def test_other_content_gives_other_bytes(other: list[Entry]):
    assert digest(other) != digest([Entry("a", data=b"1"), Entry("b", link="a")])


def test_the_tar_belongs_to_root_and_has_no_time():
    entries = [Entry("d", folder=True), Entry("d/x", executable=True), Entry("d/y", data=b"1"), Entry("l", link="d")]
    with tarfile.open(fileobj=io.BytesIO(sources.pack(entries))) as tar:
        seen = [(i.name, i.mode, i.uid, i.gid, i.uname, i.gname, i.mtime, i.linkname) for i in tar]
    assert seen == [
        ("d", 0o755, 0, 0, "root", "root", 0, ""),
        ("d/x", 0o755, 0, 0, "root", "root", 0, ""),
        ("d/y", 0o644, 0, 0, "root", "root", 0, ""),
        ("l", 0o777, 0, 0, "root", "root", 0, "d"),
    ]


def test_names_beyond_ascii_survive(tmp_path: Path):
    name = "\u00fc\u4e2d/" + "x" * 120
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(b"1")
    entries = sources.from_directory(str(tmp_path), [])["entries"]
    with tarfile.open(fileobj=io.BytesIO(sources.pack(entries))) as tar:
        assert name in tar.getnames()


# --- the cache -----------------------------------------------------------------------------------


def test_store(cache: str):
    entries = [Entry("a", data=b"12345"), Entry("b", data=b"678"), Entry("c", link="a")]
    path, name, size = sources.store(entries, cache, "projects")
    assert path == f"{cache}/sources/projects/{name}.tar.gz"
    assert (name, size) == (digest(entries), 8)
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["a", "b", "c"]
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    assert os.stat(path).st_mode & 0o077 == 0


def test_storing_again_writes_nothing(cache: str):
    path, *_ = sources.store([Entry("a")], cache, "projects")
    inode = os.stat(path).st_ino
    assert sources.store([Entry("a")], cache, "projects")[0] == path
    assert os.stat(path).st_ino == inode


def test_old_tars_are_pruned_and_the_ones_in_use_stay(cache: str):
    paths = []
    for number in range(sources.KEPT_TARS):
        path, *_ = sources.store([Entry("a", data=b"%d" % number)], cache, "projects")
        os.utime(path, (number, number))
        paths.append(path)
    other, *_ = sources.store([Entry("other")], cache, "shop")
    sources.store([Entry("a", data=b"0")], cache, "projects")  # the oldest is deployed again: now it is the newest
    sources.store([Entry("a", data=b"new")], cache, "projects")
    assert [os.path.exists(path) for path in paths] == [True, False] + [True] * (sources.KEPT_TARS - 2)
    assert os.path.exists(other)


def test_concurrent_stores(cache: str):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: sources.store([Entry("a", data=b"x" * 50_000)], cache, "projects"), range(24)))
    assert len(set(found)) == 1
    assert os.listdir(f"{cache}/sources/projects") == [f"{found[0][1]}.tar.gz"]


def test_the_lock_is_held_between_processes(tmp_path: Path):
    entry = str(tmp_path / "git/mirror")
    program = (
        "import fcntl, sys\n"
        "stream = open(sys.argv[1], 'w')\n"
        "try:\n"
        "    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError:\n"
        "    print('busy')\n"
        "else:\n"
        "    print('free')\n"
    )

    def other() -> str:
        command = [sys.executable, "-c", program, f"{entry}.lock"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with sources.locked(entry):
        assert other() == "busy"
    assert other() == "free"
