# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lines of a unit's sandbox, and what an inventory may give back."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.plugin_utils import sandbox

ROOT = "/srv/projects"


def test_by_default_all_of_it():
    found = sandbox.lines(ROOT)
    assert {"NoNewPrivileges=yes", "MemoryDenyWriteExecute=yes", "CapabilityBoundingSet="} <= set(found)
    assert f"ReadWritePaths={ROOT}/shared" in found
    assert f"InaccessiblePaths=-{ROOT}/backups" in found
    assert not [line for line in found if line.startswith("IPAddress")]


@pytest.mark.parametrize("name", sorted(sandbox.GIVEN_BACK))
def test_one_thing_given_back_is_one_thing(name: str):
    before, after = sandbox.lines(ROOT), sandbox.lines(ROOT, allow=[name])
    gone = set(before) - set(after)
    if name == "netlink":
        assert gone == {"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"}
    elif name == "subprocesses":
        assert {line.split("=")[0] for line in gone} == {"NoExecPaths"}
    else:
        assert gone == set(sandbox.GIVEN_BACK[name])


def test_nothing_runs_from_where_something_may_be_written():
    for allow in ([], ["subprocesses"]):
        (line,) = [
            line for line in sandbox.lines(ROOT, writable=["/var/x"], allow=allow) if line.startswith("NoExecPaths")
        ]
        assert {"/tmp", "/run", f"{ROOT}/shared", "/var/x"} <= set(line.partition("=")[2].split())
        assert ("-/usr/bin" in line) is (not allow)


def test_of_the_programs_the_interpreter_runs():
    assert "ExecPaths=/usr/bin/python3" in sandbox.lines(ROOT, executable=["/usr/bin/python3"])
    assert not [line for line in sandbox.lines(ROOT, allow=["subprocesses"]) if line.startswith("ExecPaths")]


def test_without_a_network():
    found = sandbox.lines(ROOT, egress="none")
    assert {"PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "IPAddressDeny=any"} <= set(found)


def test_with_some_of_it():
    found = sandbox.lines(ROOT, egress=["10.0.0.5", "192.0.2.0/24"])
    assert "PrivateNetwork=yes" not in found
    assert found[found.index("IPAddressDeny=any") + 1 :][:2] == [
        "IPAddressAllow=10.0.0.5",
        "IPAddressAllow=192.0.2.0/24",
    ]


def test_what_works_in_the_backups_sees_them():
    found = sandbox.lines(ROOT, backups=True, writable=["/var/lib/x"])
    assert not [line for line in found if line.startswith("InaccessiblePaths")]
    assert f"ReadWritePaths={ROOT}/shared /var/lib/x {ROOT}/backups" in found


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"gunicorn_sandbox_allow": ["everything"]}, ["'everything'", "jit", "gunicorn_egress"]),
        ({"gunicorn_egress": "nothing"}, ["gunicorn_egress is 'nothing'", "any, none"]),
        ({"gunicorn_egress": ["db.example.org"]}, ["'db.example.org'", "names are not looked up"]),
        ({"gunicorn_egress": []}, ["gunicorn_egress is empty"]),
        (
            {"gunicorn_egress": "none", "app_database": "postgresql", "postgresql_host": "db"},
            ["reached over TCP", "gunicorn_egress: ["],
        ),
    ],
)
def test_a_refusal(inputs: dict[str, Any], words: list[str]):
    found = sandbox.problems(inputs)
    assert len(found) == 1
    assert all(word in found[0] for word in words), found


def test_what_is_fine():
    assert sandbox.problems({}) == []
    socket = {"gunicorn_egress": "none", "app_database": "postgresql", "postgresql_host": "/var/run/postgresql"}
    assert sandbox.problems(socket) == []
    assert sandbox.problems({"gunicorn_egress": ["10.0.0.0/8", "::1"], "gunicorn_sandbox_allow": ["jit"]}) == []
