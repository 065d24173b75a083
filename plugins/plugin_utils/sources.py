# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A backend's source, from git, a directory or an archive, as one deterministic tar on the controller.

Hosts receive the tar: they need neither git nor a deploy key, and every host gets the same bytes. The tar is named by its
content and holds relative, sorted, root-owned entries with time 0, so equal sources give equal tars.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import fnmatch
import gzip
import hashlib
import io
import os
import posixpath
import re
import subprocess
import tarfile
import tempfile
import urllib.error
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible.module_utils.urls import open_url

KEPT_TARS = 10
COMMIT = re.compile(r"[0-9a-f]{40}")


class SourceError(Exception):
    """A source that cannot be used. The message says what was seen, the rule and the next step."""


class Entry:
    """One member of a source: a file, a directory or a symbolic link."""

    def __init__(
        self, path: str, *, data: bytes = b"", executable: bool = False, link: str = "", folder: bool = False
    ) -> None:
        self.path, self.data, self.executable, self.link, self.folder = path, data, executable, link, folder


# --- the tar -------------------------------------------------------------------------------------


def check_entry(entry: Entry) -> None:
    """Refuse what must not reach a host: names and links that leave the source."""
    parts = entry.path.split("/")
    if entry.path.startswith("/") or ".." in parts:
        raise SourceError(
            f"The source has an entry named '{entry.path}', outside of itself. Remove it from the archive."
        )
    if entry.link:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), entry.link))
        if entry.link.startswith("/") or target.split("/")[0] == "..":
            raise SourceError(
                f"The source has a link '{entry.path}' to '{entry.link}', outside of itself: on a host it would lead nowhere, "
                "or somewhere else. Use a relative link inside the source, or app_shared_paths for data."
            )


def ancestors(path: str) -> list[str]:
    """The directories above a path, the nearest last."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def pack(entries: Iterable[Entry], moment: int = 0) -> bytes:
    """The deterministic tar of some entries.

    :param moment: the time that its members get, in seconds.
    """
    entries = list(entries)
    links = {entry.path for entry in entries if entry.link}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(entries, key=lambda e: e.path):
            check_entry(entry)
            behind = next((p for p in ancestors(entry.path) if p in links), "")
            if behind:
                raise SourceError(
                    f"The source has '{entry.path}' behind the link '{behind}'. Pack it under its real path."
                )
            info = tarfile.TarInfo(entry.path)
            info.mtime, info.uid, info.gid, info.uname, info.gname = moment, 0, 0, "root", "root"
            if entry.folder:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            elif entry.link:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
                tar.addfile(info)
            else:
                info.size, info.mode = len(entry.data), 0o755 if entry.executable else 0o644
                tar.addfile(info, io.BytesIO(entry.data))
    return buffer.getvalue()


def tar_entries(tar: tarfile.TarFile) -> Iterator[Entry]:
    """The members of a tar. Devices and the like have no place in a source."""
    for info in tar:
        path = posixpath.normpath(info.name)
        if path == ".":
            continue
        if info.isdir():
            yield Entry(path, folder=True)
        elif info.issym():
            yield Entry(path, link=info.linkname)
        elif info.isfile() or info.islnk():
            stream = tar.extractfile(info)
            yield Entry(path, data=stream.read() if stream else b"", executable=bool(info.mode & 0o100))
        elif info.type in (tarfile.XGLTYPE, tarfile.XHDTYPE):
            continue
        else:
            raise SourceError(
                f"The source has '{path}', which is neither a file, a directory nor a link. Remove it from the archive."
            )


def zip_entries(archive: zipfile.ZipFile) -> Iterator[Entry]:
    """The members of a zip, with the Unix mode where the zip has one."""
    for info in archive.infolist():
        path = posixpath.normpath(info.filename)
        mode = info.external_attr >> 16
        if info.is_dir():
            yield Entry(path, folder=True)
        elif mode & 0o170000 == 0o120000:
            yield Entry(path, link=archive.read(info).decode())
        else:
            yield Entry(path, data=archive.read(info), executable=bool(mode & 0o100))


def strip_top(entries: list[Entry]) -> list[Entry]:
    """Without the single top-level directory that release archives have."""
    tops = {entry.path.split("/")[0] for entry in entries}
    if len(tops) != 1 or any("/" not in entry.path and not entry.folder for entry in entries):
        return entries
    top = tops.pop() + "/"
    inner = [entry for entry in entries if entry.path.startswith(top)]
    for entry in inner:
        entry.path = entry.path[len(top) :]
    return inner


# --- where it comes from -------------------------------------------------------------------------


def git(arguments: list[str], *, folder: str | None = None, env: Mapping[str, str] | None = None) -> bytes:
    """git's output. It never asks a question: a prompt would hang a deploy."""
    base = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(env or {})}
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        base.pop(name, None)
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=base, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise SourceError(
            "git is not installed on the controller, and app_repo and playbooks/release.yml need it. Install the package git."
        ) from error
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, ["git", *arguments], done.stdout, done.stderr)
    return done.stdout


def without_password(text: str) -> str:
    """A URL, or a message with one, without the password or token that it may carry."""

    def masked(match: re.Match[str]) -> str:
        scheme, user, colon, _dummy = match.group(1), *match.group(2).partition(":")
        if colon:
            return f"{scheme}://{user}:***@"
        return match.group(0) if scheme.endswith("ssh") else f"{scheme}://***@"

    return re.sub(r"([a-z+]+)://([^/\s]*)@", masked, text)


def git_env(deploy_key: str, known_hosts: str) -> dict[str, str]:
    """How git reaches a repository over SSH with a deploy key."""
    options = ["-o", "BatchMode=yes"]
    if deploy_key:
        if not os.path.isfile(deploy_key):
            raise SourceError(
                f"app_deploy_key is '{deploy_key}', and there is no such file on the controller. Write the path of the private key."
            )
        options += ["-i", f"'{deploy_key}'", "-o", "IdentitiesOnly=yes"]
    if known_hosts:
        options += ["-o", f"UserKnownHostsFile='{known_hosts}'"]
    return {"GIT_SSH_COMMAND": " ".join(["ssh", *options])} if deploy_key or known_hosts else {}


def from_git(url: str, version: str, cache: str, deploy_key: str = "", known_hosts: str = "") -> dict[str, Any]:
    """Entries of one commit of a repository. The mirror in the cache makes a known commit need no network."""
    env = git_env(deploy_key, known_hosts)
    shown = without_password(url)
    mirror = mirror_of(url, cache)
    with locked(mirror):
        if not os.path.isdir(os.path.join(mirror, "objects")):
            git(["init", "--quiet", "--bare", mirror])
        commit = version if COMMIT.fullmatch(version) and has_commit(mirror, version) else ""
        if not commit:
            try:
                git(
                    [
                        "fetch",
                        "--quiet",
                        "--prune",
                        "--force",
                        url,
                        "+refs/heads/*:refs/heads/*",
                        "+refs/tags/*:refs/tags/*",
                    ],
                    folder=mirror,
                    env=env,
                )
            except subprocess.CalledProcessError as error:
                reason = without_password(error.stderr.decode(errors="replace").strip())
                raise SourceError(
                    f"app_repo '{shown}' cannot be fetched from the controller. git says: {reason}\n"
                    f"Check the address, the network and app_deploy_key, then try: git ls-remote {shown}"
                ) from error
            commit = resolve(mirror, version, shown)
        tree = git(["ls-tree", "-r", "--full-tree", commit], folder=mirror).decode(errors="replace")
        if any(line.startswith("160000 ") for line in tree.splitlines()):
            raise SourceError(
                f"'{version}' of app_repo has git submodules, and what they point at is not in the commit. Vendor them, "
                "or build an archive that holds everything and deploy it with app_archive."
            )
        raw = git(["archive", "--format=tar", commit], folder=mirror)
        subject = git(["log", "-1", "--format=%s", commit], folder=mirror).decode(errors="replace").strip()
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        entries = list(tar_entries(tar))
    return {
        "kind": "git",
        "commit": commit,
        "version": version,
        "subject": subject,
        "origin": shown,
        "entries": entries,
    }


def mirror_of(url: str, cache: str) -> str:
    """Where the cache keeps a repository."""
    return os.path.join(cache, "git", hashlib.sha256(url.encode()).hexdigest()[:16])


def commits_between(mirror: str, old: str, new: str) -> dict[str, list[str]] | None:
    """What a deploy brings and what it leaves out, as `<short commit> <subject>`, newest first; None when the mirror does
    not have both commits.

    :returns: brings (in the new commit alone) and leaves (in the old one alone).
    """
    if not all(COMMIT.fullmatch(commit) and has_commit(mirror, commit) for commit in (old, new)):
        return None
    out = git(["log", "--left-right", "--format=%m%h %s", f"{old}...{new}"], folder=mirror).decode(errors="replace")
    lines = [printable(line) for line in out.split("\n") if line]
    return {name: [line[1:] for line in lines if line[0] == side] for name, side in (("brings", ">"), ("leaves", "<"))}


def printable(subject: str) -> str:
    """A commit's subject without control characters: it is anybody's text, and a terminal obeys what it is given."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", subject)


def has_commit(mirror: str, commit: str) -> bool:
    """Whether the mirror already holds a commit."""
    try:
        git(["cat-file", "-e", f"{commit}^{{commit}}"], folder=mirror)
    except subprocess.CalledProcessError:
        return False
    return True


def resolve(mirror: str, version: str, shown: str) -> str:
    """The commit that a branch, tag or (short) commit names. A branch and a tag of one name is refused, not guessed."""
    found = {}
    for kind, name in (("branch", f"refs/heads/{version}"), ("tag", f"refs/tags/{version}")):
        with contextlib.suppress(subprocess.CalledProcessError):
            found[kind] = (
                git(["rev-parse", "--quiet", "--verify", f"{name}^{{commit}}"], folder=mirror).decode().strip()
            )
    if len(set(found.values())) == 2:
        raise SourceError(
            f"app_version '{version}' is both a branch ({found['branch'][:7]}) and a tag ({found['tag'][:7]}) of {shown}. "
            "Write the commit instead."
        )
    if found:
        return next(iter(found.values()))
    if re.fullmatch(r"[0-9a-f]{7,40}", version):
        with contextlib.suppress(subprocess.CalledProcessError):
            return git(["rev-parse", "--quiet", "--verify", f"{version}^{{commit}}"], folder=mirror).decode().strip()
    names = (
        git(
            ["for-each-ref", "--sort=-creatordate", "--format=%(refname:strip=2)", "refs/heads", "refs/tags"],
            folder=mirror,
        )
        .decode()
        .split()
    )
    near = difflib.get_close_matches(version, names, n=3) or names[:5]
    has = f" It has {', '.join(near)}." if near else " It has no branch and no tag."
    raise SourceError(
        f"app_version '{version}' is no branch, tag or commit of {shown}.{has} Push it, or correct app_version."
    )


def from_directory(path: str, exclude: list[str]) -> dict[str, Any]:
    """Entries of a directory on the controller, as it is on disk, less the excluded names."""
    root = os.path.abspath(os.path.expanduser(path))
    if not os.path.isdir(root):
        raise SourceError(f"app_path is '{path}', and there is no such directory on the controller (looked at {root}).")
    entries = []
    for folder, folders, files in os.walk(root):
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        folders[:] = sorted(d for d in folders if not excluded(f"{prefix}{d}", exclude))
        for name in [*folders, *sorted(files)]:
            full, inside = os.path.join(folder, name), f"{prefix}{name}"
            if excluded(inside, exclude):
                continue
            if os.path.islink(full):
                entries.append(Entry(inside, link=os.readlink(full)))
            elif os.path.isdir(full):
                entries.append(Entry(inside, folder=True))
            elif os.path.isfile(full):
                with open(full, "rb") as stream:
                    entries.append(Entry(inside, data=stream.read(), executable=os.access(full, os.X_OK)))
        folders[:] = [d for d in folders if not os.path.islink(os.path.join(folder, d))]
    return {"kind": "directory", "commit": "", "version": "", "subject": "", "origin": root, "entries": entries}


def excluded(path: str, patterns: list[str]) -> bool:
    """Whether a path is left out: a pattern with a slash is held against the whole path, one without against the name."""
    name = path.rsplit("/", 1)[-1]
    return any(fnmatch.fnmatchcase(path if "/" in p else name, p.strip("/")) for p in patterns)


def from_archive(location: str, checksum: str) -> dict[str, Any]:
    """Entries of a tar or zip, whose sha256 is compared before anything looks inside."""
    data = download(location) if re.match(r"https?://", location) else read_archive(location)
    seen = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if seen != checksum:
        raise SourceError(
            f"app_archive '{without_password(location)}' has checksum {seen}, and app_archive_checksum says {checksum}. "
            "Either the archive changed or the wrong one was named; compare with whoever built it."
        )
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                entries = list(zip_entries(archive))
        else:
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                entries = list(tar_entries(tar))
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise SourceError(
            f"app_archive '{without_password(location)}' is neither a tar nor a zip that can be read: {error}"
        ) from error
    return {
        "kind": "archive",
        "commit": "",
        "version": posixpath.basename(location.split("?")[0]),
        "subject": "",
        "origin": without_password(location).split("?")[0],
        "entries": strip_top(entries),
    }


def read_archive(path: str) -> bytes:
    """An archive on the controller."""
    try:
        with open(os.path.expanduser(path), "rb") as stream:
            return stream.read()
    except OSError as error:
        raise SourceError(
            f"app_archive is '{path}', and it cannot be read on the controller: {error.strerror}."
        ) from error


def download(url: str) -> bytes:
    """An archive behind a URL, with the controller's proxy and CA settings; 60 s without an answer is an error."""
    try:
        with open_url(url, timeout=60, decompress=False) as answer:
            return answer.read()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise SourceError(
            f"app_archive '{without_password(url)}' cannot be downloaded to the controller: {reason}."
        ) from error


# --- the cache -----------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """One controller process at a time in a cache entry."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(f"{path}.lock", "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def store(entries: list[Entry], cache: str, name: str) -> tuple[str, str, int]:
    """Keep the tar of a source: its path, the sha256 of its content, and the bytes that it unpacks to."""
    data = pack(entries)
    digest = hashlib.sha256(data).hexdigest()
    folder = os.path.join(cache, "sources", name)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, f"{digest}.tar.gz")
    if not os.path.exists(path):
        handle, temporary = tempfile.mkstemp(dir=folder)
        with (
            os.fdopen(handle, "wb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=3, mtime=0, filename="") as zipped,
        ):
            zipped.write(data)
        os.replace(temporary, path)
    os.utime(path)
    kept = sorted((os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".tar.gz")), key=os.path.getmtime)
    for old in kept[:-KEPT_TARS]:
        with contextlib.suppress(OSError):
            os.unlink(old)
    return path, digest, sum(len(entry.data) for entry in entries)
