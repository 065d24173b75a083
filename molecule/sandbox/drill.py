# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an intruder tries from inside a worker. Copied into a backend by the scenario's tests and run by its own worker.

Each attempt returns what it got; an exception is a refusal. Nothing here harms: what would succeed reads, or writes an empty file.
"""

from __future__ import annotations

import ctypes
import glob
import os
import socket
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CODE = os.path.dirname(os.path.abspath(__file__))
RELEASE = os.path.realpath(os.path.join(os.path.dirname(sys.executable), "../.."))
SHARED = "/srv/projects/shared"


def call(name: str, *arguments: object) -> str:
    """A function of the C library; its error is an OSError."""
    done = getattr(LIBC, name)(*arguments)
    if done == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return f"{name} returned {done}"


def trace(process: int) -> str:
    """Take hold of a process, and let it go."""
    done = call("ptrace", 16, process, None, None)
    os.waitpid(process, 0)
    call("ptrace", 17, process, None, None)
    return done


def append(path: str) -> str:
    with open(path, "a", encoding="utf-8"):
        return f"{path} is open for writing"


def read(path: str) -> str:
    with open(path, "rb") as stream:
        return f"{path} has {len(stream.read(64))} bytes and more"


def listing(path: str) -> str:
    return f"{path} has {os.listdir(path)}"


def run_upload(folder: str) -> str:
    path = f"{folder}/uploaded"
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("#!/usr/bin/python3\nprint('ran')\n")
    os.chmod(path, 0o700)
    return subprocess.run([path], capture_output=True, text=True, check=True).stdout


def set_uid_file() -> str:
    path = f"{SHARED}/setuid"
    with open(path, "w", encoding="utf-8"):
        pass
    os.chmod(path, 0o4755)
    if not os.stat(path).st_mode & 0o4000:
        raise PermissionError("the bit was not kept")
    return "a file with the setuid bit"


def connect(family: int, address: object) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(3)
        one.connect(address)
        return f"connected to {address}"


def other_socket() -> str:
    (path,) = glob.glob("/run/other/*.sock") or ["/run/other/none.sock"]
    return connect(socket.AF_UNIX, path)


def writable_and_executable() -> str:
    import mmap

    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.close()
    return "memory that is writable and executable"


ATTEMPTS = {
    # its own release
    "write its code": lambda: append(f"{CODE}/__init__.py"),
    "write beside its code": lambda: append(f"{CODE}/planted.py"),
    "write its environment": lambda: append(f"{RELEASE}/.env"),
    "write its virtual environment": lambda: append(f"{RELEASE}/venv/lib/python3.11/site-packages/planted.pth"),
    "write its settings": lambda: append(f"{RELEASE}/gunicorn.conf.py"),
    "move current": lambda: os.rename("/srv/projects/current", "/srv/projects/previous"),
    "write the audit log": lambda: append("/srv/projects/deploys.jsonl"),
    "read its backups": lambda: listing("/srv/projects/backups"),
    # the neighbour
    "read the other's environment": lambda: read("/srv/other/current/.env"),
    "list the other's data": lambda: listing("/srv/other/shared"),
    "read the other's database": lambda: read("/srv/other/shared/other.db"),
    "write the other's data": lambda: append("/srv/other/shared/planted"),
    "connect to the other's socket": other_socket,
    # the host
    "list /root": lambda: listing("/root"),
    "list /home": lambda: listing("/home"),
    "read the users' passwords": lambda: read("/etc/shadow"),
    "read a key of SSH": lambda: read("/etc/ssh/ssh_host_ed25519_key"),
    "write a unit": lambda: append("/etc/systemd/system/planted.service"),
    "write a unit at run time": lambda: append("/run/systemd/system/planted.service"),
    "write a site of nginx": lambda: append("/etc/nginx/sites-enabled/planted.conf"),
    "write a cron job": lambda: append("/etc/cron.d/planted"),
    "write a kernel setting": lambda: append("/proc/sys/kernel/core_pattern"),
    "write a cgroup": lambda: append("/sys/fs/cgroup/cgroup.procs"),
    "open a disk": lambda: read("/dev/sda"),
    "open the memory": lambda: read("/dev/mem"),
    "see the first process": lambda: read("/proc/1/environ"),
    "talk to systemd": lambda: connect(socket.AF_UNIX, "/run/systemd/private"),
    # more power
    "become root": lambda: os.setuid(0),
    "become another user": lambda: os.setuid(33),
    "use sudo": lambda: subprocess.run(["/usr/bin/sudo", "-n", "true"], check=True),
    "make a setuid file": set_uid_file,
    "give a file away": lambda: os.chown(f"{SHARED}/projects.db", 0, 0),
    "trace its master": lambda: trace(os.getppid()),
    "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "a namespace of its own": lambda: call("unshare", 0x10000000),
    "change its root": lambda: os.chroot("/tmp"),
    "a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "load a module": lambda: call("syscall", 175, None, 0, b""),
    "switch Ctrl-Alt-Del off": lambda: call("reboot", 0),
    "set the clock": lambda: call("clock_settime", 0, (ctypes.c_long * 2)(int(time.time()), 0)),
    "raise its limits": lambda: os.nice(-5),
    "keep a key in the kernel": lambda: call("syscall", 248, b"user", b"planted", b"x", 1, -3),
    # foreign code
    "run what was uploaded": lambda: run_upload(SHARED),
    "run what was put into /tmp": lambda: run_upload("/tmp"),
    "run what was put into shared memory": lambda: run_upload("/dev/shm"),
    "run a shell": lambda: subprocess.run(["/bin/sh", "-c", "true"], check=True),
    "memory to write and to run": writable_and_executable,
}

# Not for intruders: what must go on working.
WORKING = {
    "write its data": lambda: append(f"{SHARED}/own"),
    "write a temporary file": lambda: append("/tmp/own"),
    "start its own interpreter": lambda: (
        subprocess.run([sys.executable, "-c", "print(6 * 7)"], check=True, capture_output=True, text=True).stdout
    ),
    "call a C function": lambda: call("getpid"),
}


def attempt(name: str) -> dict[str, str]:
    """Try it. The answer has either `got` or `refused`."""
    try:
        return {"got": str({**ATTEMPTS, **WORKING}[name]())}
    except Exception as error:  # whatever refuses it
        return {"refused": f"{type(error).__name__}: {error}"}
