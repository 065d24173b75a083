# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The steps in which a fleet switches, and the judgement on one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HOOKS = (
    "before_prepare",
    "after_prepare",
    "before_migrate",
    "after_migrate",
    "before_switch",
    "after_switch",
    "on_failure",
)


def share(wanted: Any, hosts: int) -> int | None:
    """How many hosts an entry of release_batches means, at least one; None when it means nothing."""
    text = str(wanted).strip()
    if re.fullmatch(r"[1-9]\d*", text):
        return min(int(text), hosts)
    if re.fullmatch(r"([1-9]\d?|100)%", text):
        return min(hosts, max(1, hosts * int(text[:-1]) // 100))
    return None


def steps(hosts: Sequence[str], wanted: Iterable[Any]) -> list[list[str]]:
    """The hosts of each step. Entries say how much of the fleet has switched after a step, so [1, "50%", "100%"] on six hosts
    is one, two more, and the other three. What is left over is a last step."""
    found, done = [], 0
    for entry in [*wanted, "100%"]:
        until = share(entry, len(hosts)) or 0
        if until > done:
            found.append(list(hosts[done:until]))
            done = until
    return found


def worse(before: Mapping[str, Any], after: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    """Why a step must be taken back; empty when it may stay.

    :param before, after: requests (number), error_rate (0 to 1) and p95 (seconds), as the module traffic returns them.
    :param limits: error_rate (how much larger), p95_ratio (how many times as long), min_requests.
    """
    if after["requests"] < limits["min_requests"]:
        return ""
    if after["error_rate"] > before["error_rate"] + limits["error_rate"]:
        return (
            f"{after['error_rate']:.1%} of {after['requests']} answers were 5xx, and {before['error_rate']:.1%} before"
        )
    enough = before["requests"] >= limits["min_requests"]
    if enough and after["p95"] > max(before["p95"], 0.01) * limits["p95_ratio"]:
        return f"the 95th percentile of the answer times was {after['p95']:.3f} s, and {before['p95']:.3f} s before"
    return ""


def hook_paths(hooks: Mapping[str, str], place: str) -> dict[str, str]:
    """Absolute paths of the user's own task files.

    :param place: the inventory's directory, which relative paths start from.
    """
    return {name: os.path.join(place or "", str(path)) for name, path in hooks.items()}
