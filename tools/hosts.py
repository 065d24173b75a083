#!/usr/bin/env python3
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Debian hosts for the demo, the tutorial, the tests and the benchmark: containers that boot systemd and are reached over SSH.

    hosts.py image                                    build the base image when it is missing, print its name
    hosts.py up --group GROUP NAME... [--publish A:P:P]   boot hosts, wait until SSH answers; those that run are left alone
    hosts.py inventory --group GROUP [NAME...]        connection variables of the group's hosts, or of some of them, as JSON
    hosts.py inventory --group GROUP --under TOP ...  the same as an inventory, with the hosts in its group TOP
    hosts.py reboot --group GROUP NAME...             reboot hosts, wait until SSH answers
    hosts.py down --group GROUP                       remove the group's hosts

Containers belong to root: an ordinary user's calls go through sudo. The image is made of Debian packages alone.
The cache (keys, locks) is $DECANT_CACHE, else ~/.cache/decant.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SUITE = "bookworm"
PACKAGES = [
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
]
# What a cloud image would bring: a sudo user. What a container cannot do: load kernel modules.
CUSTOMIZE = [
    'chroot "$1" useradd --create-home --shell /bin/bash ops',
    'echo "ops ALL=(ALL) NOPASSWD:ALL" > "$1/etc/sudoers.d/ops"',
    'ln -sf /dev/null "$1/etc/systemd/system/systemd-modules-load.service"',
    'echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/test-host"',  # no host here outlives the machine's next power cut
    'ln -sf /dev/null "$1/etc/systemd/system/systemd-networkd-wait-online.service"',
    # On a real host systemd shares its mounts at boot; a container comes with private ones, which hide LoadCredential= from units.
    'printf "[Unit]\\nDefaultDependencies=no\\nBefore=sysinit.target\\n[Service]\\nType=oneshot\\nExecStart=/bin/mount --make-rshared /\\n" '
    '> "$1/etc/systemd/system/shared-mounts.service"',
    'mkdir -p "$1/etc/systemd/system/sysinit.target.wants"',
    'ln -s ../shared-mounts.service "$1/etc/systemd/system/sysinit.target.wants/"',
]
NETWORK = "decant"
SUBNET = ipaddress.ip_network("10.98.76.0/24")
LABEL = "org.decant.group"
CONTROLLER_CA = "/etc/ssl/certs/decant-controller-ca.pem"
BOOT_SECONDS = 90
CACHE = Path(
    os.environ.get("DECANT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "decant")
).expanduser()


class HostError(Exception):
    """A host that could not be made; the message says what to do."""


def run(*argv: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """A command's output. A failure is a HostError with what the command said."""
    done = subprocess.run(argv, input=text, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if check and done.returncode != 0:
        raise HostError(f"'{' '.join(argv)}' ended with {done.returncode}:\n{(done.stderr or done.stdout).strip()}")
    return done


def as_root(*argv: str) -> list[str]:
    """The command, through sudo when this is an ordinary user: a host needs real mounts and the machine's own bridge."""
    return [*argv] if os.geteuid() == 0 else ["sudo", *argv]


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time in a part of the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def unified_cgroups() -> bool:
    """Whether the machine has cgroup v2 alone, where podman's own defaults work."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def podman(*arguments: str, check: bool = True, text: str | None = None) -> str:
    """podman's output. On cgroup v1 and hybrid machines crun refuses, runc works."""
    runtime = [] if unified_cgroups() else ["--runtime", "runc"]
    return run(*as_root("podman", *runtime, *arguments), check=check, text=text).stdout.strip()


def exists(kind: str, name: str) -> bool:
    """Whether podman has an image or a network of this name."""
    return run(*as_root("podman", kind, "exists", name), check=False).returncode == 0


def image() -> str:
    """The name of the base image, built when it is missing. Its tag is a hash of its recipe."""
    recipe = json.dumps([SUITE, PACKAGES, CUSTOMIZE])
    name = f"localhost/decant-host:{SUITE}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with locked("image"):
        if exists("image", name):
            return name
        print(f"building the base image {name} (about half a minute)", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            tar = f"{folder}/host.tar"
            hooks = [f"--customize-hook={line}" for line in CUSTOMIZE]
            include = f"--include={','.join(PACKAGES)}"
            run(*as_root("mmdebstrap", "--quiet", "--variant=minbase", include, *hooks, SUITE, tar))
            podman("import", "--quiet", tar, name)
    return name


def key() -> Path:
    """The private key that opens every host; made once."""
    path = CACHE / "ssh" / "id_ed25519"
    with locked("ssh"):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "decant test hosts", "-f", str(path))
    return path


def containers(group: str | None = None) -> list[dict]:
    """What podman knows of our hosts. One call: a host of another group may go away at any moment."""
    wanted = f"label={LABEL}" + (f"={group}" if group else "")
    return json.loads(podman("ps", "--all", "--filter", wanted, "--format", "json") or "[]")


def address(container: dict) -> str:
    """The fixed address that a host was given; it survives a reboot."""
    return container["Labels"]["org.decant.address"]


def container_name(group: str, name: str) -> str:
    return f"decant-{group}-{name}"


def free_address() -> str:
    """An address of the network that no host has."""
    used = {address(container) for container in containers()}
    for candidate in list(SUBNET.hosts())[9:]:
        if str(candidate) not in used:
            return str(candidate)
    raise HostError(f"no address is left in {SUBNET}. Remove old hosts: podman ps --all --filter label={LABEL}")


def hardware_address(ip: str) -> str:
    """One per address: with a new one after each boot, neighbours would talk to the old one for half a minute."""
    return "02:00:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(ip).packed)


def steady_bridge() -> None:
    """Give the bridge an address of its own. Without one it takes a port's, another one whenever a host comes or goes, and
    all the other hosts then answer to the old one for some seconds."""
    network = json.loads(podman("network", "inspect", NETWORK))[0]
    wanted = hardware_address(network["subnets"][0]["gateway"])
    if Path("/sys/class/net", network["network_interface"], "address").read_text(encoding="utf-8").strip() != wanted:
        run(*as_root("ip", "link", "set", "dev", network["network_interface"], "address", wanted))


def limits() -> list[str]:
    """Limits below the machine's own: podman's defaults may be above its hard ones, which the kernel refuses."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if unified_cgroups() and hard >= 1048576:
        return []
    return ["--ulimit", f"nofile={hard}:{hard}", "--ulimit", f"nproc={min(hard, 20000)}:{min(hard, 20000)}"]


def create(group: str, name: str, publish: str | None) -> None:
    """Boot one host."""
    base = image()
    with locked("network"):
        if exists("container", container_name(group, name)):
            return  # another call was first
        if not exists("network", NETWORK):
            podman("network", "create", "--disable-dns", "--subnet", str(SUBNET), NETWORK)
        ip = free_address()
        ports = ["--publish", publish] if publish else []
        labels = (f"{LABEL}={group}", f"org.decant.address={ip}", f"org.decant.host={name}")
        try:
            podman(
                *("run", "--detach", "--privileged", "--systemd=always", *limits(), *ports),
                *("--name", container_name(group, name), "--hostname", name),
                *(word for label in labels for word in ("--label", label)),
                *("--network", NETWORK, "--ip", ip, "--mac-address", hardware_address(ip), base, "/sbin/init"),
            )
        except HostError:
            # A port in use leaves a container that never ran. No --force: one that runs is not ours to remove here.
            podman("rm", "--ignore", container_name(group, name), check=False)
            raise


def prepare(group: str, name: str) -> None:
    """Let the key in, as the sudo user and as root, and bring the controller's CA certificates."""
    container = container_name(group, name)
    public = key().with_suffix(".pub").read_text(encoding="utf-8")
    for user, home in (("ops", "/home/ops"), ("root", "/root")):
        script = f"install -d -m 700 -o {user} {home}/.ssh && cat > {home}/.ssh/authorized_keys && chown {user} {home}/.ssh/*"
        podman("exec", "--interactive", container, "sh", "-c", script, text=public)
    bundle = os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt"
    if os.path.exists(bundle):
        podman("cp", bundle, f"{container}:{CONTROLLER_CA}")


def wait(group: str, name: str) -> None:
    """Wait until systemd has booted and SSH answers."""
    container = container_name(group, name)
    end = time.monotonic() + BOOT_SECONDS
    state = said = ""
    while time.monotonic() < end:
        state = podman("exec", container, "systemctl", "is-system-running", check=False)
        if state in ("running", "degraded"):
            done = run(*ssh(group, name), "true", check=False)
            if done.returncode == 0:
                return
            said = done.stderr.strip()
        time.sleep(0.3)
    failed = podman("exec", container, "systemctl", "--failed", "--no-legend", check=False)
    raise HostError(
        f"{container} did not come up in {BOOT_SECONDS} s: systemd is '{state}', SSH says '{said}'. {failed}"
    )


def ssh_options() -> list[str]:
    """Hosts come and go with one address and new host keys."""
    return ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]


def ssh(group: str, name: str) -> list[str]:
    """The command that opens a host."""
    target = f"ops@{variables(group)[name]['ansible_host']}"
    return ["ssh", "-i", str(key()), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", *ssh_options(), target]


def variables(group: str) -> dict[str, dict[str, str]]:
    """Connection variables of a group's hosts, and what this machine's network asks for."""
    common = {
        "ansible_user": "ops",
        "ansible_ssh_private_key_file": str(key()),
        "ansible_ssh_common_args": " ".join(ssh_options()),
        "ansible_python_interpreter": "/usr/bin/python3",
        "venv_ca_bundle": CONTROLLER_CA,
    }
    index = os.environ.get("PIP_INDEX_URL") or os.environ.get("UV_DEFAULT_INDEX")
    if index and not index.startswith("file:"):
        common["venv_index_url"] = index
    return {
        container["Labels"]["org.decant.host"]: {"ansible_host": address(container), **common}
        for container in containers(group)
    }


def inventory(group: str, names: list[str], under: str | None) -> dict:
    """How to reach a group's hosts, or those of some names: by name, or as an inventory that has them in a group."""
    known = variables(group)
    missing = sorted(set(names) - set(known))
    if missing:
        raise HostError(f"there is no host '{missing[0]}' in the group {group}. There: {', '.join(known) or 'none'}")
    found = {name: known[name] for name in names or known}
    return {under: {"hosts": found}} if under else found


def up(group: str, names: list[str], publish: str | None) -> None:
    """Boot what is missing, start what is stopped."""
    known = {container["Labels"]["org.decant.host"]: container for container in containers(group)}
    for name in names:
        if name not in known:
            create(group, name, publish)
        elif known[name]["State"] != "running":
            podman("start", container_name(group, name))
    steady_bridge()
    for name in names:
        prepare(group, name)  # also those that run: an interrupted call, or another cache, left a host without this key
        wait(group, name)


def reboot(group: str, names: list[str]) -> None:
    """Restart containers, which is a reboot for what runs in them."""
    for name in names:
        podman("restart", "--time", "20", container_name(group, name))
        steady_bridge()
        wait(group, name)


def down(group: str) -> None:
    """Remove a group's hosts. podman gives up on one that ends by itself between its signal and its kill, so it is asked again."""
    for tries_left in (2, 1, 0):
        names = [container["Names"][0] for container in containers(group)]
        if not names:
            return
        try:
            podman("rm", "--force", "--time", "2", "--volumes", *names)
            return
        except HostError:
            if not tries_left:
                raise
        time.sleep(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("image")
    for verb in ("up", "inventory", "reboot", "down"):
        command = verbs.add_parser(verb)
        command.add_argument("--group", required=True)
        if verb in ("up", "reboot"):
            command.add_argument("names", nargs="+", metavar="NAME")
        if verb == "up":
            command.add_argument("--publish", metavar="ADDRESS:PORT:PORT")
        if verb == "inventory":
            command.add_argument("names", nargs="*", metavar="NAME")
            command.add_argument("--under", metavar="TOP")
    arguments = parser.parse_args()
    if arguments.verb == "up" and arguments.publish and len(arguments.names) > 1:
        parser.error("--publish takes one NAME: a port leads to one host")
    if not shutil.which("podman"):
        print("podman is missing. bin/demo and bin/test install it; or: apt-get install podman", file=sys.stderr)
        return 1
    try:
        if arguments.verb == "image":
            print(image())
        elif arguments.verb == "up":
            up(arguments.group, arguments.names, arguments.publish)
        elif arguments.verb == "inventory":
            print(json.dumps(inventory(arguments.group, arguments.names, arguments.under), indent=2))
        elif arguments.verb == "reboot":
            reboot(arguments.group, arguments.names)
        else:
            down(arguments.group)
    except HostError as error:
        print(f"hosts.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
