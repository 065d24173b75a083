# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The texts of a release: versions, changelog fragments, notes, the index of the notes, the checklist. Nothing here reads a clock or git."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import tomllib
import yaml

from .sources import printable

FOLDER = "docs/releases"
INDEX = f"{FOLDER}/release-notes.md"
# Lines below it are one for each version. What somebody writes around them stays.
INDEX_MARK = "<!-- One line for each version, the newest first. release.yml adds them. -->"
VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
# Sections of antsibull-changelog's fragments, in the order of the notes, with their headings there.
SECTIONS = {
    "breaking_changes": "Breaking changes",
    "removed_features": "Removed",
    "security_fixes": "Security",
    "major_changes": "Major changes",
    "minor_changes": "Minor changes",
    "deprecated_features": "Deprecated",
    "bugfixes": "Mended",
    "known_issues": "Known issues",
}
SUMMARY, TRIVIAL = "release_summary", "trivial"
BREAKING = {"breaking_changes", "removed_features"}
ADDING = {"major_changes", "minor_changes", "deprecated_features"}
BOX = re.compile(r"^(\s*[-*+] \[)([ xX])(\] *)(.*)$", re.MULTILINE)
# Headings of the checklist whose boxes are ticked after the tag: in the copy that is kept beside the notes.
LATER = re.compile(r"^#+ (During|After)\b", re.MULTILINE | re.IGNORECASE)
Version = tuple[int, int, int]


class Refused(Exception):
    """What stands against a release: sentences that name what was seen, the rule and the next step."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


# --- versions ------------------------------------------------------------------------------------


def version(text: str) -> Version | None:
    """The three numbers of X.Y.Z; None for anything else."""
    found = VERSION.fullmatch(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def dotted(number: Version) -> str:
    return ".".join(map(str, number))


def least(last: Version, sections: Iterable[str]) -> Version:
    """The smallest version after `last` that what has changed allows. Below 1.0.0 a minor version may break."""
    major, minor, patch = last
    kinds = set(sections)
    if kinds & BREAKING:
        return (major + 1, 0, 0) if major else (0, minor + 1, 0)
    return (major, minor + 1, 0) if kinds & ADDING and major else (major, minor, patch + 1)


def version_span(path: str, text: str) -> tuple[int, int]:
    """Where a file has its version: the first and the end of the characters.

    pyproject.toml has it under [project], galaxy.yml at its top level, a .py file in __version__; of any other file it is all.
    """
    name = path.rsplit("/", 1)[-1]
    if name == "pyproject.toml":
        table = re.search(r"^\[project\][ \t]*(?:#.*)?$", text, re.MULTILINE)
        end = re.compile(r"^\[", re.MULTILINE).search(text, table.end()) if table else None
        line = re.compile(r"^version\s*=\s*([\"'])(?P<version>[^\"'\n]*)\1", re.MULTILINE)
        found = line.search(text, table.end(), end.start() if end else len(text)) if table else None
        rule = 'a line version = "1.4.0" under [project]'
    elif name == "galaxy.yml":
        found = re.search(r"^version:[ \t]*[\"']?(?P<version>[^\"'\s#]+)", text, re.MULTILINE)
        rule = "a line version: 1.4.0"
    elif name.endswith(".py"):
        found = re.search(r"^__version__\s*(?::\s*\w+\s*)?=\s*([\"'])(?P<version>[^\"'\n]*)\1", text, re.MULTILINE)
        rule = 'a line __version__ = "1.4.0"'
    else:
        found = re.fullmatch(r"\s*(?P<version>\S+)\s*", text)
        rule = "the version alone"
    if not found:
        raise Refused(f"kit_release_version_file is '{path}', and it has no version. It needs {rule}.")
    return found.span("version")


def with_version(path: str, text: str, new: str) -> str:
    """A file with another version, which is read back where the file's format has a reader."""
    start, end = version_span(path, text)
    found = text[:start] + new + text[end:]
    if path.endswith("pyproject.toml"):
        try:
            seen = tomllib.loads(found)["project"].get("version")
        except (tomllib.TOMLDecodeError, KeyError) as error:
            raise Refused(f"{path} is no TOML that can be read: {error}. Mend it.") from None
        if seen != new:
            raise Refused(f"{path} has its version in another way than as a line under [project]. Write it there.")
    return found


# --- fragments -----------------------------------------------------------------------------------


@dataclass
class Fragments:
    """What the fragments say: section to (path, text), and the paths."""

    sections: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    summary: str = ""
    paths: list[str] = field(default_factory=list)


def read_fragments(texts: Mapping[str, str]) -> Fragments:
    """The fragments of a release, by path. All that is wrong with them is said at once."""
    found, problems = Fragments(paths=sorted(texts)), []
    summaries = []
    for path in found.paths:
        try:
            document = yaml.safe_load(texts[path])
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            problems.append(f"{path} is no YAML{where}: {getattr(error, 'problem', None) or error}. Mend it.")
            continue
        if not isinstance(document, dict) or not document:
            problems.append(
                f"{path} is no mapping of sections. Write for example bugfixes: ['The list is sorted again.']."
            )
            continue
        for section, entries in document.items():
            if section == SUMMARY and isinstance(entries, str) and entries.strip():
                summaries.append((path, entries.strip()))
            elif section == SUMMARY:
                problems.append(f"{path} has {SUMMARY} that is no text. Write one, without a dash.")
            elif section not in SECTIONS and section != TRIVIAL:
                known = ", ".join((SUMMARY, *SECTIONS, TRIVIAL))
                problems.append(f"{path} has the section '{section}', which is not one of {known}.")
            elif (
                not isinstance(entries, list)
                or not entries
                or not all(isinstance(one, str) and one.strip() for one in entries)
            ):
                problems.append(
                    f"{path} has {section} that is no list of texts. Write each change behind a dash, quoted."
                )
            else:
                found.sections.setdefault(section, []).extend((path, one.strip()) for one in entries)
    if len(summaries) > 1:
        problems.append(
            f"{' and '.join(path for path, dummy in summaries)} have a {SUMMARY}, and a release has one. Merge them."
        )
    if problems:
        raise Refused(*problems)
    found.summary = summaries[0][1] if summaries else ""
    return found


# --- notes ---------------------------------------------------------------------------------------


def item(text: str) -> str:
    """A text as one item of a list, its further lines under the first one's."""
    first, *rest = text.strip().splitlines()
    return "\n".join([f"- {first}", *(f"  {line}" if line.strip() else "" for line in rest)])


def literal(subject: str) -> str:
    """A commit's subject, anybody's text, in Markdown: it shows as it is and makes neither markup nor a link."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", printable(subject))


def page(
    title: str, date: str, fragments: Fragments, commits: list[tuple[str, str]], since: str, revisions: list[str]
) -> str:
    """The notes of one version.

    :param title: the project and its version.
    :param commits: short hash and subject, the newest first.
    :param since: the tag before; empty for the first version, whose history is no list of changes.
    :param revisions: files of migrations that are new.
    """
    blocks = [f"# {title}", f"Released {date}{f', after {since}' if since else ''}."]
    if fragments.summary:
        blocks.append(fragments.summary)
    for section, heading in SECTIONS.items():
        if entries := fragments.sections.get(section):
            blocks += [f"## {heading}", "\n".join(item(text) for dummy, text in entries)]
    if revisions:
        blocks += ["## Revisions of the schema", "\n".join(f"- `{path}`" for path in revisions)]
    if since and commits:
        blocks += ["## Commits", "\n".join(f"- `{short}` {literal(subject)}" for short, subject in commits)]
    return "\n\n".join(blocks) + "\n"


def new_index(app: str) -> str:
    return f"# Release notes of {app}\n\n{INDEX_MARK}\n\n"


def with_row(index: str, number: str, date: str, summary: str) -> str:
    """The index with a line for this version on top."""
    first = summary.strip().split("\n", 1)[0]
    row = f"- [{number}]({number}.md), {date}{f': {first}' if first else ''}\n"
    if INDEX_MARK not in index:
        raise Refused(
            f"{INDEX} is there and lacks the line {INDEX_MARK}, below which versions are listed. Add it, or rename the file."
        )
    head, dummy, tail = index.partition(INDEX_MARK)
    return f"{head}{INDEX_MARK}\n\n{row}{tail.lstrip()}"


# --- the checklist -------------------------------------------------------------------------------


def open_boxes(text: str) -> list[str]:
    """What must be ticked before a tag and is not."""
    return [box[4] for box in boxes(text) if box[2] == " "]


def boxes(text: str) -> list[re.Match[str]]:
    """The boxes that are ticked before a tag."""
    later = LATER.search(text)
    return list(BOX.finditer(text, 0, later.start() if later else len(text)))


def unticked(text: str) -> str:
    """The checklist for the version after this one."""
    return BOX.sub(r"\1 \3\4", text)


def archived(text: str, number: str) -> str:
    """The ticked list, kept beside the notes: what comes after the tag is ticked there."""
    return re.sub(r"\A(# .*)", rf"\1, {number}", text)


def checklist_problems(path: str, text: str | None) -> list[str]:
    """Why a checklist does not allow a release."""
    if text is None:
        return [
            f"kit_release_checklist is '{path}', and there is no such file. playbooks/kit.yml writes it; '' does without."
        ]
    if not boxes(text):
        return [
            f"{path} has no box to tick before a tag. Write lines such as '- [ ] The checks are green.', above During and After."
        ]
    missing = open_boxes(text)
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    named = "; ".join(f"'{one}'" for one in missing[:3])
    return (
        [f"{path} has boxes that are not ticked: {named}{more}. Tick what is true; it need not be committed."]
        if missing
        else []
    )
