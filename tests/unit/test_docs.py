# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the documentation names is there: variables, playbooks, extra variables, files; and the reading of its blocks."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from ansible.parsing.splitter import parse_kv
from ansible_collections.decant.flask.plugins.plugin_utils import contract, settings

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule/shared"))

import blocks  # noqa: E402

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/README.md")]
)
# release_summary is a section of a changelog fragment.
KNOWN = {*settings.specs(), *settings.COMMAND_LINE, *contract.INSECURE, "release_summary"}
NAME = re.compile(rf"(?<![\w./-])((?:{'|'.join((*settings.ROLES, *settings.VERBS))})_\w+)(\*|\.\.\.)?(?![\w(/-])")


def code(text: str) -> list[str]:
    """The lines and spans of a page that are code."""
    lines = [
        line
        for line in re.findall(r"^```\w*.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for line in line.splitlines()
    ]
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [*lines, *re.findall(r"^    (\S.*)$", rest, re.MULTILINE), *re.findall(r"`([^`\n]+)`", rest)]


@pytest.mark.parametrize("page", PAGES)
def test_every_variable_is_one(page: str):
    unknown = []
    for text in code((ROOT / page).read_text(encoding="utf-8")):
        for name, more in NAME.findall(text):
            known = any(other.startswith(name) for other in KNOWN) if more or name.endswith("_") else name in KNOWN
            if not known:
                unknown.append(f"{name}: {text}")
    assert unknown == []


@pytest.mark.parametrize("page", PAGES)
def test_every_playbook_is_there(page: str):
    named = set(re.findall(r"playbooks/\w+\.yml", (ROOT / page).read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def extra(text: str) -> list[str]:
    """The extra variables of a command line, each as the shell hands it to Ansible."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return []  # a piece of prose with an apostrophe
    return [after for word, after in zip(words, words[1:]) if word in ("-e", "--extra-vars") and "=" in after]


@pytest.mark.parametrize("page", PAGES)
def test_every_extra_variable_is_read_whole(page: str):
    """Ansible cuts name=value at spaces: what has some is quoted twice."""
    for text in code((ROOT / page).read_text(encoding="utf-8")):
        for word in extra(text):
            read = parse_kv(word)
            assert set(read) <= KNOWN, text


def test_an_extra_variable_that_is_cut_is_seen():
    assert parse_kv(extra("x -e silence_reason='moving the disk'")[0])["_raw_params"] == "the disk"
    assert parse_kv(extra("""x -e "silence_reason='moving the disk'" """)[0]) == {"silence_reason": "moving the disk"}


def test_the_figures_beside_the_rivals_are_the_measured_ones():
    """bin/bench --write rewrites the one page, and nobody the other."""
    measured = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    said = (ROOT / "docs/explanation/rivals.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| code-only release \| ([\w ]+) \| [\d.]+ / ([\d.]+) / [\d.]+ \| \d+ \| (\d+) \| (\d+)",
        measured,
        re.MULTILINE,
    )
    assert [name for name, *_ in rows] == ["Decant", "Capistrano", "plain script"]
    for name, seconds, sent, failed in rows:
        assert f"| {name} | {seconds} | {failed} of {sent} |" in said


# --- the blocks that bin/test docs runs ----------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_every_block_can_be_followed(page: str):
    found = blocks.blocks(page, (ROOT / page).read_text(encoding="utf-8"))
    assert len([block for block in found if block.language == "sh"]) > 8


@pytest.mark.parametrize(
    "page", [name for name in PAGES if name.startswith(("docs/how-to/", "docs/tutorial", "README"))]
)
def test_a_page_to_follow_has_no_block_of_an_unknown_kind(page: str):
    assert blocks.blocks(page, (ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("```\nls\n```\n", "page.md:1: a block of ''"),
        ("\n```ruby\n1\n```\n", "page.md:2: a block of 'ruby'"),
        ("a\n\n    ls\n", "page.md:3: a block made by indenting"),
        ("```sh\nls\n", "page.md:1: this block has no end"),
    ],
)
def test_a_block_that_nobody_knows_how_to_run_is_refused(text: str, wanted: str):
    with pytest.raises(ValueError, match=re.escape(wanted)):
        blocks.blocks("page.md", text)


def test_blocks_in_their_order():
    text = "A\n\n```sh\nls\n```\n\n```text\nx\n```\n\n- b\n  c\n\n```python\n# a/b.py\nx = 1\n```\n"
    found = blocks.blocks("page.md", text)
    assert [(block.line, block.language, block.path()) for block in found] == [
        (3, "sh", ""),
        (7, "text", ""),
        (14, "python", "a/b.py"),
    ]
    assert found[2].text == "# a/b.py\nx = 1\n"


@pytest.mark.parametrize(
    ("wanted", "output", "there"),
    [
        ("ok\n", "a\nok\nb\n", True),
        ("ok\n", "not ok\n", False),
        ("ok\n", "ok then\n", False),
        ("web1 ... changed=0 ...\n", "web1 : ok=3 changed=0 failed=0\n", True),
        ("web1 ... changed=0 ...\n", "web1 : ok=3 changed=1 failed=0\n", False),
        ("a\n...\nb\n", "a\nx\ny\nb\n", True),
        ("a\n...\nb\n", "a\nb\n", True),
        ("a\nb\n", "a\nx\nb\n", False),
        ("b\n...\na\n", "a\nx\nb\n", False),
        ("a (b)\n", "a (b)", True),
    ],
)
def test_what_a_page_shows_is_held_against_what_came(wanted: str, output: str, there: bool):
    assert blocks.shown(wanted, output) is there


def test_one_block_goes_on_where_the_last_one_ended(tmp_path: Path):
    shell = blocks.Shell(tmp_path / "home", {"PATH": "/usr/bin:/bin"})
    assert shell.run("mkdir x\ncd x\nexport A='b c'\nD=e\n") == (0, "")
    assert shell.run('pwd\necho "$A${D:-}"\n') == (0, f"{tmp_path}/home/x\nb c\n")
    assert shell.run("false\necho no\n") == (1, "")
    assert shell.run("echo on\n") == (0, "on\n")
