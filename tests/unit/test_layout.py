# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The records on a host: atomic files and links, the manifest, the audit log."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.decant.flask.plugins.module_utils import layout as module
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout, atomic_symlink, atomic_write

UID, GID = os.getuid(), os.getgid()
ID = "20261122T101500Z-3f2a9c1"


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A backend's tree with one release. Manifests belong to whoever runs the tests."""
    monkeypatch.setattr(atomic_write, "__defaults__", (UID, GID))
    found = Layout("projects", f"{tmp_path}/projects")
    os.makedirs(found.release(ID))
    return found


# --- paths ---------------------------------------------------------------------------------------


def test_paths():
    layout = Layout("projects", "/srv/projects/")
    assert layout.root == "/srv/projects"
    assert layout.release(ID) == f"/srv/projects/releases/{ID}"
    assert layout.code(ID, "") == f"/srv/projects/releases/{ID}/src"
    assert layout.code(ID, "api") == f"/srv/projects/releases/{ID}/src/api"
    assert layout.socket(ID) == f"/run/projects/{ID}.sock"
    assert layout.units(ID) == [f"projects@{ID}.service", f"projects@{ID}.socket", f"projects-migrate@{ID}.service"]
    assert layout.drain_unit(ID) == f"projects-drain@{ID}"


def test_names_that_are_prefixes_of_each_other_share_nothing():
    one, two = Layout("shop", "/srv/shop"), Layout("shop-two", "/srv/shop-two")
    mine = {*one.units(ID), one.drain_unit(ID), one.socket(ID), one.release(ID), one.current, one.audit_log}
    theirs = {*two.units(ID), two.drain_unit(ID), two.socket(ID), two.release(ID), two.current, two.audit_log}
    assert not mine & theirs
    assert not any(unit.startswith("shop@") for unit in two.units(ID))


def test_a_socket_path_fits_into_sun_path():
    assert len(Layout("x" * 31, "/srv/x").socket(ID).encode()) < 108


# --- atomic files --------------------------------------------------------------------------------


def test_atomic_write(tmp_path: Path):
    path = tmp_path / "file"
    before = os.umask(0o077)
    try:
        atomic_write(str(path), b"one", 0o644, UID, GID)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    atomic_write(str(path), b"two", 0o600, UID, GID)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_of_the_old_file_goes_on_reading_it(tmp_path: Path):
    path = tmp_path / "file"
    atomic_write(str(path), b"old", 0o644, UID, GID)
    with open(path, "rb") as reader:
        atomic_write(str(path), b"new", 0o644, UID, GID)
        assert reader.read() == b"old"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path):
    (tmp_path / "target").write_text("target")
    (tmp_path / "file").symlink_to("target")
    atomic_write(str(tmp_path / "file"), b"new", 0o644, UID, GID)
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "target").read_text() == "target"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(str(path), b"new", 0o644, UID, GID)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_content_reaches_the_disk_before_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(module.os, "fsync", lambda fd: (order.append("fsync"), fsync(fd)))
    monkeypatch.setattr(module.os, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    atomic_write(str(tmp_path / "file"), b"x", 0o644, UID, GID)
    assert order == ["fsync", "replace", "fsync"]


def test_atomic_symlink(tmp_path: Path):
    path = tmp_path / "current"
    atomic_symlink("releases/a", str(path))
    atomic_symlink("releases/b", str(path))
    assert os.readlink(path) == "releases/b"
    assert os.listdir(tmp_path) == ["current"]


def test_a_link_left_by_a_killed_run_does_not_matter(tmp_path: Path):
    (tmp_path / f".current.{os.getpid()}").symlink_to("old")
    atomic_symlink("new", str(tmp_path / "current"))
    assert os.listdir(tmp_path) == ["current"]


def test_current_is_never_missing_while_it_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "current"
    path.symlink_to("old")
    calls = []

    def watched(name: str):
        call = getattr(os, name)

        def watching(*arguments: str) -> None:
            assert os.readlink(path) == "old"
            calls.append(name)
            call(*arguments)
            assert path.is_symlink()

        return watching

    for name in ("unlink", "remove", "symlink", "rename", "replace"):
        monkeypatch.setattr(module.os, name, watched(name))
    atomic_symlink("new", str(path))
    assert calls == ["symlink", "replace"]


def test_file_digest(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")
    assert module.file_digest(str(tmp_path / "file")) == hashlib.sha256(b"x").hexdigest()
    assert module.file_digest(str(tmp_path / "missing")) == ""
    assert module.file_digest(str(tmp_path)) == ""


# --- times ---------------------------------------------------------------------------------------


def test_times(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module.time, "time", lambda: 1_000_000_060.9)
    assert module.seconds_since("2001-09-09T01:46:40Z") == 60
    assert module.seconds_since("") is None
    assert module.seconds_since("yesterday") is None


def test_now_is_utc_whatever_the_host_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert abs(module.seconds_since(module.now())) <= 1
    finally:
        monkeypatch.undo()
        time.tzset()


# --- releases ------------------------------------------------------------------------------------


def test_current_id(layout: Layout):
    assert layout.current_id() == ""
    os.symlink(f"releases/{ID}", layout.current)
    assert layout.current_id() == ID


def test_a_directory_in_the_place_of_current_is_no_release(layout: Layout):
    os.mkdir(layout.current)
    assert layout.current_id() == ""


def test_release_ids_are_in_the_order_of_deploys(layout: Layout):
    for name in ("20271122T101500Z-a", "20251122T101500Z-b", ".20261122T101500Z-c.partial"):
        os.mkdir(f"{layout.releases}/{name}")
    assert layout.release_ids() == ["20251122T101500Z-b", ID, "20271122T101500Z-a"]
    assert Layout("x", "/nonexistent/x").release_ids() == []


def test_record_adds_and_keeps(layout: Layout):
    layout.record(ID, outcome="staged", who="ops")
    assert layout.record(ID, outcome="live") == {"outcome": "live", "who": "ops"}
    assert layout.manifest(ID) == {"outcome": "live", "who": "ops"}
    path = f"{layout.release(ID)}/release.json"
    assert Path(path).read_text().endswith("}\n")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\0"])
def test_a_damaged_manifest_is_an_empty_one(layout: Layout, text: str):
    Path(f"{layout.release(ID)}/release.json").write_text(text)
    assert layout.manifest(ID) == {}


def test_a_manifest_that_is_not_utf8(layout: Layout):
    Path(f"{layout.release(ID)}/release.json").write_bytes(b'{"a": "\xff"}')
    assert layout.manifest(ID) == {}
    assert layout.manifest("missing") == {}


def test_written_files(layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(module, "SYSTEMD_UNITS", str(tmp_path))
    Path(f"{layout.release(ID)}/.env").write_text("A='1'\n")
    (tmp_path / f"projects@{ID}.service").write_text("[Unit]\n")
    found = layout.written_files(ID)
    assert found == {
        f"{layout.release(ID)}/.env": hashlib.sha256(b"A='1'\n").hexdigest(),
        f"{layout.release(ID)}/gunicorn.conf.py": "",
        f"{tmp_path}/projects@{ID}.service": hashlib.sha256(b"[Unit]\n").hexdigest(),
        f"{tmp_path}/projects@{ID}.socket": "",
    }


# --- the audit log -------------------------------------------------------------------------------


def lines(layout: Layout) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(layout.audit_log).read_text().splitlines()]


def test_audit_appends(layout: Layout):
    layout.audit(event="deploy", release="a", reason="two\nlines")
    layout.audit(event="deploy", release="b")
    found = lines(layout)
    assert [entry["release"] for entry in found] == ["a", "b"]
    assert found[0]["reason"] == "two\nlines"
    assert all(str(entry["at"]).endswith("Z") for entry in found)


def test_writers_do_not_mix_their_lines(layout: Layout):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: layout.audit(release=str(n), reason="x" * 3000), range(64)))
    assert sorted(int(str(entry["release"])) for entry in lines(layout)) == list(range(64))


def test_failed(layout: Layout):
    layout.record(ID, outcome="staged", who="ops@laptop", staged_at=module.now())
    layout.failed(ID, "gate", "status 500")
    record = layout.manifest(ID)
    assert (record["outcome"], record["phase"], record["reason"]) == ("failed", "gate", "status 500")
    (entry,) = lines(layout)
    assert entry["seconds"] in (0, 1)
    assert {k: v for k, v in entry.items() if k not in ("at", "seconds")} == {
        "event": "deploy",
        "release": ID,
        "outcome": "failed",
        "phase": "gate",
        "reason": "status 500",
        "who": "ops@laptop",
    }


def test_failed_before_there_is_a_manifest(layout: Layout):
    layout.failed(ID, "stage", "disk full")
    assert layout.manifest(ID) == {}
    assert lines(layout)[0]["outcome"] == "failed"


def test_failed_never_hides_the_error_it_reports(tmp_path: Path):
    Layout("x", f"{tmp_path}/missing/x").failed("a", "stage", "disk full")


def test_serving(layout: Layout):
    assert layout.serving() == "No release serves yet."
    os.symlink(f"releases/{ID}", layout.current)
    assert layout.serving() == f"Release {ID} goes on serving."


def test_a_virtual_environment_is_known_when_it_is_whole(tmp_path: Path):
    layout = Layout("projects", str(tmp_path))
    (tmp_path / "venvs/9b1d").mkdir(parents=True)
    assert not layout.venv_known("9b1d")
    assert not layout.venv_known("")
    (tmp_path / "venvs/9b1d/.decant.json").write_text("{}")
    assert layout.venv_known("9b1d")


def test_a_release_is_linked_to_its_environment_once(tmp_path: Path):
    layout = Layout("projects", str(tmp_path))
    (tmp_path / "releases/x").mkdir(parents=True)
    assert layout.link_venv("x", "9b1d")
    assert not layout.link_venv("x", "9b1d")
    assert layout.link_venv("x", "77aa"), "another lock is another link"
    assert (tmp_path / "releases/x/venv").readlink() == Path("../../venvs/77aa")


def test_credentials_are_files_of_the_release(layout: Layout):
    assert layout.credentials(ID) == {}
    folder = Path(layout.release(ID), "credentials")
    folder.mkdir()
    (folder / "SECRET_KEY").write_text("x")
    assert layout.credentials(ID) == {"SECRET_KEY": f"{folder}/SECRET_KEY"}
    assert layout.secrets_of(ID) == {"SECRET_KEY": "x"}
    assert f"{folder}/SECRET_KEY" in layout.written_files(ID), "where drift shows"
