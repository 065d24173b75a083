#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Builds the virtual environment of a lock, once, and links a release to it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: venv
short_description: Builds the virtual environment of a lock
version_added: 0.1.0
description:
  - One environment per lock hash. A known one is linked, not built.
  - Built aside, as the backend's user so that no third-party build code runs as root, then given to root and renamed in place.
author: The Decant maintainers (!UNKNOWN)
extends_documentation_fragment: [decant.flask.backend, decant.flask.backend.user]
options:
  id:
    description: The staged release.
    type: str
    required: true
  lock:
    description: The lock hash, which names the environment.
    type: str
    required: true
  subdir:
    description: Directory of the code inside the source.
    type: str
    default: ""
  mode:
    description: What says what to install.
    type: str
    choices: [requirements, pyproject, uv]
    default: requirements
  paths:
    description: Requirements files, relative to the code.
    type: list
    elements: str
    default: []
  text:
    description: Requirements read from pyproject.toml.
    type: str
    default: ""
  hashed:
    description: The requirements carry hashes, and each is checked.
    type: bool
    default: false
  extras:
    description: Extras of the project to install from uv.lock.
    type: list
    elements: str
    default: []
  additions:
    description: Requirements that Decant or the inventory adds.
    type: list
    elements: str
    default: []
  python:
    description: The Python of the environment, a command or an absolute path.
    type: str
    default: python3
  installer:
    description: What installs.
    type: str
    choices: [uv, pip]
    default: uv
  uv_version:
    description: The version of uv, installed from the package index for all backends of a host.
    type: str
    required: true
  index_url:
    description: Package index; may carry credentials. Empty for the installer's default.
    type: str
    default: ""
  extra_index_urls:
    description: Further indexes.
    type: list
    elements: str
    default: []
  proxy:
    description: HTTP proxy.
    type: str
    default: ""
  ca_bundle:
    description: CA certificates on the host, for a network that inspects TLS.
    type: str
    default: ""
  timeout:
    description: Limit for the whole build, in seconds.
    type: int
    default: 900
attributes:
  check_mode:
    description: Says whether an environment would be built.
    support: full
  diff_mode:
    description: An environment is new as a whole.
    support: none
"""

EXAMPLES = r"""
- name: Build the virtual environment
  decant.flask.venv:
    name: projects
    root: /srv/projects
    user: projects
    id: 20261122T101500Z-3f2a9c1
    lock: 9b1d3c0a5e7f2468
    paths: [requirements.txt]
    additions: [gunicorn==27.0.1]
    uv_version: 0.13.9
"""

RETURN = r"""
path:
  description: The environment's directory.
  returned: always
  type: str
built:
  description: Whether it had to be built.
  returned: always
  type: bool
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("venv")
