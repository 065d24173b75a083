# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A secret is where it must be and nowhere else, whatever is run; and every value arrives as it was meant."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from testing import ROOT, STATE, App, Run, deploy, every_argv, play, secret, until, write

sys.path.insert(0, str(ROOT / "collections"))
from ansible_collections.decant.flask.plugins.module_utils import envfile  # noqa: E402

PLANTED = secrets.token_hex(20)
PATTERN = "/root/planted"


@pytest.fixture(scope="module")
def app() -> App:
    found = App("web")
    deploy().ok()
    write("web", PATTERN, f"{PLANTED}\n")
    return found


# --- where a secret is ---------------------------------------------------------------------------


class Argv:
    """The command lines of the controller's processes."""

    def __init__(self, text: str) -> None:
        self.text, self.seen, self.looked = text.encode(), [], 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:
                    continue
                self.looked += b"ansible-playbook" in line
                if self.text in line:
                    self.seen.append(line)

    def __enter__(self) -> Argv:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)


@pytest.fixture(scope="module")
def told(app: App) -> Iterator[tuple[list[Run], Path, Argv]]:
    """Every kind of run, as loud as it gets, with a log file and a cache of facts: what they printed and left behind."""
    values = STATE / "planted.yml"
    values.write_text(json.dumps({"app_secrets": {"SECRET_KEY": secret(), "API_TOKEN": PLANTED}}), encoding="utf-8")
    values.chmod(0o600)
    left = STATE / "left-behind"
    left.mkdir(exist_ok=True)
    env = {
        **os.environ,
        "ANSIBLE_LOG_PATH": str(left / "log"),
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(left / "facts"),
        "ANSIBLE_LOCAL_TEMP": str(left / "tmp"),
    }
    loud = ("-vvv", "--diff", "--extra-vars", f"@{values}")
    with Argv(PLANTED) as argv, every_argv(app.host):
        runs = [
            play("deploy.yml", "--check", *loud, env=env).ok(),
            play("deploy.yml", *loud, env=env).ok(),
            play("deploy.yml", *loud, env=env, health_path="/nowhere", health_deadline_seconds=5).refused(),
            play("playbooks/rollback.yml", *loud, env=env).ok(),
            play("playbooks/status.yml", *loud, env=env),
            play("deploy.yml", *loud, env=env).ok(),
        ]
    yield runs, left, argv
    values.unlink()


def test_it_arrived(app: App, told: object) -> None:
    environ = f"/proc/{app.main_pid()}/environ"
    assert app.host.run(f"grep -cF -f {PATTERN} {environ}").stdout.strip() == "1"


def test_nothing_that_was_printed_holds_it(told: tuple[list[Run], Path, Argv]) -> None:
    runs, left, _ = told
    assert all("SSH: EXEC" in run.output for run in runs), "they were loud"
    assert not [number for number, run in enumerate(runs) if PLANTED in run.output]
    assert (left / "log").stat().st_size > 100_000
    holders = [path for path in left.rglob("*") if path.is_file() and PLANTED.encode() in path.read_bytes()]
    assert holders == []


def test_no_command_line_held_it(app: App, told: tuple[list[Run], Path, Argv]) -> None:
    argv = told[2]
    assert argv.looked > 10, "the controller's processes were seen"
    assert argv.seen == []
    assert int(app.host.run("grep -c decant-probe /root/argv").stdout) > 0, "the host's were, too"
    assert app.host.run(f"grep -cF -f {PATTERN} /root/argv").stdout.strip() == "0"


def test_no_journal_and_no_log_holds_it(app: App, told: object) -> None:
    assert app.host.run(f"journalctl --no-pager --output=export | grep -caF -f {PATTERN}").stdout.strip() == "0"
    assert app.host.run(f"grep -rlaF -f {PATTERN} /var/log").stdout == ""


def test_only_the_releases_environments_hold_it(app: App, told: object) -> None:
    control, places = "/var/tmp/control", "/srv /etc /run /var /usr/local /opt /tmp /home /root /dev/shm"
    app.host.check_output(f"install -m 0644 {PATTERN} {control}")
    holders = set(app.host.run(f"grep -rlsaF -f {PATTERN} {places}").stdout.split())
    app.host.check_output(f"rm {control}")
    holders -= {control, PATTERN}
    assert holders and all(path.startswith("/srv/projects/releases/") and path.endswith("/.env") for path in holders)
    modes = {app.host.check_output(f"stat --format '%a %U %G' {path}") for path in holders}
    assert modes == {"640 root projects"}


def test_no_name_of_a_file_holds_it(app: App, told: object) -> None:
    assert app.host.run(f"find / -xdev 2>/dev/null | grep -cF -f {PATTERN}").stdout.strip() == "0"


def test_a_host_makes_its_own_key_once(app: App) -> None:
    """It is a secret of the environment like any other, and the controller never sees it."""
    own = STATE / "own-key.yml"
    own.write_text(json.dumps({"app_secrets": {"API_TOKEN": PLANTED}}), encoding="utf-8")
    generated = {"dotenv_secret_key_generated": True}
    run = deploy("-vvv", "--diff", "--extra-vars", f"@{own}", **generated).ok()
    key = app.host.check_output("cat /srv/projects/secret_key")
    assert len(key) >= 64 and key not in run.output
    assert app.host.check_output("stat --format '%a %U' /srv/projects/secret_key") == "600 root"
    first = app.current()
    assert app.manifest()["secret_keys"] == ["API_TOKEN", "SECRET_KEY"]
    assert deploy("--extra-vars", f"@{own}", **generated).ok().changed() == 0
    deploy("--extra-vars", f"@{own}", **generated, app_env={"CORS_ALLOWED_ORIGINS": ""}).ok()
    assert app.current() != first
    assert app.host.check_output("cat /srv/projects/secret_key") == key
    assert app.host.run("grep -cF -f /srv/projects/secret_key /srv/projects/current/.env").stdout.strip() == "1"
    own.unlink()
    assert "Remove one of them" in deploy(**generated).refused().says()
    deploy().ok()


def test_a_secret_that_is_in_no_environment(app: App) -> None:
    """systemd delivers it as a file: the backend works, also in its migration, its backup and its status, and no process has it in its
    environment."""
    delivered = {"dotenv_delivery": "credential"}
    run = deploy("-vvv", "--diff", **delivered).ok()
    assert secret() not in run.output
    app.drained()  # the instance before has it in its environment
    release = f"/srv/projects/releases/{app.current()}"
    assert app.ask("/api/projects", "POST", {"name": f"by {app.current()}"}).status == 201
    assert app.host.check_output(f"stat --format '%a %U' {release}/credentials/SECRET_KEY") == "600 root"
    write("web", "/root/key", f"{secret()}\n")
    for process in app.host.check_output("pgrep --full --uid projects gunicorn").split():
        assert app.host.run(f"grep -caF -f /root/key /proc/{process}/environ").stdout.strip() == "0"
    assert app.host.run(f"grep -cF -f /root/key {release}/.env").stdout.strip() == "0"
    app.host.check_output("systemctl start projects-backup@manual.service")
    assert play("playbooks/status.yml", **delivered).ok()
    # A survey of the host may need the same just now, and lets it go as well.
    until(lambda: app.host.run("ls -d /run/decant-*").rc != 0, 60, "what a status needed")
    assert deploy(**delivered).ok().changed() == 0
    play("playbooks/rollback.yml", **delivered).ok()
    assert app.ask("/api/ready").status == 200
    app.host.check_output("systemctl start projects-backup@manual.service")
    deploy(**delivered, dotenv_secret_key_generated=True, app_secrets={"API_TOKEN": PLANTED}).ok()
    made = f"/srv/projects/releases/{app.current()}/credentials"
    app.host.check_output(f"grep -qF -f {PATTERN} {made}/API_TOKEN")
    app.host.check_output(f"grep -qF -f /srv/projects/secret_key {made}/SECRET_KEY")
    deploy().ok()


# --- what a value becomes ------------------------------------------------------------------------

ODD = st.text(st.sampled_from("\"'`$\\#\n\t ={}[]!~*?&|;<>()%^é€😀a0"), max_size=40)
ANY = st.text(max_size=60)
LONG = st.integers(0, 255).map(lambda number: chr(33 + number % 90) * 8192)
EDGES = st.sampled_from(
    ["", " ", " leading", "trailing ", "\n", "a\nb\n", "#", "a #b", "export A=1", "%h %n", "\u2028", "ÿ" * 4096]
)
READ = """
import hashlib, json, os
print(json.dumps({k.decode(): hashlib.sha256(v).hexdigest() for k, v in os.environb.items() if k.startswith(b"ODD_")}))
"""


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.one_of(ODD, ANY, LONG, EDGES), min_size=25, max_size=40))
def test_systemd_bash_and_python_dotenv_read_what_was_meant(app: App, values: list[str]) -> None:
    """What cannot be written for all three alike is refused by name; everything else arrives."""
    meant = {}
    for number, value in enumerate(values):
        try:
            envfile.render({f"ODD_{number}": value})
        except envfile.EnvFileError:
            continue
        meant[f"ODD_{number}"] = value
    text = envfile.render(meant)
    wanted = {key: hashlib.sha256(value.encode()).hexdigest() for key, value in meant.items()}
    write("web", "/root/odd.env", text)
    write("web", "/root/read.py", READ)
    python = "/usr/bin/python3 /root/read.py"
    by_systemd = app.host.check_output(
        f"systemd-run --quiet --wait --pipe --property EnvironmentFile=/root/odd.env {python}"
    )
    assert json.loads(by_systemd) == wanted
    by_bash = app.host.check_output(f"env -i bash -c 'set -a; . /root/odd.env; {python}'")
    assert json.loads(by_bash) == wanted
    by_dotenv = dotenv_values(stream=io.StringIO(text))
    assert {key: hashlib.sha256(str(value).encode()).hexdigest() for key, value in by_dotenv.items()} == wanted


def test_a_workers_own_environment_is_what_was_meant(app: App) -> None:
    odd = {
        "ODD_SHELL": 'a "b" $HOME `id` \\n #c',
        "ODD_LINES": "one\ntwo\n",
        "ODD_BLANKS": "  both  ",
        "ODD_EMPTY": "",
        "ODD_WORDS": "größer € 😀",
        "ODD_LONG": "x" * 8192,
    }
    deploy(app_env={"CORS_ALLOWED_ORIGINS": "https://example.org", **odd}).ok()
    worker = app.host.check_output(f"pgrep --parent {app.main_pid()}").split()[0]
    lines = app.host.check_output(f"cat /proc/{worker}/environ | base64 -w0")
    environ = dict(entry.split(b"=", 1) for entry in base64.b64decode(lines).split(b"\0") if b"=" in entry)
    seen = {key: hashlib.sha256(environ[key.encode()]).hexdigest() for key in odd}
    assert seen == {key: hashlib.sha256(value.encode()).hexdigest() for key, value in odd.items()}
    deploy().ok()
