# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The checks of a backend on its own host, as the backend's user: what is asked, compared, kept and shown.

systemd is read from its files (the control group, the invocation's link): a systemctl for each would cost more than the rest.
"""

from __future__ import annotations

import calendar
import json
import os
import signal
import socket
import sys
import time

import decant_probe
import health_page
import records

STATE = "/var/lib/decant-health"
ROOTS = "/var/lib/decant/health"  # what root's verbs write
UNITS = "/etc/systemd/system"
LOCKS = "/run/decant"
CGROUPS = "/sys/fs/cgroup"
DATABASE_SECONDS = 2.0
AUDIT_BYTES = 32768
APART_SECONDS = 60
HEALING_SECONDS = 300  # a restart with its gate
# How the audit log's events are called on the page.
MARKS = {
    "deploy": "deploy",
    "rollback": "rollback",
    "revert": "switch-back",
    "restart": "restart",
    "restore": "restore",
}
TITLES = {
    "live": "Liveness on the instance's socket",
    "latency": "Time of an answer",
    "ready": "Readiness",
    "edge": "The way in through nginx",
    "certificate": "Certificate",
    "disk": "Free space",
    "inodes": "Free inodes",
    "backup": "Last backup",
    "database": "Database reachable",
    "schema": "Schema at the release's head",
    "drift": "Host as it was deployed",
    "restarts": "Restarts of the instance",
    "memory": "Memory",
    "units": "Units that failed",
}


def read(path: str) -> dict:
    """A JSON object; empty when there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def line(path: str) -> str:
    """The first line of a file; empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.readline().strip()
    except OSError:
        return ""


def write(path: str, text: str) -> None:
    """Replace a file with one rename. nginx and node exporter read some of them, whatever the unit's umask is."""
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), 0o644)
        stream.write(text)
    os.replace(temporary, path)


def epoch(stamp: str) -> float | None:
    """Seconds since 1970 of a time as the records have it."""
    try:
        return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")))
    except (TypeError, ValueError):
        return None


def system_slice() -> str:
    """The control group that holds those of the services: this one's own is beside the backend's. Version 2, or the hierarchy
    that systemd keeps by the side of version 1; empty when neither is to be seen."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as stream:
            groups = [text.strip().split(":", 2) for text in stream]
    except OSError:
        return ""
    mounts = {"": ("", "/unified"), "name=systemd": ("/systemd",)}
    for _dummy, controller, path in groups:
        for mount in mounts.get(controller, ()):
            found = os.path.dirname(f"{CGROUPS}{mount}{path}")
            if os.path.isdir(found):
                return found
    return ""


def result(name: str, state: str, value: str = "", limit: str = "", detail: str = "", **more: object) -> dict:
    return {
        "name": name,
        "title": TITLES[name],
        "state": state,
        "value": value,
        "limit": limit,
        "detail": detail,
        "number": None,
        "unit": "",
        **more,
    }


class Host:
    """What a run of the checks knows: the configuration, the release that serves, and what root's survey found."""

    def __init__(self, path: str) -> None:
        self.config = read(path)
        if not self.config:
            raise SystemExit(f"decant-health: {path} cannot be read. Deploy to write it again.")
        self.app, self.root, self.limits = self.config["app"], self.config["root"], self.config["limits"]
        self.folder = f"{STATE}/{self.app}"
        self.now = time.time()
        try:
            self.release = os.path.basename(os.readlink(f"{self.root}/current"))
        except OSError:
            self.release = ""
        self.manifest = read(f"{self.root}/releases/{self.release}/release.json") if self.release else {}
        self.survey = read(f"{ROOTS}/{self.app}/survey.json")
        self.healed = read(f"{ROOTS}/{self.app}/heal.json")
        self.state = read(f"{self.folder}/state.json")
        self.heals = False  # a lock that the healing holds: nobody has planned it, so it is no silence
        self.lock = self.locked()
        slice_name = f"system-{self.app.replace('-', chr(92) + 'x2d')}.slice"
        self.slices = system_slice()
        self.cgroup = f"{self.slices}/{slice_name}"

    def locked(self) -> float | None:
        """Since when a deploy, a rollback or a restore works on this host; None when none does. A lock that its run left
        behind ends by itself."""
        path = f"{LOCKS}/{self.app}.lock"
        try:
            since = os.stat(path).st_mtime
        except OSError:
            return None
        record = read(path)
        self.heals = record.get("event") == "heal"
        ends = epoch(str(record.get("expires", "")))
        return None if ends is not None and ends < self.now else since

    def silence(self) -> dict | None:
        """Who wants to hear nothing, until when, and why."""
        found = read(f"/etc/decant/silence/{self.app}.json")
        if self.lock is not None and not self.heals:
            return {
                "until": self.now + self.config["interval"],
                "reason": "a deploy, rollback or restore runs",
                "by": "",
            }
        if found.get("until", 0) > self.now:
            return {"until": found["until"], "reason": found.get("reason", ""), "by": found.get("by", "")}
        return None

    # --- what is asked -----------------------------------------------------------------------

    def probe(self, name: str, words: list[str]) -> tuple[dict, float | None]:
        """One answer to decant-probe's own question. Also the days that the certificate is good for, where there is one."""
        here = os.environ.get("CREDENTIALS_DIRECTORY", "")
        arguments = decant_probe.parse_arguments([word.replace("@credentials", here) for word in words])
        began = time.monotonic()
        try:
            decant_probe.ask(arguments, arguments.timeout)
            state, says = "ok", f"{arguments.status} from {arguments.path}"
        except decant_probe.Failure as failure:
            state, says = "fail", failure.reason
        took = time.monotonic() - began
        found = result(
            name,
            state,
            f"{took * 1000:.0f} ms",
            f"{arguments.timeout:g} s",
            says,
            number=took,
            unit="seconds",
            seconds=took,
        )
        return found, arguments.certificate_days

    def answers(self) -> tuple[list[dict], dict | None]:
        """Liveness, readiness, the way in; and the certificate."""
        found, certificate = [], None
        live, dummy = self.probe("live", self.config["live"])
        found.append(live)
        slow = self.limits["slow_seconds"]
        if slow:
            took = live["seconds"]
            state = "unknown" if live["state"] != "ok" else "warn" if took > slow else "ok"
            found.append(
                result(
                    "latency",
                    state,
                    f"{took:.2f} s",
                    f"{slow:g} s",
                    f"an answer took {took:.2f} s",
                    number=took,
                    unit="seconds",
                )
            )
        if self.config["ready"]:
            found.append(self.probe("ready", self.config["ready"])[0])
        if self.config["edge"]:
            edge, days = self.asked_apart() if self.config["edge_apart"] else self.probe("edge", self.config["edge"])
            found.append(edge)
            if days is not None:
                least = self.limits["certificate_days"]
                certificate = {"days": round(days, 2), "not_after": self.now + days * 86400}
                says = f"the certificate ends in {days:.1f} days (wanted {least} or more): its renewal fails"
                state = "fail" if days < least else "ok"
                found.append(
                    result(
                        "certificate",
                        state,
                        f"{days:.0f} days",
                        f"{least} days",
                        says if state == "fail" else "",
                        number=days,
                        unit="days",
                    )
                )
        return found, certificate

    def asked_apart(self) -> tuple[dict, float | None]:
        """What the unit beside this one has just been told by nginx."""
        kept = read(f"{self.folder}/edge.json")
        if self.now - kept.get("at", 0) < self.config["interval"] + APART_SECONDS:
            return kept["edge"], kept["days"]
        return result("edge", "unknown", detail="nginx was not asked lately", seconds=0.0), None

    # --- what is looked at -------------------------------------------------------------------

    def space(self) -> list[dict]:
        """Disk and inodes of the backend's paths: the fullest of them counts."""
        worst: dict[str, tuple[float, str]] = {}
        for path in self.config["paths"]:
            try:
                found = os.statvfs(path)
            except OSError:
                continue
            for name, free, whole in (
                ("disk", found.f_bavail, found.f_blocks),
                ("inodes", found.f_favail, found.f_files),
            ):
                if whole:
                    worst[name] = min(worst.get(name, (101.0, "")), (100 * free / whole, path))
        results = []
        for name, (free, path) in worst.items():
            least = self.limits[f"{name}_percent"]
            state = "warn" if free < least else "ok"
            says = f"{free:.1f} % free at {path} (wanted {least} or more)" if state == "warn" else path
            results.append(result(name, state, f"{free:.0f} % free", f"{least} %", says, number=free, unit="percent"))
        return results

    def database(self) -> list[dict]:
        """Whether what answers for the database answers at all: the cause of much else when it does not."""
        place = self.config["database"]
        if not place:
            return []
        kind, says = place["kind"], ""
        began = time.monotonic()
        try:
            if kind == "file":
                os.stat(place["path"])
            elif kind == "unix":
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(DATABASE_SECONDS)
                    connection.connect(place["path"])
            else:
                socket.create_connection((place["host"], place["port"]), DATABASE_SECONDS).close()
        except OSError as error:
            where = place.get("path") or f"{place['host']}:{place['port']}"
            says = f"the database at {where} does not answer: {error.strerror or error}"
        took = time.monotonic() - began
        return [result("database", "fail" if says else "ok", f"{took * 1000:.0f} ms", f"{DATABASE_SECONDS:g} s", says)]

    def backup(self) -> tuple[list[dict], dict | None]:
        """How old the last backup is, on a host that has the timer for it."""
        taken = epoch(str((self.survey.get("backup") or {}).get("at", "")))
        shown = {"at": taken, "age": self.now - taken} if taken else None
        most = self.limits["backup_hours"]
        timed = os.path.lexists(f"{UNITS}/timers.target.wants/{self.app}-backup.timer")
        if not most or not timed or "backup" not in self.survey:
            return [], shown
        if taken is None:
            # A host that was deployed just now has none yet.
            late = self.now - (epoch(str(self.survey.get("deployed", ""))) or self.now) > most * 3600
            says = "there is no backup"
            return [result("backup", "warn" if late else "ok", "none yet", f"{most:g} h", says if late else "")], shown
        hours = (self.now - taken) / 3600
        says = f"the last backup is {hours:.1f} hours old (at most {most:g})" if hours > most else ""
        state = "warn" if says else "ok"
        return [
            result("backup", state, f"{hours:.1f} h", f"{most:g} h", says, number=hours * 3600, unit="seconds")
        ], shown

    def schema(self) -> list[dict]:
        """The revision of the database against the heads of the release that serves."""
        found = self.survey.get("schema")
        if not found or self.survey.get("release") != self.release:
            return []
        if found["error"]:
            return [result("schema", "unknown", "", "", found["error"])]
        here, heads = ", ".join(found["now"]) or "none", ", ".join(found["heads"]) or "none"
        same = found["now"] == found["heads"]
        says = "" if same else f"the database is at {here}, the release at {heads}"
        return [result("schema", "ok" if same else "warn", here, heads, says)]

    def running(self, release: str) -> bool:
        """Whether an instance has processes."""
        return bool(line(f"{self.cgroup}/{self.app}@{release}.service/cgroup.procs"))

    def drift(self) -> list[dict]:
        """current, what a boot would start, what runs, and what root found in the files."""
        found = list(self.survey.get("drift", [])) if self.survey.get("release") == self.release else []
        unit = f"{self.app}@{self.release}.service"
        if not os.path.lexists(f"{UNITS}/{self.app}.target.wants/{unit}"):
            found.append(f"{unit} serves and would not be started by a boot")
        if self.slices and not self.running(self.release):
            found.append(f"current is {self.release}, and {unit} does not run")
        if self.lock is not None:
            return [result("drift", "unknown", "a deploy runs")]
        says = "; ".join(found)
        return [result("drift", "warn" if found else "ok", f"{len(found)} found" if found else "none", "", says)]

    def asked_for(self, since: float) -> bool:
        """Whether a deploy or the healing is behind a restart that has happened since a moment."""
        if self.lock is not None or self.state.get("checks", {}).get("live", {}).get("open"):
            return True  # a problem that is told already, and what is done about it
        ended = max((action.get("ended", 0) for action in self.healed.get("actions", [])), default=0)
        asked = self.state.get("asked", 0)
        return ended >= since or (asked > ended and self.now - asked < HEALING_SECONDS)

    def restarts(self) -> list[dict]:
        """Starts of the instance that neither a deploy nor the healing nor a boot made."""
        try:
            invocation = os.readlink(f"/run/systemd/units/invocation:{self.app}@{self.release}.service")
        except OSError:
            invocation = ""
        try:
            boot = os.stat("/run/systemd/notify").st_ctime_ns
        except OSError:
            boot = 0
        last = self.state.get("instance", {})
        seen = self.state.setdefault("restarts", [])
        if invocation:
            again = last.get("release") == self.release and last.get("boot") == boot
            if again and last.get("invocation") not in ("", invocation) and not self.asked_for(last.get("at", 0)):
                seen.append(self.now)
                self.state["restarts_total"] = self.state.get("restarts_total", 0) + 1
            self.state["instance"] = {"release": self.release, "boot": boot, "invocation": invocation, "at": self.now}
        window, most = self.limits["restart_window_seconds"], self.limits["restarts"]
        seen[:] = [at for at in seen if self.now - at < window]
        state = "warn" if len(seen) >= most else "ok"
        span = f"{window // 60} min" if window >= 120 else f"{window} s"
        times = "once" if len(seen) == 1 else f"{len(seen)} times"
        says = f"the instance was restarted {times} in {span}, and no deploy did it" if state == "warn" else ""
        found = result("restarts", state, str(len(seen)), f"{most} in {span}", says, number=len(seen), unit="restarts")
        return [found]

    def memory(self) -> list[dict]:
        """What the instance uses of what its unit may."""
        folder = f"{self.cgroup}/{self.app}@{self.release}.service"
        used, most = line(f"{folder}/memory.current"), line(f"{folder}/memory.max")
        if not used.isdigit():
            return []
        megabytes = int(used) / 2**20
        if not most.isdigit():
            return [result("memory", "ok", f"{megabytes:.0f} MiB", "no limit", "", number=int(used), unit="bytes")]
        share, limit = 100 * int(used) / int(most), self.limits["memory_percent"]
        says = (
            f"{megabytes:.0f} MiB of {int(most) / 2**20:.0f} MiB are used (at most {limit} %)" if share > limit else ""
        )
        state = "warn" if says else "ok"
        return [
            result(
                "memory",
                state,
                f"{megabytes:.0f} MiB",
                f"{int(most) / 2**20:.0f} MiB",
                says,
                number=int(used),
                unit="bytes",
            )
        ]

    def units(self) -> list[dict]:
        """Units of the backend that systemd gave up."""
        if "failed" not in self.survey:
            return []
        found = [
            unit
            for unit in self.survey["failed"]
            if unit.partition("@")[0] != self.app or not self.running(self.release)
        ]
        says = f"{', '.join(found)} failed" if found else ""
        return [result("units", "warn" if found else "ok", str(len(found)), "0", says)]

    # --- what comes of it --------------------------------------------------------------------

    def marks(self) -> list[dict]:
        """Deploys and the like, from the end of the audit log; read again when it has grown."""
        path = f"{self.root}/deploys.jsonl"
        try:
            size = os.stat(path).st_size
        except OSError:
            return []
        kept = self.state.get("marks", {})
        if kept.get("size") != size:
            with open(path, "rb") as stream:
                stream.seek(max(0, size - AUDIT_BYTES))
                text = stream.read().decode("utf-8", "replace")
            found = []
            for entry in text.splitlines():
                try:
                    record = json.loads(entry)
                    kind, at = MARKS.get(record.get("event")), epoch(record.get("at"))
                except (ValueError, AttributeError):
                    continue
                if kind and at:
                    outcome = {"live": "ok"}.get(record.get("outcome"), record.get("outcome") or "")
                    found.append(
                        {
                            "at": at,
                            "kind": kind,
                            "release": str(record.get("release", "")),
                            "outcome": str(outcome),
                            "by": str(record.get("who", "")),
                        }
                    )
            self.state["marks"] = kept = {"size": size, "found": found[-records.MARKS :]}
        return kept["found"]

    def ask_for_healing(self, results: list[dict]) -> None:
        """Leave word for root that the instance is to be restarted. A database that is down is no reason to."""
        least = self.config["heal_failures"]
        live = self.state["checks"].get("live", {})
        down = {one["name"] for one in results if one["state"] == "fail"}
        if not least or self.lock is not None or "database" in down or "live" not in down or live.get("bad", 0) < least:
            return
        if self.now < self.healed.get("next_at", 0):
            return
        self.state["asked"] = self.now
        wish = {"release": self.release, "cause": live.get("cause", ""), "at": self.now}
        write(f"{self.folder}/wanted.json", json.dumps(wish))

    def tell(self, events: list[dict]) -> None:
        """Put into the spool what is to be told; the sender is woken by it."""
        source = self.manifest.get("source", {})
        for one in events:
            done = [
                f"{action['what']} at {time.strftime('%H:%M:%S', time.gmtime(action['at']))} UTC"
                for action in self.healed.get("actions", [])
                if action["at"] >= one["since"]
            ]
            whole = {
                **one,
                "app": self.app,
                "host": self.config["host"],
                "title": TITLES[one["check"]],
                "release": self.release,
                "version": str(source.get("version", "")),
                "commit": str(self.manifest.get("parts", {}).get("commit") or source.get("revision", "")),
                "done": done,
                "runbook": self.runbook(one["check"]),
            }
            name = f"{one['at']:.6f}-{one['check']}-{one['kind']}.json"
            write(f"{self.folder}/.{name}", json.dumps(whole))
            os.rename(f"{self.folder}/.{name}", f"{self.folder}/spool/{name}")

    def runbook(self, name: str) -> str:
        base = self.config["runbook_url"]
        return f"{base.rstrip('/')}/{name}.md" if base else ""

    def view(self, results: list[dict], certificate: dict | None, backup: dict | None) -> dict:
        """What the page shows."""
        source, checks = self.manifest.get("source", {}), self.state.get("checks", {})
        problems = [
            {
                "check": one["name"],
                "state": one["state"] if one["state"] in ("fail", "warn") else "warn",
                "since": checks[one["name"]].get("started", self.now),
                "cause": checks[one["name"]].get("cause", "") or one["title"],
                "runbook": self.runbook(one["name"]),
            }
            for one in results
            if checks.get(one["name"], {}).get("open")
        ]
        release = None
        if self.release:
            release = {
                "id": self.release,
                "version": str(source.get("version", "")),
                "commit": str(self.manifest.get("parts", {}).get("commit") or source.get("revision", "")),
                "since": epoch(self.manifest.get("live_at", "")),
                "by": str(self.manifest.get("who", "")),
            }
        return {
            "app": self.app,
            "host": self.config["host"],
            "generated_at": self.now,
            "refresh_seconds": self.config["interval"],
            "release": release,
            "health": records.health(self.state, results),
            "silence": self.silence(),
            "checks": [{**one, "since": checks.get(one["name"], {}).get("since")} for one in results],
            "problems": problems,
            "history": {"day": self.state.get("day", []), "month": self.state.get("month", [])},
            "marks": self.marks(),
            "certificate": certificate,
            "backup": backup,
        }


def check(path: str) -> int:
    """One run. The exit code is 1 when a check fails that clients would notice; warnings are on the page and in the alerts."""
    signal.signal(signal.SIGALRM, decant_probe.Alarm.ring)
    host = Host(path)
    results, certificate = host.answers()
    aged, backup = host.backup()
    results += [*host.space(), *host.database(), *aged, *host.schema(), *host.drift(), *host.restarts(), *host.memory()]
    results += host.units()
    silence = host.silence()
    limits = {
        "failures": host.limits["alert_failures"],
        "successes": host.limits["alert_successes"],
        "reminder": host.limits["reminder_hours"] * 3600,
    }
    events = records.judge(host.state, results, host.now, limits, silence is not None)
    by_name = {one["name"]: one for one in results}
    way_in = by_name.get("edge", by_name["live"])
    records.remember(host.state, host.now, "fail" in (way_in["state"], by_name["live"]["state"]), way_in["seconds"])
    host.ask_for_healing(results)
    view = host.view(results, certificate, backup)
    for folder in ("spool", "page"):
        os.makedirs(f"{host.folder}/{folder}", exist_ok=True)
        os.chmod(f"{host.folder}/{folder}", 0o755)
    if host.config["alerts"]:
        host.tell(events)
    more = {
        "restarts": host.state.get("restarts_total", 0),
        "drift": float(by_name["drift"]["state"] == "warn") if by_name["drift"]["state"] != "unknown" else None,
        "lock": None if host.heals else host.lock,
    }
    write(f"{host.folder}/metrics.prom", records.metrics(host.app, host.now, view, results, more))
    write(f"{host.folder}/page/index.html", health_page.render(view))
    host.state["view"] = {key: value for key, value in view.items() if key not in ("history", "marks")}
    write(f"{host.folder}/state.json", json.dumps(host.state))
    live = by_name["live"]
    if live["state"] == "ok":
        print(f"healthy: 1 of 1 answers {live['detail'][:3]} in {live['seconds']:.2f} s")
    for one in results:
        if one["state"] in ("warn", "fail") and not records.suppressed(
            one["name"], {n: r["state"] for n, r in by_name.items()}
        ):
            print(f"{'unhealthy' if one['state'] == 'fail' else 'warning'}: {one['name']}: {one['detail']}")
    return 1 if any(one["state"] == "fail" for one in results) else 0


def edge(path: str) -> int:
    """The way in alone, for checks that have no network."""
    signal.signal(signal.SIGALRM, decant_probe.Alarm.ring)
    host = Host(path)
    found, days = host.probe("edge", host.config["edge"])
    write(f"{host.folder}/edge.json", json.dumps({"at": host.now, "edge": found, "days": days}))
    return 0


def view(path: str) -> int:
    """What the page shows, for playbooks/status.yml."""
    config = read(path)
    state = read(f"{STATE}/{config.get('app', '')}/state.json")
    if "view" not in state:
        print("decant-health: nothing was checked yet", file=sys.stderr)
        return 1
    found = {
        **state["view"],
        "history": {"day": state.get("day", []), "month": state.get("month", [])},
        "marks": state.get("marks", {}).get("found", []),
    }
    print(json.dumps(found))
    return 0
