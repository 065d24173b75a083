# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A review of production as pure functions: facts of a host become one line for each question, with verdict, evidence and fix."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils import health_page

from . import edge, fleet, kits

SEVERITIES = ("critical", "warning")
VERDICTS = ("ok", "red", "waived", "n/a")
WAIVER = ("check", "host", "reason", "until")
LONGEST_WAIVER_DAYS = 366
HOUR, DAY = 3600, 86400
# Values of these are not shown, whatever they are: they often hold a password.
PRIVATE = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|PASSWD|DSN|URL|URI", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """One answer: `fix` is empty where nothing is to be done."""

    host: str
    check: str
    title: str
    severity: str
    verdict: str
    evidence: str
    fix: str = ""
    waiver: str = ""


Verdict = tuple[str, str, str]  # verdict, evidence, fix


def ok(evidence: str) -> Verdict:
    return "ok", evidence, ""


def red(evidence: str, fix: str) -> Verdict:
    return "red", evidence, fix


def absent(evidence: str) -> Verdict:
    """A question that does not arise here."""
    return "n/a", evidence, ""


# --- what several questions begin with ---
# The answer that they have then, or None.

Facts, Inputs = Mapping[str, Any], Mapping[str, Any]
Judge = Callable[[Facts, Inputs], Verdict]


def stopped(f: Facts) -> Verdict | None:
    """Nothing runs."""
    return (
        None
        if f["process"].get("pid")
        else red("no process of the instance runs", "systemctl status says why; deploy to start it.")
    )


def unloaded(f: Facts) -> Verdict | None:
    """The app's configuration is not known."""
    why = f["config"].get("error")
    return red(f"the configuration cannot be loaded: {why}", "Mend that and deploy.") if why else None


def unknown_database(f: Facts) -> Verdict | None:
    """Decant has no database to ask about."""
    return None if f["migrates"] else absent("Decant knows no database of a backend without migrations")


def elsewhere(f: Facts) -> Verdict | None:
    """Another host backs the same database up."""
    host = "" if f["backup"]["id"] else f["backed_up_by"]
    return absent(f"{host} backs the database up for all hosts") if host else None


def drilled(name: str, *before: Callable[[Facts], Verdict | None]) -> Callable[[Judge], Judge]:
    """A judge of what a drill found, which is asked when there was one."""

    def wrap(judge: Judge) -> Judge:
        def judged(f: Facts, v: Inputs) -> Verdict:
            for early in before:
                if said := early(f):
                    return said
            if not f["drills"]:
                return absent("no drill was held (readiness_drills, check mode)")
            if holder := f["drills"].get("held_by"):
                return red(f"no drill was held: {holder} has the lock", "Run the review again when that has ended.")
            return judge(f["drills"][name], v)

        return judged

    return wrap


# --- the questions -------------------------------------------------------------------------------
# Each takes the facts of a host (module readiness), or those of one drill, and every input (settings.load).


def drift(f: Facts, v: Inputs) -> Verdict:
    found = fleet.drift("it", {**f["status"], "schema": None})  # that one is a question of its own
    if found:
        return red(" ".join(found), "Deploy: it writes again what a release wrote, and ends what a killed run left.")
    return ok(f"{f['status']['id']} serves, its files are as it wrote them, and it is healthy")


def debug(f: Facts, v: Inputs) -> Verdict:
    process, config = f["process"], f["config"]
    fix = "Set DEBUG and TESTING to False in the configuration that app_config names, and leave FLASK_DEBUG out of app_env; then deploy."
    if said := stopped(f):
        return said
    if any(told.get("debug") or told.get("testing") for told in process["told"]):
        return red(f"process {process['pid']} said at its start that it debugs or tests", fix)
    if said := unloaded(f):
        return said
    if config["debug"] or config["testing"]:
        return red("the release's configuration debugs or tests, though its process said nothing of it", fix)
    if process["differs"]:
        return red(
            f"process {process['pid']} has other values of {', '.join(process['differs'])} than its release's .env",
            "Deploy: what serves must be what was checked.",
        )
    how = (
        "it said so at its start"
        if any("debug" in told for told in process["told"])
        else "by its code and environment, loaded again"
    )
    return ok(f"process {process['pid']}: DEBUG and TESTING are off, {how}")


def user(f: Facts, v: Inputs) -> Verdict:
    process = f["process"]
    if said := stopped(f):
        return said
    if process["uids"] != [process["expected_uid"]] or process["expected_uid"] == 0:
        return red(
            f"its processes run as {process['uids']}, not as {v['app_user']} alone",
            "Remove drop-ins of its unit (systemctl cat) and deploy.",
        )
    return ok(f"all processes run as {v['app_user']}")


def secret_key(f: Facts, v: Inputs) -> Verdict:
    config = f["config"]
    fix = "Write a random one into the vault (openssl rand -hex 32), and app_secrets: {SECRET_KEY: ...}. Sessions of today end."
    if said := unloaded(f):
        return said
    key = config["key"]
    if key["known"]:
        return red("SECRET_KEY is one that everybody knows", fix)
    if not key["digest"]:
        return red(
            f"SECRET_KEY has {key['length']} characters, {key['distinct']} different ones; 32 and 10 are needed", fix
        )
    return ok(f"{key['length']} characters, {key['distinct']} different ones, not a known one")


def secret_key_unique(f: Facts, v: Inputs) -> Verdict:
    fix = "Give each environment and each backend a SECRET_KEY of its own: who has one signs sessions of the other."
    if said := unloaded(f):
        return said
    if f["neighbours"]:
        return red(f"the same SECRET_KEY signs for {', '.join(f['neighbours'])} on this host", fix)
    digest = f["config"]["key"]["digest"]
    same = sorted(name for name, other in f["other_keys"].items() if digest and digest in other)
    if same:
        return red(f"the same SECRET_KEY is in the report {', '.join(same)}", fix)
    if not digest:
        return absent("it is weak, see secret_key: a digest of it would give it away")
    number = len(f["other_keys"])
    return ok(
        f"no other backend of this host has it, nor one of {number} reports of other environments (readiness_other_reports)"
    )


def config(f: Facts, v: Inputs) -> Verdict:
    found = f["config"]
    if said := unloaded(f):
        return said
    wanted = {**(v.get("kit_config_values") or {}), **(v.get("readiness_config_values") or {})}
    cors = str(v.get("kit_cors_variable") or "")
    if cors in (v.get("app_env") or {}):
        wanted.setdefault(cors, kits.origins(v))
    wrong = [
        differs(name, found["config"].get(name), value)
        for name, value in wanted.items()
        if found["config"].get(name) != value
    ]
    if found["level"] in ("DEBUG", "NOTSET"):
        wrong.append(f"the log level is {found['level']}, which may write what a request brought")
    if wrong:
        return red("; ".join(wrong), "Mend the configuration that app_config names, or app_env, and deploy.")
    return ok(f"{', '.join(wanted) or 'no value'} as asked for, log level {found['level']}")


def differs(name: str, seen: Any, wanted: Any) -> str:
    """What a key of app.config is in place of what was asked for."""
    return f"{name} is not the wanted one" if PRIVATE.search(name) else f"{name} is {seen!r}, not {wanted!r}"


def schema(f: Facts, v: Inputs) -> Verdict:
    found = f["status"]["schema"]
    if found is None:
        return absent("the release has no migrations")
    said = fleet.schema_drift("it", f["status"]["id"], found)
    if said:
        return red(
            said[0].removeprefix("it: "),
            "Deploy the release whose migrations the database has, or restore: docs/runbooks/schema.md.",
        )
    return ok(f"the database is at {fleet.listed(found['now'])}, the head of {f['status']['id']}")


def same_database(f: Facts, v: Inputs) -> Verdict:
    told = [one for one in f["process"].get("told", []) if one.get("fingerprint")]
    wanted = f["migrated"]
    if not f["migrates"]:
        return absent("the release has no migrations")
    if not told:
        return red(
            "the instance's start is no longer in the journal, so its database is not proved",
            "Deploy or restart it once: its workers say which database they resolve.",
        )
    others = [one for one in told if wanted and one["fingerprint"] != wanted]
    if others:
        return red(
            f"its workers serve {others[0]['database']}, and another one was migrated",
            "Let app_factory and migrations/env.py read the same DATABASE_URL, and deploy.",
        )
    return ok(
        f"its workers serve {told[0]['database']}, the migrated one"
        if wanted
        else f"its workers serve {told[0]['database']}"
    )


def tls(f: Facts, v: Inputs) -> Verdict:
    found = f["edge"]["tls"]
    name = (v.get("nginx_server_names") or [""])[0]
    if not found:
        if v.get("nginx_trusted_proxies"):
            return absent("a proxy that is declared in nginx_trusted_proxies ends TLS")
        return red("nginx answers without TLS", "Write nginx_tls: acme (or files), and deploy; docs/security.md.")
    if found.get("error"):
        return red(
            f"the TLS port gives no answer: {found['error']}",
            "journalctl -u nginx says why; deploy writes the site again.",
        )
    if found["untrusted"]:
        return red(
            f"clients refuse the certificate of {name}: {found['untrusted']}",
            "Write nginx_tls: acme, or files with a certificate of a public authority, and deploy.",
        )
    if found["days"] < int(v["readiness_certificate_days"]):
        return red(
            f"the certificate of {name} ends in {found['days']} days, and {v['readiness_certificate_days']} are asked for",
            "certbot renew --dry-run says why it is not renewed; with nginx_tls: files bring a new one and deploy.",
        )
    if found["old"]:
        return red(
            "TLS 1.0 or 1.1 is still spoken",
            "Remove ssl_protocols from nginx_extra_directives and from other sites of this host.",
        )
    plain = f["edge"]["plain"]
    if plain and not plain.get("headers", {}).get("location", "").startswith("https://"):
        return red(
            "HTTP does not lead to HTTPS", "Remove what answers on port 80 in place of the redirect: nginx -T shows it."
        )
    return ok(f"{found['version']}, trusted for {name} for {found['days']} days, HTTP leads there")


def headers(f: Facts, v: Inputs) -> Verdict:
    answer = f["edge"]["tls"] or f["edge"]["plain"]
    if answer.get("error"):
        return red(
            f"nginx gives no answer: {answer['error']}", "journalctl -u nginx says why; deploy writes the site again."
        )
    wanted = edge.response_headers(
        {**(v.get("nginx_headers") or {}), "Content-Security-Policy": v.get("nginx_content_security_policy") or ""}
    )
    missing = [one["name"] for one in wanted if one["name"].lower() not in answer["headers"]]
    if missing:
        return red(
            f"{', '.join(missing)} is not in the answer",
            "Deploy writes the site again; nginx -T shows what replaces it.",
        )
    if re.search(r"/\d", answer["headers"].get("server", "")):
        return red(
            f"Server tells a version: {answer['headers']['server']}",
            "Set server_tokens off, and let the backend send no Server header.",
        )
    hsts = "strict-transport-security"
    if int(v.get("nginx_hsts_max_age_seconds") or 0) and f["edge"]["tls"] and hsts not in answer["headers"]:
        return red("Strict-Transport-Security is not in the answer", "Deploy writes the site again.")
    return ok(", ".join(one["name"] for one in wanted) or "none is asked for (nginx_headers)")


def modes(f: Facts, v: Inputs) -> Verdict:
    if f["modes"]:
        return red(
            "; ".join(f["modes"]),
            "Deploy mends .env; for the rest chmod and chown as docs/architecture.md has it, and find who changed them.",
        )
    return ok("code and environment are root's; secrets, backups and data are not for everybody")


def sandbox(f: Facts, v: Inputs) -> Verdict:
    limit = float(v["readiness_sandbox_max"])
    if f["sandbox"] is None:
        return red(
            "systemd-analyze security gives no score", "systemctl status of the instance says why; deploy to start it."
        )
    if f["sandbox"] > limit:
        return red(
            f"systemd gives {f['sandbox']}, and {limit} is the most",
            "Remove drop-ins of its unit (systemctl cat), and deploy.",
        )
    return ok(f"systemd gives {f['sandbox']} (0 is the best), {limit} is the most")


def backup(f: Facts, v: Inputs) -> Verdict:
    found = f["backup"]
    if said := unknown_database(f) or elsewhere(f):
        return said
    if not v.get("backup_enabled", True):
        return red(
            "backup_enabled is false",
            "Back it up by other means, and waive this line with the place of those backups as the reason.",
        )
    if not found["id"]:
        return red(
            "there is no backup", "playbooks/backup.yml takes one now; backup_schedule says when the timer does."
        )
    if not found["timer"]:
        return red("the timer that takes backups is off", "Deploy: it enables the timer.")
    if not found["intact"]:
        return red(
            f"the file of {found['id']} is not what its record says",
            "Take another one (playbooks/backup.yml), and look at the disk.",
        )
    hours = float(v["readiness_backup_age_hours"])
    if found["age"] is None or found["age"] > hours * HOUR:
        return red(
            f"the newest one, {found['id']}, is {fleet.age(found['age'])} old, and {hours:g} h are the most",
            "journalctl -t with the backend's name and -backup says why.",
        )
    return ok(f"{found['id']}, {fleet.age(found['age'])} old, {found['bytes']} bytes, as its record says")


@drilled("restore", unknown_database, elsewhere)
def restore(found: Facts, v: Inputs) -> Verdict:
    if found.get("error"):
        fix = "Take another one (playbooks/backup.yml), and look at what the message names."
        if "permission denied to create database" in found["error"]:
            fix = "Set postgresql_createdb_enabled: true and run playbooks/provision.yml, or grant CREATEDB: the copy is a database of its own."
        return red(f"the newest backup cannot be restored into a copy: {found['error']}", fix)
    if sorted(found["revision"] or []) != sorted(found.get("expected") or []):
        return red(
            f"{found['backup']} restored is at {fleet.listed(found['revision'])}, and its record says {fleet.listed(found['expected'])}",
            "Take another one (playbooks/backup.yml), and keep this one apart until it is known why.",
        )
    return ok(
        f"{found['backup']} restored into a copy: {found['tables']} tables, {found['rows']} rows, at {fleet.listed(found['revision'])}"
    )


@drilled("rollback")
def rollback(found: Facts, v: Inputs) -> Verdict:
    if found.get("schema"):
        left, here = found["schema"]["target"], found["schema"]["database"]
        return red(
            f"{found['target']} left the database at {fleet.listed(left)}, and it is at {fleet.listed(here or [])}: a rollback is refused",
            "Know the way before it is needed: playbooks/restore.yml with -e release_id, or a downgrade (docs/runbooks/schema.md).",
        )
    if found.get("error"):
        where = f"{found['target']} does not start: " if found.get("target") else ""
        return red(
            f"{where}{found['error']}",
            "Keep what it needs (its release, environment, services), or deploy once more so that there is a way back.",
        )
    if not found["target"]:
        return red("there is no good release to go back to", "The next deploy makes this one the way back.")
    return ok(f"{found['target']} started beside it without traffic: {found['health']}")


@drilled("outage", unknown_database)
def outage(found: Facts, v: Inputs) -> Verdict:
    path = v.get("health_ready_path") or v.get("health_path")
    fix = "Let the endpoint of health_ready_path ask the database (deploy/health.py of the kit does), and deploy."
    if found.get("error"):
        return red(
            f"an instance without a database could not be asked: {found['error']}",
            "Mend that and run the review again.",
        )
    if not 200 <= found["serving"] < 300:
        return red(
            f"{path} answers {found['serving']} where it serves, so its answer without a database says nothing",
            "Name the path in health_ready_path, and what its request needs in health_headers and health_host.",
        )
    if not found["started"]:
        return ok("without its database the backend does not start")
    if not found["elsewhere"]:
        return red(
            "the backend has its database elsewhere than from DATABASE_URL, so this cannot be tried",
            "Let the backend read DATABASE_URL.",
        )
    if found["status"] < 500:
        said = f"{path} answers {found['status']}" if found["status"] else f"{path} gives no answer"
        return red(f"{said} without its database", fix)
    return ok(f"{path} answers {found['status']} when the database is nowhere, and {found['serving']} with it")


@drilled("alerts")
def alerts(found: Facts, v: Inputs) -> Verdict:
    if found.get("error"):
        return red(f"a test could not be told: {found['error']}", "Deploy: it writes the units that tell alerts.")
    receivers = found["receivers"]
    if not receivers:
        return red("health_alerts is empty: nobody is told", "Name a receiver in health_alerts, and deploy.")
    refused = {name: why for name, why in receivers.items() if why}
    if refused:
        return red(
            "; ".join(f"{name} did not take a test: {why}" for name, why in refused.items()),
            "Mend the receiver or its entry in health_alerts, and deploy.",
        )
    return ok(f"a test arrived at {', '.join(receivers)}")


def disk(f: Facts, v: Inputs) -> Verdict:
    limit = float(v["readiness_disk_free_percent"])
    shares = [(place[what], what, place["path"]) for place in f["disks"] for what in ("bytes", "inodes")]
    low = [f"{share:.0f} % of the {what} of {path} are free" for share, what, path in shares if share < limit]
    if low:
        return red(
            f"{' and '.join(low)}, {limit:g} % are the least",
            "Make room or enlarge the file system; release_keep and backup_keep say what stays.",
        )
    least = min(shares)
    return ok(f"{least[0]:.0f} % of the {least[1]} of {least[2]} are free, and nowhere less")


def clock(f: Facts, v: Inputs) -> Verdict:
    found, limit = f["clock"], float(v["readiness_clock_skew_seconds"])
    if abs(found["ahead"]) > limit:
        side = "ahead of" if found["ahead"] > 0 else "behind"
        return red(
            f"the clock is {abs(found['ahead']):.0f} s {side} the controller's, {limit:g} s are the most",
            "Install systemd-timesyncd or chrony (playbooks/baseline.yml), here and on the controller.",
        )
    if not found["synchronised"] and not found["container"]:
        return red(
            "nothing keeps the clock right (timedatectl)",
            "Install systemd-timesyncd or chrony; playbooks/baseline.yml does.",
        )
    return ok(
        f"within {limit:g} s of the controller's, "
        + ("kept right" if found["synchronised"] else "and a container's clock is its host's")
    )


def reboot(f: Facts, v: Inputs) -> Verdict:
    enabled, release_id = f["status"]["enabled"], f["status"]["id"]
    wrong = [] if enabled == [release_id] else [f"a boot would start {fleet.listed(enabled)}, and {release_id} serves"]
    wrong += [f"{unit} is not enabled" for unit in f["boot"]["disabled"]]
    if wrong:
        return red("; ".join(wrong), "Deploy: it enables what serves. For nginx: systemctl enable nginx.")
    if f["boot"]["required"]:
        return red(
            "an update waits for a reboot (/run/reboot-required)",
            "Reboot the host when it suits; what serves comes back by itself.",
        )
    return ok(f"a boot brings {release_id}, nginx and the timers back, and none is waited for")


def updates(f: Facts, v: Inputs) -> Verdict:
    found, days = f["updates"], float(v["readiness_apt_age_days"])
    if found["error"]:
        return red(f"apt-get cannot be asked: {found['error']}", "Mend apt on the host: apt-get check.")
    if found["pending"]:
        return red(
            f"{len(found['pending'])} packages have a security update: {', '.join(found['pending'][:8])}",
            "apt-get upgrade; playbooks/baseline.yml lets unattended-upgrades do it.",
        )
    if found["age"] is None or found["age"] > days * DAY:
        return red(
            f"what apt knows is {fleet.age(None if found['age'] is None else int(found['age']))} old, {days:g} days are the most",
            "apt-get update; unattended-upgrades does it daily (playbooks/baseline.yml).",
        )
    return ok(f"none is pending, by lists that are {fleet.age(int(found['age']))} old")


@dataclass(frozen=True)
class Check:
    """A question: what it is called, how bad a no is, and who answers."""

    title: str
    severity: str
    judge: Judge


CHECKS: dict[str, Check] = {
    "drift": Check("the host serves what its release wrote", "critical", drift),
    "debug": Check("DEBUG is off in the running process", "critical", debug),
    "user": Check("the backend runs as its own user", "critical", user),
    "secret_key": Check("SECRET_KEY is strong", "critical", secret_key),
    "secret_key_unique": Check("SECRET_KEY is this environment's alone", "critical", secret_key_unique),
    "config": Check("the configuration has the wanted values", "critical", config),
    "schema": Check("the schema is at the release's head", "critical", schema),
    "database": Check("the database that is served is the migrated one", "critical", same_database),
    "tls": Check("clients get TLS that they trust", "critical", tls),
    "headers": Check("answers have the security headers", "warning", headers),
    "modes": Check("files are for those who need them", "critical", modes),
    "sandbox": Check("the sandbox holds", "warning", sandbox),
    "backup": Check("a backup is young and whole", "critical", backup),
    "restore": Check("a restore was rehearsed", "critical", restore),
    "rollback": Check("a rollback was rehearsed", "warning", rollback),
    "health": Check("health asks the database", "warning", outage),
    "alerts": Check("alerts reach their receivers", "critical", alerts),
    "disk": Check("there is room on the disk", "warning", disk),
    "clock": Check("the clock is right", "warning", clock),
    "reboot": Check("a reboot is safe", "warning", reboot),
    "updates": Check("no security update is pending", "warning", updates),
}
REACH = Check("the host can be reached and serves", "critical", lambda f, v: ok(""))
KNOWN = ("reach", *CHECKS)


# --- the review ----------------------------------------------------------------------------------


def backed_up_by(host: str, answers: Mapping[str, Mapping[str, Any]]) -> str:
    """The host of the fleet that backs up the database that another one serves as well; empty for a database of its own."""

    def served(name: str) -> set[str]:
        told = ((answers[name].get("review") or {}).get("process") or {}).get("told") or []
        return {one["database"] for one in told if not one["database"].startswith("sqlite:")}

    others = [name for name in answers if name != host and served(name) & served(host)]
    return next((name for name in others if answers[name]["review"]["backup"]["id"]), "")


def host_lines(
    host: str, answers: Mapping[str, Mapping[str, Any]], v: Inputs, other_keys: Mapping[str, list[str]]
) -> list[Line]:
    """All lines of one host.

    :param answers: host -> the registered answer of the module readiness; empty, or with `unreachable` or `msg`, when there is none.
    :param other_keys: name of another report to the digests of its SECRET_KEYs.
    """
    answer = answers[host]
    facts = answer.get("review")
    if not facts or not facts["status"]["id"]:
        away = fleet.sentence(fleet.reason(str(answer.get("msg") or ""))) if not facts else "It serves no release."
        fix = "Reach it first: ssh says more with -v." if not facts else "Run deploy.yml."
        return [Line(host, "reach", REACH.title, REACH.severity, "red", away, fix)]
    facts = {**facts, "other_keys": other_keys, "backed_up_by": backed_up_by(host, answers)}
    return [Line(host, name, check.title, check.severity, *check.judge(facts, v)) for name, check in CHECKS.items()]


def waived(lines: Iterable[Line], waivers: Iterable[Mapping[str, Any]], today: datetime.date) -> list[Line]:
    """The lines with waivers applied: a red one that somebody answers for until a day is no failure, and says who and why."""
    found = []
    for line in lines:
        fitting = [w for w in waivers if w["check"] == line.check and w.get("host") in (None, "", line.host)]
        if line.verdict == "red" and fitting:
            waiver = max(fitting, key=lambda w: str(w["until"]))
            told = f"{waiver['reason']} (until {waiver['until']})"
            if datetime.date.fromisoformat(str(waiver["until"])) >= today:
                line = replace(line, verdict="waived", waiver=told)
            else:
                line = replace(line, waiver=f"expired: {told}")
        found.append(line)
    return found


def report(app: str, lines: list[Line], v: Inputs, now: str, digests: list[str]) -> dict[str, Any]:
    """The review as a document, and whether it fails: `worst` is the severity of the worst red line, empty when none is red."""
    reds = [line for line in lines if line.verdict == "red"]
    worst = next((severity for severity in SEVERITIES if any(line.severity == severity for line in reds)), "")
    wanted = str(v.get("readiness_fails_on") or "critical")
    return {
        "app": app,
        "at": now,
        "config": v.get("app_config") or "",
        "counts": {verdict: sum(line.verdict == verdict for line in lines) for verdict in VERDICTS},
        "worst": worst,
        "fails": bool(worst) and wanted != "none" and SEVERITIES.index(worst) <= SEVERITIES.index(wanted),
        "secret_keys": sorted(set(digests) - {""}),
        "lines": [asdict(line) for line in lines],
    }


def text(document: Mapping[str, Any]) -> str:
    """The review as a person reads it: a table, and the fix of each red line below."""
    lines = document["lines"]
    rows = [["host", "check", "verdict", "evidence"]]
    rows += [
        [fleet.flat(one[key]) for key in ("host", "check")] + [verdict(one), fleet.flat(one["evidence"])]
        for one in lines
    ]
    told = [f"{document['app']} at {document['at']}", "", *fleet.aligned(rows)]
    counts = document["counts"]
    told += ["", ", ".join(f"{number} {name}" for name, number in counts.items() if number)]
    reds = [one for one in lines if one["verdict"] == "red"]
    if reds:
        told += ["", "to do:"]
        told += [
            f"  {number}. {one['host']}, {one['check']}: {fleet.flat(one['fix'])}{more(one)}"
            for number, one in enumerate(reds, 1)
        ]
    waivers = [one for one in lines if one["verdict"] == "waived"]
    if waivers:
        told += ["", "waived:", *[f"  {one['host']}, {one['check']}: {fleet.flat(one['waiver'])}" for one in waivers]]
    return "\n".join(told)


def verdict(one: Mapping[str, Any]) -> str:
    """The verdict, a red one with how bad it is."""
    return one["severity"] if one["verdict"] == "red" else one["verdict"]


def more(one: Mapping[str, Any]) -> str:
    """What became of a waiver."""
    return f" The waiver is {fleet.flat(one['waiver'])}." if one["waiver"] else ""


STATES = {"ok": "ok", "waived": "warn", "n/a": "unknown"}


def page(document: Mapping[str, Any]) -> str:
    """The review as one HTML page that asks for nothing."""
    escape, counts = health_page.text, document["counts"]
    tone = "fail" if document["worst"] == "critical" else "warn" if document["worst"] else "ok"
    word = {"fail": "Not ready", "warn": "Ready, with warnings", "ok": "Ready"}[tone]
    body = [
        f"<h1>{escape(document['app'])}: production readiness</h1>",
        f'<section class="now {tone}"><span class="word">{word}</span><p>{escape(document["at"])}: '
        f"{escape(', '.join(f'{number} {name}' for name, number in counts.items() if number))}</p></section>",
    ]
    for host in dict.fromkeys(one["host"] for one in document["lines"]):
        rows = [page_row(one) for one in document["lines"] if one["host"] == host]
        body.append(
            f"<section><h2>{escape(host)}</h2><table><thead><tr><th>question</th><th>verdict</th><th>evidence and fix</th></tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></section>"
        )
    return health_page.document(f"{document['app']}: readiness", "".join(body))


def page_row(one: Mapping[str, Any]) -> str:
    """A line of the page's table."""
    escape = health_page.text
    state = STATES.get(one["verdict"], "fail" if one["severity"] == "critical" else "warn")
    fix = f"<br><strong>{escape(one['fix'])}</strong>" if one["verdict"] in ("red", "waived") else ""
    waiver = f"<br>waiver: {escape(one['waiver'])}" if one["waiver"] else ""
    return (
        f'<tr class="{state}"><th scope="row">{escape(one["title"])}<br><code>{escape(one["check"])}</code></th>'
        f'<td><span class="state">{escape(verdict(one))}</span></td><td class="long">{escape(one["evidence"])}{fix}{waiver}</td></tr>'
    )


# --- inputs --------------------------------------------------------------------------------------


def questions(v: Inputs) -> dict[str, Any]:
    """What the module readiness is asked, from the inputs of the other roles."""
    name = str((v.get("nginx_server_names") or [""])[0])
    keys = [*(v.get("kit_config_values") or {}), *(v.get("readiness_config_values") or {}), v.get("kit_cors_variable")]
    return {
        "schema": bool(v.get("migrate_enabled", True)),
        "config_keys": [str(key) for key in keys if key],
        "server_name": name,
        "health_url": str(v.get("health_ready_path") or v.get("health_path") or "/"),
        "host_header": str(v.get("health_host") or name),
        "headers": {str(key): str(value) for key, value in (v.get("health_headers") or {}).items()},
        "listen_port": int(v.get("nginx_listen_port") or 0),
        "tls_port": 0 if edge.mode(v) == "off" else int(v.get("nginx_tls_port") or 0),
    }


def problems(v: Inputs, hosts: Iterable[str], today: datetime.date) -> list[str]:
    """Everything that is wrong with the inputs of the role readiness."""
    found, known = [], set(hosts)
    example = "{check: updates, reason: 'kernel waits for the window on Sunday', until: 2026-12-31}"
    for waiver in v.get("readiness_waivers") or []:
        if not isinstance(waiver, Mapping):
            found.append(f"readiness_waivers has '{waiver}'. Write for example {example}.")
            continue
        name = str(waiver.get("check") or "")
        if unknown := sorted(set(waiver) - set(WAIVER)):
            found.append(
                f"readiness_waivers: {name or waiver} has '{unknown[0]}', which is not one of {', '.join(WAIVER)}."
            )
        if name not in KNOWN:
            found.append(f"readiness_waivers has the check '{name}', which is not one of {', '.join(KNOWN)}.")
        if len(str(waiver.get("reason") or "").split()) < 2:
            found.append(f"readiness_waivers: {name} has no reason that says something. Write for example {example}.")
        if waiver.get("host") and known and waiver["host"] not in known:
            found.append(
                f"readiness_waivers: {name} names the host '{waiver['host']}', which is not in this inventory."
            )
        try:
            until = datetime.date.fromisoformat(str(waiver.get("until") or ""))
        except ValueError:
            found.append(
                f"readiness_waivers: {name} has until '{waiver.get('until', '')}'. Write the last day as 2026-12-31."
            )
            continue
        if (until - today).days > LONGEST_WAIVER_DAYS:
            found.append(
                f"readiness_waivers: {name} is waived until {until}, more than a year ahead. Name a day when somebody looks again."
            )
    return found
