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
author: The Decant maintainers
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

import json
import os
import time
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

MOST_BYTES = 64 * 1024 * 1024  # of each log file, from its end: about 200,000 answers


def lines(path: str) -> Iterable[str]:
    """The lines of a log, from its last MOST_BYTES."""
    try:
        with open(path, "rb") as stream:
            start = max(0, os.fstat(stream.fileno()).st_size - MOST_BYTES)
            stream.seek(start)
            if start:
                stream.readline()  # the rest of a line
            for line in stream:
                yield line.decode("utf-8", errors="replace")
    except OSError:
        return


def summarise(found: Iterable[str], since: float) -> dict[str, Any]:
    """Number, error rate and 95th percentile (nearest rank) of the answers since a moment (seconds of the epoch)."""
    times, errors = [], 0
    for line in found:
        try:
            record = json.loads(line)
            if float(record["time"]) < since:
                continue
            status, seconds = int(record["status"]), float(record["seconds"])
        except (ValueError, KeyError, TypeError):
            continue
        times.append(seconds)
        errors += status >= 500
    times.sort()
    p95 = times[max(0, -(-len(times) * 95 // 100) - 1)] if times else 0.0
    return {"requests": len(times), "error_rate": errors / len(times) if times else 0.0, "p95": p95}


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "seconds": {"type": "float", "required": True}},
        supports_check_mode=True,
    )
    path = f"/var/log/nginx/{module.params['name']}.access.log"
    everything = [line for name in (f"{path}.1", path) for line in lines(name)]
    module.exit_json(changed=False, **summarise(everything, time.time() - module.params["seconds"]))


if __name__ == "__main__":
    main()
