# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Requirements files and pyproject.toml as backends write them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]

needs_tomllib = pytest.mark.skipif(sys.version_info < (3, 11), reason="runs on the controller: Python 3.11")


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"decant_{name}", ROOT / f"plugins/module_utils/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


req = _load("requirements_txt")
RequirementsError = req.RequirementsError


def reader(files: dict[str, str]) -> Callable[[str], str]:
    return files.__getitem__


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Flask", {"flask"}),
        ("Flask==3.1.0", {"flask"}),
        ("Flask == 3.1.0", {"flask"}),
        ("Flask>=3,<4", {"flask"}),
        ("Flask~=3.1", {"flask"}),
        ("Flask!=3.0", {"flask"}),
        ("Flask===3.1.0", {"flask"}),
        ("Flask (>=3)", {"flask"}),
        ("Flask_SQLAlchemy", {"flask-sqlalchemy"}),
        ("zope.interface", {"zope-interface"}),
        ("a-_.b", {"a-b"}),
        ("gunicorn[gevent]==23.0.0", {"gunicorn"}),
        ("gunicorn [gevent, setproctitle] >= 23", {"gunicorn"}),
        ("gunicorn;sys_platform!='win32'", {"gunicorn"}),
        ("gunicorn==23.0.0 ; python_version >= '3.9'  # the server", {"gunicorn"}),
        ("  gunicorn  ", {"gunicorn"}),
        ("\tgunicorn", {"gunicorn"}),
        ("gunicorn # why", {"gunicorn"}),
        ("gunicorn#not-a-comment", set()),
        ("# gunicorn", set()),
        ("", set()),
        ("    ", set()),
        ("gunicorn==23.0.0 --hash=sha256:aa --hash=sha256:bb", {"gunicorn"}),
        ("gunicorn --hash=sha256:aa", {"gunicorn"}),
        ("gunicorn==23.0.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb", {"gunicorn"}),
        ("guni\\\ncorn", {"gunicorn"}),
        ("gunicorn \\", {"gunicorn"}),
        ("flask \\\n# a comment ends the line\ngunicorn", {"flask", "gunicorn"}),
        ("# a comment does not continue \\\ngunicorn", {"gunicorn"}),
        ("lib @ https://example.org/lib-1.0.tar.gz", {"lib"}),
        ("lib@https://example.org/lib-1.0.tar.gz", {"lib"}),
        ("lib[x] @ git+https://example.org/lib.git@v1 ; python_version > '3'", {"lib"}),
        ("lib @ file:///opt/lib-1.0-py3-none-any.whl", {"lib"}),
        ("lib @ https://example.org/other-2.0-py3-none-any.whl", {"lib"}),
        ("lib @ ./wheels/other-2.0-py3-none-any.whl", {"lib"}),
        ("git+https://example.org/My_Lib.git@main#egg=My_Lib", {"my-lib"}),
        ("git+https://example.org/x.git#subdirectory=a&egg=My.Lib", {"my-lib"}),
        ("-e git+https://example.org/x.git#egg=my_lib[extra]", {"my-lib"}),
        ("--editable git+https://example.org/x.git#egg=my_lib", {"my-lib"}),
        ("--editable=git+https://example.org/x.git#egg=my_lib", {"my-lib"}),
        ("-e .", set()),
        ("-e ./libs/shared", set()),
        ("-e libs", set()),
        (".", set()),
        ("./libs/shared", set()),
        ("libs/shared", set()),
        ("https://example.org/My_Lib-1.0-py3-none-any.whl", {"my-lib"}),
        ("https://example.org/My_Lib-1.0-1-cp311-cp311-linux_x86_64.whl#sha256=aa", {"my-lib"}),
        ("./wheels/gunicorn-23.0.0-py3-none-any.whl", {"gunicorn"}),
        ("https://example.org/lib-1.0.tar.gz", set()),
        ("-r other.txt", set()),
        ("-c gunicorn.txt", set()),
        ("--index-url https://example.org/simple", set()),
        ("-i https://example.org/gunicorn", set()),
        ("--extra-index-url=https://example.org/gunicorn", set()),
        ("--find-links wheels", set()),
        ("--no-binary gunicorn", set()),
        ("--only-binary=:all:", set()),
        ("--pre", set()),
        ("--require-hashes", set()),
    ],
)
def test_names_of_one_line(line: str, expected: set[str]) -> None:
    assert req.names(line) == expected
    assert req.names(f"first\n{line}\n\nlast>=1\n") >= expected | {"last"}


def test_names_of_a_whole_file_with_bom_and_windows_line_ends() -> None:
    text = "\ufeffFlask==3.1.0\r\n# comment\r\nFlask-Migrate \\\r\n    --hash=sha256:aa\r\n-r b.txt\r\nPsycopg[x]\r\n"
    assert req.names(text) == {"flask", "flask-migrate", "psycopg"}
    assert req.includes(text) == ["b.txt"]
    assert req.has_hashes(text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-r base.txt", ["base.txt"]),
        ("-rbase.txt", ["base.txt"]),
        ("-r  ../base.txt  # shared", ["../base.txt"]),
        ("--requirement base.txt", ["base.txt"]),
        ("--requirement=base.txt", ["base.txt"]),
        ("--requirements base.txt", ["base.txt"]),
        ("-c pins.txt", ["pins.txt"]),
        ("-cpins.txt", ["pins.txt"]),
        ("--constraint pins.txt", ["pins.txt"]),
        ("--constraint=pins.txt", ["pins.txt"]),
        ("-r 'a file.txt'", ["a file.txt"]),
        ('-r "a file.txt"', ["a file.txt"]),
        ("-r 'unclosed.txt", ["'unclosed.txt"]),
        ("-r \\\n  base.txt", ["base.txt"]),
        ("# -r base.txt", []),
        ("--require-hashes", []),
        ("requests", []),
        ("-e ./lib", []),
    ],
)
def test_includes(line: str, expected: list[str]) -> None:
    assert req.includes(line) == expected


def test_includes_keep_the_order_of_the_file() -> None:
    assert req.includes("-r b.txt\nflask\n-c a.txt\n-r c.txt\n") == ["b.txt", "a.txt", "c.txt"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flask==3.1.0 --hash=sha256:aa", True),
        ("flask==3.1.0 \\\n    --hash=sha256:aa", True),
        ("flask==3.1.0 --hash sha256:aa", True),
        ("--require-hashes", True),
        ("flask==3.1.0", False),
        ("# flask --hash=sha256:aa", False),
        ("flask  # --hash=sha256:aa", False),
        ("lib @ https://example.org/x.whl#sha256=aa", False),
        ("", False),
    ],
)
def test_has_hashes(text: str, expected: bool) -> None:
    assert req.has_hashes(text) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (".", ["."]),
        ("-e .", ["."]),
        ("-e .[dev]", ["."]),
        ("--editable=libs/shared", ["libs/shared"]),
        ("-e libs", ["libs"]),
        ("./libs/shared ; python_version > '3'", ["./libs/shared"]),
        ("vendor/x-1.0-py3-none-any.whl", ["vendor/x-1.0-py3-none-any.whl"]),
        ("x-1.0.tar.gz", ["x-1.0.tar.gz"]),
        ("./x-1.0-py3-none-any.whl --hash=sha256:aa", ["./x-1.0-py3-none-any.whl"]),
        ("lib @ file:///opt/lib", ["/opt/lib"]),
        ("file:./lib", ["./lib"]),
        ("file://localhost/opt/lib", ["/opt/lib"]),
        ("-e git+https://example.org/x.git#egg=x", []),
        ("lib @ https://example.org/x.whl", []),
        ("lib@https://example.org/x.whl", []),
        ("https://example.org/x.whl", []),
        ("flask", []),
        ("--find-links ./wheels", []),
        ("-r ./base.txt", []),
    ],
)
def test_local_paths(line: str, expected: list[str]) -> None:
    assert req.local_paths(line) == expected


def test_closure_resolves_from_the_including_file_and_lists_each_once() -> None:
    files = {
        "api/requirements/prod.txt": "-r base.txt\n-c ../../pins.txt\n-r ./base.txt\nredis\n",
        "api/requirements/base.txt": "flask\n-c ../../pins.txt\n",
        "pins.txt": "flask==3.1.0\n",
    }
    assert req.closure(reader(files), ["api/requirements/prod.txt"]) == [
        ("api/requirements/prod.txt", files["api/requirements/prod.txt"]),
        ("api/requirements/base.txt", files["api/requirements/base.txt"]),
        ("pins.txt", files["pins.txt"]),
    ]


def test_closure_ends_on_cycles_and_keeps_the_order_given() -> None:
    files = {"a.txt": "-r b.txt\n", "b.txt": "-r a.txt\n-r b.txt\n", "c.txt": ""}
    assert [path for path, _ in req.closure(reader(files), ["c.txt", "a.txt", "b.txt", "./c.txt"])] == [
        "c.txt",
        "a.txt",
        "b.txt",
    ]
    assert req.closure(reader(files), []) == []


def test_closure_reads_each_file_once() -> None:
    seen: list[str] = []

    def read(path: str) -> str:
        seen.append(path)
        return {"a.txt": "-r b.txt\n-c b.txt\n", "b.txt": "-c a.txt\n"}[path]

    req.closure(read, ["a.txt", "b.txt"])
    assert sorted(seen) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("error", [KeyError("x"), FileNotFoundError("x"), IsADirectoryError("x")])
def test_closure_names_the_missing_file_and_its_includer(error: Exception) -> None:
    def read(path: str) -> str:
        if path == "api/a.txt":
            return "-r base.txt\n"
        raise error

    with pytest.raises(RequirementsError) as caught:
        req.closure(read, ["api/a.txt"])
    assert "'api/base.txt' (included by 'api/a.txt')" in str(caught.value)
    with pytest.raises(RequirementsError, match=r"'b\.txt' is not in the source"):
        req.closure(read, ["b.txt"])


@pytest.mark.parametrize("target", ["../x.txt", "/etc/x.txt", "a/../../x.txt", ".."])
def test_closure_refuses_to_leave_the_source(target: str) -> None:
    with pytest.raises(RequirementsError, match="outside the source"):
        req.closure(reader({}), [target])
    with pytest.raises(RequirementsError, match=r"\(included by 'a.txt'\) is outside the source"):
        req.closure(reader({"a.txt": f"-r {target}\n"}), ["a.txt"])


def test_closure_refuses_a_url_and_text_that_is_not_utf8() -> None:
    with pytest.raises(RequirementsError, match="is a URL"):
        req.closure(reader({"a.txt": "-c https://example.org/pins.txt\n"}), ["a.txt"])
    with pytest.raises(RequirementsError, match="not UTF-8"):
        req.closure(lambda path: b"\xff".decode("utf-8"), ["a.txt"])


def test_required_names_leave_out_what_only_constraints_mention() -> None:
    files = {
        "a.txt": "flask\n-c pins.txt\n-r base.txt\n",
        "base.txt": "redis\n-c more.txt\n",
        "pins.txt": "gunicorn==23.0.0\n-r nested.txt\n",
        "nested.txt": "gevent\n",
        "more.txt": "waitress\n",
    }
    assert req.required_names(reader(files), ["a.txt"]) == {"flask", "redis"}


def test_required_names_take_a_file_reached_both_ways() -> None:
    files = {"a.txt": "-c pins.txt\n-r pins.txt\n", "pins.txt": "gunicorn\n-r more.txt\n", "more.txt": "gevent\n"}
    assert req.required_names(reader(files), ["a.txt"]) == {"gunicorn", "gevent"}


PYPROJECT = """
[project]
name = "Project_Tracker"
dependencies = ["Flask>=3", "redis ; python_version > '3.9'"]
[project.optional-dependencies]
server = ["gunicorn==23.0.0"]
Post_gres = ["psycopg[binary]", "Flask>=3"]
all = ["project-tracker[server,post.gres]", "sentry-sdk"]
loop = ["project-tracker[loop]"]
broken = ["project-tracker[nope]"]
"""


@needs_tomllib
@pytest.mark.parametrize(
    ("extras", "more"),
    [
        ([], []),
        (["server"], ["gunicorn==23.0.0"]),
        (["SERVER", "server"], ["gunicorn==23.0.0"]),
        (["post-gres"], ["psycopg[binary]"]),
        (["all"], ["sentry-sdk", "gunicorn==23.0.0", "psycopg[binary]"]),
        (["loop"], []),
    ],
)
def test_pyproject(extras: list[str], more: list[str]) -> None:
    expected = ["Flask>=3", "redis ; python_version > '3.9'", *more]
    assert req.pyproject_requirements(PYPROJECT, extras) == expected


@needs_tomllib
def test_pyproject_without_dependencies_has_none() -> None:
    assert req.pyproject_requirements("[project]\nname = 'x'\n", []) == []


@needs_tomllib
@pytest.mark.parametrize(
    ("text", "extras", "message"),
    [
        ("[project", [], "not valid TOML"),
        ("", [], "no \\[project\\] table"),
        ("project = 3", [], "no \\[project\\] table"),
        ("[tool.poetry]\nname='x'", [], "only Poetry reads"),
        ("[project]\ndynamic=['version', 'dependencies']", [], "dependencies as dynamic"),
        ("[project]\ndynamic=['optional-dependencies']", ["x"], "optional-dependencies as dynamic"),
        ("[project]\ndependencies='flask'", [], "dependencies is not a list"),
        ("[project]\ndependencies=[1]", [], "dependencies is not a list"),
        ("[project]\noptional-dependencies=3", ["x"], "not a table"),
        ("[project]\noptional-dependencies={x=3}", ["x"], "optional-dependencies.x is not a list"),
        ("[project]\n", ["x"], "no extra 'x' .* Extras it has: none"),
        (PYPROJECT, ["nope"], "no extra 'nope' \\(wanted by the settings\\).* Post_gres, all, broken, loop, server"),
        (PYPROJECT, ["broken"], "no extra 'nope' \\(wanted by extra 'broken'\\)"),
    ],
)
def test_pyproject_errors(text: str, extras: list[str], message: str) -> None:
    with pytest.raises(RequirementsError, match=message):
        req.pyproject_requirements(text, extras)


@needs_tomllib
def test_dynamic_extras_do_not_matter_when_none_is_wanted() -> None:
    text = "[project]\ndynamic=['optional-dependencies', 'version']\ndependencies=['flask']\n"
    assert req.pyproject_requirements(text, []) == ["flask"]


def test_names_follow_pyproject_requirements() -> None:
    assert req.names("Flask>=3\ngunicorn[gevent]>=23 ; sys_platform == 'linux'") == {"flask", "gunicorn"}
