#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything a deploy needs to know of a host, read in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_state
short_description: Reads what a deploy needs to know of a host
version_added: 0.1.0
description:
  - Reads, and changes nothing. One call instead of fact gathering and a dozen probes, because a remote task costs a third of a second.
author: The Decant maintainers (!UNKNOWN)
extends_documentation_fragment: [decant.flask.backend, decant.flask.backend.user]
options:
  directories:
    description: Wanted directories, each with path, owner, group and mode (quoted octal).
    type: list
    elements: dict
    default: []
  packages:
    description: Debian packages that must be installed.
    type: list
    elements: str
    default: []
  python:
    description: The Python that the virtual environment will use, a command name or an absolute path.
    type: str
    default: python3
  listen_port:
    description: TCP port that nginx will listen on.
    type: int
    default: 80
  tls_port:
    description: TCP port that nginx will listen on with TLS; 0 for none.
    type: int
    default: 0
  tls_mode:
    description: Where the certificate comes from (nginx_tls).
    type: str
    default: "off"
  certificate_path:
    description: Path of a certificate that is kept elsewhere than where Decant keeps them.
    type: str
    default: ""
  server_names:
    description: Host names that nginx will answer to.
    type: list
    elements: str
    default: []
  sqlite_path:
    description: Absolute path of the SQLite database file, when there is one.
    type: str
    default: ""
  salt:
    description: Key for the digests of the current release's environment. Without it they could be guessed from a log.
    type: str
    default: ""
  schema:
    description: Whether to read the revision of the database, which starts the backend's code once.
    type: bool
    default: false
attributes:
  check_mode:
    description: Reads only, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Inspect the host
  decant.flask.host_state:
    name: projects
    root: /srv/projects
    user: projects
"""

RETURN = r"""
state:
  description: What was found.
  returned: always
  type: dict
  sample: {cpus: 2, current: {id: 20261122T101500Z-3f2a9c1, intact: true}}
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("host_state")
