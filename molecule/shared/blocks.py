# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The blocks of a page of the documentation, as things to do: commands, files to write, output to see.

A block says what it is by its language. `sh` is run; `text` after it is what it prints, with `...` for what differs from run
to run; in any other language it is a file, whose first line is a comment with its path, or a part of one that is there.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILES = ("yaml", "python", "ini")
FENCE = re.compile(r"^```(.*)$")
PATH = re.compile(r"^# ([\w.-]+(?:/[\w.-]+)*)$")
DONE = 'trap \'export -p > "$DECANT_SHELL/exports"; pwd > "$DECANT_SHELL/folder"\' EXIT\n'


@dataclass(frozen=True)
class Block:
    """A fenced block: its page and the line that it begins at, its language, its text."""

    page: str
    line: int
    language: str
    text: str

    def path(self) -> str:
        """Where the reader writes it: the comment at its top; empty for a part of a file that is there."""
        found = PATH.match(self.text.partition("\n")[0])
        return found[1] if found else ""


def blocks(page: str, text: str) -> list[Block]:
    """The fenced blocks of a page, in its order.

    A block without a language, one that has no end, and one that is made by indenting are errors: nobody would know what to do with it.
    """
    found: list[Block] = []
    language, began, lines, before = "", 0, [], ""
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if began and not fence:
            lines.append(line)
        elif began:
            found.append(Block(page, began, language, "".join(f"{line}\n" for line in lines)))
            began = 0
        elif fence:
            language, began, lines = fence[1].strip(), number, []
            if language not in ("sh", "text", *FILES):
                raise ValueError(f"{page}:{number}: a block of '{language}'. Known: sh, text, {', '.join(FILES)}")
        elif line.startswith("    ") and not before.strip():
            raise ValueError(
                f"{page}:{number}: a block made by indenting. Write it between two lines of ```, with its language"
            )
        before = line
    if began:
        raise ValueError(f"{page}:{began}: this block has no end")
    return found


def shown(wanted: str, output: str) -> bool:
    """Whether the output holds what a page shows: `...` in a line stands for anything there, on a line of its own for any lines."""
    lines = [line.rstrip() for line in wanted.strip("\n").splitlines()]
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"[ \t]*\n"
        for line in lines
    )
    return re.search(f"^{pattern}", f"{output}\n", re.MULTILINE) is not None


class Shell:
    """A shell in which one block runs after the other: the next one begins in the folder and with the variables that the last one left.

    :param home: a folder of its own, which is the home as well.
    :param env: the environment that it begins with.
    """

    def __init__(self, home: Path, env: Mapping[str, str]) -> None:
        self.state = home / ".shell"
        self.state.mkdir(parents=True)
        self.env = {**env, "HOME": str(home), "DECANT_SHELL": str(self.state)}
        (self.state / "folder").write_text(f"{home}\n", encoding="utf-8")

    def folder(self) -> Path:
        return Path((self.state / "folder").read_text(encoding="utf-8").rstrip("\n"))

    def run(self, text: str) -> tuple[int, str]:
        """What a block ends with, and what it prints. It ends at the first command that fails."""
        exports = self.state / "exports"
        begin = f". '{exports}'\n" if exports.exists() else ""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", begin + DONE + text],
            cwd=self.folder(),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        return done.returncode, done.stdout


def write(folder: Path, block: Block) -> Path:
    """Write a block that is a file, as the reader would."""
    target = folder / block.path()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(block.text, encoding="utf-8")
    return target


def clean(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without what the run of a test has put into it."""
    own = ("ANSIBLE_", "MOLECULE_", "PYTEST_", "PYTHON", "VIRTUAL_ENV", "BASH_ENV")
    kept = {name: value for name, value in env.items() if not name.startswith(own)}
    return {**kept, "PATH": f"/usr/local/bin{os.pathsep}/usr/bin{os.pathsep}/bin{os.pathsep}/usr/sbin{os.pathsep}/sbin"}
