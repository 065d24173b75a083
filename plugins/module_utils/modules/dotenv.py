# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a release's .env."""

from __future__ import annotations

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


ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "group": {"type": "str", "required": True},
    "content": {"type": "str", "required": True, "no_log": True},
    "secret_key_path": {"type": "path", "default": "", "no_log": False},
    "credentials": {"type": "dict", "default": {}, "no_log": True},
    "delivery": {"type": "str", "choices": ["file", "credential"], "default": "file"},
}


def main(module: AnsibleModule) -> None:
    p = module.params
    text, keys = p["content"], sorted(envfile.parse(p["content"]))
    if module.check_mode:
        module.exit_json(changed=True, names=keys)
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
    module.exit_json(changed=changed, names=keys)
