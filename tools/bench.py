#!/usr/bin/env python3
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measures Decant beside Capistrano and a plain script, and Decant on 1, 3 and 6 hosts. Called by bin/bench.

    bench.py [--repeat N] [--quick] [--write]

One host per contender, of the same image, the same backend and the same repository. What is compared is compared within
this run alone. The hosts are removed whatever happens.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hosts

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = ROOT / "tools/contenders"
PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

DECANT, CAPISTRANO, SCRIPT = "Decant", "Capistrano", "plain script"
FIRST, RELEASE, NOTHING, BACK = "first deploy", "code-only release", "no-change run", "rollback"
FLEET = (1, 3, 6)

GUNICORN = "27.0.1"
WORKERS, THREADS = 3, 4
CLIENTS, PAUSE = 4, 0.02  # on one host
FLEET_CLIENTS, FLEET_PAUSE = 1, 0.1  # on each host of the fleet: all of them share one machine
BEFORE_SECONDS, AFTER_SECONDS = 5.0, 5.0  # the drain, 3 s, is part of a deploy for those who ask
LONGEST_RUN = 600
MOST_REQUESTS = 200_000
PARTS_SHOWN = 14

# Actions that run on the controller. Every other task is at least one call of a host.
LOCAL_ACTIONS = {
    *(f"decant.flask.{name}" for name in ("contract", "plan", "report", "source")),
    *(f"ansible.builtin.{name}" for name in ("assert", "debug", "fail", "include_tasks", "meta", "set_fact")),
    "ansible.builtin.validate_argument_spec",
}


class BenchError(Exception):
    """What was measured did not work; the message holds what it said."""


# --- figures -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One request: when it was sent and how long it took, in seconds; what was wrong with it."""

    began: float
    seconds: float
    problem: str = ""


@dataclass(frozen=True)
class Run:
    """One measured run of a contender. calls is 0 where they cannot be counted, profile is Decant's alone."""

    who: str
    what: str
    seconds: float
    calls: int = 0
    sent: int = 0
    problems: Sequence[str] = ()
    p99_before: float = 0
    p99_during: float = 0
    hosts: int = 1
    profile: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Verdict:
    """One target against what was measured."""

    name: str
    measured: float | None
    limit: float
    unit: str = "x"

    def met(self) -> bool:
        return self.measured is not None and self.measured <= self.limit


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed; 0 when there is none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


def split(samples: Iterable[Sample], began: float, ended: float) -> tuple[list[Sample], list[Sample]]:
    """Requests that were answered before a run, and those that met it: in flight at its begin, or sent until its end."""
    before, during = [], []
    for one in samples:
        if one.began + one.seconds < began:
            before.append(one)
        elif one.began <= ended:
            during.append(one)
    return before, during


def capistrano_calls(log: str) -> int:
    """Commands on the host, by Capistrano's own log."""
    return len(re.findall(r"\bRunning (?!rake\b)", log))


def decant_calls(events: Iterable[Mapping[str, object]], host: str) -> int:
    """Tasks that called a host."""
    return sum(
        one["event"] == "host"
        and one["host"] == host
        and one["outcome"] != "skipped"
        and one["asked"]
        and one["action"] not in LOCAL_ACTIONS
        for one in events
    )


def profile(events: Sequence[Mapping[str, object]], began: float, ended: float) -> list[tuple[str, float]]:
    """Where the time of a run went: each task until the next one began, what came before the first, after the last."""
    marks = [(str(one["task"]), float(str(one["at"]))) for one in events if one["event"] == "task"]
    last = max((float(str(one["at"])) for one in events), default=ended)
    if not marks:
        return [("the whole run", ended - began)]
    spent: dict[str, float] = {"start of ansible-playbook": marks[0][1] - began}
    for (name, at), following in zip(marks, [at for _, at in marks[1:]] + [last], strict=True):
        spent[name] = spent.get(name, 0) + following - at
    spent["end of ansible-playbook"] = ended - last
    return list(spent.items())


def middle_profile(runs: Sequence[Run]) -> list[tuple[str, float]]:
    """The median of each part over several runs, the longest first."""
    parts: dict[str, list[float]] = {}
    for run in runs:
        for name, seconds in run.profile:
            parts.setdefault(name, []).append(seconds)
    middle = [(name, statistics.median(seconds)) for name, seconds in parts.items()]
    return sorted(middle, key=lambda part: -part[1])


def chosen(runs: Iterable[Run], who: str, what: str, hosts: int = 1) -> list[Run]:
    return [run for run in runs if (run.who, run.what, run.hosts) == (who, what, hosts)]


def middle(runs: Iterable[Run], name: str = "seconds") -> float | None:
    """The median of one figure; None when nothing was measured."""
    values = [getattr(run, name) for run in runs]
    return statistics.median(values) if values else None


def ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def verdicts(runs: Sequence[Run], fleet: Sequence[Run]) -> list[Verdict]:
    """The targets. Every ratio is of medians of this run."""

    def seconds(who: str, what: str) -> float | None:
        return middle(chosen(runs, who, what))

    loaded = [run for run in runs if run.who == DECANT and run.sent]
    slower = [
        ratio(middle(chosen(loaded, DECANT, what), "p99_during"), middle(chosen(loaded, DECANT, what), "p99_before"))
        for what in (RELEASE, NOTHING, BACK)
    ]
    failed = sum(len(run.problems) for run in [*loaded, *fleet])
    found = [
        Verdict(f"{RELEASE} / Capistrano's", ratio(seconds(DECANT, RELEASE), seconds(CAPISTRANO, RELEASE)), 1.0),
        Verdict(f"{NOTHING} / Capistrano's", ratio(seconds(DECANT, NOTHING), seconds(CAPISTRANO, NOTHING)), 1.0),
        Verdict(f"{BACK} / {RELEASE}", ratio(seconds(DECANT, BACK), seconds(DECANT, RELEASE)), 0.6),
        Verdict("failed requests under Decant", float(failed) if loaded else None, 0, "requests"),
        Verdict(f"p99 during / before, {RELEASE}", slower[0], 3.0),
        Verdict(f"p99 during / before, {NOTHING}", slower[1], 3.0),
        Verdict(f"p99 during / before, {BACK}", slower[2], 3.0),
    ]
    if fleet:
        many = max(FLEET)
        of_many = middle(run for run in fleet if run.hosts == many)
        of_one = middle(run for run in fleet if run.hosts == 1)
        found.append(Verdict(f"{RELEASE} on {many} hosts / on one", ratio(of_many, of_one), 2.0))
    return found


# --- the text ------------------------------------------------------------------------------------


def spread(values: Sequence[float], form: str = "{:.1f}") -> str:
    """min / median / max, or the one value that there is."""
    if not values:
        return "-"
    found = [form.format(number) for number in (min(values), statistics.median(values), max(values))]
    return found[1] if len(values) == 1 else " / ".join(found)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def kinds(problems: Iterable[str]) -> str:
    """What went wrong, the most frequent first: 12 status 502, 3 ConnectionRefusedError."""
    counts: dict[str, int] = {}
    for problem in problems:
        counts[problem] = counts.get(problem, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def row(runs: Sequence[Run]) -> list[str]:
    """One line of the table: every repetition of one thing."""
    sent, problems = sum(run.sent for run in runs), [problem for run in runs for problem in run.problems]
    calls = [run.calls for run in runs if run.calls]
    return [
        spread([run.seconds for run in runs], "{:.2f}"),
        str(round(statistics.median(calls))) if calls else "-",
        str(sent) if sent else "-",
        (f"{len(problems)} ({kinds(problems)})" if problems else "0") if sent else "-",
        spread([1000 * run.p99_before for run in runs], "{:.0f}") if sent else "-",
        spread([1000 * run.p99_during for run in runs], "{:.0f}") if sent else "-",
    ]


def shown(name: str) -> str:
    """A task's name in a table, without the collection's."""
    return name.removeprefix("decant.flask.").replace(" : ", ": ").replace(" | ", ", ")


def largest(parts: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The parts that matter, and the sum of all others."""
    rest = parts[PARTS_SHOWN:]
    return [*parts[:PARTS_SHOWN], *([(f"{len(rest)} others together", sum(s for _, s in rest))] if rest else [])]


def verdict_row(one: Verdict) -> list[str]:
    if one.measured is None:
        return [one.name, "-", f"<= {one.limit:g}", "not measured"]
    form = "{:.0f}" if one.unit == "requests" else "{:.2f}"
    over = form.format(one.measured - one.limit)
    return [one.name, form.format(one.measured), f"<= {one.limit:g}", "met" if one.met() else f"missed by {over}"]


def figures(runs: Sequence[Run], fleet: Sequence[Run], about: Sequence[str]) -> str:
    """The whole section: machine, tables, verdicts, where the time goes."""
    head = ["wall, s", "remote calls", "requests sent", "failed", "p99 before, ms", "p99 during, ms"]
    lines = [*about, "", "Where a cell has three numbers they are min / median / max over the repetitions.", ""]
    rows = []
    for what in (FIRST, RELEASE, NOTHING, BACK):
        for who in (DECANT, CAPISTRANO, SCRIPT):
            found = chosen(runs, who, what)
            if found:
                rows.append([what, who, *row(found)])
    lines += table(["run", "with", *head], rows)
    if fleet:
        rows = [[str(size), *row([run for run in fleet if run.hosts == size])] for size in FLEET]
        lines += ["", f"Decant, {RELEASE}, by number of hosts (all of them share the machine):", ""]
        lines += table(["hosts", *head], rows)
    lines += ["", "Ratios of medians of this run:", ""]
    lines += table(["target", "measured", "limit", "verdict"], map(verdict_row, verdicts(runs, fleet)))
    for title, group in (
        (f"{RELEASE}, one host", chosen(runs, DECANT, RELEASE)),
        (NOTHING, chosen(runs, DECANT, NOTHING)),
        (BACK, chosen(runs, DECANT, BACK)),
        (f"{RELEASE}, {max(FLEET)} hosts", [run for run in fleet if run.hosts == max(FLEET)]),
    ):
        parts = middle_profile(group)
        if parts:
            lines += ["", f"Where the time of Decant's {title} goes, medians, the longest parts first:", ""]
            lines += table(["part", "s"], [[shown(name), f"{seconds:.2f}"] for name, seconds in largest(parts)])
    return "\n".join(lines)


def replaced(page: str, section: str) -> str:
    """The page with the text between its markers replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"{PAGE.name} has no section between '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def first_line(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().split("\n")[0]


def machine(command: str, busy: float) -> list[str]:
    """When, where and with what this was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    core = first_line(str(Path(sys.executable).with_name("ansible-playbook")), "--version")
    cap = re.sub(r"[^0-9.]", "", first_line("cap", "--version").split("(")[0])
    versions = [
        f"Linux {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        f"ansible-{core.rpartition('[')[2].rstrip(']')}",
        f"Capistrano {cap}",
        first_line("podman", "--version"),
        first_line("git", "--version"),
    ]
    return [
        f"`{command}`, {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}. "
        f"Machine: {len(os.sched_getaffinity(0))} CPUs, {memory:.0f} GiB of memory, {', '.join(versions)}. "
        f"Load average {busy:.1f} before it began: what else the machine did.",
        f"Hosts: Debian {hosts.SUITE}, gunicorn {GUNICORN} with {WORKERS} workers of {THREADS} threads "
        f"(1 of {THREADS} on each host of the fleet), SQLite.",
        f"Load: {CLIENTS} clients with {1000 * PAUSE:.0f} ms between two requests ({FLEET_CLIENTS} per host with "
        f"{1000 * FLEET_PAUSE:.0f} ms on the fleet), GET /api/projects through nginx.",
    ]


# --- processes -----------------------------------------------------------------------------------

RUNNING: set[subprocess.Popen[str]] = set()


def start(argv: Sequence[str], **options: object) -> subprocess.Popen[str]:
    """A process in a session of its own, so that it ends when stop_all() says so, with what it started."""
    process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
        argv, encoding="utf-8", errors="replace", start_new_session=True, **options
    )
    RUNNING.add(process)
    return process


def end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    RUNNING.discard(process)


def command(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, text: str | None = None, cwd: Path = ROOT
) -> str:
    """A command's whole output; a bad end is a BenchError with the last of it."""
    process = start(
        argv,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output, _ = process.communicate(text, timeout=LONGEST_RUN)
    except subprocess.TimeoutExpired:
        raise BenchError(f"'{' '.join(argv)}' was still running after {LONGEST_RUN} s") from None
    finally:
        end(process)
    if process.returncode != 0:
        raise BenchError(f"'{' '.join(argv)}' ended with {process.returncode}:\n{output[-4000:]}")
    return output


# --- source and hosts ----------------------------------------------------------------------------


def git(*arguments: str, cwd: Path) -> str:
    """git without the user's own settings."""
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in IDENTITY.items()}
    return command(
        ["git", *arguments], cwd=cwd, env={**who, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    )


IDENTITY = {"NAME": "bench", "EMAIL": "bench@example.org"}


@dataclass
class Repository:
    """The backend in a repository that every contender fetches from the same place: a daemon on the hosts' own network."""

    folder: Path
    url: str = ""
    number: int = 0

    def make(self) -> None:
        leave = shutil.ignore_patterns("__pycache__", ".pytest_cache", "*.db", "instance", ".venv")
        shutil.copytree(ROOT / "examples/backend", self.folder / "work", ignore=leave)
        git("init", "--quiet", "--initial-branch=main", cwd=self.folder / "work")
        git("init", "--quiet", "--bare", "--initial-branch=main", "backend.git", cwd=self.folder)
        self.commit()

    def commit(self) -> None:
        """Another commit that changes code alone."""
        self.number += 1
        work = self.folder / "work"
        (work / "api/app/build.py").write_text(f'"""Made for a measurement."""\n\nNUMBER = {self.number}\n', "utf-8")
        git("add", "--all", cwd=work)
        git("commit", "--quiet", "--message", f"Build {self.number}", cwd=work)
        git("push", "--quiet", str(self.folder / "backend.git"), "main", cwd=work)

    def serve(self) -> None:
        """Read-only, on the bridge alone; it ends with the run."""
        address = str(next(hosts.SUBNET.hosts()))
        with socket.socket() as free:
            free.bind((address, 0))
            port = free.getsockname()[1]
        argv = ["git", "daemon", "--export-all", f"--listen={address}", f"--port={port}", f"--base-path={self.folder}"]
        start([*argv, str(self.folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.url = f"git://{address}:{port}/backend.git"
        until = time.monotonic() + 10
        while subprocess.run(["git", "ls-remote", self.url], capture_output=True, check=False).returncode != 0:
            if time.monotonic() > until:
                raise BenchError(f"the repository is not to be had at {self.url}")
            time.sleep(0.1)


def inventory(
    known: Mapping[str, Mapping[str, str]], names: Sequence[str], workers: int, repository: str, state: Path
) -> str:
    """Some hosts as the group backend, as an inventory file would have them."""
    backend = {
        "app_name": "projects",
        "app_repo": repository,
        "app_version": "main",
        "app_subdir": "api",
        "app_factory": "app:create_app('production')",
        "app_env": {"CORS_ALLOWED_ORIGINS": "https://example.org"},
        "app_secrets": {"SECRET_KEY": "{{ lookup('ansible.builtin.file', '%s') }}" % (state / "secret_key")},
        "health_path": "/api/health",
        "nginx_server_names": ["projects.example.org"],
        "gunicorn_workers": workers,
        "gunicorn_threads": THREADS,
        "venv_gunicorn_version": GUNICORN,
        "release_cache": str(state / "cache"),
    }
    return json.dumps({"backend": {"hosts": {name: known[name] for name in names}, "vars": backend}}, indent=2)


@dataclass
class Bench:
    """One run of the benchmark and what it has made."""

    state: Path
    group: str
    repository: Repository
    runs: list[Run] = field(default_factory=list)
    fleet: list[Run] = field(default_factory=list)
    count: int = 0

    def boot(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        say(f"booting {', '.join(names)}")
        hosts.up(self.group, list(names), None)
        return hosts.variables(self.group)

    # --- load --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def load(self, addresses: Sequence[str], clients: int, pause: float) -> Iterator[list[Sample]]:
        """Clients while something happens; their requests are in the list when the block is over."""
        out, samples = self.state / f"load-{self.count}.json", []
        argv = [sys.executable, str(ROOT / "tools/load.py"), f"--out={out}", f"--clients={clients}", f"--pause={pause}"]
        process = start([*argv, f"--seconds={LONGEST_RUN}", f"--requests={MOST_REQUESTS}", *addresses])
        try:
            time.sleep(BEFORE_SECONDS)
            yield samples
            time.sleep(AFTER_SECONDS)
        finally:
            end(process)
        for line in out.read_text(encoding="utf-8").splitlines():
            samples.append(Sample(*json.loads(line)))

    def measured(
        self, argv: Sequence[str], addresses: Sequence[str], clients: int, pause: float, **options: object
    ) -> tuple[float, float, str, list[Sample]]:
        """A command with load around it, or without clients when there is none yet: begin, end, output, requests."""
        self.count += 1
        with self.load(addresses, clients, pause) if clients else contextlib.nullcontext([]) as samples:
            began = time.monotonic()
            output = command(argv, **options)  # type: ignore[arg-type]
            ended = time.monotonic()
        return began, ended, output, samples

    def keep(self, run: Run) -> None:
        self.runs.append(run)
        failed = f", {len(run.problems)} of {run.sent} requests failed" if run.sent else ""
        say(f"{run.what}, {run.who}: {run.seconds:.2f} s{failed}")

    # --- the contenders ----------------------------------------------------------------------

    def decant(self, what: str, known: Mapping[str, Mapping[str, str]], names: Sequence[str], workers: int) -> Run:
        """deploy.yml or rollback.yml, with SSH connections of its own: no run gains from the one before it."""
        times, place = self.state / "times.jsonl", self.state / f"hosts-{len(names)}-{names[0]}.json"
        place.write_text(inventory(known, names, workers, self.repository.url, self.state), encoding="utf-8")
        addresses = [known[name]["ansible_host"] for name in names]
        clients, pause = (FLEET_CLIENTS, FLEET_PAUSE) if names[0].startswith("web") else (CLIENTS, PAUSE)
        with tempfile.TemporaryDirectory(prefix="decant-cp-") as control:  # a socket's path is short
            env = {
                "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tools/callbacks"),
                "ANSIBLE_CALLBACKS_ENABLED": "bench_times",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": control,
                "ANSIBLE_NOCOLOR": "1",
                "DECANT_BENCH_TIMES": str(times),
            }
            playbook = "playbooks/rollback.yml" if what == BACK else "deploy.yml"
            argv = [str(Path(sys.executable).with_name("ansible-playbook")), f"--inventory={place}", playbook]
            began, ended, _, samples = self.measured(argv, addresses, 0 if what == FIRST else clients, pause, env=env)
        events = [json.loads(line) for line in times.read_text(encoding="utf-8").splitlines()]
        changed = sum(bool(one.get("changed")) for one in events)
        if (what == NOTHING) != (changed == 0):
            raise BenchError(f"Decant's {what} changed {changed} things")
        calls, parts = decant_calls(events, names[0]), profile(events, began, ended)
        return self.run_of(DECANT, what, began, ended, samples, calls, len(names), parts)

    def run_of(
        self,
        who: str,
        what: str,
        began: float,
        ended: float,
        samples: Sequence[Sample],
        calls: int,
        size: int = 1,
        parts: Sequence[tuple[str, float]] = (),
    ) -> Run:
        before, during = split(samples, began, ended + AFTER_SECONDS)
        return Run(
            *(who, what, ended - began, calls, len(during), [one.problem for one in during if one.problem]),
            p99_before=percentile([one.seconds for one in before], 0.99),
            p99_during=percentile([one.seconds for one in during], 0.99),
            hosts=size,
            profile=parts,
        )

    def ssh(self, how: Mapping[str, str], remote: str, script: Path) -> list[str]:
        target = f"{how['ansible_user']}@{how['ansible_host']}"
        options = ["-i", how["ansible_ssh_private_key_file"], *how["ansible_ssh_common_args"].split()]
        return ["sh", "-c", 'exec ssh "$@" <"$0"', str(script), *options, "-o", "BatchMode=yes", target, remote]

    def prepare(self, how: Mapping[str, str], code: str, venv: str) -> None:
        """What Decant's roles do on a bare host, for those who leave it to the user."""
        words = [code, venv, str(WORKERS), str(THREADS), how.get("venv_index_url", ""), how["venv_ca_bundle"]]
        command(self.ssh(how, "sudo sh -s " + " ".join(f"'{word}'" for word in words), CONTENDERS / "host.sh"))

    def capistrano(self, what: str, how: Mapping[str, str]) -> Run:
        folder = self.state / "capistrano"
        env = {
            "BENCH_HOST": how["ansible_host"],
            "BENCH_KEY": how["ansible_ssh_private_key_file"],
            "BENCH_REPOSITORY": self.repository.url,
            "BENCH_GUNICORN": GUNICORN,
        }
        if what == FIRST:
            shutil.copytree(CONTENDERS / "capistrano", folder)
        log = folder / "log/capistrano.log"
        log.unlink(missing_ok=True)
        argv = ["cap", "production", "deploy:rollback" if what == BACK else "deploy"]
        clients = 0 if what == FIRST else CLIENTS
        began, ended, _, samples = self.measured(argv, [how["ansible_host"]], clients, PAUSE, env=env, cwd=folder)
        calls = capistrano_calls(log.read_text(encoding="utf-8", errors="replace"))
        return self.run_of(CAPISTRANO, what, began, ended, samples, calls)

    def script(self, what: str, how: Mapping[str, str]) -> Run:
        argv = self.ssh(how, f"sh -s '{self.repository.url}' {GUNICORN}", CONTENDERS / "release.sh")
        clients = 0 if what == FIRST else CLIENTS
        began, ended, _, samples = self.measured(argv, [how["ansible_host"]], clients, PAUSE)
        return self.run_of(SCRIPT, what, began, ended, samples, 1)

    # --- the order ---------------------------------------------------------------------------

    def compare(self, repeat: int) -> None:
        """The contenders take turns, so that what else the machine does meets all of them."""
        known = self.boot(["decant", "capistrano", "script"])
        self.repository.serve()
        say("first deploys, of bare hosts")
        self.keep(self.decant(FIRST, known, ["decant"], WORKERS))
        for name, code, venv, deploy in (
            ("capistrano", "/srv/projects/current", "/srv/projects/shared/venv", self.capistrano),
            ("script", "/srv/projects/checkout/api", "/srv/projects/venv", self.script),
        ):
            began = time.monotonic()
            self.prepare(known[name], code, venv)
            preparing = time.monotonic() - began
            first = deploy(FIRST, known[name])
            self.keep(Run(first.who, FIRST, first.seconds + preparing, first.calls))
        for what in [RELEASE, NOTHING, BACK] * repeat:
            if what == RELEASE:
                self.repository.commit()
            self.keep(self.decant(what, known, ["decant"], WORKERS))
            self.keep(self.capistrano(what, known["capistrano"]))
            if what != BACK:  # the script has no way back
                self.keep(self.script(what, known["script"]))

    def grow(self, repeat: int) -> None:
        """Decant on 1, 3 and 6 hosts, in place of the contenders'."""
        hosts.down(self.group)
        names = [f"web{number}" for number in range(1, max(FLEET) + 1)]
        known = self.boot(names)
        say(f"first deploy of {len(names)} bare hosts")
        self.decant(FIRST, known, names, 1)
        for size in [*FLEET] * repeat:
            self.repository.commit()
            run = self.decant(RELEASE, known, names[:size], 1)
            self.fleet.append(run)
            say(f"{RELEASE} on {size} hosts: {run.seconds:.2f} s, {len(run.problems)} of {run.sent} requests failed")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def clean(group: str) -> None:
    """End what runs and remove the hosts, which nothing cuts short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for process in list(RUNNING):
        end(process)
    down = [sys.executable, str(ROOT / "tools/hosts.py"), "down", "--group", group]
    subprocess.run(down, stdout=subprocess.DEVNULL, start_new_session=True, check=False)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/bench", description="Measures Decant beside Capistrano and a plain script."
    )
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="repetitions (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one repetition, and no fleet")
    parser.add_argument("--write", action="store_true", help=f"rewrite the figures in docs/{PAGE.name}")
    arguments = parser.parse_args(words)
    repeat = 1 if arguments.quick else arguments.repeat
    if not 1 <= repeat <= 20:
        parser.error("--repeat takes 1 to 20")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    busy = os.getloadavg()[0]
    base, group = hosts.CACHE / "runs", f"bench-{secrets.token_hex(3)}"
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=base) as name:
        bench = Bench(Path(name), group, Repository(Path(name, "git")))
        try:
            bench.repository.folder.mkdir()
            bench.repository.make()
            (bench.state / "secret_key").touch(0o600)
            (bench.state / "secret_key").write_text(secrets.token_urlsafe(48), encoding="utf-8")
            bench.compare(repeat)
            if not arguments.quick:
                bench.grow(repeat)
        except (BenchError, hosts.HostError) as error:
            say(f"bin/bench: {error}")
            return 1
        except KeyboardInterrupt:
            # Half an hour of figures is worth a look; the page keeps those of a whole run.
            print(figures(bench.runs, bench.fleet, ["Interrupted: these are the runs until then."]))
            raise
        finally:
            clean(group)
    section = figures(bench.runs, bench.fleet, machine(" ".join(["bin/bench", *words]), busy))
    print(section)
    if arguments.write:
        PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), section), encoding="utf-8")
        say(f"docs/{PAGE.name} has these figures now.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("interrupted: the hosts are removed, and nothing was written")
        sys.exit(130)
