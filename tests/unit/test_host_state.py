# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a deploy reads of a host: the parts that need no booted one."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.module_utils import envfile, host, readers
from ansible_collections.decant.flask.plugins.module_utils import layout as layout_module
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout, file_digest
from ansible_collections.decant.flask.plugins.module_utils.modules import host_state

ID = "20261122T101500Z-3f2a9c1"
OWNER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name


def answers(monkeypatch: pytest.MonkeyPatch, text: str, code: int = 0) -> list[list[str]]:
    """Let every command print the same, and tell which were run."""
    seen: list[list[str]] = []

    def run(argv: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        seen.append(argv)
        return subprocess.CompletedProcess(argv, code, text)

    monkeypatch.setattr(host_state, "run", run)
    monkeypatch.setattr(host, "run", run)
    return seen


# --- accounts and directories --------------------------------------------------------------------


def test_account():
    entry = pwd.getpwuid(os.getuid())
    assert host_state.account(entry.pw_name) == {
        "uid": entry.pw_uid,
        "gid": entry.pw_gid,
        "home": entry.pw_dir,
        "shell": entry.pw_shell,
    }
    assert host_state.account("nobody-has-this-name") == {}


def wanted(path: Path, **changes: str) -> dict[str, str]:
    return {"path": str(path), "owner": OWNER, "group": GROUP, "mode": "0750", **changes}


def test_directories_as_they_must_be(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o750)
    assert host_state.unlike([wanted(tmp_path / "a")]) == []


@pytest.mark.parametrize(
    "changes", [{"mode": "0755"}, {"owner": "nobody-has-this-name"}, {"group": "nor-this"}, {"mode": "2750"}]
)
def test_directories_unlike(tmp_path: Path, changes: dict[str, str]):
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o750)
    assert host_state.unlike([wanted(tmp_path / "a", **changes)]) == [wanted(tmp_path / "a", **changes)]


def test_a_link_or_a_file_is_no_directory(tmp_path: Path):
    (tmp_path / "real").mkdir(0o750)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("")
    (tmp_path / "file").chmod(0o750)
    asked = [wanted(tmp_path / name) for name in ("link", "file", "missing")]
    assert host_state.unlike(asked) == asked


# --- packages, Pythons, ports --------------------------------------------------------------------


def test_missing_packages(monkeypatch: pytest.MonkeyPatch):
    out = "nginx installed\nlibpq5:amd64 installed\nremoved config-files\nhalf half-installed\ndpkg-query: no packages found matching absent\n"
    seen = answers(monkeypatch, out, code=1)
    assert host_state.missing_packages(["nginx", "libpq5", "removed", "half", "absent"]) == [
        "removed",
        "half",
        "absent",
    ]
    assert seen[0][:2] == ["dpkg-query", "--show"]


def test_no_package_asks_nobody(monkeypatch: pytest.MonkeyPatch):
    seen = answers(monkeypatch, "")
    assert host_state.missing_packages([]) == []
    assert seen == []


def test_python_facts(tmp_path: Path):
    found = host_state.python_facts(sys.executable)
    assert found["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert found["python_path"] == os.path.realpath(sys.executable)
    nothing = {"python_version": "", "python_path": ""}
    assert host_state.python_facts("/nonexistent/python") == nothing
    shim = tmp_path / "python"
    for text in ("#!/bin/sh\necho 3.11.2; exit 1\n", "#!/bin/sh\necho pyenv: no such version\n"):
        shim.write_text(text)
        shim.chmod(0o755)
        assert host_state.python_facts(str(shim)) == nothing


@pytest.mark.parametrize(
    ("out", "code", "holder"),
    [
        ("", 0, ""),
        ('LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=7,fd=6),("nginx",pid=8,fd=6))\n', 0, "nginx"),
        ('LISTEN 0 511 *:80 *:* users:(("apache2",pid=7,fd=4))\n', 0, "apache2"),
        ("LISTEN 0 511 0.0.0.0:80 0.0.0.0:*\n", 0, "an unknown process"),
        ("ss: broken\n", 1, ""),
    ],
)
def test_port_holder(monkeypatch: pytest.MonkeyPatch, out: str, code: int, holder: str):
    monkeypatch.setattr(host_state.shutil, "which", lambda *_, **__: "/usr/bin/ss")
    seen = answers(monkeypatch, out, code)
    assert host_state.port_holder(80) == holder
    assert seen[0][-1] == "sport = :80"


def test_a_host_without_ss_is_not_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host_state.shutil, "which", lambda *_, **__: None)
    assert answers(monkeypatch, "x") == []
    assert host_state.port_holder(80) == ""


def test_foreign_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host_state, "PACKAGED_UNITS", (str(tmp_path),))
    for name in ("shop@.service", "shop-two@.service", "shop.service", "shop-health.timer"):
        (tmp_path / name).write_text("")
    assert host_state.foreign_units("shop") == [f"{tmp_path}/shop@.service", f"{tmp_path}/shop-health.timer"]
    assert host_state.foreign_units("shop-two") == [f"{tmp_path}/shop-two@.service"]
    assert host_state.foreign_units("sho") == []


# --- instances -----------------------------------------------------------------------------------


def test_active_instances(monkeypatch: pytest.MonkeyPatch):
    out = """\
projects@B.service loaded active running projects release B
projects@A.service loaded activating start-post projects release A
projects@C.service loaded failed failed projects release C
projects@D.service loaded inactive dead projects release D
projects@E.service loaded deactivating stop-sigterm projects release E

"""
    seen = answers(monkeypatch, out)
    assert host.active_instances(Layout("projects", "/srv/projects")) == ["A", "B", "E"]
    assert seen[0][-1] == "projects@*.service"


def test_enabled_instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host, "SYSTEMD_UNITS", str(tmp_path))
    assert host.enabled_instances(Layout("shop", "/srv/shop")) == []
    wants = tmp_path / "shop.target.wants"
    wants.mkdir()
    for name in ("shop@B.service", "shop@B.socket", "shop@A.service", "shop-two@C.service", "shop-migrate@D.service"):
        (wants / name).symlink_to("../x")
    assert host.enabled_instances(Layout("shop", "/srv/shop")) == ["A", "B"]


# --- the release that serves ---------------------------------------------------------------------


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A host that serves one release, all of it as the deploy left it."""
    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setattr(layout_module, "SYSTEMD_UNITS", str(units))
    monkeypatch.setattr(host, "SYSTEMD_UNITS", str(units))
    monkeypatch.setattr(readers, "systemctl", lambda *arguments, **_: "active")
    found = Layout("projects", f"{tmp_path}/projects")
    release = Path(found.release(ID))
    (release / "venv/bin").mkdir(parents=True)
    (release / "venv/bin/python").write_text("")
    (release / ".env").write_text("API_TOKEN='hunter2hunter2'\nLOG_LEVEL='info'\n")
    (release / ".env").chmod(0o640)
    (release / "gunicorn.conf.py").write_text("workers = 5\n")
    (units / f"projects@{ID}.service").write_text("[Service]\n")
    (units / f"projects@{ID}.socket").write_text("[Socket]\n")
    manifest = {"outcome": "live", "files": found.written_files(ID), "secret_keys": ["API_TOKEN"]}
    (release / "release.json").write_text(json.dumps(manifest))
    os.symlink(f"releases/{ID}", found.current)
    return found


def test_an_intact_release(layout: Layout):
    state = readers.current_state(layout)
    assert (state["id"], state["intact"], state["drift"], state["running"], state["enabled"]) == (
        ID,
        True,
        [],
        True,
        [],
    )
    assert state["manifest"]["outcome"] == "live"


def test_a_fresh_host(tmp_path: Path):
    state = readers.current_state(Layout("projects", f"{tmp_path}/projects"))
    assert state == {"id": "", "manifest": {}, "intact": False, "drift": [], "running": False, "enabled": []}


@pytest.mark.parametrize("name", ["gunicorn.conf.py", ".env"])
@pytest.mark.parametrize("gone", [True, False])
def test_drift_of_a_file(layout: Layout, name: str, gone: bool):
    path = Path(layout.release(ID), name)
    if gone:
        path.unlink()
    else:
        with path.open("a") as stream:
            stream.write("edited\n")
    state = readers.current_state(layout)
    assert state["intact"] is False
    assert state["drift"] == [f"{path} is not what the release wrote"]


@pytest.mark.parametrize("unit", ["service", "socket"])
def test_drift_of_a_unit(layout: Layout, unit: str):
    path = Path(layout_module.SYSTEMD_UNITS, f"projects@{ID}.{unit}")
    path.write_text("edited\n")
    assert readers.current_state(layout)["drift"] == [f"{path} is not what the release wrote"]


def test_drift_of_a_mode(layout: Layout):
    path = Path(layout.release(ID), ".env")
    path.chmod(0o644)
    assert readers.current_state(layout)["drift"] == [f"{path} has mode 0644, not 0640"]


def test_drift_of_the_environment(layout: Layout):
    Path(layout.release(ID), "venv/bin/python").unlink()
    assert readers.current_state(layout)["drift"] == [f"{layout.release(ID)}/venv is gone or broken"]


def test_drift_of_the_record(layout: Layout):
    Path(layout.release(ID), "release.json").write_text("{")
    state = readers.current_state(layout)
    assert state["drift"] == ["release.json is missing or unreadable"]
    assert state["manifest"] == {}


@pytest.mark.parametrize("down", [f"projects@{ID}.service", f"projects@{ID}.socket"])
def test_running_means_both_units(layout: Layout, monkeypatch: pytest.MonkeyPatch, down: str):
    monkeypatch.setattr(readers, "systemctl", lambda _verb, unit, **_: "inactive" if unit == down else "active")
    state = readers.current_state(layout)
    assert (state["running"], state["intact"]) == (False, True)


# --- the environment -----------------------------------------------------------------------------


def test_env_digests(layout: Layout):
    found = host_state.env_digests(layout, ID, "salt")
    assert found == {
        "API_TOKEN": envfile.digest("salt", "API_TOKEN", "hunter2hunter2"),
        "LOG_LEVEL": envfile.digest("salt", "LOG_LEVEL", "info"),
    }
    assert found != host_state.env_digests(layout, ID, "another salt")
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("text", ["export A=1\n", "A=1\n", "A='1'\nA='1'\n"])
def test_a_file_that_was_edited_has_no_digests(layout: Layout, text: str):
    Path(layout.release(ID), ".env").write_text(text)
    assert host_state.env_digests(layout, ID, "salt") == {}
    assert host_state.env_digests(layout, "missing", "salt") == {}


def test_secret_values(layout: Layout):
    assert host.secret_values(layout, ID) == ["hunter2hunter2"]
    Path(layout.release(ID), "release.json").write_text("{}")
    assert host.secret_values(layout, ID) == ["hunter2hunter2", "info"]
    assert host.secret_values(layout, "missing") == []


# --- the database, space, the distribution -------------------------------------------------------


def test_sqlite_trouble(layout: Layout):
    shared = Path(layout.shared)
    shared.mkdir()
    assert host_state.sqlite_trouble(layout, "") == ""
    assert host_state.sqlite_trouble(layout, f"{shared}/projects.db") == ""
    (shared / "link.db").symlink_to(f"../releases/{ID}/x.db")
    trouble = host_state.sqlite_trouble(layout, f"{shared}/link.db")
    assert trouble.startswith(f"{shared}/link.db leads to ")
    assert "which a later deploy prunes" in trouble
    assert host_state.sqlite_trouble(layout, f"{layout.current}/x.db") != ""


def test_a_root_that_is_a_link(layout: Layout, tmp_path: Path):
    (tmp_path / "other").symlink_to("projects")
    assert (
        host_state.sqlite_trouble(Layout("projects", f"{tmp_path}/other"), f"{tmp_path}/projects/releases/x.db") != ""
    )


def test_free_bytes(tmp_path: Path):
    status = os.statvfs(tmp_path)
    found = host_state.free_bytes(f"{tmp_path}/not/yet/there")
    assert abs(found - status.f_bfree * status.f_frsize) < 1 << 30


# --- commands ------------------------------------------------------------------------------------


def test_run_gives_both_streams_and_a_small_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LEAKED", "hunter2")
    done = host.run(["sh", "-c", "echo out; echo err >&2; env"], env={"GIVEN": "1"})
    assert "out\nerr\n" in done.stdout
    assert "GIVEN=1" in done.stdout
    assert "hunter2" not in done.stdout


def test_run_reads_no_terminal():
    assert host.run(["cat"], timeout=5).stdout == ""


def test_a_command_that_fails():
    with pytest.raises(host.CommandError) as failure:
        host.run(["sh", "-c", "echo why; exit 3"])
    assert (failure.value.code, failure.value.output) == (3, "why\n")
    assert str(failure.value) == "'sh -c echo why; exit 3' ended with 3: why"
    assert host.run(["sh", "-c", "exit 3"], check=False).returncode == 3
    with pytest.raises(subprocess.TimeoutExpired):
        host.run(["sleep", "5"], timeout=0.05)


def test_unit_properties(monkeypatch: pytest.MonkeyPatch):
    seen = answers(monkeypatch, "Result=success\nExecStart={ argv[]=/x --a=b }\n\n")
    assert host.unit_properties("x.service", "Result", "ExecStart") == {
        "Result": "success",
        "ExecStart": "{ argv[]=/x --a=b }",
    }
    assert seen == [["systemctl", "show", "--property", "Result,ExecStart", "--", "x.service"]]


def test_a_journal_is_masked(layout: Layout, monkeypatch: pytest.MonkeyPatch):
    answers(monkeypatch, "started with token hunter2hunter2 at info\n")
    assert host.journal(f"projects@{ID}.service", 10, layout, ID) == "started with token *** at info"


def test_digests_of_files_that_are_gone(layout: Layout):
    assert file_digest(f"{layout.root}/missing") == ""
