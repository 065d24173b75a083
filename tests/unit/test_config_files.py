# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module config_files, run as Ansible runs it: all files of a change are valid and in effect, or none is there."""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.decant.flask.plugins.module_utils import files, on_host

OWNER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name
FAIL = ["sh", "-c", "echo the reason; exit 3"]


class Host:
    """A directory in the place of /etc, the module, and what its commands did."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.capsys = path, capsys
        self.pending = path / ".pending"
        self.log = path / "log"
        # The note of a pending change belongs to whoever runs the tests.
        monkeypatch.setattr(files.atomic_write, "__defaults__", (os.getuid(), os.getgid()))

    def run(self, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        for item in arguments.get("files", []):
            item.setdefault("owner", OWNER)
            item.setdefault("group", GROUP)
        given = {**arguments, "_ansible_check_mode": check_mode, "_ansible_diff": True}
        with patch_module_args(given), pytest.raises(SystemExit):
            on_host.main("config_files")
        return json.loads(self.capsys.readouterr().out)

    def file(self, name: str, content: str = "new\n", **more: str) -> dict[str, str]:
        return {"path": str(self.path / name), "content": content, **more}

    def read(self, name: str) -> str | None:
        path = self.path / name
        return path.read_text() if path.exists() else None

    def applying(self) -> dict[str, Any]:
        """A command that leaves a trace, and the note that goes with it."""
        return {"apply": [["sh", "-c", f"echo applied >> {self.log}"]], "pending": str(self.pending)}

    def applied(self) -> int:
        return len((self.read("log") or "").splitlines())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_it_writes_and_applies_and_the_second_run_does_nothing(host: Host):
    arguments = {"files": [host.file("a"), host.file("deep/er/b", mode="0600")], **host.applying()}
    first = host.run(**arguments)
    assert (first["changed"], first["paths"]) == (True, [f"{host.path}/a", f"{host.path}/deep/er/b"])
    assert (host.read("a"), host.read("deep/er/b"), host.applied()) == ("new\n", "new\n", 1)
    assert stat.S_IMODE((host.path / "a").stat().st_mode) == 0o644
    assert stat.S_IMODE((host.path / "deep/er/b").stat().st_mode) == 0o600
    assert not host.pending.exists()
    inode = (host.path / "a").stat().st_ino
    second = host.run(**arguments)
    assert (second["changed"], second["paths"], second["diff"]) == (False, [], [])
    assert (host.path / "a").stat().st_ino == inode
    assert host.applied() == 1


def test_only_what_differs_is_written(host: Host):
    host.run(files=[host.file("a"), host.file("b")])
    inode = (host.path / "a").stat().st_ino
    found = host.run(files=[host.file("a"), host.file("b", "newer\n")])
    assert found["paths"] == [f"{host.path}/b"]
    assert (host.path / "a").stat().st_ino == inode
    assert host.read("b") == "newer\n"


def test_a_mode_alone_is_a_change(host: Host):
    host.run(files=[host.file("a")])
    (host.path / "a").chmod(0o600)
    assert host.run(files=[host.file("a")])["changed"] is True
    assert stat.S_IMODE((host.path / "a").stat().st_mode) == 0o644


def test_links_and_removals(host: Host):
    (host.path / "old").write_text("old\n")
    (host.path / "stale").symlink_to("nowhere")
    arguments = {
        "files": [host.file("site")],
        "links": [{"path": f"{host.path}/enabled/site", "target": "../site"}],
        "absent": [f"{host.path}/old", f"{host.path}/stale", f"{host.path}/never"],
    }
    found = host.run(**arguments)
    assert set(found["paths"]) == {f"{host.path}/{name}" for name in ("old", "stale", "site", "enabled/site")}
    assert (host.path / "enabled/site").read_text() == "new\n"
    assert not os.path.lexists(host.path / "old")
    assert not os.path.lexists(host.path / "stale")
    assert host.run(**arguments)["changed"] is False


def test_a_link_with_another_target_is_moved_and_its_old_target_stays(host: Host):
    (host.path / "old").write_text("old\n")
    (host.path / "link").symlink_to("old")
    host.run(links=[{"path": f"{host.path}/link", "target": "new"}])
    assert os.readlink(host.path / "link") == "new"
    assert host.read("old") == "old\n"


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(host: Host):
    (host.path / "target").write_text("target\n")
    (host.path / "a").symlink_to("target")
    assert host.run(files=[host.file("a")])["changed"] is True
    assert not (host.path / "a").is_symlink()
    assert host.read("target") == "target\n"


def test_a_check_that_fails_puts_everything_back(host: Host):
    (host.path / "a").write_text("old\n")
    (host.path / "a").chmod(0o640)
    (host.path / "gone").symlink_to("somewhere")
    found = host.run(
        files=[host.file("a"), host.file("b")],
        links=[{"path": f"{host.path}/link", "target": "a"}],
        absent=[f"{host.path}/gone"],
        check=FAIL,
        **host.applying(),
    )
    assert found["failed"] is True
    assert "refuses the new files" in found["msg"]
    assert "put back as they were" in found["msg"]
    assert found["msg"].endswith("the reason")
    assert host.read("a") == "old\n"
    assert stat.S_IMODE((host.path / "a").stat().st_mode) == 0o640
    assert os.readlink(host.path / "gone") == "somewhere"
    assert sorted(os.listdir(host.path)) == ["a", "gone"]
    assert host.applied() == 0


def test_the_check_sees_the_new_files(host: Host):
    (host.path / "a").write_text("old\n")
    assert host.run(files=[host.file("a")], check=["grep", "-q", "new", f"{host.path}/a"])["changed"] is True


def test_nothing_is_checked_or_applied_when_nothing_changes(host: Host):
    host.run(files=[host.file("a")])
    found = host.run(files=[host.file("a")], check=FAIL, **host.applying())
    assert (found["changed"], host.applied()) == (False, 0)


def test_a_file_that_cannot_be_written_puts_back_the_others(host: Host):
    (host.path / "a").write_text("old\n")
    (host.path / "file").write_text("not a directory\n")
    found = host.run(files=[host.file("a"), host.file("file/b")], **host.applying())
    assert found["failed"] is True
    assert "The files cannot be written" in found["msg"]
    assert host.read("a") == "old\n"
    assert not host.pending.exists()


def test_a_change_that_is_not_in_effect_is_finished_by_the_next_run(host: Host):
    files = [host.file("a")]
    found = host.run(files=files, apply=[FAIL], pending=str(host.pending))
    assert found["failed"] is True
    assert "in place and valid" in found["msg"]
    assert "the reason" in found["msg"]
    assert (host.read("a"), host.read(".pending")) == ("new\n", f"{host.path}/a\n")
    again = host.run(files=files, **host.applying())
    assert (again["changed"], again["paths"], host.applied()) == (True, [], 1)
    assert not host.pending.exists()
    assert host.run(files=files, **host.applying())["changed"] is False


def test_a_killed_run_is_finished_too(host: Host):
    host.run(files=[host.file("a")])
    host.pending.write_text(f"{host.path}/a\n")
    assert host.run(files=[host.file("a")], **host.applying())["changed"] is True
    assert host.applied() == 1


def test_a_note_from_before_outlives_a_check_that_fails(host: Host):
    host.pending.write_text("x\n")
    assert host.run(files=[host.file("a")], check=FAIL, **host.applying())["failed"] is True
    assert host.pending.exists()


def test_commands_run_in_order_and_stop_at_the_first_that_fails(host: Host):
    commands = [["sh", "-c", f"echo {n} >> {host.log}; test {n} != 2"] for n in (1, 2, 3)]
    assert host.run(files=[host.file("a")], apply=commands, pending=str(host.pending))["failed"] is True
    assert host.read("log") == "1\n2\n"


def test_check_mode_says_and_does_nothing(host: Host):
    (host.path / "a").write_text("old\n")
    found = host.run(
        check_mode=True,
        files=[host.file("a"), host.file("b")],
        absent=[f"{host.path}/x"],
        check=FAIL,
        **host.applying(),
    )
    assert (found["changed"], found["paths"]) == (True, [f"{host.path}/a", f"{host.path}/b"])
    assert (host.read("a"), host.read("b"), host.applied()) == ("old\n", None, 0)
    assert not host.pending.exists()


def test_check_mode_tells_of_an_unfinished_change(host: Host):
    host.run(files=[host.file("a")])
    host.pending.write_text("x\n")
    assert host.run(check_mode=True, files=[host.file("a")], **host.applying())["changed"] is True
    assert host.pending.exists()


def test_check_mode_on_a_host_without_the_user_yet(host: Host):
    files = [{**host.file("a"), "owner": "nobody-has-this-name", "group": "nor-this"}]
    assert host.run(check_mode=True, files=files)["changed"] is True


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_difference(host: Host, check_mode: bool):
    (host.path / "a").write_text("old\n")
    (host.path / "link").symlink_to("old")
    found = host.run(
        check_mode=check_mode,
        files=[host.file("a"), host.file("b")],
        links=[{"path": f"{host.path}/link", "target": "new"}],
    )
    shown = {d["before_header"].rsplit("/", 1)[1]: (d["before"], d["after"]) for d in found["diff"]}
    assert shown == {"a": ("old\n", "new\n"), "b": ("", "new\n"), "link": ("-> old\n", "-> new\n")}
    assert all(d["before_header"] == d["after_header"] for d in found["diff"])


def test_bytes_that_are_not_utf8_do_not_stop_it(host: Host):
    (host.path / "a").write_bytes(b"\xff\n")
    assert host.run(files=[host.file("a")], check=FAIL)["failed"] is True
    assert (host.path / "a").read_bytes() == b"\xff\n"


def test_a_state_is_what_it_was(tmp_path: Path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0o640)
    (tmp_path / "l").symlink_to("a")
    for name in ("a", "l", "missing"):
        state = files.State.of(str(tmp_path / name))
        assert state == files.State.of(str(tmp_path / name))
    assert files.State.of(str(tmp_path / "a")) != files.State.of(str(tmp_path / "l"))
    assert files.State() != "absent"
