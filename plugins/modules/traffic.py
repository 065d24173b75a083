#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the clients of a backend got in the last seconds, from nginx's own log."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: traffic
short_description: Counts answers, errors and answer times in a backend's nginx log
version_added: 0.1.0
description:
  - Reads the access log of the site that the role nginx writes (one JSON object per line), and changes nothing.
  - A request that the health path got is not in that log, so probes do not count.
author: The Decant maintainers (!UNKNOWN)
options:
  name:
    description: The backend's name.
    type: str
    required: true
  seconds:
    description: How far back to look, in seconds.
    type: float
    required: true
attributes:
  check_mode:
    description: Reads only, so it does the same in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: The last minute
  decant.flask.traffic:
    name: projects
    seconds: 60
"""

RETURN = r"""
requests:
  description: Answers in that time.
  returned: always
  type: int
error_rate:
  description: Share of 5xx answers, from 0 to 1.
  returned: always
  type: float
p95:
  description: The time within which 95 of 100 were answered, in seconds.
  returned: always
  type: float
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("traffic")
