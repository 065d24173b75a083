# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a unit that runs the backend's code is kept from, and what an inventory may give back, by name.

The symptoms of each are in docs/failures.md. Source: systemd.exec(5), systemd.resource-control(5).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

BASE = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateUsers=yes",
    "PrivateIPC=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RemoveIPC=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "UMask=0027",
)

# Name in gunicorn_sandbox_allow -> the lines that it removes.
GIVEN_BACK: dict[str, tuple[str, ...]] = {
    "jit": ("MemoryDenyWriteExecute=yes",),
    "namespaces": ("RestrictNamespaces=yes",),
    "proc": ("ProtectProc=invisible", "ProcSubset=pid"),
    "resources": ("SystemCallFilter=~@resources",),
    "subprocesses": (),  # leaves out the directories of programs
    "netlink": (),  # adds an address family
}
# /bin and /sbin are links to these on a Debian with a merged /usr.
PROGRAMS = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")
# Where everybody may write.
SCRATCH = ("/tmp", "/var/tmp", "/dev/shm", "/run")


def problems(v: Mapping[str, Any]) -> list[str]:
    """What is wrong with gunicorn_sandbox_allow and gunicorn_egress."""
    found = []
    for name in v.get("gunicorn_sandbox_allow") or []:
        if name not in GIVEN_BACK:
            found.append(
                f"gunicorn_sandbox_allow has '{name}', which is not one of {', '.join(sorted(GIVEN_BACK))}. A path to write to is "
                "gunicorn_writable_paths, a network is gunicorn_egress."
            )
    egress = v.get("gunicorn_egress", "any")
    if isinstance(egress, str) and egress not in ("any", "none"):
        found.append(
            f"gunicorn_egress is '{egress}'. Write any, none, or a list of addresses and networks, for example [192.0.2.5, 192.0.2.0/24]."
        )
    for text in egress if isinstance(egress, list) else []:
        try:
            ipaddress.ip_network(str(text), strict=True)
        except ValueError as error:
            found.append(
                f"gunicorn_egress has '{text}': {error}. Write an address or a network; names are not looked up."
            )
    if not isinstance(egress, (str, list)) or egress == []:
        found.append("gunicorn_egress is empty. Write any, none, or a list of addresses and networks.")
    if (
        egress == "none"
        and v.get("app_database") == "postgresql"
        and not str(v.get("postgresql_host") or "").startswith("/")
    ):
        found.append(
            "gunicorn_egress is none, and the database is reached over TCP. Write the database's address: gunicorn_egress: [192.0.2.5], "
            "or a socket's directory in postgresql_host."
        )
    return found


def network(egress: str | Iterable[str], allow: Iterable[str] = ()) -> list[str]:
    """Where a unit may connect to."""
    if egress == "none":
        return ["PrivateNetwork=yes", "IPAddressDeny=any", "RestrictAddressFamilies=AF_UNIX"]
    families = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6" + (" AF_NETLINK" if "netlink" in allow else "")
    if egress == "any":
        return [families]
    return [families, "IPAddressDeny=any", *(f"IPAddressAllow={one}" for one in egress)]


def programs(writable: Iterable[str], all_of_them: bool, executable: list[str]) -> list[str]:
    """What may be run: nothing from where something may be written; of the system's programs the interpreter alone.

    systemd makes a mount of each path, which ProtectSystem= does not cover: the programs are kept by belonging to root. Naming
    them in ReadOnlyPaths= as well would have systemd drop both.
    """
    found = [f"NoExecPaths={' '.join([*SCRATCH, *writable, *([] if all_of_them else optional(PROGRAMS))])}"]
    if not all_of_them:
        found += [f"ExecPaths={' '.join(executable)}"] if executable else []
    return found


def optional(paths: Iterable[str]) -> list[str]:
    """Paths that need not be there."""
    return [f"-{path}" for path in paths]


def lines(
    root: str,
    egress: str | Iterable[str] = "any",
    allow: Iterable[str] = (),
    writable: Iterable[str] = (),
    executable: Iterable[str] = (),
    backups: bool = False,
) -> list[str]:
    """The sandbox of a unit, as lines of its [Service] section.

    :param root: the backend's directory.
    :param egress: any, none, or the addresses and networks that it may connect to.
    :param allow: what is given back, by name.
    :param writable: absolute paths that it may write to.
    :param executable: programs that it may start: its interpreter.
    :param backups: whether the unit works in the backend's backups.
    """
    allow = list(allow)
    restricted = [
        "MemoryDenyWriteExecute=yes",
        "RestrictNamespaces=yes",
        "ProtectProc=invisible",
        "ProcSubset=pid",
    ]
    removed = {line for name in allow for line in GIVEN_BACK[name]}
    found = [*BASE, *(line for line in restricted if line not in removed)]
    found += programs([f"{root}/shared", *writable], "subprocesses" in allow, list(executable))
    found += ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @keyring"]
    found += [] if "resources" in allow else ["SystemCallFilter=~@resources"]
    found += network(egress, allow)
    found += [] if backups else [f"InaccessiblePaths=-{root}/backups"]
    found.append(" ".join([f"ReadWritePaths={root}/shared", *writable, *([f"{root}/backups"] if backups else [])]))
    return found
