# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the clients of a backend got in the last seconds, from nginx's own log."""

from __future__ import annotations

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


ARGUMENTS = {"name": {"type": "str", "required": True}, "seconds": {"type": "float", "required": True}}


def main(module: AnsibleModule) -> None:
    path = f"/var/log/nginx/{module.params['name']}.access.log"
    everything = [line for name in (f"{path}.1", path) for line in lines(name)]
    module.exit_json(changed=False, **summarise(everything, time.time() - module.params["seconds"]))
