#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a release's .env."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: dotenv
short_description: Writes a release's environment file
version_added: 0.1.0
description:
  - One quoting for systemd's EnvironmentFile, python-dotenv and a shell; what they would read differently is refused by the name of its key.
  - Values are never returned, logged or shown as a difference; names are.
author: The Decant maintainers
options:
  path:
    description: The file.
    type: path
    required: true
  group:
    description: The group that may read it. The owner is root and the mode 0640.
    type: str
    required: true
  content:
    description: The file's content, as the filter decant.flask.dotenv renders it.
    type: str
    required: true
  secret_key_path:
    description:
      - A file of the host, 0600, that holds a SECRET_KEY of its own. Made when it is not there; its value becomes a variable of the
        environment and never leaves the host. Empty for none.
    type: path
    default: ""
  credentials:
    description: Variables that are delivered as files, one each in C(credentials/) beside the C(.env), 0600 and root's.
    type: dict
    default: {}
  delivery:
    description: Where O(secret_key_path) goes, V(file) for the C(.env).
    type: str
    choices: [file, credential]
    default: file
attributes:
  check_mode:
    description: Says whether the file would change.
    support: full
  diff_mode:
    description: Shows names alone.
    support: partial
"""

EXAMPLES = r"""
- name: Write the environment file
  decant.flask.dotenv:
    path: /srv/projects/releases/20261122T101500Z-3f2a9c1/.env
    group: projects
    content: "{{ {'SECRET_KEY': vault_secret_key} | decant.flask.dotenv }}"
  no_log: true
  diff: false
"""

RETURN = r"""
keys:
  description: Names in the file.
  returned: always
  type: list
  elements: str
"""

import grp
import os
import secrets
import stat

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import envfile
from ansible_collections.decant.flask.plugins.module_utils.layout import CREDENTIALS, atomic_write


def same(path: str, content: bytes, gid: int) -> bool:
    """Whether the file is already what it should be, owner and mode included."""
    try:
        status = os.lstat(path)
        with open(path, "rb") as stream:
            return stream.read() == content and (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (
                0,
                gid,
                0o640,
            )
    except OSError:
        return False


def own_key(path: str) -> str:
    """The key that this host has made for itself, once."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = stream.read().strip()
    except FileNotFoundError:
        found = ""
    if not found:
        found = secrets.token_urlsafe(48)
        atomic_write(path, f"{found}\n".encode(), 0o600)
    return found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "group": {"type": "str", "required": True},
            "content": {"type": "str", "required": True, "no_log": True},
            "secret_key_path": {"type": "path", "default": "", "no_log": False},
            "credentials": {"type": "dict", "default": {}, "no_log": True},
            "delivery": {"type": "str", "choices": ["file", "credential"], "default": "file"},
        },
        supports_check_mode=True,
    )
    p = module.params
    text, keys = p["content"], sorted(envfile.parse(p["content"]))
    if module.check_mode:
        module.exit_json(changed=True, keys=keys)
    if not os.path.isdir(os.path.dirname(p["path"])):
        module.fail_json(
            msg=f"{os.path.dirname(p['path'])} does not exist: the role decant.flask.release stages it first."
        )
    credentials = {name: envfile.as_text(name, value) for name, value in p["credentials"].items()}
    if p["secret_key_path"]:
        try:
            key = own_key(p["secret_key_path"])
        except OSError as error:
            module.fail_json(msg=f"{p['secret_key_path']}: {error.strerror}. The release that serves is untouched.")
        if p["delivery"] == "credential":
            credentials["SECRET_KEY"] = key
        else:
            text += envfile.render({"SECRET_KEY": key})
        keys = sorted([*keys, "SECRET_KEY"])
    content = text.encode()
    gid = grp.getgrnam(p["group"]).gr_gid
    folder = f"{os.path.dirname(p['path'])}/{CREDENTIALS}"
    changed = not same(p["path"], content, gid) or bool(credentials)
    if changed:
        try:
            for name, value in credentials.items():
                atomic_write(f"{folder}/{name}", value.encode(), 0o600)
            atomic_write(p["path"], content, 0o640, 0, gid)
        except OSError as error:
            module.fail_json(
                msg=f"{p['path']} could not be written: {error.strerror}. The release that serves is untouched."
            )
    module.exit_json(changed=changed, keys=keys)


if __name__ == "__main__":
    main()
