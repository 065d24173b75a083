#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Moves the traffic to a release with one rename, and lets the old instance drain."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: switch
short_description: Moves the traffic to a healthy release
version_added: 0.1.0
description:
  - Enables the release's units, renames C(current), disables the others, and schedules the stop of every other running instance.
  - nginx connects through C(current), so one rename(2) moves code, environment, static files and traffic together, without a reload.
  - The stop is a transient timer on the host, so a controller that dies does not leave two instances running.
author: The Decant maintainers (!UNKNOWN)
extends_documentation_fragment: [decant.flask.backend]
options:
  id:
    description: The release to switch to; its instance must be up.
    type: str
    required: true
  drain_seconds:
    description: How long another instance still answers after the switch, in seconds.
    type: float
    default: 3
  event:
    description:
      - What the switch is part of. V(rollback) marks the release that it leaves, so that nothing goes back to it.
      - V(revert) ends a deploy or a rollback that failed after its switch. It starts the release that served before, when it has
        been drained already, and marks the one that it leaves as failed. Where that release serves still, the candidate is stopped.
    type: str
    choices: [deploy, rollback, revert]
    default: deploy
  candidate:
    description: For V(revert), the release of the run that failed.
    type: str
    default: ""
  reason:
    description: For V(revert), why the release that is left failed.
    type: str
    default: ""
  keep:
    description: Good releases to keep, this one included. The rest goes after the switch, but never the one before it.
    type: int
    default: 5
  who:
    description: Who deploys, for the record.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says whether a switch would happen.
    support: full
  diff_mode:
    description: Shows the release before and after.
    support: full
"""

EXAMPLES = r"""
- name: Switch
  decant.flask.switch:
    name: projects
    root: /srv/projects
    id: 20261122T101500Z-3f2a9c1
"""

RETURN = r"""
previous:
  description: The release that served before; empty on the first switch.
  returned: always
  type: str
pruned:
  description: Ids of the releases that were removed.
  returned: when something was switched
  type: list
  elements: str
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("switch")
