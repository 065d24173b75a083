#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of an action, which runs on the controller: plugins/action/kit.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: kit
short_description: Renders the production kit into a backend's checkout
version_added: 0.1.0
description:
  - Guides, start script, units, site, tests and checklists, from the inputs that a deploy uses. Runs on the controller alone.
  - A file that a person has changed since the kit wrote it, or that was there before, is left as it is; what the kit would have there
    is shown. Which those are it knows from digests in C(.decant-kit.json), which belongs into the repository.
author: The Decant maintainers (!UNKNOWN)
options:
  dest:
    description: The checkout.
    type: path
    required: true
  overwrite:
    description: Write over what a person has changed, too.
    type: bool
    default: false
attributes:
  check_mode:
    description: Writes nothing, and fails when a file is stale, naming it.
    support: full
  diff_mode:
    description: Shows every file that is written. Those that are kept are shown in any case.
    support: full
"""

EXAMPLES = r"""
- name: Write the kit
  decant.flask.kit:
    dest: /home/ada/projects
"""

RETURN = r"""
stale:
  description: Files that were written or removed, or would be.
  returned: always
  type: list
  elements: str
kept:
  description: Files that somebody has changed, and that were left.
  returned: always
  type: list
  elements: str
"""
