# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why a candidate did not become healthy, from its journal."""

from __future__ import annotations

import pytest
from ansible_collections.decant.flask.plugins.module_utils.modules.instance import explain

ID = "20261122T101500Z-3f2a9c1"
VERDICT = "unhealthy: no socket at /run/projects/x.sock after 60 s"
START = f"""\
Starting projects@{ID}.service - projects release {ID}...
[2026-11-22 10:15:00 +0000] [100] [INFO] Starting gunicorn 27.0.1
[2026-11-22 10:15:00 +0000] [100] [INFO] Using worker: gthread
[2026-11-22 10:15:00 +0000] [101] [INFO] Booting worker with pid: 101
"""
END = f"""\
projects@{ID}.service: Control process exited, code=exited, status=1/FAILURE
[2026-11-22 10:15:09 +0000] [100] [INFO] Shutting down: Master
projects@{ID}.service: Failed with result 'exit-code'.
Failed to start projects@{ID}.service - projects release {ID}.
projects@{ID}.service: Consumed 1.014s CPU time.
"""
TRACEBACK = """\
[2026-11-22 10:15:00 +0000] [101] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/srv/projects/releases/x/src/api/app/__init__.py", line 35, in <module>
    import nonexistent_lib
ModuleNotFoundError: No module named 'nonexistent_lib'
"""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (START + f"{VERDICT}\n" + END, VERDICT),
        (START + TRACEBACK + END, "ModuleNotFoundError: No module named 'nonexistent_lib'"),
        (
            START + TRACEBACK + f"{VERDICT}\n" + END,
            f"ModuleNotFoundError: No module named 'nonexistent_lib'; {VERDICT}",
        ),
        (START + f"unhealthy: first\n{VERDICT}\n" + END, VERDICT),
        (START + "KeyError: 'a'\nValueError: b\n" + END, "ValueError: b"),
        (START + "sqlalchemy.exc.OperationalError: (x) y\n", "sqlalchemy.exc.OperationalError: (x) y"),
        (START + "app.errors.ConfigException: no key\n", "app.errors.ConfigException: no key"),
        (START + "SystemExit: 3\n", "SystemExit: 3"),
        ("gunicorn: not found\n" + f"Failed to start projects@{ID}.service.\n", "gunicorn: not found"),
        (END.splitlines()[0], "its journal is empty"),
        ("", "its journal is empty"),
        ("\n  \n", "its journal is empty"),
    ],
)
def test_why(text: str, why: str):
    assert explain(text)[0] == why


@pytest.mark.parametrize(
    "line", ["Errors are logged to x", "the Error: y", "  ValueError: indented", "no exception here"]
)
def test_lines_that_are_no_exception(line: str):
    assert explain(f"{line}\n{VERDICT}\n")[0] == VERDICT


def test_the_lines_are_those_of_the_backend():
    lines = explain(START + TRACEBACK + f"{VERDICT}\n" + END)[1]
    assert VERDICT in lines
    assert "    import nonexistent_lib" in lines
    assert not [
        line for line in lines if "Failed" in line or "Consumed" in line or line.startswith("Starting projects")
    ]


def test_the_lines_are_the_last_ones():
    assert explain("".join(f"line {n}\n" for n in range(100)))[1] == [f"line {n}" for n in range(75, 100)]
