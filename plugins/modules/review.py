#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action that judges a review."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: review
short_description: Judges what was read of hosts, as a review of production
version_added: 0.1.0
description:
  - One line for each question and host, with verdict, evidence and fix. Printed as a table or as JSON, and written as JSON and HTML when asked.
  - Runs on the controller alone, once for all hosts. The limits and waivers are the inputs of the role readiness.
author: The Decant maintainers (!UNKNOWN)
options:
  found:
    description: Host name to the registered answer of M(decant.flask.readiness), that of an unreachable host included.
    type: dict
    required: true
attributes:
  check_mode:
    description: Prints the same, and writes no file.
    support: full
  diff_mode:
    description: Changes no host, so there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Judge the review
  decant.flask.review:
    found: "{{ answers }}"
  run_once: true
"""

RETURN = r"""
worst:
  description: Severity of the worst line that is red and not waived; empty when there is none.
  returned: success
  type: str
  sample: critical
fails:
  description: Whether that is as bad as readiness_fails_on.
  returned: success
  type: bool
  sample: true
counts:
  description: How many lines have each verdict.
  returned: success
  type: dict
  sample: {ok: 19, red: 1, waived: 1, n/a: 0}
"""
