# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collection as a tarball: built from a working copy full of stray files, installed elsewhere, and run from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from build import working_copy

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# What a working copy may hold and a tarball must not: path -> content.
STRAY = (
    ".git/config",
    ".env",
    ".venv/bin/python",
    ".ansible/tmp/x",
    ".cache/x",
    ".pytest_cache/v/x",
    ".ruff_cache/x",
    ".hypothesis/examples/x",
    "decant-flask-0.0.1.tar.gz",
    "deploy.retry",
    "plugins/modules/__pycache__/release.cpython-311.pyc",
    "roles/app/.env",
    "examples/backend/api/.env",
    "examples/backend/api/.venv/bin/python",
    "examples/backend/api/.pytest_cache/x",
    "tests/unit/.hypothesis/x",
    "tests/output/junit.xml",
    "site/index.html",
)


def run(command: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": f"{cwd}-home", **env}
    environment.pop("ANSIBLE_CONFIG", None)
    command = [str(BIN / command[0]), *command[1:]]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network from a copy of the repository, with stray files in it."""
    work = tmp_path_factory.mktemp("tarball")
    copy = work / "copy"
    working_copy(copy)
    for name in STRAY:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("stray\n")
    done = run(["ansible-galaxy", "collection", "build", "--output-path", str(work)], copy)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = work.glob("decant-flask-*.tar.gz")
    return path


@pytest.fixture(scope="session")
def members(tarball: Path) -> set[str]:
    with tarfile.open(tarball) as tar:
        return set(tar.getnames())


@pytest.fixture(scope="session")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of collections with nothing else in it."""
    path = tmp_path_factory.mktemp("installed")
    command = ["ansible-galaxy", "collection", "install", "--offline", "--no-deps", "-p", str(path), str(tarball)]
    done = run(command, path)
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def test_what_is_at_the_top(members: set[str]):
    top = {name.split("/")[0] for name in members}
    assert top == {
        *(
            "MANIFEST.json",
            "FILES.json",
            "CHANGELOG.md",
            "README.md",
            "ansible.cfg",
            "deploy.yml",
            "docs",
            "inventories",
        ),
        *("meta", "playbooks", "plugins", "requirements.txt", "requirements.yml", "roles", "templates"),
    }


@pytest.mark.parametrize("name", STRAY)
def test_no_stray_file_is_packed(members: set[str], name: str):
    assert name not in members


def test_neither_the_link_to_itself_nor_bytecode_is_packed(members: set[str]):
    assert not [name for name in members if name.startswith("collections") or name.endswith((".pyc", ".retry"))]
    assert not [name for name in members if "__pycache__" in name.split("/")]


def test_every_role_plugin_and_playbook_is_packed(members: set[str]):
    wanted = [
        str(path.relative_to(ROOT))
        for folder in ("roles", "plugins", "playbooks", "meta")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert len(wanted) > 50
    assert set(wanted) <= members


def test_the_manifest(tarball: Path, members: set[str]):
    with tarfile.open(tarball) as tar:
        stream = tar.extractfile("MANIFEST.json")
        assert stream
        info = json.load(stream)["collection_info"]
    assert (info["namespace"], info["name"], info["dependencies"]) == ("decant", "flask", {})
    assert info["license"] == ["GPL-3.0-or-later"]
    assert tarball.name == f"decant-flask-{info['version']}.tar.gz"
    assert info["readme"] in members


def test_the_playbook_is_found_from_an_empty_directory(installed: Path, tmp_path: Path):
    command = ["ansible-playbook", "decant.flask.deploy", "--syntax-check", "-i", "localhost,"]
    done = run(command, tmp_path, ANSIBLE_COLLECTIONS_PATH=str(installed))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"playbook: {installed}/ansible_collections/decant/flask/playbooks/deploy.yml" in done.stdout


def test_its_plugins_run_from_there(installed: Path, tmp_path: Path):
    """The contract is the first task; it reads every role's defaults and specs, and stops before any connection."""
    inventory = {"backend": {"hosts": {"web1": {"ansible_host": "192.0.2.1"}}, "vars": {"app_name": "Not A Name"}}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    command = ["ansible-playbook", "decant.flask.deploy", "-i", "hosts.json"]
    done = run(command, tmp_path, ANSIBLE_COLLECTIONS_PATH=str(installed))
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "The inventory of web1 needs" in said
    assert "app_name is 'Not A Name'" in said
    assert "app_factory is not set" in said
    assert "Traceback" not in said
