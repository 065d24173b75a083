#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of an action, which runs on the controller: plugins/action/plan.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: plan
short_description: Compares what is wanted with what a host has
version_added: 0.1.0
description:
  - Refuses what cannot work on the host, and says what a deploy will do and why. Changes nothing.
  - Runs on the controller alone; the inputs are the roles' own variables.
author: The Decant maintainers (!UNKNOWN)
options:
  host:
    description: The state that decant.flask.host_state returned.
    type: dict
    required: true
  source:
    description: What decant.flask.source returned. Empty when no release is wanted.
    type: dict
    default: {}
  environment:
    description: The wanted environment. Never returned.
    type: dict
    required: true
  roles:
    description: Roles of Decant that run, by their short names.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Changes nothing, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Compare what is wanted with what the host has
  decant.flask.plan:
    roles: [app, release]
    host: "{{ found.state }}"
    source: "{{ resolved.source }}"
    environment: "{{ wanted_environment }}"
"""

RETURN = r"""
plan:
  description: Whether a release is needed, why, its fingerprint and the lines a person reads.
  returned: success
  type: dict
  sample: {needed: true, reasons: [source changed]}
"""
