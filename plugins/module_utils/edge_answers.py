# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a client gets who comes through nginx: the certificate held against the host's own authorities, the headers, the way from HTTP."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils import certificates

SECONDS = 10


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.place = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.place)


def get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """The answer to a GET: status, and headers by name in lower case.

    :param headers: Host among them.
    """
    try:
        connection.request("GET", path, headers={"User-Agent": "decant-readiness", **headers, "Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return {"status": answer.status, "headers": {name.lower(): value for name, value in answer.getheaders()}}
    finally:
        connection.close()


def plain(name: str, path: str, port: int) -> dict[str, Any]:
    """Without TLS."""
    try:
        return get(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS), path, {"Host": name})
    except (OSError, http.client.HTTPException) as error:
        return {"error": str(error) or type(error).__name__}


class Named(http.client.HTTPSConnection):
    """HTTPS to this host under a name that resolves to it, or not yet."""

    def __init__(self, name: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(name, port, timeout=SECONDS, context=context)
        self.own = context

    def connect(self) -> None:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        self.sock = self.own.wrap_socket(raw, server_hostname=self.host)


def tls(name: str, path: str, port: int) -> dict[str, Any]:
    """With TLS. `untrusted` says why a client would refuse; the answer is asked for all the same."""
    found: dict[str, Any] = {"untrusted": ""}
    strict, lenient = ssl.create_default_context(), ssl.create_default_context()
    lenient.check_hostname, lenient.verify_mode = False, ssl.CERT_NONE
    for context in (strict, lenient):
        connection = Named(name, port, context)
        try:
            connection.connect()
            if context is strict:
                ends = certificates.end(str((connection.sock.getpeercert() or {}).get("notAfter", "")))
                found["days"] = certificates.days_left({"ends": ends})
            found["version"] = connection.sock.version()
            return {**found, **get(connection, path, {"Host": name})}
        except ssl.SSLCertVerificationError as error:
            connection.close()
            found["untrusted"] = error.verify_message or str(error)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return {**found, "error": str(error) or type(error).__name__}
    return found


def old_tls(name: str, port: int) -> bool:
    """Whether TLS 1.0 or 1.1 is still spoken."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    connection = Named(name, port, context)
    try:
        connection.connect()
        return True
    except OSError:
        return False
    finally:
        connection.close()


def ask(name: str, path: str, listen_port: int, tls_port: int) -> dict[str, Any]:
    """Both ways in; `tls` is empty where there is no such port."""
    found: dict[str, Any] = {"plain": plain(name, path, listen_port) if listen_port else {}, "tls": {}}
    if tls_port:
        found["tls"] = {**tls(name, path, tls_port), "old": old_tls(name, tls_port)}
    return found
