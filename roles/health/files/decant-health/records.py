# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is remembered from one check to the next: problems that are open, the history, and what to tell whom.

Pure functions on plain dictionaries, so that a test can let days pass.
"""

from __future__ import annotations

DAY = (300, 288)  # seconds of a bucket, buckets kept: 24 hours
MONTH = (7200, 360)  # 30 days
MARKS = 40
FLAP_SECONDS = 3600
FLAP_MOST = 20  # good answers in a row that a problem needs to be over, at most

# A check that fails because of another one is no problem of its own. The first that is down names the cause.
BECAUSE = {
    "live": ("database",),
    "latency": ("database", "live"),
    "ready": ("database", "live"),
    "edge": ("database", "live"),
    "schema": ("database",),
    "drift": ("live",),
    "restarts": ("live",),
    "units": ("live",),
}
CRITICAL = ("live", "ready", "edge", "database", "certificate")


def suppressed(name: str, states: dict[str, str]) -> bool:
    """Whether another check that is down explains this one."""
    return any(states.get(other) == "fail" for other in BECAUSE.get(name, ()))


def needed_to_heal(opened: list[float], now: float, least: int) -> int:
    """Good results in a row until a problem is over: twice as many for each time that it came back within the hour."""
    recent = sum(1 for at in opened if now - at < FLAP_SECONDS)
    return max(least, min(FLAP_MOST, least * 2 ** max(0, recent - 1)))


def judge(state: dict, results: list[dict], now: float, limits: dict, silent: bool) -> list[dict]:
    """Count this run's results, and return what is to be told: break, heal, reminder.

    :param state: kept from run to run; changed here.
    :param limits: failures (results in a row that open a problem), successes (that end it), reminder (seconds, 0: none).
    :param silent: whether nobody wants to hear of new problems now. They are told when it is over and they are still there.
    """
    events = []
    states = {one["name"]: one["state"] for one in results}
    known = state.setdefault("checks", {})
    for gone in set(known) - set(states):
        if not known[gone].get("told"):
            del known[gone]
    for one in results:
        name = one["name"]
        entry = known.setdefault(name, {"bad": 0, "good": 0, "open": False, "opened": []})
        if entry.get("state") != one["state"]:
            entry["since"] = now
        entry["state"] = one["state"]
        if one["state"] == "unknown" or suppressed(name, states):
            continue
        if one["state"] == "ok":
            entry["bad"], entry["good"] = 0, entry["good"] + 1
        else:
            entry["bad"], entry["good"] = entry["bad"] + 1, 0
            entry["first"] = entry["first"] if entry["bad"] > 1 and "first" in entry else now
            entry["cause"] = one["detail"]
        if not entry["open"] and entry["bad"] >= limits["failures"]:
            entry.update(open=True, started=entry["first"])
            entry["opened"] = [at for at in entry["opened"] if now - at < FLAP_SECONDS] + [now]
        elif entry["open"] and entry["good"] >= needed_to_heal(entry["opened"], now, limits["successes"]):
            entry["open"] = False
            if entry.pop("told", None):
                events.append(event("heal", name, entry, now))
            entry.pop("started", None)
        if entry["open"] and not silent:
            if not entry.get("told"):
                entry["told"] = now
                events.append(event("break", name, entry, now))
            elif limits["reminder"] and now - entry["told"] >= limits["reminder"] and one["state"] != "ok":
                entry["told"] = now
                events.append(event("reminder", name, entry, now))
    return events


def event(kind: str, name: str, entry: dict, now: float) -> dict:
    """What is told of a problem."""
    started = entry.get("started", now)
    return {
        "kind": kind,
        "check": name,
        "severity": "critical" if name in CRITICAL else "warning",
        "problem": f"{name}-{int(started)}",
        "since": started,
        "at": now,
        "seconds": now - started,
        "cause": entry.get("cause", ""),
    }


def median(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0


def remember(state: dict, now: float, failed: bool, seconds: float) -> None:
    """One more answer in the history, which has a bound."""
    for name, (width, most) in (("day", DAY), ("month", MONTH)):
        buckets, at = state.setdefault(name, []), int(now // width) * width
        if not buckets or buckets[-1]["at"] != at:
            buckets.append({"at": at, "asked": 0, "failed": 0, "p50": 0.0, "max": 0.0})
            if name == "day":
                state["samples"] = []
        bucket = buckets[-1]
        bucket["asked"] += 1
        bucket["failed"] += int(failed)
        bucket["max"] = round(max(bucket["max"], seconds), 4)
        if name == "day":
            samples = state.setdefault("samples", [])
            samples.append(round(seconds, 4))
            bucket["p50"] = median(samples)
        else:
            bucket["p50"] = median([one["p50"] for one in state["day"] if one["at"] >= at])
        state[name] = [one for one in buckets[-most:] if now - one["at"] < width * (most + 1)]


def health(state: dict, results: list[dict]) -> str:
    """The one word for all of it."""
    by_name = {one["name"]: one["state"] for one in results}
    if any(by_name.get(name) == "fail" for name in CRITICAL):
        return "failing"
    if by_name.get("live", "unknown") == "unknown":
        return "unknown"
    bad = any(one["state"] in ("warn", "fail") for one in results)
    return "degraded" if bad or any(entry["open"] for entry in state.get("checks", {}).values()) else "healthy"


def metrics(app: str, now: float, view: dict, results: list[dict], more: dict) -> str:
    """All of it in Prometheus' text format, for node exporter's textfile collector."""
    label = f'app="{app}"'
    families: list[tuple[str, str, list[str]]] = []

    def family(name: str, text: str, samples: list[tuple[str, float]], kind: str = "gauge") -> None:
        lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        families.append((name, kind, [*lines, *(f"{name}{{{labels}}} {value:g}" for labels, value in samples)]))

    def single(name: str, text: str, value: float | None, kind: str = "gauge") -> None:
        if value is not None:
            # Times need all their digits.
            lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name}{{{label}}} {value:.0f}"]
            families.append((name, kind, lines))

    known = [one for one in results if one["state"] != "unknown"]
    family(
        "decant_check_ok",
        "Whether a check is good.",
        [(f'{label},check="{one["name"]}"', float(one["state"] == "ok")) for one in known],
    )
    family(
        "decant_check_value",
        "What a check measured, in its own unit.",
        [
            (f'{label},check="{one["name"]}",unit="{one["unit"]}"', one["number"])
            for one in known
            if one.get("number") is not None
        ],
    )
    family(
        "decant_probe_duration_seconds",
        "How long the answer took.",
        [(f'{label},check="{one["name"]}"', one["seconds"]) for one in known if one.get("seconds") is not None],
    )
    certificate, backup, release = view["certificate"], view["backup"], view["release"]
    single(
        "decant_certificate_expiry_timestamp_seconds",
        "When the site's certificate ends.",
        certificate and certificate["not_after"],
    )
    single("decant_backup_timestamp_seconds", "When the last backup was taken.", backup and backup["at"])
    if release:
        family(
            "decant_release_info",
            "The release that serves.",
            [(f'{label},release="{release["id"]}",commit="{release["commit"][:40]}"', 1.0)],
        )
        single("decant_release_switched_timestamp_seconds", "When it was switched to.", release["since"])
    single("decant_instance_restarts_total", "Restarts that no deploy made.", more["restarts"], "counter")
    single("decant_drift", "Whether the host differs from what was deployed.", more["drift"])
    single("decant_lock_since_timestamp_seconds", "Since when a deploy holds the lock.", more["lock"])
    until = view["silence"]["until"] if view["silence"] else 0
    single("decant_silenced_until_timestamp_seconds", "Until when alerts are silenced; 0 for not.", until)
    single("decant_last_run_timestamp_seconds", "When the checks ran last.", now)
    return "".join(f"{line}\n" for dummy, kind, lines in families for line in lines)
