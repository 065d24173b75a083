# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""When config_files leaves the host alone: only what the run has read of it, and what is exactly as wanted."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.action.config_files import as_wanted, record
from ansible_collections.decant.flask.plugins.module_utils.layout import Layout
from ansible_collections.decant.flask.plugins.module_utils.modules.host_state import standing

WANTED: dict[str, Any] = {
    "files": [{"path": "/a", "content": "new\n"}, {"path": "/b", "content": "", "mode": "0755"}],
    "links": [{"path": "/c", "target": "../a"}],
    "absent": ["/d"],
    "pending": "/p",
}


def stands(content: str, **more: str) -> dict[str, str]:
    return {"sha256": hashlib.sha256(content.encode()).hexdigest(), "mode": "0644", "uid": "0", "gid": "0", **more}


def read(**changes: Any) -> dict[str, Any]:
    """A host as WANTED asks for it, with changes by path; None for one that was not read."""
    found = {"a": stands("new\n"), "b": stands("", mode="0755"), "c": {"target": "../a"}, "d": {}, "p": {}, **changes}
    return {f"/{name}": value for name, value in found.items() if value is not None}


def test_a_host_as_it_must_be_is_left_alone():
    assert as_wanted(WANTED, read())
    assert as_wanted({}, {})


@pytest.mark.parametrize(
    "changes",
    [
        {"a": stands("old\n")},
        {"a": stands("new\n", mode="0600")},
        {"a": stands("new\n", uid="1000")},
        {"a": stands("new\n", gid="1000")},
        {"a": {"target": "/elsewhere"}},
        {"a": {}},
        {"b": stands("")},
        {"c": {"target": "/a"}},
        {"c": {}},
        {"c": stands("new\n")},
        {"d": stands("")},
        {"d": {"target": "/nowhere"}},
        {"p": stands("/a\n", mode="0600")},
        *({name: None} for name in "abcdp"),
    ],
    ids=str,
)
def test_everything_else_is_asked(changes: dict[str, Any]):
    assert not as_wanted(WANTED, read(**changes))


@pytest.mark.parametrize("who", ["owner", "group"])
def test_the_ids_of_others_than_root_are_the_hosts(who: str):
    assert not as_wanted({"files": [{"path": "/a", "content": "new\n", who: "projects"}]}, read())


def test_a_mode_in_either_spelling():
    assert record({"content": "", "mode": "755"})["mode"] == record({"content": "", "mode": "0755"})["mode"] == "0755"


def test_what_the_module_reads_is_what_the_action_compares(tmp_path: Path):
    path, link, gone = tmp_path / "file", tmp_path / "link", tmp_path / "gone"
    path.write_text("ä\n", encoding="utf-8")
    path.chmod(0o755)
    link.symlink_to("file")
    found = standing([str(path), str(link), str(gone)])
    assert found[str(gone)] == {}
    assert found[str(link)] == {"target": "file"}
    ids = {"uid": str(os.getuid()), "gid": str(os.getgid())}
    assert found[str(path)] == {**record({"content": "ä\n", "mode": "0755"}), **ids}


def test_a_directory_stands_for_no_file(tmp_path: Path):
    assert standing([str(tmp_path)])[str(tmp_path)]["sha256"] == ""


def test_every_lasting_path_is_this_backends():
    layout = Layout("shop", "/srv/shop")
    own = [path for path in layout.lasting_files([8080, 443]) if "shop" not in path]
    assert own == [
        "/etc/nginx/conf.d/decant-catch-all-8080.conf",
        "/etc/nginx/conf.d/decant-catch-all-443.conf",
        "/etc/nginx/sites-enabled/default",
        "/etc/systemd/system/nginx.service.d/decant.conf",
    ]
