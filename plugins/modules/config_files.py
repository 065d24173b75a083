#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a set of configuration files as one change: all of them valid and in effect, or none."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: config_files
short_description: Writes a set of configuration files as one change
version_added: 0.1.0
description:
  - Writes the files, links and removals that differ, checks the result with a command, and brings it into effect with another.
  - When the check fails, everything is put back as it was and the reason is returned.
  - A change that was written and not yet brought into effect, because the run was killed in between, is remembered on the host and
    finished by the next run. A handler would forget it.
  - In a run that has read the host, the controller decides alone when everything is as it must be. With C(release_hooks) it asks.
author: The Decant maintainers (!UNKNOWN)
options:
  files:
    description: Files, each with path, content, and optionally mode (quoted octal, 0644), owner and group (root).
    type: list
    elements: dict
    default: []
  links:
    description: Symbolic links, each with path and target.
    type: list
    elements: dict
    default: []
  absent:
    description: Files and links that must not exist.
    type: list
    elements: str
    default: []
  check:
    description: A command (argument list) that must succeed with the new files in place.
    type: list
    elements: str
    default: []
  apply:
    description: Commands (argument lists) that bring a change into effect.
    type: list
    elements: raw
    default: []
  pending:
    description: Path of the note that a change waits for O(apply). Needed with O(apply).
    type: path
    default: ""
attributes:
  check_mode:
    description: Says what would change.
    support: full
  diff_mode:
    description: Shows every file that changes.
    support: full
"""

EXAMPLES = r"""
- name: Write the site
  decant.flask.config_files:
    files:
      - path: /etc/nginx/sites-available/projects.conf
        content: "{{ lookup('ansible.builtin.template', 'site.conf.j2') }}"
    links:
      - path: /etc/nginx/sites-enabled/projects.conf
        target: ../sites-available/projects.conf
    check: [nginx, -t]
    apply:
      - [systemctl, reload, nginx.service]
    pending: /srv/projects/.pending-nginx
"""

RETURN = r"""
paths:
  description: Paths that changed, or would.
  returned: always
  type: list
  elements: str
asked:
  description: Whether the host was asked. It is not when what the run has read of it is what is wanted.
  returned: always
  type: bool
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("config_files")
