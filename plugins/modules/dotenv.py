#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a release's .env."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: dotenv
short_description: Writes a release's environment file
version_added: 0.1.0
description:
  - One quoting for systemd's EnvironmentFile, python-dotenv and a shell; what they would read differently is refused by the name of its key.
  - Values are never returned, logged or shown as a difference; names are.
author: The Decant maintainers (!UNKNOWN)
options:
  path:
    description: The file.
    type: path
    required: true
  group:
    description: The group that may read it. The owner is root and the mode 0640.
    type: str
    required: true
  content:
    description: The file's content, as the filter decant.flask.dotenv renders it.
    type: str
    required: true
  secret_key_path:
    description:
      - A file of the host, 0600, that holds a SECRET_KEY of its own. Made when it is not there; its value becomes a variable of the
        environment and never leaves the host. Empty for none.
    type: path
    default: ""
  credentials:
    description: Variables that are delivered as files, one each in C(credentials/) beside the C(.env), 0600 and root's.
    type: dict
    default: {}
  delivery:
    description: Where O(secret_key_path) goes, V(file) for the C(.env).
    type: str
    choices: [file, credential]
    default: file
attributes:
  check_mode:
    description: Says whether the file would change.
    support: full
  diff_mode:
    description: Shows names alone.
    support: partial
"""

EXAMPLES = r"""
- name: Write the environment file
  decant.flask.dotenv:
    path: /srv/projects/releases/20261122T101500Z-3f2a9c1/.env
    group: projects
    content: "{{ {'SECRET_KEY': vault_secret_key} | decant.flask.dotenv }}"
  no_log: true
  diff: false
"""

RETURN = r"""
names:
  description: Names in the file.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("dotenv")
