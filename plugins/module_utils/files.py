# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files, links and absences that belong together: written, checked and brought into effect as one change, or put back."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils.host import CommandError, run
from ansible_collections.decant.flask.plugins.module_utils.layout import atomic_symlink, atomic_write


class State:
    """What stands at a path: a file with content, owner, group and mode; a link; or nothing."""

    def __init__(
        self, kind: str = "absent", data: bytes = b"", uid: int = 0, gid: int = 0, mode: int = 0, target: str = ""
    ) -> None:
        self.kind, self.data, self.uid, self.gid, self.mode, self.target = kind, data, uid, gid, mode, target

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and vars(self) == vars(other)

    def text(self) -> str:
        """How a difference shows it."""
        if self.kind == "link":
            return f"-> {self.target}\n"
        return self.data.decode("utf-8", errors="replace")

    @staticmethod
    def of(path: str) -> State:
        """What is there now."""
        try:
            status = os.lstat(path)
        except OSError:
            return State()
        if stat.S_ISLNK(status.st_mode):
            return State("link", target=os.readlink(path))
        with open(path, "rb") as stream:
            return State("file", stream.read(), status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))

    def put(self, path: str) -> None:
        """Make it so."""
        if self.kind == "absent":
            if os.path.lexists(path):
                os.unlink(path)
        elif self.kind == "link":
            atomic_symlink(self.target, path)
        else:
            atomic_write(path, self.data, self.mode, self.uid, self.gid)


def uid_of(name: str, strict: bool) -> int:
    """A user's id. In check mode the user may not exist yet."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        if strict:
            raise
        return 0


def gid_of(name: str, strict: bool) -> int:
    """A group's id. In check mode the group may not exist yet."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if strict:
            raise
        return 0


def wanted_states(p: dict[str, Any], strict: bool) -> dict[str, State]:
    """Path -> what must be there."""
    wanted = {path: State() for path in p["absent"]}
    for item in p["files"]:
        uid, gid = uid_of(item.get("owner", "root"), strict), gid_of(item.get("group", "root"), strict)
        wanted[item["path"]] = State("file", item["content"].encode(), uid, gid, int(item.get("mode", "0644"), 8))
    for item in p["links"]:
        wanted[item["path"]] = State("link", target=item["target"])
    return wanted


class FilesError(Exception):
    """A change that did not come about; the message is for an operator, paths are those that it would have changed."""

    def __init__(self, message: str, paths: list[str]) -> None:
        super().__init__(message)
        self.paths = paths


class Change:
    """A set of files against what stands on the host.

    :param wanted: the options files, links, absent, check, apply and pending of the module config_files, each may be missing.
    :param check_mode: compare only.
    """

    def __init__(self, wanted: dict[str, Any], check_mode: bool) -> None:
        self.p = {"files": [], "links": [], "absent": [], "check": [], "apply": [], "pending": "", **wanted}
        self.check_mode = check_mode
        self.wanted = wanted_states(self.p, strict=not check_mode)
        self.before = {path: State.of(path) for path in self.wanted}
        self.paths = [path for path, state in self.wanted.items() if self.before[path] != state]
        self.unfinished = bool(self.p["pending"]) and os.path.exists(self.p["pending"])

    @property
    def changed(self) -> bool:
        """Whether there is anything to write, or to finish."""
        return bool(self.paths or self.unfinished)

    @property
    def diff(self) -> list[dict[str, str]]:
        """What a difference shows, file by file."""
        return [
            {
                "before_header": path,
                "after_header": path,
                "before": self.before[path].text(),
                "after": self.wanted[path].text(),
            }
            for path in self.paths
        ]

    def make(self) -> None:
        """Write, check, bring into effect; a no-op in check mode and when everything stands.

        :raises FilesError: nothing of it is left, or all of it is valid and the next run brings it into effect.
        """
        if self.check_mode or not self.changed:
            return
        pending = self.p["pending"]
        try:
            if pending:
                atomic_write(pending, ("\n".join(self.paths) + "\n").encode(), 0o600)
            for path in self.paths:
                os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
                self.wanted[path].put(path)
            if self.p["check"]:
                run(self.p["check"])
        except (CommandError, OSError) as error:
            self.put_back()
            refused = isinstance(error, CommandError)
            what = f"'{' '.join(self.p['check'])}' refuses the new files" if refused else "The files cannot be written"
            said = error.output.strip() if isinstance(error, CommandError) else str(error)
            raise FilesError(
                f"{what}, so they were put back as they were: {', '.join(self.paths)}\n{said}", self.paths
            ) from error
        try:
            for command in self.p["apply"]:
                run(command)
        except CommandError as error:
            raise FilesError(
                f"The files are in place and valid, and {error} The next run tries again.", self.paths
            ) from error
        if pending:
            os.unlink(pending)

    def put_back(self) -> None:
        """As it was before."""
        for path in self.paths:
            self.before[path].put(path)
        if self.p["pending"] and not self.unfinished:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.p["pending"])


def with_units(files: list[dict[str, Any]], pending: str, check_mode: bool) -> Change:
    """The change of the units that a release brings along."""
    return Change({"files": files, "apply": [["systemctl", "daemon-reload"]], "pending": pending}, check_mode)
