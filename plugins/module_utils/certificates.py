# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading certificates with the openssl program: the host needs no Python library for it."""

from __future__ import annotations

import calendar
import hashlib
import ipaddress
import os
import re
import time
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils.host import run
from ansible_collections.decant.flask.plugins.module_utils.layout import file_digest

RENEW_DAYS = 30  # certbot's own default
FOLDER = "/etc/decant/tls"
LETSENCRYPT = "/etc/letsencrypt"
CHAIN, KEY = "fullchain.pem", "privkey.pem"


def lineage(name: str) -> str:
    """The name under which certbot keeps a backend's certificate: no name that a person would give to one of their own."""
    return f"decant-{name}"


def paths(name: str, mode: str) -> tuple[str, str]:
    """Where certificate and key of a backend are; not for files that are on the host already."""
    folder = f"{LETSENCRYPT}/live/{lineage(name)}" if mode == "acme" else f"{FOLDER}/{name}/{mode}"
    return f"{folder}/{CHAIN}", f"{folder}/{KEY}"


def end(text: str) -> int | None:
    """Seconds since the epoch of a time as openssl writes it, such as `Nov 24 16:00:00 2027 GMT`; None when it is none."""
    try:
        return calendar.timegm(time.strptime(text.strip(), "%b %d %H:%M:%S %Y GMT"))
    except ValueError:
        return None


def canonical(name: str) -> str:
    """A host name as it is; an IP address in its shortest form, which openssl does not print."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def parse(text: str) -> dict[str, Any]:
    """What `openssl x509 -noout -enddate -ext subjectAltName -ocsp_uri` printed."""
    found = re.search(r"^notAfter=(.*)$", text, re.MULTILINE)
    return {
        "names": sorted(canonical(name) for name in re.findall(r"(?:DNS|IP Address):([^,\s]+)", text)),
        "ends": end(found.group(1)) if found else None,
        "ocsp": bool(re.search(r"^https?://", text, re.MULTILINE)),
    }


def read(path: str) -> dict[str, Any]:
    """names, end (`ends`, seconds since the epoch), whether its issuer answers OCSP, and digest of a certificate; empty when
    there is none that can be read."""
    if not os.path.isfile(path):
        return {}
    words = ["openssl", "x509", "-noout", "-enddate", "-ext", "subjectAltName", "-ocsp_uri", "-in", path]
    try:
        done = run(words, check=False)
    except FileNotFoundError:  # openssl is among the packages to install
        return {}
    return {**parse(done.stdout), "sha256": file_digest(path)} if done.returncode == 0 else {}


def days_left(info: dict[str, Any]) -> int:
    """Whole days until a certificate ends, below 0 afterwards; -1 for one that is not there."""
    ends = info.get("ends")
    return -1 if ends is None else int((ends - time.time()) // 86400)


def covers(names: list[str], wanted: str) -> bool:
    """Whether one of a certificate's names stands for a host name: itself, or a wildcard for one label."""
    parent = wanted.partition(".")[2]
    return wanted in names or f"*.{parent}" in names


def directory(name: str) -> str:
    """The ACME directory that certbot renews from; empty when it renews nothing."""
    try:
        with open(f"{LETSENCRYPT}/renewal/{lineage(name)}.conf", encoding="utf-8") as stream:
            found = re.search(r"^server\s*=\s*(\S+)", stream.read(), re.MULTILINE)
    except OSError:
        return ""
    return found.group(1) if found else ""


def state(name: str, mode: str, path: str) -> dict[str, Any]:
    """What is there for a backend: of a certificate, and of where it is renewed from (`directory`).

    :param path: of a certificate that is kept elsewhere; empty for the paths that Decant gives.
    """
    info = read(path or paths(name, mode)[0])
    return {**info, "directory": directory(name) if mode == "acme" else ""} if info else {}


def as_wanted(p: dict[str, Any], info: dict[str, Any]) -> bool:
    """Whether what state() found is what is asked for.

    :param p: the options of the module certificate.
    """
    if p["mode"] == "files":
        digest = hashlib.sha256(str(p.get("certificate", "")).encode()).hexdigest()
        return info.get("sha256") == digest and days_left(info) >= 0
    if info.get("names") != sorted({canonical(name) for name in p["names"]}):
        return False
    if p["mode"] == "selfsigned":
        return days_left(info) >= RENEW_DAYS
    return days_left(info) >= 0 and info.get("directory") == p["directory_url"]
