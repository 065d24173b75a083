# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The arithmetic and the text of bin/bench. Nothing here measures time."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def tool(name: str) -> ModuleType:
    """A file of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


hosts, bench, load = tool("hosts"), tool("bench"), tool("load")
Run, Sample, Verdict = bench.Run, bench.Sample, bench.Verdict


def test_hosts_as_an_inventory(monkeypatch: pytest.MonkeyPatch):
    known = {"web1": {"ansible_host": "192.0.2.1"}, "web2": {"ansible_host": "192.0.2.2"}}
    monkeypatch.setattr(hosts, "variables", lambda group: known)
    assert hosts.inventory("g", [], None) == known
    assert hosts.inventory("g", ["web2"], "backend") == {"backend": {"hosts": {"web2": known["web2"]}}}
    with pytest.raises(hosts.HostError, match="there is no host 'web3' in the group g. There: web1, web2"):
        hosts.inventory("g", ["web3"], "backend")


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([], 0.99, 0),
        ([7.0], 0.99, 7),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 102)), 0.99, 100),
        ([3, 1, 2], 0.5, 2),
        ([3, 1, 2], 1, 3),
    ],
)
def test_percentile(values: list[float], share: float, wanted: float):
    assert bench.percentile(values, share) == wanted


def test_a_request_counts_by_what_it_met():
    answered_before, in_flight, during, tail, after = (
        Sample(1, 0.5),
        Sample(1.9, 0.5),
        Sample(3, 0.1, "status 502"),
        Sample(5, 1),
        Sample(5.1, 1),
    )
    before, met = bench.split([answered_before, in_flight, during, tail, after], 2, 5)
    assert before == [answered_before]
    assert met == [in_flight, during, tail]


def event(**more: object) -> dict[str, object]:
    return {
        "event": "host",
        "host": "web1",
        "outcome": "ok",
        "asked": True,
        "action": "decant.flask.host_state",
        "at": 1.0,
        **more,
    }


@pytest.mark.parametrize(
    ("more", "calls"),
    [
        ({}, 1),
        ({"outcome": "failed"}, 1),
        ({"outcome": "skipped"}, 0),
        ({"asked": False}, 0),
        ({"host": "web2"}, 0),
        ({"action": "decant.flask.plan"}, 0),
        ({"action": "ansible.builtin.debug"}, 0),
        ({"action": "ansible.builtin.validate_argument_spec"}, 0),
        ({"action": "ansible.builtin.command"}, 1),
    ],
)
def test_calls_of_a_host(more: dict[str, object], calls: int):
    begun = {"event": "task", "task": "x", "action": "ansible.builtin.command", "at": 0.5}
    assert bench.decant_calls([begun, event(**more)], "web1") == calls


def test_calls_in_the_log_of_capistrano():
    log = (
        "  INFO [1b] Running /usr/bin/env mkdir -p /tmp on 192.0.2.1\n"
        " DEBUG [1b] Command: /usr/bin/env mkdir\n"
        "  INFO [1b] Finished in 0.1 seconds\n"
        " DEBUG [2c] Running [ -d /srv/projects ] as ops@192.0.2.1\n"
    )
    assert bench.capistrano_calls(log) == 2


def test_every_second_of_a_run_has_a_part():
    events = [
        {"event": "task", "task": "a", "at": 11.0},
        event(at=11.4),
        {"event": "task", "task": "b", "at": 12.0},
        {"event": "task", "task": "a", "at": 15.0},
        {"event": "end", "at": 15.5},
    ]
    parts = dict(bench.profile(events, 10, 16))
    assert parts == {"start of ansible-playbook": 1, "a": 1.5, "b": 3, "end of ansible-playbook": 0.5}
    assert sum(parts.values()) == 6


def test_a_run_without_tasks_has_one_part():
    assert bench.profile([], 10, 16) == [("the whole run", 6)]


def test_the_middle_of_profiles_is_in_order():
    runs = [Run("x", "y", 1, profile=[("a", 1), ("b", 5)]), Run("x", "y", 1, profile=[("a", 9), ("b", 5), ("c", 7)])]
    assert bench.middle_profile(runs) == [("c", 7), ("a", 5), ("b", 5)]


def test_the_shortest_parts_are_one_line():
    parts = [(str(number), 1.0) for number in range(bench.PARTS_SHOWN + 3)]
    assert bench.largest(parts)[-1] == ("3 others together", 3.0)
    assert len(bench.largest(parts)) == bench.PARTS_SHOWN + 1
    assert bench.largest(parts[:2]) == parts[:2]


def test_a_task_name_does_not_break_a_table():
    assert bench.shown("decant.flask.app : plan | Read the host") == "app: plan, Read the host"


def some_runs() -> list[object]:
    """Two repetitions: Decant as fast as Capistrano at a release, slower when nothing changes."""
    return [
        *(Run(bench.DECANT, bench.RELEASE, s, 12, 100, [], 0.010, 0.020) for s in (4.0, 6.0)),
        *(Run(bench.DECANT, bench.NOTHING, s, 4, 100, [], 0.010, 0.040) for s in (6.0, 6.0)),
        *(Run(bench.DECANT, bench.BACK, s, 7, 100, [], 0.010, 0.010) for s in (3.0, 3.0)),
        *(Run(bench.CAPISTRANO, bench.RELEASE, s, 38, 100, ["status 502"], 0.01, 0.01) for s in (5.0, 5.0)),
        *(Run(bench.CAPISTRANO, bench.NOTHING, s, 38, 100, [], 0.01, 0.01) for s in (4.0, 4.0)),
    ]


def test_verdicts():
    fleet = [
        Run(bench.DECANT, bench.RELEASE, 4, 12, 10, ["timeout"], hosts=1),
        Run(bench.DECANT, bench.RELEASE, 9, hosts=6),
    ]
    found = {one.name: (one.measured, one.met()) for one in bench.verdicts(some_runs(), fleet)}
    assert found == {
        "code-only release / Capistrano's": (1.0, True),
        "no-change run / Capistrano's": (1.5, False),
        "rollback / code-only release": (0.6, True),
        "failed requests under Decant": (1, False),  # Capistrano's count for nothing, the fleet's do
        "p99 during / before, code-only release": (2.0, True),
        "p99 during / before, no-change run": (4.0, False),
        "p99 during / before, rollback": (1.0, True),
        "code-only release on 6 hosts / on one": (2.25, False),
    }


def test_what_was_not_measured_is_not_met():
    assert not any(one.met() for one in bench.verdicts([], []))
    assert bench.verdict_row(Verdict("x", None, 1))[1:] == ["-", "<= 1", "not measured"]


def test_a_miss_says_by_how_much():
    assert bench.verdict_row(Verdict("x", 1.5, 1))[1:] == ["1.50", "<= 1", "missed by 0.50"]
    assert bench.verdict_row(Verdict("x", 3, 0, "requests"))[1:] == ["3", "<= 0", "missed by 3"]
    assert bench.verdict_row(Verdict("x", 0.5, 1))[1:] == ["0.50", "<= 1", "met"]


def test_spread():
    assert bench.spread([]) == "-"
    assert bench.spread([1.26]) == "1.3"
    assert bench.spread([3, 1, 2]) == "1.0 / 2.0 / 3.0"


def test_what_failed_is_named_by_its_kind():
    assert bench.kinds(["timeout", "status 502", "status 502"]) == "2 status 502, 1 timeout"


def test_a_line_of_the_table():
    runs = [Run("x", "y", s, c, 50, p, 0.001, 0.002) for s, c, p in ((1, 12, []), (2, 12, ["timeout"]))]
    wanted = ["1.00 / 1.50 / 2.00", "12", "100", "1 (1 timeout)", "1 / 1 / 1", "2 / 2 / 2"]
    assert bench.row(runs) == wanted
    assert bench.row([Run("x", "y", 1)]) == ["1.00", "-", "-", "-", "-", "-"]


def test_the_section_holds_every_contender_and_is_a_table():
    fleet = [
        Run(bench.DECANT, bench.RELEASE, size, 12, 10, hosts=size, profile=[("a | b", 1.0)]) for size in bench.FLEET
    ]
    text = bench.figures(some_runs(), fleet, ["the machine"])
    assert text.startswith("the machine")
    assert "| code-only release | Capistrano | 5.00 / 5.00 / 5.00 | 38 | 200 | 2 (2 status 502) |" in text
    assert "| 6 | 6.00 | 12 |" in text
    assert "| a, b | 1.00 |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for block in tables:
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_only_the_section_of_the_page_is_replaced():
    page = f"# a\n\n{bench.BEGIN}\nold\n{bench.END}\n\nb\n"
    new = bench.replaced(page, "new")
    assert new == f"# a\n\n{bench.BEGIN}\n\nnew\n\n{bench.END}\n\nb\n"
    assert bench.replaced(new, "new") == new
    with pytest.raises(bench.BenchError, match="has no section"):
        bench.replaced("# a\n", "new")


def test_the_page_has_its_section():
    assert bench.replaced(bench.PAGE.read_text(encoding="utf-8"), "x")


def test_an_inventory(tmp_path: Path):
    known = {name: {"ansible_host": "192.0.2.1"} for name in ("web1", "web2")}
    found = json.loads(bench.inventory(known, ["web1"], 3, "git://192.0.2.2/x.git", tmp_path))["backend"]
    assert list(found["hosts"]) == ["web1"]
    assert found["vars"]["app_repo"] == "git://192.0.2.2/x.git"
    assert str(tmp_path / "secret_key") in found["vars"]["app_secrets"]["SECRET_KEY"]


def test_every_contender_gets_the_gunicorn_that_decant_brings():
    text = (TOOLS.parent / "roles/venv/defaults/main.yml").read_text(encoding="utf-8")
    assert f'venv_gunicorn_version: "{bench.GUNICORN}"' in text


def test_each_commit_changes_code_alone(tmp_path: Path):
    repository = bench.Repository(tmp_path)
    repository.make()
    repository.commit()
    bare = ["git", "--git-dir", str(tmp_path / "backend.git")]
    changed = subprocess.run(
        [*bare, "diff", "--name-only", "main~1", "main"], capture_output=True, text=True, check=True
    )
    assert changed.stdout.split() == ["api/app/build.py"]
    assert not bench.RUNNING


def test_a_command_that_fails_says_what_it_said():
    with pytest.raises(bench.BenchError, match="ended with 3:\nthe reason"):
        bench.command(["sh", "-c", "echo the reason; exit 3"])
    assert not bench.RUNNING


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "no answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", "cut short"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "cut short"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "status 502"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "status 302"),
    ],
)
def test_what_is_wrong_with_an_answer(answer: bytes, problem: str):
    assert load.problem_of(answer) == problem


def test_a_load_is_bounded_and_tells_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Against a server of this process: the number of requests ends the clients, SIGTERM or the time ends the program."""

    class Backend(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if self.path == "/bad" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Backend) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(load, "PORT", server.server_port)
        for path, problem in (("/", ""), ("/bad", "status 503")):
            out = tmp_path / "load.json"
            argv = [
                f"--out={out}",
                "--seconds=0.5",
                "--requests=5",
                "--clients=2",
                "--pause=0",
                f"--path={path}",
                "127.0.0.1",
            ]
            monkeypatch.setattr(sys, "argv", ["load.py", *argv])
            assert load.main() == 0
            found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
            assert 5 <= len(found) <= 6
            assert {one[2] for one in found} == {problem}
        server.shutdown()
