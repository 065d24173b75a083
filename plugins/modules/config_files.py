#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a set of configuration files as one change: all of them valid and in effect, or none."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: config_files
short_description: Writes a set of configuration files as one change
version_added: 0.1.0
description:
  - Writes the files, links and removals that differ, checks the result with a command, and brings it into effect with another.
  - When the check fails, everything is put back as it was and the reason is returned.
  - A change that was written and not yet brought into effect, because the run was killed in between, is remembered on the host and
    finished by the next run. A handler would forget it.
  - In a run that has read the host, the controller decides alone when everything is as it must be. With C(release_hooks) it asks.
author: The Decant maintainers
options:
  files:
    description: Files, each with path, content, and optionally mode (quoted octal, 0644), owner and group (root).
    type: list
    elements: dict
    default: []
  links:
    description: Symbolic links, each with path and target.
    type: list
    elements: dict
    default: []
  absent:
    description: Files and links that must not exist.
    type: list
    elements: str
    default: []
  check:
    description: A command (argument list) that must succeed with the new files in place.
    type: list
    elements: str
    default: []
  apply:
    description: Commands (argument lists) that bring a change into effect.
    type: list
    elements: raw
    default: []
  pending:
    description: Path of the note that a change waits for O(apply). Needed with O(apply).
    type: path
    default: ""
attributes:
  check_mode:
    description: Says what would change.
    support: full
  diff_mode:
    description: Shows every file that changes.
    support: full
"""

EXAMPLES = r"""
- name: Write the site
  decant.flask.config_files:
    files:
      - path: /etc/nginx/sites-available/projects.conf
        content: "{{ lookup('ansible.builtin.template', 'site.conf.j2') }}"
    links:
      - path: /etc/nginx/sites-enabled/projects.conf
        target: ../sites-available/projects.conf
    check: [nginx, -t]
    apply:
      - [systemctl, reload, nginx.service]
    pending: /srv/projects/.pending-nginx
"""

RETURN = r"""
paths:
  description: Paths that changed, or would.
  returned: always
  type: list
  elements: str
asked:
  description: Whether the host was asked. It is not when what the run has read of it is what is wanted.
  returned: always
  type: bool
"""

import grp
import os
import pwd
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
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


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "default": []},
            "links": {"type": "list", "elements": "dict", "default": []},
            "absent": {"type": "list", "elements": "str", "default": []},
            "check": {"type": "list", "elements": "str", "default": []},
            "apply": {"type": "list", "elements": "raw", "default": []},
            "pending": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    p = module.params
    wanted = wanted_states(p, strict=not module.check_mode)
    before = {path: State.of(path) for path in wanted}
    paths = [path for path, state in wanted.items() if before[path] != state]
    unfinished = bool(p["pending"]) and os.path.exists(p["pending"])
    diff = [
        {"before_header": path, "after_header": path, "before": before[path].text(), "after": wanted[path].text()}
        for path in paths
    ]
    if module.check_mode or not (paths or unfinished):
        module.exit_json(changed=bool(paths or unfinished), paths=paths, diff=diff)
    try:
        if p["pending"]:
            atomic_write(p["pending"], ("\n".join(paths) + "\n").encode(), 0o600)
        for path in paths:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            wanted[path].put(path)
        if p["check"]:
            run(p["check"])
    except (CommandError, OSError) as error:
        for path in paths:
            before[path].put(path)
        if p["pending"] and not unfinished and os.path.exists(p["pending"]):
            os.unlink(p["pending"])
        said = error.output.strip() if isinstance(error, CommandError) else str(error)
        what = (
            f"'{' '.join(p['check'])}' refuses the new files"
            if isinstance(error, CommandError)
            else "The files cannot be written"
        )
        module.fail_json(msg=f"{what}, so they were put back as they were: {', '.join(paths)}\n{said}", paths=paths)
    try:
        for command in p["apply"]:
            run(command)
    except CommandError as error:
        module.fail_json(msg=f"The files are in place and valid, and {error} The next run tries again.", paths=paths)
    if p["pending"]:
        os.unlink(p["pending"])
    module.exit_json(changed=True, paths=paths, diff=diff)


if __name__ == "__main__":
    main()
