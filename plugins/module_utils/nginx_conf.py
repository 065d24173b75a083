# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading the nginx sites that are on a host, to see a conflict before it is made.

This is a survey, not a parser: it knows `listen`, `server_name` and braces, which is all a conflict is made of.
Includes other than Debian's conf.d/*.conf and sites-enabled/* are not followed.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Any

_TOKEN = re.compile(r"""\s*(?:(#[^\n]*)|([{};])|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s;{}]+))""")


def servers(text: str) -> list[dict[str, list[list[str]]]]:
    """Each server block of a file, with the arguments of its listen and server_name directives."""
    found: list[dict[str, list[list[str]]]] = []
    stack: list[str] = []
    words: list[str] = []
    for match in _TOKEN.finditer(text):
        _comment, mark, word = match.groups()
        if word:
            words.append(word.strip("\"'"))
        elif mark == "{":
            stack.append(words[0] if words else "")
            if stack[-1] == "server":
                found.append({"listen": [], "server_name": []})
            words = []
        elif mark == "}":
            if stack:
                stack.pop()
            words = []
        elif mark == ";":
            if stack and stack[-1] == "server" and words and words[0] in ("listen", "server_name"):
                found[-1][words[0]].append(words[1:])
            words = []
    return found


def listen_port(arguments: list[str]) -> int | None:
    """The TCP port of a listen directive; None for a Unix socket."""
    address = arguments[0] if arguments else "80"
    if address.startswith("unix:"):
        return None
    last = address.rsplit(":", 1)[-1]
    return int(last) if last.isdigit() else 80


def survey(folder: str, name: str, ports: list[int], server_names: list[str]) -> dict[str, Any]:
    """What other sites on this host say about the site's ports and names.

    :param name: the backend's name; its own site and the shared catch-all are passed over.
    :returns: `conflicts` (sentences), `default_servers` (port -> the file of another site that is its default),
        `debian_default` (Debian's welcome page is enabled and is the package's own link).
    """
    own = {f"{name}.conf", *(f"decant-catch-all-{port}.conf" for port in ports)}
    debian_link = os.path.join(folder, "sites-enabled/default")
    debian_default = os.path.islink(debian_link) and os.path.realpath(debian_link) == os.path.realpath(
        os.path.join(folder, "sites-available/default")
    )
    conflicts: list[str] = []
    default_servers: dict[str, str] = {}
    files = sorted(glob.glob(f"{folder}/sites-enabled/*") + glob.glob(f"{folder}/conf.d/*.conf"))
    for path in files:
        if os.path.basename(path) in own or (path == debian_link and debian_default):
            continue
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                blocks = servers(stream.read())
        except OSError:
            continue
        for block in blocks:
            listens = block["listen"] or [["80"]]
            names = {word for arguments in block["server_name"] for word in arguments}
            for port in ports:
                if port not in [listen_port(arguments) for arguments in listens]:
                    continue
                for both in sorted(names & set(server_names)):
                    conflicts.append(f"{path} already answers to {both} on port {port}")
                if any("default_server" in arguments and listen_port(arguments) == port for arguments in listens):
                    default_servers[str(port)] = path
    return {"conflicts": conflicts, "default_servers": default_servers, "debian_default": debian_default}
