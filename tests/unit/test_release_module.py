# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Staging and pruning: what is never removed, what is never unpacked, who may read and write."""

from __future__ import annotations

import grp
import io
import json
import os
import pwd
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.module_utils import retention
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout
from ansible_collections.decant.flask.plugins.module_utils.modules import release
from ansible_collections.decant.flask.plugins.plugin_utils.sources import Entry, pack

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    found = Layout("projects", f"{tmp_path}/projects")
    for folder in (found.releases, found.venvs, found.shared):
        os.makedirs(folder)
    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setattr(retention, "SYSTEMD_UNITS", str(units))
    return found


def add(layout: Layout, name: str, outcome: str = "retired", lock: str = "", **record: Any) -> None:
    os.makedirs(layout.release(name))
    if outcome:
        record = {**record, "outcome": outcome, "parts": {"lock": lock}}
        Path(layout.release(name), "release.json").write_text(json.dumps(record))
    if lock:
        os.makedirs(f"{layout.venvs}/{lock}", exist_ok=True)
        os.symlink(f"../../venvs/{lock}", f"{layout.release(name)}/venv")


def live(layout: Layout, name: str, previous: str = "") -> None:
    add(layout, name, "live", previous=previous)
    os.symlink(f"releases/{name}", layout.current)


# --- what may go ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (2, ["r1", "r2", "r3"]),  # r4 is the one before
        (3, ["r1", "r2"]),
        (4, ["r1"]),
        (5, []),
        (9, []),
    ],
)
def test_the_oldest_go_beyond_keep(layout: Layout, keep: int, gone: list[str]):
    for name in ("r1", "r2", "r3", "r4"):
        add(layout, name)
    live(layout, "r5", previous="r4")
    assert retention.prunable(layout, keep, set()) == gone


def test_a_fresh_host_has_nothing_to_prune(layout: Layout):
    assert retention.prunable(layout, 2, set()) == []


def test_the_one_that_serves_stays_however_old(layout: Layout):
    live(layout, "r1", previous="")
    for name in ("r2", "r3", "r4"):
        add(layout, name)
    assert retention.prunable(layout, 2, set()) == ["r2"]


def test_the_one_before_stays_however_old(layout: Layout):
    for name in ("r1", "r2", "r3"):
        add(layout, name)
    live(layout, "r4", previous="r1")
    assert retention.prunable(layout, 2, set()) == ["r2"]


@pytest.mark.parametrize("outcome", ["failed", "staged", ""])
def test_what_never_served_goes_first(layout: Layout, outcome: str):
    add(layout, "r1")
    live(layout, "r2", previous="r1")
    add(layout, "r3", outcome)
    add(layout, "r4", outcome)
    assert retention.prunable(layout, 5, set()) == ["r3", "r4"]


def test_what_runs_or_would_start_stays(layout: Layout):
    for name in ("r1", "r2", "r3"):
        add(layout, name, "failed")
    live(layout, "r4", previous="")
    assert retention.prunable(layout, 2, {"r2"}) == ["r1", "r3"]


def test_orphan_venvs(layout: Layout):
    add(layout, "r1", lock="one")
    add(layout, "r2", lock="two")
    os.unlink(f"{layout.release('r2')}/venv")  # the manifest still names it
    os.mkdir(f"{layout.venvs}/three")
    os.mkdir(f"{layout.venvs}/.four.partial")
    assert retention.orphan_venvs(layout) == [".four.partial", "three"]


def test_remove_release(layout: Layout, tmp_path: Path):
    add(layout, "r1")
    for unit in (*layout.units("r1"), *layout.units("r10")):
        Path(retention.SYSTEMD_UNITS, unit).write_text("")
    retention.remove_release(layout, "r1")
    assert os.listdir(layout.releases) == []
    assert sorted(os.listdir(retention.SYSTEMD_UNITS)) == sorted(layout.units("r10"))


def test_prune(layout: Layout, monkeypatch: pytest.MonkeyPatch):
    commands = []
    monkeypatch.setattr(retention, "systemctl", lambda *arguments, **_: commands.append(arguments))
    monkeypatch.setattr(retention, "active_instances", lambda _layout: ["r2"])
    monkeypatch.setattr(retention, "enabled_instances", lambda _layout: ["r5"])
    for number in range(1, 5):
        add(layout, f"r{number}", lock=f"lock{number}")
    live(layout, "r5", previous="r4")
    os.mkdir(f"{layout.releases}/.r9.partial")
    os.mkdir(f"{layout.venvs}/wanted")
    assert retention.prune(layout, 2, "wanted") == ["r1", "r3"]
    assert sorted(os.listdir(layout.releases)) == ["r2", "r4", "r5"]
    assert sorted(os.listdir(layout.venvs)) == ["lock2", "lock4", "wanted"]
    assert commands == [("stop", "projects@r1.socket"), ("stop", "projects@r3.socket"), ("daemon-reload",)]


def test_a_prune_that_has_nothing_to_do_reloads_nothing(layout: Layout, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retention, "systemctl", lambda *arguments, **_: pytest.fail(str(arguments)))
    monkeypatch.setattr(retention, "active_instances", lambda _layout: [])
    monkeypatch.setattr(retention, "enabled_instances", lambda _layout: [])
    live(layout, "r5")
    assert retention.prune(layout, 2, "") == []


# --- unpacking -----------------------------------------------------------------------------------


def test_unpack(tmp_path: Path):
    tar = tmp_path / "a.tar"
    tar.write_bytes(pack([Entry("d", folder=True), Entry("d/x", data=b"1", executable=True), Entry("l", link="d/x")]))
    (tmp_path / "out").mkdir()
    release.unpack(str(tar), str(tmp_path / "out"))
    assert (tmp_path / "out/l").read_bytes() == b"1"
    assert os.readlink(tmp_path / "out/l") == "d/x"


@pytest.mark.parametrize("name", ["/evil", "../evil", "a/../../evil"])
def test_unpack_refuses_names_that_leave(tmp_path: Path, name: str):
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="leaves the release"):
        release.unpack(str(tar), str(tmp_path / "out"))
    assert not (tmp_path / "evil").exists()


def test_unpack_writes_through_no_link(tmp_path: Path):
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as archive:
        link = tarfile.TarInfo("up")
        link.type, link.linkname = tarfile.SYMTYPE, ".."
        archive.addfile(link)
        evil = tarfile.TarInfo("up/evil")
        evil.size = 1
        archive.addfile(evil, io.BytesIO(b"x"))
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="evil"):
        release.unpack(str(tar), str(tmp_path / "out"))
    assert not (tmp_path / "evil").exists()


# --- owners and modes ----------------------------------------------------------------------------


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(os.lstat(path).st_mode):04o}"


@needs_root
def test_protect(tmp_path: Path):
    gid = grp.getgrnam("nogroup").gr_gid
    for name in ("app/main.py", "app/static/x.css", "app/static/run", "app/static2/y.css", "run"):
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        path.chmod(0o777 if path.name == "run" else 0o666)
        os.chown(path, 1000, 1000)
    (tmp_path / "src/link").symlink_to("app")
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o600)
    (tmp_path / "src/out").symlink_to(outside)
    release.protect(str(tmp_path / "src"), gid, [f"{tmp_path}/src/app/static"])
    modes = {str(p.relative_to(tmp_path / "src")): mode(p) for p in (tmp_path / "src").rglob("*") if not p.is_symlink()}
    assert modes == {
        "app": "0751",
        "app/main.py": "0640",
        "app/static": "0755",
        "app/static/x.css": "0644",
        "app/static/run": "0755",
        "app/static2": "0751",
        "app/static2/y.css": "0640",
        "run": "0750",
    }
    owners = {(p.lstat().st_uid, p.lstat().st_gid) for p in [tmp_path / "src", *(tmp_path / "src").rglob("*")]}
    assert owners == {(0, gid)}
    assert (outside.stat().st_gid, mode(outside)) == (os.getgid(), "0600")


APP_UID = pwd.getpwnam("daemon").pw_uid
APP_GID = pwd.getpwnam("daemon").pw_gid


def share(layout: Layout, path: str) -> Path:
    code = Path(layout.root, "code")
    release.link_shared(layout, str(code), path, APP_UID, APP_GID)
    return code / path


def code_with(layout: Layout, **files: str) -> None:
    for name, text in files.items():
        path = Path(layout.root, "code", name.replace("__", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@needs_root
@pytest.mark.parametrize("path", ["uploads", "var/log"])
def test_a_shared_path_that_the_source_does_not_have(layout: Layout, path: str):
    code_with(layout, x="x")
    link = share(layout, path)
    assert os.readlink(link) == f"{layout.shared}/{path}"
    for folder in (Path(layout.shared, path), *Path(layout.shared, path).parents):
        if str(folder) == layout.shared:
            break
        assert (folder.stat().st_uid, folder.stat().st_gid, mode(folder)) == (APP_UID, APP_GID, "0750")


@needs_root
def test_what_the_source_has_seeds_an_empty_shared_path(layout: Layout):
    code_with(layout, uploads__a__b="seed")
    link = share(layout, "uploads")
    assert link.is_symlink()
    assert (link / "a/b").read_text() == "seed"
    assert {Path(layout.shared, p).stat().st_uid for p in ("uploads", "uploads/a", "uploads/a/b")} == {APP_UID}


@needs_root
def test_what_is_shared_already_is_never_touched(layout: Layout):
    code_with(layout, uploads__a="from the source", uploads__b="new")
    shared = Path(layout.shared, "uploads")
    shared.mkdir()
    (shared / "a").write_text("from a user")
    link = share(layout, "uploads")
    assert (link / "a").read_text() == "from a user"
    assert os.listdir(shared) == ["a"]


@needs_root
def test_a_link_of_the_source_in_the_place_of_a_shared_path(layout: Layout):
    code_with(layout, real__x="x")
    Path(layout.root, "code/uploads").symlink_to("real")
    link = share(layout, "uploads")
    assert os.readlink(link) == f"{layout.shared}/uploads"
    assert Path(layout.root, "code/real/x").read_text() == "x"


# --- a whole release -----------------------------------------------------------------------------


@needs_root
def test_stage(layout: Layout, tmp_path: Path):
    tar = tmp_path / "a.tar"
    tar.write_bytes(pack([Entry("api/app.py", data=b"x"), Entry("api/static/x.css", data=b"y"), Entry("README")]))
    given = {
        "id": "r1",
        "user": "daemon",
        "tar": str(tar),
        "subdir": "api",
        "shared_paths": ["uploads/"],
        "public_paths": ["static"],
        "manifest": {"fingerprint": "F", "who": "ops"},
    }
    os.makedirs(f"{layout.releases}/.r1.partial/src/left-by-a-killed-run")
    release.stage(layout, given)
    assert os.listdir(layout.releases) == ["r1"]
    path = Path(layout.release("r1"))
    assert sorted(os.listdir(path)) == ["credentials", "gunicorn.sock", "release.json", "src"]
    assert os.readlink(path / "gunicorn.sock") == "/run/projects/r1.sock"
    assert os.readlink(path / "src/api/uploads") == f"{layout.shared}/uploads"
    assert (mode(path), path.stat().st_uid, path.stat().st_gid) == ("0751", 0, APP_GID)
    assert (mode(path / "src/api/app.py"), mode(path / "src/api/static/x.css")) == ("0640", "0644")
    record = layout.manifest("r1")
    assert record.pop("staged_at").endswith("Z")
    assert record == {"id": "r1", "outcome": "staged", "fingerprint": "F", "who": "ops"}
