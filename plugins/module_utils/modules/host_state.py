# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything a deploy needs to know of a host, read in one call."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import re
import shutil
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import certificates, envfile, nginx_conf
from ansible_collections.decant.flask.plugins.module_utils.host import run, systemctl
from ansible_collections.decant.flask.plugins.module_utils.layout import SECRETS_FILE, Layout, file_digest
from ansible_collections.decant.flask.plugins.module_utils.readers import current_state, schema, undrained

PACKAGED_UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator")


def account(user: str) -> dict[str, Any]:
    """The system account, or an empty dict."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return {}
    return {"uid": entry.pw_uid, "gid": entry.pw_gid, "home": entry.pw_dir, "shell": entry.pw_shell}


def unlike(directories: list[dict[str, str]]) -> list[dict[str, str]]:
    """Those of the wanted directories that are missing or have another owner, group or mode."""
    found = []
    for wanted in directories:
        try:
            status = os.lstat(wanted["path"])
            same = (
                stat.S_ISDIR(status.st_mode)
                and pwd.getpwuid(status.st_uid).pw_name == wanted["owner"]
                and grp.getgrgid(status.st_gid).gr_name == wanted["group"]
                and stat.S_IMODE(status.st_mode) == int(wanted["mode"], 8)
            )
        except (OSError, KeyError):
            same = False
        if not same:
            found.append(wanted)
    return found


def missing_packages(names: list[str]) -> list[str]:
    """Those of the packages that dpkg does not have installed."""
    if not names:
        return []
    done = run(["dpkg-query", "--show", "--showformat=${binary:Package} ${db:Status-Status}\n", *names], check=False)
    installed = set()
    for line in done.stdout.splitlines():
        package, dummy, status = line.partition(" ")
        if status == "installed":
            installed.add(package.split(":")[0])
    return [name for name in names if name not in installed]


PYTHON = "import os, sys; print('%d.%d.%d' % sys.version_info[:3], os.path.realpath(sys.executable))"


def python_facts(command: str) -> dict[str, str]:
    """The full version of a Python on this host, such as 3.11.2, and the file that runs; both empty when the command does not run."""
    try:
        done = run([command, "-c", PYTHON], check=False)
    except OSError:
        done = None
    found = re.fullmatch(r"(\d+\.\d+\.\d+) (\S+)", done.stdout.strip()) if done and done.returncode == 0 else None
    version, path = found.groups() if found else ("", "")
    return {"python_version": version, "python_path": path}


def pythons() -> list[str]:
    """The Python commands that this host has, for an error message."""
    found = set()
    for folder in ("/usr/bin", "/usr/local/bin"):
        found.update(
            p for p in glob.glob(f"{folder}/python3*") if re.fullmatch(r"python3(\.\d+)?", os.path.basename(p))
        )
    return sorted(found)


def port_holder(port: int) -> str:
    """The process that listens on a TCP port, by name; empty when none does."""
    if not shutil.which("ss", path="/usr/bin:/bin:/usr/sbin:/sbin"):
        return ""  # iproute2 is among the packages to install; the next run sees
    done = run(
        ["ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes", f"sport = :{port}"], check=False
    )
    names = re.findall(r'\(\("([^"]+)"', done.stdout)
    if names:
        return names[0]
    return "an unknown process" if done.returncode == 0 and done.stdout.strip() else ""


def foreign_units(name: str) -> list[str]:
    """Unit files of other software under the names that this backend would use."""
    wanted = (f"{name}.target", f"{name}@.service", f"{name}@.socket", f"{name}-health.service", f"{name}-health.timer")
    return [f"{folder}/{unit}" for folder in PACKAGED_UNITS for unit in wanted if os.path.exists(f"{folder}/{unit}")]


def env_digests(layout: Layout, release_id: str, salt: str) -> dict[str, str]:
    """Name -> salted digest of the current release's variables, so that a plan can name those that change.
    No value leaves the host."""
    try:
        with open(f"{layout.release(release_id)}/{SECRETS_FILE}", encoding="utf-8") as stream:
            values = envfile.parse(stream.read())
    except (OSError, ValueError):
        return {}
    values.update(layout.secrets_of(release_id))
    return {name: envfile.digest(salt, name, value) for name, value in values.items()}


def sqlite_trouble(layout: Layout, path: str) -> str:
    """Why a database file must not live where its path leads on this host; empty when it may."""
    if not path:
        return ""
    real = os.path.realpath(path)
    for folder in (layout.releases, layout.venvs):
        if real.startswith(os.path.realpath(folder) + "/"):
            return f"{path} leads to {real}, inside {folder}, which a later deploy prunes"
    return ""


def standing(paths: list[str]) -> dict[str, dict[str, str]]:
    """Path -> what stands there: the digest, mode and owners of a file, the target of a link; empty when nothing does."""
    found: dict[str, dict[str, str]] = {}
    for path in paths:
        found[path] = {}
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISLNK(status.st_mode):
            found[path] = {"target": os.readlink(path)}
            continue
        found[path] = {
            "sha256": file_digest(path),
            "mode": f"{stat.S_IMODE(status.st_mode):04o}",
            "uid": str(status.st_uid),
            "gid": str(status.st_gid),
        }
    return found


def ports(p: dict[str, Any]) -> list[int]:
    """The TCP ports of the site; 0 stands for none."""
    return [port for port in (p["listen_port"], p["tls_port"]) if port]


def free_bytes(path: str) -> int:
    """Bytes free for root on the file system that holds, or will hold, a path."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return status.f_bfree * status.f_frsize


def os_release() -> dict[str, str]:
    """ID and VERSION_ID of the distribution."""
    with open("/etc/os-release", encoding="utf-8") as stream:
        pairs = dict(line.rstrip("\n").split("=", 1) for line in stream if "=" in line)
    return {"id": pairs.get("ID", "").strip('"'), "version": pairs.get("VERSION_ID", "").strip('"')}


def read_state(p: dict[str, Any]) -> dict[str, Any]:
    """All of it."""
    layout = Layout(p["name"], p["root"])
    current = current_state(layout)
    releases = layout.release_ids()
    return {
        "os": os_release(),
        "systemd": int(re.search(r"\d+", systemctl("--version")).group()),
        "ipv6": os.path.exists("/proc/net/if_inet6"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "account": account(p["user"]),
        "group_exists": any(entry.gr_name == p["user"] for entry in grp.getgrall()),
        "root_exists": os.path.isdir(layout.root),
        "directories": unlike(p["directories"]),
        "packages_missing": missing_packages(p["packages"]),
        "apt_lists": bool(glob.glob("/var/lib/apt/lists/*_Packages*")),
        "python_apt": os.path.isdir("/usr/lib/python3/dist-packages/apt"),
        **python_facts(p["python"]),
        "pythons": pythons(),
        "port_holders": {str(port): port_holder(port) for port in ports(p)},
        "foreign_units": foreign_units(p["name"]),
        "nginx": {
            "active": systemctl("is-active", "nginx.service", check=False) == "active",
            "enabled": systemctl("is-enabled", "nginx.service", check=False) == "enabled",
            **nginx_conf.survey("/etc/nginx", p["name"], ports(p), p["server_names"]),
        },
        "releases": releases,
        "outcomes": {release_id: layout.manifest(release_id).get("outcome", "") for release_id in releases},
        "venvs": sorted(
            n for n in (os.listdir(layout.venvs) if os.path.isdir(layout.venvs) else []) if layout.venv_known(n)
        ),
        "undrained": undrained(layout, current["id"]) if current["id"] else [],
        "current": current,
        "env_digests": env_digests(layout, current["id"], p["salt"]) if current["id"] else {},
        "schema": schema(layout, p["user"], current["id"]) if p["schema"] else None,
        "sqlite_trouble": sqlite_trouble(layout, p["sqlite_path"]),
        "free_bytes": free_bytes(layout.root),
        "files": standing(layout.lasting_files(ports(p))),
        "certificate": certificates.state(p["name"], p["tls_mode"], p["certificate_path"])
        if p["tls_mode"] != "off"
        else {},
    }


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "directories": {"type": "list", "elements": "dict", "default": []},
    "packages": {"type": "list", "elements": "str", "default": []},
    "python": {"type": "str", "default": "python3"},
    "listen_port": {"type": "int", "default": 80},
    "server_names": {"type": "list", "elements": "str", "default": []},
    "tls_port": {"type": "int", "default": 0},
    "tls_mode": {"type": "str", "default": "off"},
    "certificate_path": {"type": "str", "default": "", "no_log": False},
    "sqlite_path": {"type": "str", "default": ""},
    "salt": {"type": "str", "default": "", "no_log": True},
    "schema": {"type": "bool", "default": False},
}


def main(module: AnsibleModule) -> None:
    module.exit_json(changed=False, state=read_state(module.params))
