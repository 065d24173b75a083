#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of an action, which runs on the controller: plugins/action/report.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: report
short_description: Prints the status of a fleet
version_added: 0.1.0
description:
  - Makes one table of what M(decant.flask.status) read of each host, and says what is not as it should be, a sentence each.
  - Runs on the controller alone, once for all hosts.
author: The Decant maintainers (!UNKNOWN)
options:
  app:
    description: The backend's name.
    type: str
    required: true
  found:
    description: Host name to the registered answer of M(decant.flask.status), that of an unreachable host included.
    type: dict
    required: true
  format:
    description: A table for people, or JSON.
    type: str
    choices: [table, json]
    default: table
  file:
    description: Path on the controller that gets the JSON as well, mode 0600. Not written in check mode.
    type: path
    default: ""
  page:
    description: Path on the controller that gets the hosts' health as one HTML page, mode 0600. Not written in check mode.
    type: path
    default: ""
attributes:
  check_mode:
    description: Prints the same, and writes no file.
    support: full
  diff_mode:
    description: Changes no host, so there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Print the status of the fleet
  decant.flask.report:
    app: projects
    found: "{{ answers }}"
  run_once: true
"""

RETURN = r"""
drifts:
  description: How many things are not as they should be.
  returned: success
  type: int
  sample: 0
"""
