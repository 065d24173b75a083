# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings the certificate that nginx shows: made on the host, given by the inventory, or from an ACME server."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils import certificates
from ansible_collections.decant.flask.plugins.module_utils.host import CommandError, run, systemctl
from ansible_collections.decant.flask.plugins.module_utils.layout import atomic_symlink, atomic_write

SELFSIGNED_DAYS = 825
CERTBOT_SECONDS = 300
CERTBOT_LOG = "/var/log/letsencrypt/letsencrypt.log"
RELOAD = "systemctl reload nginx.service"


class CertificateError(Exception):
    """A certificate that is not to be had; the message is for an operator."""


def public_key(kind: str, path: str) -> str:
    """The public key of a certificate or of a private key, as PEM."""
    words = {"certificate": ["openssl", "x509", "-noout", "-pubkey"], "key": ["openssl", "pkey", "-pubout"]}[kind]
    # A key with a passphrase is asked for it; nobody is there to answer.
    more = ["-passin", "pass:"] if kind == "key" else []
    return run([*words, *more, "-in", path]).stdout.strip()


def trouble(certificate: str, key: str, names: list[str]) -> str:
    """Why a certificate and a key cannot be served under these names; empty when they can."""
    public = {}
    for kind, path in (("certificate", certificate), ("key", key)):
        if not os.path.isfile(path):
            return f"there is no {path}"
        try:
            public[kind] = public_key(kind, path)
        except CommandError:
            return f"openssl cannot read the {kind}. It must be PEM" + (
                ", and without a passphrase" if kind == "key" else ""
            )
    if public["certificate"] != public["key"]:
        return "the key belongs to another certificate"
    info = certificates.read(certificate)
    if certificates.days_left(info) < 0:
        return "the certificate has ended"
    missing = [name for name in names if not certificates.covers(info["names"], name)]
    if missing:
        return f"the certificate is for {', '.join(info['names']) or 'no host name'}, not for {', '.join(missing)}"
    return ""


def put(pair: tuple[bytes, bytes], places: tuple[str, str]) -> None:
    """Certificate and key into the place of those before them, by one rename: whenever nginx reads, they belong together."""
    link = os.path.dirname(places[0])
    parent = os.path.dirname(link)
    folder = f"{link}.{hashlib.sha256(b''.join(pair)).hexdigest()[:16]}"
    os.makedirs(folder, mode=0o755, exist_ok=True)
    write(pair, folder)
    before = os.path.realpath(link)
    atomic_symlink(os.path.basename(folder), link)
    if os.path.islink(link) and before != os.path.realpath(folder) and before.startswith(f"{parent}/"):
        shutil.rmtree(before, ignore_errors=True)


def write(pair: tuple[bytes, bytes], folder: str) -> None:
    """Certificate and key into a folder, the key never readable by others, not even for a moment."""
    atomic_write(f"{folder}/{certificates.KEY}", pair[1], 0o600)
    atomic_write(f"{folder}/{certificates.CHAIN}", pair[0], 0o644)


def selfsigned(names: list[str]) -> tuple[bytes, bytes]:
    """A certificate for these names, signed by its own key; and the key."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
        words = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-sha256",
        ]
        kinds = {name: "IP" if re.fullmatch(r"[0-9.]+|.*:.*", name) else "DNS" for name in names}
        alternative = ",".join(f"{kind}:{name}" for name, kind in kinds.items())
        subject = ["-subj", f"/CN={names[0][:64]}", "-addext", f"subjectAltName={alternative}"]
        purpose = ["-addext", "extendedKeyUsage=serverAuth", "-days", str(SELFSIGNED_DAYS)]
        run([*words, *subject, *purpose, "-keyout", key, "-out", certificate])
        with open(certificate, "rb") as stream, open(key, "rb") as other:
            return stream.read(), other.read()


def from_inventory(p: dict[str, Any]) -> tuple[bytes, bytes]:
    """What the inventory gives, checked aside before it takes the place of what is there."""
    pair = p["certificate"].encode(), p["key"].encode()
    with tempfile.TemporaryDirectory() as folder:
        write(pair, folder)
        wrong = trouble(f"{folder}/{certificates.CHAIN}", f"{folder}/{certificates.KEY}", p["names"])
    if wrong:
        raise CertificateError(f"nginx_tls_certificate and nginx_tls_key cannot be served: {wrong}.")
    return pair


def hidden_cause(output: str, log: str = CERTBOT_LOG) -> str:
    """What the ACME server said, where certbot does not say it.

    certbot 2.1 on Python 3.11 ends with "can't set attribute" in place of the server's error, which its log has.
    """
    if "can't set attribute" not in output:
        return ""
    try:
        with open(log, encoding="utf-8", errors="replace") as stream:
            said = re.findall(r"urn:ietf:params:acme:error:(.+)", stream.read())
    except OSError:
        return ""
    return f"the ACME server said {said[-1]}" if said else ""


def explain(output: str, names: list[str]) -> str:
    """What an operator looks at when certbot did not get a certificate."""
    details = re.findall(r"^\s*(?:Domain|Identifier): (\S+)\n\s*Type:\s+(\S+)\n\s*Detail: (.*)$", output, re.MULTILINE)
    if details:
        said = "; ".join(f"{name}: {detail} ({kind})" for name, kind, detail in details)
        return (
            f"{said}. Check that each of {', '.join(names)} resolves to this host (A and AAAA records), and that port 80 "
            "of it is reached from the ACME server: firewall, proxies in front, nginx_listen_port"
        )
    lines = [
        line for line in output.splitlines() if line.strip() and not re.match(r"^(Saving debug log|Ask for|- )", line)
    ]
    said = hidden_cause(output) or " ".join(lines[-4:]) or "it said nothing"
    if "CERTIFICATE_VERIFY_FAILED" in output:
        return f"{said}. The ACME server's own certificate is not trusted: name its CA in nginx_acme_ca_bundle"
    if re.search(r"rateLimited|too many", f"{output} {said}"):
        return f"{said}. Wait, or try with nginx_acme_staging_enabled first"
    return f"{said}. Check nginx_acme_directory_url, and that this host reaches it"


def certbot(p: dict[str, Any], *, forced: bool) -> None:
    """Ask the ACME server. certbot stores all of this for its timer."""
    os.makedirs(p["webroot"], mode=0o755, exist_ok=True)
    domains = [word for name in p["names"] for word in ("--domain", name)]
    account = ["--email", p["email"], "--no-eff-email"] if p["email"] else ["--register-unsafely-without-email"]
    words = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--webroot", "--webroot-path", p["webroot"]]
    words += ["--cert-name", certificates.lineage(p["name"]), "--server", p["directory_url"], "--key-type", "ecdsa"]
    words += ["--renew-with-new-domains", "--force-renewal" if forced else "--keep-until-expiring"]
    words += ["--deploy-hook", RELOAD, *account, *domains]
    env = {"REQUESTS_CA_BUNDLE": p["ca_bundle"]} if p["ca_bundle"] else {}
    try:
        run(words, env=env, timeout=CERTBOT_SECONDS)
    except CommandError as error:
        raise CertificateError(
            f"No certificate was issued by {p['directory_url']}: {explain(error.output, p['names'])}. "
            f"certbot's own log: {CERTBOT_LOG}"
        ) from error


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "mode": {"type": "str", "choices": ["selfsigned", "files", "acme"], "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
    "certificate": {"type": "str", "default": ""},
    "key": {"type": "str", "default": "", "no_log": True},
    "certificate_path": {"type": "str", "default": "", "no_log": False},
    "key_path": {"type": "str", "default": "", "no_log": False},
    "directory_url": {"type": "str", "default": ""},
    "email": {"type": "str", "default": ""},
    "ca_bundle": {"type": "str", "default": ""},
    "webroot": {"type": "path", "default": "/var/lib/decant/acme"},
}


def main(module: AnsibleModule) -> None:
    p = module.params
    given = bool(p["certificate_path"])
    places = (p["certificate_path"], p["key_path"]) if given else certificates.paths(p["name"], p["mode"])
    info = certificates.state(p["name"], p["mode"], p["certificate_path"])
    try:
        if given:
            wrong = trouble(*places, p["names"])
            if wrong:
                raise CertificateError(f"{places[0]} and {places[1]} cannot be served: {wrong}.")
            module.exit_json(changed=False, info=info)
        if certificates.as_wanted(p, info):
            module.exit_json(changed=False, info=info)
        if module.check_mode:
            module.exit_json(changed=True, info=info)
        if p["mode"] == "selfsigned":
            put(selfsigned(p["names"]), places)
        elif p["mode"] == "files":
            put(from_inventory(p), places)
        else:
            certbot(p, forced=bool(info) and info["directory"] != p["directory_url"])
    except (CertificateError, CommandError, OSError) as error:
        kept = "The one that was there stays in use." if info else "nginx goes on without TLS for now."
        module.fail_json(msg=f"{error} {kept} Mend that and deploy again.")
    # The site names the paths, which stay the same: nginx has read the old files.
    if p["mode"] != "acme" and info and systemctl("is-active", "nginx.service", check=False) == "active":
        systemctl("reload", "nginx.service")
    module.exit_json(changed=True, info=certificates.state(p["name"], p["mode"], ""))
