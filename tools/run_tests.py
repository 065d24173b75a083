#!/usr/bin/env python3
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the checks and counts them from the runners' own reports. Called by bin/test, in the environment it made.

    run_tests.py [all | lint | unit | sanity | SCENARIO ...]

The last line is `N passed, N failed`. A scenario that ran no test, or ended before its tests, is a failure.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cores

ROOT = Path(__file__).resolve().parent.parent
TAIL_LINES = 80
MEMORY_PER_SCENARIO = 2 * 1024**3
BIN = Path(sys.executable).parent
CACHE = Path(os.environ["DECANT_CACHE"])
RUNNING: set[subprocess.Popen[bytes]] = set()
STOPPING = threading.Event()
SLOW_FIRST = (
    "fleet",
    "chaos",
    "health",
    "monitoring",
    "failures",
    "tls",
    "kit",
    "readiness",
    "sandbox",
    "docs",
    "database",
    "status",
    "rollback",
    "alternative",
    "default",
    "collection",
    "baseline",
)


@dataclass
class Result:
    """What one runner reported."""

    name: str
    passed: int
    failed: int
    skipped: int = 0
    seconds: float = 0
    log: str = ""


def environment(**more: str) -> dict[str, str]:
    """The environment of a runner: the tools of the virtual environment first, no colour in logs."""
    env = {**os.environ, **more, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1", "PY_COLORS": "0"}
    env.pop("ANSIBLE_FORCE_COLOR", None)
    return env


def end(process: subprocess.Popen[bytes]) -> None:
    """End a runner and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def stop(*_: object) -> None:
    """Ctrl-C, or the SIGTERM of a CI: end the runners; their scenarios then remove their hosts, which nothing cuts short."""
    STOPPING.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for process in list(RUNNING):
        end(process)
    raise KeyboardInterrupt


def run(argv: list[str], log: Path, cwd: Path = ROOT, **more: str) -> int:
    """One runner, its output in a file. In a session of its own, so that it ends when stop() says so and not before."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    RUNNING.add(process)
    if STOPPING.is_set():
        end(process)
    try:
        return process.wait()
    finally:
        RUNNING.discard(process)


def evidence(log: Path) -> str:
    """The end of a log. All of it is kept in the cache, since the run's own folder goes when the run ends."""
    kept = CACHE / "failed" / log.name
    kept.parent.mkdir(exist_ok=True)
    shutil.copyfile(log, kept)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join([*lines, f"the whole log: {kept}"])


def count(name: str, report: Path, code: int, log: Path, seconds: float) -> Result:
    """A JUnit report as a result. No report, no test, or a bad end without a failed test: one failure."""
    passed = failed = skipped = 0
    if report.exists():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            tests, bad = int(suite.get("tests", 0)), int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
            failed += bad
            passed += tests - bad - int(suite.get("skipped", 0))
    if passed + failed == 0 or (code != 0 and failed == 0):
        failed += 1
    return Result(name, passed, failed, skipped, seconds, evidence(log) if failed else "")


# --- lint ----------------------------------------------------------------------------------------


def tracked(*suffixes: str) -> list[str]:
    """Files that git tracks, or would: those that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [name for name in listed if name.endswith(suffixes) and (ROOT / name).is_file()]


def shell_scripts() -> list[str]:
    """Scripts of a shell, by their first line. What a template makes is checked where it is rendered."""
    found = []
    for name in (name for name in tracked("") if not name.endswith(".j2")):
        with (ROOT / name).open("rb") as stream:
            first = stream.readline(80)
        if (first.startswith(b"#!") and b"sh" in first.split(b"/")[-1]) or first.startswith(b"# shellcheck shell"):
            found.append(name)
    return found


def lint_checks() -> list[tuple[str, list[str]]]:
    """Name and command of each check."""
    roles = sorted(path.parent.name for path in ROOT.glob("roles/*/meta"))
    checks = [
        ("yamllint", ["yamllint", "--strict", "."]),
        ("ansible-lint", ["ansible-lint", "--offline", "--profile", "production", "--strict"]),
        ("ruff check", ["ruff", "check", "."]),
        ("ruff format", ["ruff", "format", "--check", "."]),
        ("shellcheck", ["shellcheck", "--external-sources", *shell_scripts()]),
    ]
    for role in roles:
        checks.append((f"specs of {role}", ["ansible-docsmith", "validate", "--strict", f"roles/{role}"]))
        checks.append(
            (
                f"documents of {role}",
                ["ansible-docsmith", "generate", "--check", "--defaults-include-missing", f"roles/{role}"],
            )
        )
    checks.append(("changelog fragments", ["antsibull-changelog", "lint"]))
    if (ROOT / "tools/variables.py").exists():
        checks.append(("docs/variables.md", [sys.executable, "tools/variables.py", "--check"]))
    return checks


def lint(folder: Path) -> list[Result]:
    """Each check is one test."""
    results = []
    for name, argv in lint_checks():
        log, began = folder / f"lint-{name.replace(' ', '-').replace('/', '-')}.log", time.monotonic()
        code = run(argv, log, ANSIBLE_COLLECTIONS_PATH=f"{ROOT}/collections:{os.environ['DECANT_COLLECTIONS']}")
        seconds = time.monotonic() - began
        results.append(
            Result(f"lint: {name}", int(code == 0), int(code != 0), 0, seconds, evidence(log) if code else "")
        )
        report(results[-1])
    return results


# --- unit and scenarios --------------------------------------------------------------------------


def unit(folder: Path) -> list[Result]:
    """The project's unit tests, then the example backend's own."""
    results = []
    for name, cwd, target in (
        ("unit", ROOT, "tests/unit"),
        ("example backend", ROOT / "examples/backend/api", "tests"),
    ):
        log, junit, began = folder / f"{name}.log", folder / f"{name}.xml", time.monotonic()
        argv = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:testinfra",
            f"--junit-xml={junit}",
            target,
        ]
        code = run(argv, log, cwd)
        results.append(count(name, junit, code, log, time.monotonic() - began))
        report(results[-1])
    return results


def sanity(folder: Path) -> list[Result]:
    """ansible-test sanity on the oldest core and on the newest."""
    results = []
    for core, python in cores.pythons():
        name = f"sanity, core {core}"
        if not python:
            print(f"{name}: skipped, since this machine has no Python for it", flush=True)
            continue
        log, junit, began = folder / f"sanity-{core}.log", folder / f"sanity-{core}.xml", time.monotonic()
        code = run([sys.executable, "tools/sanity.py", core, str(junit)], log)
        results.append(count(name, junit, code, log, time.monotonic() - began))
        report(results[-1])
    return results


def scenarios() -> list[str]:
    """Every scenario of the tree, the longest first."""
    names = [path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")]
    return sorted(names, key=lambda n: (SLOW_FIRST.index(n) if n in SLOW_FIRST else len(SLOW_FIRST), n))


def scenario(name: str, folder: Path) -> Result:
    """One scenario, alone in its own state; its hosts are removed whatever happens."""
    log, junit, began = folder / f"{name}.log", folder / f"{name}.xml", time.monotonic()
    if STOPPING.is_set():
        return Result(name, 0, 0)
    group = f"{name}-{folder.name[-6:]}"  # two runs on one machine never meet each other's hosts
    own = {
        "DECANT_GROUP": group,
        "DECANT_JUNIT": str(junit),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(folder / name),
        "ANSIBLE_HOME": str(folder / f"{name}.ansible"),
    }
    print(f"{name}: started, log {log}", flush=True)
    try:
        code = run(["molecule", "test", "--scenario-name", name, "--destroy", "always"], log, **own)
    finally:
        down = [sys.executable, "tools/hosts.py", "down", "--group", group]
        with log.open("ab") as stream:
            subprocess.run(down, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True, check=False)
    if STOPPING.is_set():
        return Result(name, 0, 0)
    result = count(name, junit, code, log, time.monotonic() - began)
    report(result)
    return result


def side_by_side() -> int:
    """How many scenarios this machine carries at once."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return max(1, min(len(os.sched_getaffinity(0)), memory // MEMORY_PER_SCENARIO, 3))


def everything(names: list[str], quick: list[Callable[[Path], list[Result]]], folder: Path) -> list[Result]:
    """Scenarios side by side, the longest first, and last what is quick: it fills the cores that the long ones leave at the end.
    The image is built first, so that they do not wait for each other's."""
    if names:
        subprocess.run([sys.executable, "tools/hosts.py", "image"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    with concurrent.futures.ThreadPoolExecutor(side_by_side()) as pool:
        parts = [pool.submit(lambda name=name: [scenario(name, folder)]) for name in names]
        # One that was asked to stop begins nothing more.
        parts += [pool.submit(lambda part=part: [] if STOPPING.is_set() else part(folder)) for part in quick]
        return [result for part in parts for result in part.result()]


QUICK = {"unit": unit, "lint": lint, "sanity": sanity}

# --- the whole -----------------------------------------------------------------------------------


def report(result: Result) -> None:
    """A line per part; the end of its log when it failed."""
    skipped = f", {result.skipped} skipped" if result.skipped else ""
    print(f"{result.name}: {result.passed} ok, {result.failed} bad{skipped} ({result.seconds:.0f} s)", flush=True)
    if result.log:
        print("\n".join(f"  | {line}" for line in result.log.splitlines()), flush=True)


def main(words: list[str]) -> int:
    known = scenarios()
    wanted = words or ["all"]
    unknown = [word for word in wanted if word not in ("all", *QUICK, *known)]
    if unknown:
        print(f"unknown: {' '.join(unknown)}. Known: all, {', '.join((*QUICK, *known))}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    base = CACHE / "runs"
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=base) as name:
        folder = Path(name)
        quick = [part for word, part in QUICK.items() if word in wanted or "all" in wanted]
        names = known if "all" in wanted else [name for name in known if name in wanted]
        results = everything(names, quick, folder)
    passed, failed = sum(r.passed for r in results), sum(r.failed for r in results)
    for result in results:
        if result.failed:
            print(f"failed: {result.name}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("interrupted: nothing is counted, the hosts are removed", file=sys.stderr)
        sys.exit(130)
