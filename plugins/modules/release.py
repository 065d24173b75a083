#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stages a source as an immutable release directory, and prunes old ones."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release
short_description: Stages a source as an immutable release directory
version_added: 0.1.0
description:
  - Unpacks the tar aside and renames it to C(releases/<id>) when it is whole, so that a half-staged release never has a release's name.
  - The code is owned by root and readable, never writable, by the backend's group.
  - Links the virtual environment of its lock, when there is one already.
  - Removes failed and unfinished releases first, with their units and the environments that no release uses any more.
author: The Decant maintainers (!UNKNOWN)
extends_documentation_fragment: [decant.flask.backend, decant.flask.backend.user]
options:
  id:
    description: The release's id.
    type: str
    required: true
  tar:
    description: Path of the source's tar on the controller; the action plugin copies it to the host.
    type: path
    required: true
  subdir:
    description: Directory of the code inside the source.
    type: str
    default: ""
  shared_paths:
    description: Paths relative to the code that become links into the shared directory.
    type: list
    elements: str
    default: []
  public_paths:
    description: Paths relative to the code that the web server may read.
    type: list
    elements: str
    default: []
  lock:
    description: The lock hash, which names the virtual environment.
    type: str
    default: ""
  manifest:
    description: What the release's record says from the start.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Says what would be staged and pruned.
    support: full
  diff_mode:
    description: A release is new as a whole; there is nothing to compare it with.
    support: none
"""

EXAMPLES = r"""
- name: Stage the release
  decant.flask.release:
    name: projects
    root: /srv/projects
    user: projects
    id: 20261122T101500Z-3f2a9c1
    tar: ~/.cache/decant/sources/projects/9b1d.tar.gz
    subdir: backend
"""

RETURN = r"""
path:
  description: The release's directory.
  returned: always
  type: str
  sample: /srv/projects/releases/20261122T101500Z-3f2a9c1
pruned:
  description: Ids of the releases that were removed.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("release")
