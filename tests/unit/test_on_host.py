# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one door to a host: arguments are held against the module's own spec there, and what is secret in them stays so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.decant.flask.plugins.module_utils import on_host

ROOT = Path(__file__).resolve().parents[2]
SALT = "salt-that-is-secret"


def task(tmp_path: Path, module: str, **arguments: Any) -> tuple[int, str]:
    """One task on this machine, by the collection's own name of the module; the exit code and all that was said."""
    play = [
        {
            "hosts": "localhost",
            "vars": {"ansible_python_interpreter": sys.executable},
            "connection": "local",
            "gather_facts": False,
            "tasks": [{f"decant.flask.{module}": arguments, "name": "Ask"}],
        }
    ]
    (tmp_path / "play.json").write_text(json.dumps(play))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-vvv",
            "-i",
            "localhost,",
            str(tmp_path / "play.json"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_task_runs_the_module_that_it_names(tmp_path: Path):
    code, said = task(tmp_path, "host_state", name="nobody-has-this", root="/nonexistent", user="nobody", salt=SALT)
    assert code == 0, said
    assert "python_version: " in said, "what host_state answers"
    assert "tls_mode: " in said, "the defaults of host_state's own options"
    assert SALT not in said and "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in said


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"name": "a", "root": "/a"}, "missing required arguments: user"),
        ({"name": "a", "root": "/a", "user": "b", "listen_port": "http"}, "listen_port"),
        ({"name": "a", "root": "/a", "user": "b", "colour": "red"}, "colour"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: dict[str, Any], sentence: str):
    code, said = task(tmp_path, "host_state", **arguments)
    assert code != 0
    assert sentence in said


def test_secrets_are_found_at_any_depth():
    spec = {"plain": {}, "list": {"no_log": True}, "dict": {"no_log": True}, "text": {"no_log": True}}
    given = {"plain": "a", "list": ["b", ["c"]], "dict": {"d": {"e": "f"}, "g": 7}, "text": "", "more": "h"}
    assert on_host.secrets(spec, given) == {"b", "c", "f", "7"}


def test_the_journal_is_told_of_no_arguments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A key is no_log in its module's spec; what AnsibleModule logs when it starts does not know that spec yet."""
    logged: list[str] = []
    monkeypatch.setattr(on_host.AnsibleModule, "log", lambda self, message, **more: logged.append(f"{message} {more}"))
    arguments = {"name": "nobody-has-this", "root": "/nonexistent", "user": "nobody", "salt": SALT}
    given = {"module": "host_state", "arguments": arguments, "_ansible_no_log": False}
    with patch_module_args(given), pytest.raises(SystemExit):
        on_host.dispatch()
    answer = capsys.readouterr().out
    assert logged and SALT not in " ".join(logged) and "/nonexistent" not in " ".join(logged)
    assert SALT not in answer and "/nonexistent" in answer, "what is no secret is not masked"
