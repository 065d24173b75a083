# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stages a source as an immutable release directory, and prunes old ones."""

from __future__ import annotations

import errno
import grp
import json
import os
import pwd
import shutil
import tarfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import retention
from ansible_collections.decant.flask.plugins.module_utils.layout import (
    CREDENTIALS,
    MANIFEST,
    Layout,
    now,
)


def unpack(tar_path: str, target: str) -> None:
    """Unpack a tar that the controller made: relative names, no devices. Checked again, because root writes here."""
    with tarfile.open(tar_path) as tar:
        for info in tar:
            if info.name.startswith("/") or ".." in info.name.split("/"):
                raise ValueError(f"'{info.name}' leaves the release")
            parts = info.name.split("/")[:-1]
            if any(os.path.islink("/".join([target, *parts[: n + 1]])) for n in range(len(parts))):
                raise ValueError(f"'{info.name}' lies behind a link")
            tar.extract(info, target, set_attrs=False)


def protect(folder: str, gid: int, public: list[str]) -> None:
    """Owned by root, readable by the backend's group; others only pass through, and read what is public."""
    for path, folders, files in os.walk(folder):
        open_to_all = any(path == p or path.startswith(p + "/") for p in public)
        os.chown(path, 0, gid)
        os.chmod(path, 0o755 if open_to_all else 0o751)
        for name in [*folders, *files]:
            full = os.path.join(path, name)
            if os.path.islink(full):
                os.lchown(full, 0, gid)
            elif name in files:
                executable = os.stat(full).st_mode & 0o100
                os.chown(full, 0, gid)
                os.chmod(full, (0o755 if executable else 0o644) if open_to_all else (0o750 if executable else 0o640))


def link_shared(layout: Layout, code: str, path: str, uid: int, gid: int) -> None:
    """Turn a path of the code into a link to the same path under shared/. What the source has there seeds an empty one;
    what is in shared/ already is never touched."""
    shared, inside = os.path.join(layout.shared, path), os.path.join(code, path)
    if not os.path.lexists(shared):
        made = []
        parent = shared
        while not os.path.isdir(parent):
            made.append(parent)
            parent = os.path.dirname(parent)
        for folder in reversed(made):
            os.mkdir(folder, 0o750)
            os.chown(folder, uid, gid)
        if os.path.isdir(inside) and not os.path.islink(inside):
            shutil.copytree(inside, shared, dirs_exist_ok=True)
            for folder, folders, files in os.walk(shared):
                for name in [*folders, *files]:
                    os.lchown(os.path.join(folder, name), uid, gid)
    if os.path.islink(inside) or os.path.isfile(inside):
        os.unlink(inside)
    elif os.path.isdir(inside):
        shutil.rmtree(inside)
    os.makedirs(os.path.dirname(inside), exist_ok=True)
    os.symlink(shared, inside)


def stage(layout: Layout, p: dict) -> None:
    """Build the release aside, then give it its name."""
    gid = grp.getgrnam(p["user"]).gr_gid
    uid = pwd.getpwnam(p["user"]).pw_uid
    partial = f"{layout.releases}/.{p['id']}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.mkdir(partial)
    os.mkdir(f"{partial}/src")
    os.mkdir(f"{partial}/{CREDENTIALS}", 0o700)
    unpack(p["tar"], f"{partial}/src")
    code = f"{partial}/src/{p['subdir']}".rstrip("/")
    protect(f"{partial}/src", gid, [f"{code}/{path.strip('/')}" for path in p["public_paths"]])
    for path in p["shared_paths"]:
        link_shared(layout, code, path.strip("/"), uid, gid)
    os.symlink(layout.socket(p["id"]), f"{partial}/gunicorn.sock")
    record = {**p["manifest"], "id": p["id"], "outcome": "staged", "staged_at": now()}
    with open(f"{partial}/{MANIFEST}", "w", encoding="utf-8") as stream:
        stream.write(json.dumps(record, indent=2, sort_keys=True) + "\n")
    os.chown(partial, 0, gid)
    os.chmod(partial, 0o751)
    os.rename(partial, layout.release(p["id"]))


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "id": {"type": "str", "required": True},
    "tar": {"type": "path", "required": True},
    "subdir": {"type": "str", "default": ""},
    "shared_paths": {"type": "list", "elements": "str", "default": []},
    "public_paths": {"type": "list", "elements": "str", "default": []},
    "lock": {"type": "str", "default": ""},
    "manifest": {"type": "dict", "default": {}},
}


def main(module: AnsibleModule) -> None:
    p = module.params
    layout = Layout(p["name"], p["root"])
    path = layout.release(p["id"])
    staged = layout.manifest(p["id"])
    if staged and staged.get("fingerprint") == p["manifest"].get("fingerprint") and staged.get("outcome") != "failed":
        linked = not module.check_mode and layout.venv_known(p["lock"]) and layout.link_venv(p["id"], p["lock"])
        module.exit_json(changed=linked, path=path, pruned=[])
    if module.check_mode:
        module.exit_json(
            changed=True, path=path, pruned=retention.prunable(layout, retention.ALL, retention.busy(layout))
        )
    if staged and p["id"] == layout.current_id():
        module.fail_json(
            msg=f"{path} serves and was made from something else. Run the deploy again: it makes a new id."
        )
    try:
        # Room first: what failed and what killed runs left. Good releases go after the switch, when one more is good.
        pruned = retention.prune(layout, retention.ALL, p["lock"])
        if os.path.isdir(path):
            retention.remove_release(layout, p["id"])
        stage(layout, p)
        if layout.venv_known(p["lock"]):
            layout.link_venv(p["id"], p["lock"])
    except (OSError, ValueError, tarfile.TarError) as error:
        shutil.rmtree(f"{layout.releases}/.{p['id']}.partial", ignore_errors=True)
        why, then = str(error), "Mend that and run the deploy again."
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            why = f"the disk is full ({error.filename or layout.releases})"
            then = f"Make room on the file system of {layout.root} (df -h {layout.root}; df -i {layout.root}) and run the deploy again."
        layout.failed(p["id"], "stage", why)
        module.fail_json(
            msg=f"Release {p['id']} could not be staged: {why}. What was written of it is removed. {layout.serving()} {then}"
        )
    module.exit_json(changed=True, path=path, pruned=pruned)
