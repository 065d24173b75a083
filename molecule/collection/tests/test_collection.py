# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stranger's way in: a fresh clone and nothing but ansible-core; then the tarball; then a role at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cores
import pytest
from testing import ROOT, STATE, App, Run, checkout, play, until

BACKEND = {"app_path": str(ROOT / "examples/backend")}


@pytest.fixture(scope="module")
def app() -> App:
    return App("web")


@pytest.fixture(scope="module")
def clone() -> Path:
    """A git repository of what git would clone, uncommitted files included."""
    target = checkout(STATE / "clone")
    as_ada = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for words in (("init", "--quiet"), ("add", "--all"), (*as_ada, "commit", "--quiet", "--message", "All of it")):
        subprocess.run(["git", *words], cwd=target, check=True)
    return target


@pytest.fixture(scope="module", params=cores.pythons(), ids=lambda param: f"core {param[0]}")
def core(request: pytest.FixtureRequest) -> Path:
    """The bin directory of an environment with nothing but ansible-core."""
    version, python = request.param
    if not python:
        pytest.skip("no Python 3.13 on this machine")
    return cores.environment(version, python, STATE)


def run(core: Path, cwd: Path, *arguments: str, **env: str) -> Run:
    """ansible-playbook of that environment, without anything of the test run's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_PROJECT"))}
    environment = {
        **kept,
        "MOLECULE_PROJECT_DIRECTORY": str(ROOT),
        "PATH": f"{core}:/usr/bin:/bin",
        "ANSIBLE_NOCOLOR": "1",
        **env,
    }
    return play(*arguments, executable=str(core / "ansible-playbook"), cwd=cwd, env=environment, **BACKEND)


def test_a_fresh_clone_deploys_with_core_alone(app: App, core: Path, clone: Path) -> None:
    run(core, clone, "deploy.yml").ok()
    assert until(lambda: app.ask("/api/health").status == 200)


def test_without_the_checkouts_configuration_too(app: App, core: Path, clone: Path) -> None:
    empty = STATE / "empty.cfg"
    empty.write_text("", encoding="utf-8")
    assert run(core, clone, "deploy.yml", ANSIBLE_CONFIG=str(empty)).ok().changed() == 0


def test_as_root_too(app: App, core: Path, clone: Path) -> None:
    assert run(core, clone, "deploy.yml", "--user", "root", "--extra-vars", "ansible_user=root").ok().changed() == 0


def test_the_installed_tarball_deploys_from_an_empty_directory(app: App, core: Path, clone: Path) -> None:
    place = STATE / f"installed-{core.parent.name}"
    shutil.rmtree(place, ignore_errors=True)
    (place / "empty").mkdir(parents=True)
    # The run's own settings name the checkout, where galaxy would find the collection installed and stop.
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    galaxy = str(core / "ansible-galaxy")
    made = [sys.executable, str(ROOT / "tools/build.py"), "--repository", str(clone), "--output", str(place)]
    subprocess.run(made, check=True, env={**env, "PATH": f"{core}:{os.environ['PATH']}"})
    (tarball,) = place.glob("decant-flask-*.tar.gz")
    subprocess.run(
        [galaxy, "collection", "install", "--offline", "--collections-path", str(place / "collections"), str(tarball)],
        check=True,
        capture_output=True,
        cwd=place / "empty",
        env=env,
    )
    done = run(core, place / "empty", "decant.flask.deploy", ANSIBLE_COLLECTIONS_PATH=str(place / "collections"))
    assert done.ok().changed() == 0
    said = run(core, place / "empty", "decant.flask.status", ANSIBLE_COLLECTIONS_PATH=str(place / "collections")).ok()
    assert app.current() in said.output and said.changed() == 0


ALONE = {
    "nginx": "roles: [decant.flask.nginx]",
    "health": "roles: [decant.flask.health]",
    "app": "roles: [decant.flask.app]",
    "all, included": """tasks:
    - ansible.builtin.include_role:
        name: "decant.flask.{{ item }}"
      loop: [app, release, venv, dotenv, migrate, gunicorn, nginx, health]""",
    "all, imported": "tasks:\n"
    + "\n".join(
        f"    - ansible.builtin.import_role:\n        name: decant.flask.{role}"
        for role in ("release", "venv", "dotenv", "migrate", "gunicorn", "nginx", "health")
    ),
}


@pytest.mark.parametrize("case", ALONE)
def test_a_role_in_a_users_own_playbook(app: App, case: str) -> None:
    before = (app.current(), app.main_pid())
    playbook = STATE / "own.yml"
    head = "- hosts: backend\n  become: true\n  gather_facts: false\n  any_errors_fatal: true\n"
    playbook.write_text(f"---\n{head}  {ALONE[case]}\n", encoding="utf-8")
    done = play(str(playbook), **BACKEND).ok()
    assert done.changed() == 0, done.output
    assert (app.current(), app.main_pid()) == before


@pytest.mark.parametrize("case", ["all, included", "all, imported"])
def test_the_roles_deploy_from_a_users_own_playbook(app: App, case: str) -> None:
    before = app.current()
    test_case = STATE / "own.yml"
    head = "- hosts: backend\n  become: true\n  gather_facts: false\n  any_errors_fatal: true\n"
    test_case.write_text(f"---\n{head}  {ALONE[case]}\n", encoding="utf-8")
    play(str(test_case), **BACKEND, app_env={"LOG_LEVEL": "ERROR" if "included" in case else "WARNING"}).ok()
    assert app.current() != before
    assert until(lambda: app.ask("/api/health").json()["release"] == app.current())


def test_the_example_inventory_is_refused_for_its_placeholder() -> None:
    done = play("deploy.yml", inventory=ROOT / "inventories/example").refused()
    assert "SECRET_KEY in app_secrets is still a placeholder" in done.says()
    assert "no host was changed" in done.says()
