# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every block of README.md and of the tutorial, one after the other, as a reader types them; and the site without a broken link."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from blocks import FILES, Block, Shell, blocks, clean, shown, write
from testing import GROUP, ROOT, STATE, App, checkout, connections, secret

BIN = Path(sys.executable).parent
INVENTORY = Path("inventories/production")
DEMO = Path(os.environ["DECANT_CACHE"], GROUP)  # what bin/demo keeps


def of(page: str) -> list[Block]:
    return blocks(page, (ROOT / page).read_text(encoding="utf-8"))


def named(block: Block) -> str:
    return f"{block.page}:{block.line}"


# --- what a reader has ---------------------------------------------------------------------------


def repository(target: Path, tag: str) -> Path:
    """What is in a folder as a git repository with one commit."""
    for words in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", "All"],
        ["tag", tag],
    ):
        subprocess.run(
            ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *words], cwd=target, check=True
        )
    return target


@pytest.fixture(scope="module")
def remotes() -> Path:
    """The repositories that the pages clone, by their addresses there: Decant, and the example backend as somebody's own."""
    place = STATE / "remotes"
    shutil.rmtree(place, ignore_errors=True)
    repository(checkout(place / "decant/flask.git"), "checkout")
    shutil.copytree(
        ROOT / "examples/backend/api",
        place / "projects.git/backend",
        ignore=shutil.ignore_patterns("__pycache__", "*.db"),
    )
    repository(place / "projects.git", "v1.4.0")
    return place


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home of the reader's own. Its path is short: Ansible puts sockets into it, whose paths have a limit."""
    with tempfile.TemporaryDirectory(prefix="decant-docs-") as folder:
        yield Path(folder)


def shell(home: Path, remotes: Path, *path: Path) -> Shell:
    """The shell of a reader: git knows who he is and finds the addresses of the pages, pip finds what this machine says.

    sudo is what the machine has, but for apt, which resolves the packages and installs none: bin/test has installed them.
    """
    home.mkdir()
    tools = home / ".bin"
    tools.mkdir()
    (tools / "sudo").write_text(
        f'#!/bin/sh\ncase $1 in\napt-get) shift; exec apt-get --simulate "$@" ;;\n*) PATH={os.defpath} exec sudo "$@" ;;\nesac\n',
        encoding="utf-8",
    )
    (tools / "sudo").chmod(0o755)
    settings = {
        "user.name": "Ada",
        "user.email": "ada@example.org",
        f"url.{remotes}/.insteadOf": "https://git.example.org/",
    }
    for name, value in settings.items():
        subprocess.run(["git", "config", "--file", str(home / ".gitconfig"), name, value], check=True)
    (home / ".ansible").mkdir()
    (home / ".ansible/collections").symlink_to(os.environ["DECANT_COLLECTIONS"])
    if (Path.home() / ".config/pip").is_dir():
        (home / ".config").mkdir()
        (home / ".config/pip").symlink_to(Path.home() / ".config/pip")
    env = clean(os.environ)
    return Shell(
        home, {**env, "PATH": os.pathsep.join([str(tools), *map(str, path), env["PATH"]]), "DECANT_GROUP": GROUP}
    )


FAILED: dict[str, str] = {}


def follow(place: Shell, block: Block, text: str, output: dict[str, str]) -> None:
    """One block as a reader takes it. After a block that failed, those of its page that follow mean nothing."""
    if block.page in FAILED:
        pytest.fail(f"{FAILED[block.page]} has failed, and this block builds on it", pytrace=False)
    FAILED[block.page] = named(block)
    if block.language == "sh":
        code, output[block.page] = place.run(text)
        print(output[block.page])
        assert code == 0, f"{named(block)} ended with {code}:\n{text}\n{output[block.page][-6000:]}"
    elif block.language == "text":
        assert shown(block.text, output[block.page]), f"{named(block)} is not what came:\n{output[block.page][-6000:]}"
    else:
        assert block.language in FILES
        assert block.path(), f"{named(block)} does not say which file it is"
        write(place.folder(), block)
    del FAILED[block.page]


@pytest.fixture(scope="module")
def output() -> dict[str, str]:
    """What the last command of each page has printed."""
    return {}


# --- docs/tutorial.md ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learner(home: Path, remotes: Path) -> Shell:
    return shell(home / "learner", remotes)


@pytest.mark.parametrize("block", of("docs/tutorial.md"), ids=named)
def test_the_tutorial(learner: Shell, output: dict[str, str], block: Block) -> None:
    follow(learner, block, block.text, output)


# --- README.md -----------------------------------------------------------------------------------

# What cannot be typed as it is there, what is typed instead, and why.
INSTEAD = {
    "bin/demo": ("bin/demo --port PORT", "the port that it takes otherwise may be somebody's on this machine"),
    "bin/test": ("", "that is what runs this"),
    "bin/bench": ("", "a quarter of an hour of figures, and no test"),
    "nginx_tls: acme": (
        "nginx_tls: selfsigned",
        "an ACME server asks a public name; bin/test tls has a server of its own",
    ),
    "ansible-playbook -i inventories/production playbooks/readiness.yml": (
        "ansible-playbook -i inventories/production playbooks/readiness.yml -e readiness_page=readiness.html -e readiness_fails_on=none",
        "the page's host is not ready: its certificate is self-signed, and nobody takes its alerts",
    ),
    "gunicorn_egress: none": (
        "gunicorn_egress: [10.0.0.0/8]",
        "by then the page's backend has its database on the network",
    ),
}
NAME = "web1.example.org"


def instead(text: str) -> str:
    """A block with what is typed instead, line by line."""
    lines = []
    for line in text.splitlines():
        word = next((word for word in INSTEAD if line == word or line.startswith((f"{word} ", f"{word}\t"))), None)
        lines.append(INSTEAD[word][0].replace("PORT", str(free_port())) if word else line)
    return "".join(f"{line}\n" for line in lines)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def operator(home: Path, remotes: Path) -> Iterator[Shell]:
    """An operator in a checkout of Decant, with a checkout of the backend beside it, and all that README.md tells in words:
    the secrets in a vault, the hosts of other groups, sentences for the kit."""
    shutil.rmtree(DEMO, ignore_errors=True)  # of a run that was killed
    place = shell(home / "operator", remotes, BIN)
    password = home / "operator/vault-password"
    password.write_text(secret(), encoding="utf-8")
    place.env["ANSIBLE_VAULT_PASSWORD_FILE"] = str(password)
    for name in ("decant/flask.git decant", "projects.git projects"):
        done(place, f"git clone --quiet https://git.example.org/{name}")
    done(place, "cd decant")
    host = {NAME: None}
    add(place, "others.yml", {"database": {"hosts": host}, "monitoring": {"hosts": host}})
    purpose = {"purpose": "Origins that a browser may call the API from."}
    others = {
        "exporters_password": "{{ vault_exporters_password }}",
        "kit_variables": {"CORS_ALLOWED_ORIGINS": purpose},
        "kit_release_version_file": "",  # the example has its version in no file
    }
    add(place, "group_vars/all/others.yml", others)
    vault = {
        "vault_app_secret_key": secret(),
        "vault_postgresql_password": secret()[:32],
        "vault_exporters_password": secret()[8:40],
        "vault_slack_url": "http://127.0.0.1:9/hook",
    }
    add(place, "group_vars/all/vault.yml", vault)
    done(place, f"ansible-vault encrypt {INVENTORY}/group_vars/all/vault.yml")
    yield place
    shutil.rmtree(DEMO, ignore_errors=True)


def add(place: Shell, name: str, content: object) -> None:
    """A file of the inventory."""
    target = place.folder() / INVENTORY / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(content), encoding="utf-8")


def backend() -> App:
    """The backend on the host that bin/demo has booted."""
    Path(os.environ["DECANT_HOSTS"]).write_text((DEMO / "hosts.json").read_text(encoding="utf-8"), encoding="utf-8")
    return App("decant-demo")


def done(place: Shell, command: str) -> str:
    code, said = place.run(command)
    assert code == 0, f"{command} ended with {code}:\n{said[-6000:]}"
    return said


def looked_up(line: str) -> str:
    """A command with an id in the place of ID: as an operator reads it in the list."""
    app = backend()
    if "release_id=ID" in line:
        good = [name for name in sorted(app.releases()) if app.manifest(name)["outcome"] == "retired"]
        line = line.replace("release_id=ID", f"release_id={good[-1]}")
    if "backup_id=ID" in line:
        names = app.host.check_output("ls -t /srv/projects/backups").split()
        line = line.replace("backup_id=ID", f"backup_id={next(name for name in names if name.endswith('.json'))[:-5]}")
    return line


@pytest.mark.parametrize("block", of("README.md"), ids=named)
def test_the_readme(operator: Shell, output: dict[str, str], block: Block) -> None:
    if block.language == "text":
        assert "controller" in block.text  # the flow of a deploy: a picture
        return
    text = instead(block.text)
    if block.language == "sh":
        if "playbooks/rollback.yml" in text:  # one release more to go back from, made as the last one was
            done(operator, f"ansible-playbook -i {INVENTORY} deploy.yml -e '{{app_env: {{LOG_LEVEL: WARNING}}}}'")
        if "playbooks/release.yml" in text:  # what the kit wrote is committed, and the list is ticked
            done(operator, "git -C ../projects add --all && git -C ../projects commit --quiet -m 'The kit'")
            done(operator, "sed -i 's/- \\[ \\]/- [x]/' ../projects/docs/releases/checklist.md")
        for line in text.splitlines():
            follow(operator, block, looked_up(line) if "=ID" in line else line, output)
            if "bin/demo" in line:
                backend()
                add(operator, f"host_vars/{NAME}.yml", connections()["decant-demo"])
    elif block.path():
        follow(operator, block, text, output)
    else:
        # Variables alone: an operator adds them to those that are there, and deploys.
        target = operator.folder() / INVENTORY / f"group_vars/backend/line-{block.line}.yml"
        target.write_text(text, encoding="utf-8")
        follow(operator, Block(block.page, block.line, "sh", ""), f"ansible-playbook -i {INVENTORY} deploy.yml", output)


def test_nothing_is_typed_instead_of_what_is_not_there() -> None:
    text = "".join(block.text for block in of("README.md"))
    assert [word for word in INSTEAD if f"\n{word} " not in f"\n{text}"] == []


def test_what_the_readme_has_left(operator: Shell) -> None:
    """The commands ended well; this is what they are for."""
    app = backend()
    answer = app.ask("/api/health")
    assert (answer.status, answer.headers["location"]) == (308, "https://projects.example.org/api/health")
    assert app.manifest()["source"]["version"] == "v1.4.0"
    here = operator.folder()
    assert json.loads((here / "status.json").read_text(encoding="utf-8"))["drifts"] == 0
    assert "</html>" in (here / "fleet.html").read_text(encoding="utf-8")
    assert (here.parent / "projects/DEPLOYMENT.md").is_file()
    assert "moving the disk" in app.host.check_output("cat /etc/decant/silence/projects.json")
