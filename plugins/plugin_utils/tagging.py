# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release of a repository: what stands against it, what it changes, the one commit and the tag.

The commit is made in a working tree of its own, beside the person's. Theirs moves last, by a fast-forward, when commit, tag and push are there:
so a failure on the way leaves it as it was, and undoing is removing a tag that nobody has seen.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import kits, notes, sources
from .notes import Refused

PREFIX = re.compile(r"[A-Za-z0-9._/-]*")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
NAMED = 10  # files in one message
LINES = 20  # of a command that failed


class Repository:
    """A person's clone. Every call is an argument list; git's own words are part of a refusal."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def git(self, *arguments: str) -> str:
        try:
            return sources.git(list(arguments), folder=self.folder).decode(errors="replace")
        except subprocess.CalledProcessError as error:
            said = (error.stderr + error.stdout).decode(errors="replace").strip()
            raise Refused(f"git {arguments[0]} in {self.folder} says: {sources.without_password(said)}") from None
        except sources.SourceError as error:
            raise Refused(str(error)) from None

    def maybe(self, *arguments: str) -> str:
        """git's answer in one line; nothing when it has none."""
        try:
            return self.git(*arguments).strip()
        except Refused:
            return ""

    def holds(self, older: str, newer: str) -> bool:
        """Whether one commit is in the history of another."""
        try:
            self.git("merge-base", "--is-ancestor", older, newer)
        except Refused:
            return False
        return True

    def commit(self, name: str) -> str:
        """The commit of a name; nothing when there is none."""
        return self.maybe("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}")

    def path(self, name: str) -> str:
        """A file's path. One behind a link may be anywhere, and is refused."""
        top = os.path.realpath(self.folder)
        found = os.path.join(top, name)
        if (
            os.path.islink(found)
            or os.path.realpath(found) != os.path.normpath(found)
            or not found.startswith(f"{top}/")
        ):
            raise Refused(
                f"{name} is a link, or leaves {self.folder}. A release writes plain files inside of the repository: name one."
            )
        return found

    def text(self, name: str) -> str | None:
        """A file's text with its line ends; None when there is none."""
        try:
            with open(self.path(name), "rb") as stream:
                return stream.read().decode()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{name} cannot be read as text: {error}. Mend it.") from None

    def dirty(self) -> list[str]:
        """Files that are not as the commit has them, untracked ones included."""
        entries = self.git("status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames").split("\0")
        return sorted(entry[3:] for entry in entries if entry)


@dataclass
class Remote:
    """Where a release is pushed to, and what is there now."""

    name: str = ""
    ref: str = ""
    branch: str = ""  # commit
    tag: str = ""  # object


@dataclass
class Release:
    """A release that nothing stands against: path to its text before and after, None for no file."""

    title: str
    version: str
    date: str
    tag: str
    head: str
    branch: str
    since: str
    commits: int
    fragments: notes.Fragments
    remote: Remote
    before: dict[str, str | None] = field(default_factory=dict)
    after: dict[str, str | None] = field(default_factory=dict)


# --- what is there -------------------------------------------------------------------------------


def opened(dest: str) -> Repository:
    """The repository whose top is kit_dest."""
    repository = Repository(dest)
    top = repository.git("rev-parse", "--show-toplevel").strip()
    if os.path.realpath(top) != os.path.realpath(dest):
        raise Refused(
            f"kit_dest is '{dest}', and the repository's top is {top}. A release is one of the whole repository: name its top."
        )
    if not repository.commit("HEAD"):
        raise Refused(f"{dest} has no commit. A release is one of a commit: make the first one.")
    if repository.maybe("rev-parse", "--is-shallow-repository") == "true":
        raise Refused(
            f"{dest} is a shallow clone, in which the last version may be missing. Run there: git fetch --unshallow --tags"
        )
    return repository


def name_problems(v: Mapping[str, Any]) -> list[str]:
    """What is wrong with the inputs before anything is read."""
    found = []
    wanted, prefix, date = str(v.get("kit_release") or ""), str(v["kit_release_tag_prefix"]), str(v["kit_release_date"])
    if not notes.version(wanted):
        found.append(
            f"kit_release is '{wanted}'. Write three numbers, for example -e kit_release=1.5.0, without '{prefix}': that is the tag's. "
            "What is tried out before a release is a branch or a commit in app_version."
        )
    if not PREFIX.fullmatch(prefix):
        found.append(
            f"kit_release_tag_prefix is '{prefix}'. Use letters, digits, dots, dashes and slashes, for example 'v'."
        )
    if date and not DATE.fullmatch(date):
        found.append(f"kit_release_date is '{date}'. Write it like 2026-11-22, or leave it out for today.")
    for name in ("kit_release_version_file", "kit_release_fragments", "kit_release_checklist"):
        path = str(v[name])
        if path and (os.path.isabs(path) or os.path.normpath(path) != path or path.startswith("..")):
            found.append(f"{name} is '{path}'. Write a path relative to the repository's top, for example 'VERSION'.")
    return found


def last_tag(repository: Repository, prefix: str) -> tuple[str, notes.Version | None]:
    """The greatest version among the tags in HEAD's history."""
    names = repository.git("tag", "--list", "--merged", "HEAD").split()
    found = [
        (number, name) for name in names if name.startswith(prefix) and (number := notes.version(name[len(prefix) :]))
    ]
    return (max(found)[1], max(found)[0]) if found else ("", None)


def remote(repository: Repository, branch: str, tag: str, asked: bool, push: bool) -> Remote:
    """The branch's upstream, or origin where it has none and a push is wanted.

    :param asked: whether it is asked what it has. It is asked for names alone: nothing is fetched.
    """
    listed = repository.maybe(
        "for-each-ref", "--format=%(upstream:remotename)\t%(upstream:remoteref)", f"refs/heads/{branch}"
    )
    name, dummy, ref = listed.partition("\t")
    if not name and push:
        name, ref = "origin", f"refs/heads/{branch}"
        if name not in repository.git("remote").split():
            raise Refused(
                f"kit_release_push is true, and {branch} has no upstream and there is no remote 'origin'. Run: git remote add origin URL"
            )
    found = Remote(name, ref)
    if name and (asked or push):
        try:
            lines = repository.git("ls-remote", name, ref, f"refs/tags/{tag}").splitlines()
        except Refused as error:
            raise Refused(
                f"The upstream {name} cannot be asked whether {branch} is behind it. {error} Mend the way there, or do without the question: "
                "-e kit_release_upstream_asked=false."
            ) from None
        there = dict(reversed(line.split("\t", 1)) for line in lines)
        found.branch, found.tag = there.get(ref, ""), there.get(f"refs/tags/{tag}", "")
    return found


def commits(repository: Repository, since: str) -> list[tuple[str, str]]:
    """Short hash and subject of what came since a tag, the newest first, without merges."""
    out = repository.git("log", "--no-merges", "--format=%h%x09%s", f"{since}..HEAD" if since else "HEAD")
    return [(line.split("\t", 1)[0], line.split("\t", 1)[1]) for line in out.split("\n") if "\t" in line]


def revisions(repository: Repository, since: str, folder: str) -> list[str]:
    """Migrations that are new since a tag."""
    if not since:
        return []
    out = repository.git("diff", "--name-only", "--diff-filter=A", "-z", since, "HEAD", "--", f"{folder}/versions")
    return sorted(path for path in out.split("\0") if path.endswith(".py"))


def fragment_texts(repository: Repository, folder: str) -> dict[str, str]:
    """Path to text of the fragments; names that begin with a dot are none."""
    found = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(repository.path(folder))):
            if name.endswith((".yml", ".yaml")) and not name.startswith("."):
                found[f"{folder}/{name}"] = repository.text(f"{folder}/{name}") or ""
    return found


# --- what stands against it ----------------------------------------------------------------------


@contextlib.contextmanager
def collected(problems: list[str]) -> Iterator[None]:
    """One check of many: its refusal is one more in the list."""
    try:
        yield
    except Refused as refused:
        problems.extend(refused.problems)


def tree_problems(repository: Repository, branch: str, wanted: str, checklist: str) -> list[str]:
    """Branch, files that are not committed, and who commits."""
    found = []
    if not branch:
        found.append(f"HEAD is on no branch. A release is one of a branch: git switch {wanted or 'main'}")
    elif wanted and branch != wanted:
        found.append(
            f"The branch is {branch}, and kit_release_branch is '{wanted}'. Run git switch {wanted}, or say -e kit_release_branch={branch}."
        )
    dirty = [name for name in repository.dirty() if name != checklist]
    if dirty:
        more = f" and {len(dirty) - NAMED} more" if len(dirty) > NAMED else ""
        found.append(
            f"Not committed: {', '.join(dirty[:NAMED])}{more}. Commit them, or put them aside with git stash -u."
        )
    with collected(found):
        repository.git("var", "GIT_COMMITTER_IDENT")
    return found


def number_problems(
    tag: str, number: notes.Version, last: tuple[str, notes.Version | None], found: notes.Fragments, prefix: str
) -> list[str]:
    """Whether the version is one that may follow the last."""
    name, before = last
    if before is None:
        return []
    least = notes.least(before, found.sections)
    if number >= least:
        return []
    kinds = [kind for kind in notes.SECTIONS if kind in found.sections and kind in (notes.BREAKING | notes.ADDING)]
    paths = sorted({path for kind in kinds[:1] for path, dummy in found.sections[kind]})
    because = f", and {', '.join(paths)} has {kinds[0]}" if kinds and number > before else ""
    return [
        f"{tag} cannot follow {name}{because}. Use {notes.dotted(least)} or greater: -e kit_release={notes.dotted(least)}"
    ]


def checklist_text(repository: Repository, path: str) -> str | None:
    """The checklist, of which the ticks alone may be uncommitted."""
    text = repository.text(path)
    if text is not None and path in repository.dirty():
        committed = repository.maybe("rev-parse", "--quiet", "--verify", f"HEAD:{path}")
        if not committed or notes.unticked(repository.git("show", f"HEAD:{path}")) != notes.unticked(text):
            raise Refused(f"{path} has changes other than ticks that are not committed. Commit them.")
    return text


def plan(repository: Repository, v: Mapping[str, Any], stale: list[str], date: str) -> Release:
    """The release, or everything that stands against it.

    :param v: the inputs.
    :param stale: files of the kit that are stale.
    :param date: the day of the release.
    """
    wanted, prefix, app = str(v["kit_release"]), str(v["kit_release_tag_prefix"]), str(v["app_name"])
    tag, branch = f"{prefix}{wanted}", repository.maybe("symbolic-ref", "--quiet", "--short", "HEAD")
    checklist, version_file = str(v["kit_release_checklist"]), str(v["kit_release_version_file"])
    problems = tree_problems(repository, branch, str(v["kit_release_branch"]), checklist)
    there, found, ticked = Remote(), notes.Fragments(), None
    with collected(problems):
        there = (
            remote(repository, branch, tag, bool(v["kit_release_upstream_asked"]), bool(v["kit_release_push"]))
            if branch
            else there
        )
        if there.tag:
            raise Refused(f"{there.name} has the tag {tag} already. Run git fetch --tags, and use a greater version.")
        if there.branch and not (repository.commit(there.branch) and repository.holds(there.branch, "HEAD")):
            raise Refused(
                f"{branch} is behind {there.name}, which has {there.branch[:7]}. Run git pull, and look at what has come."
            )
    last = last_tag(repository, prefix)
    listed = commits(repository, last[0])
    with collected(problems):
        found = notes.read_fragments(fragment_texts(repository, str(v["kit_release_fragments"])))
        if last[0] and not listed and not found.paths:
            raise Refused(
                f"Nothing has changed since {last[0]}: no commit and no fragment. There is nothing to release."
            )
    problems += number_problems(tag, notes.version(wanted) or (0, 0, 0), last, found, prefix)
    pages = {"notes": f"{notes.FOLDER}/{wanted}.md", "checklist": f"{notes.FOLDER}/{wanted}-checklist.md"}
    before: dict[str, str | None] = dict.fromkeys(pages.values())
    after: dict[str, str | None] = {}
    folder = kits.inside(str(v.get("app_subdir") or ""), str(v.get("migrate_directory") or "migrations"))
    for path in pages.values():
        with collected(problems):
            if os.path.lexists(repository.path(path)):
                problems.append(f"{path} is there already. It becomes a page of this release: rename yours.")
    after[pages["notes"]] = notes.page(
        f"{app} {wanted}", date, found, listed, last[0], revisions(repository, last[0], folder)
    )
    with collected(problems):
        before[notes.INDEX] = repository.text(notes.INDEX)
        after[notes.INDEX] = notes.with_row(before[notes.INDEX] or notes.new_index(app), wanted, date, found.summary)
    if version_file:
        with collected(problems):
            before[version_file] = repository.text(version_file)
            if before[version_file] is None:
                raise Refused(
                    f"kit_release_version_file is '{version_file}', and there is no such file. Name the one with the version; '' does without: "
                    "then the tag alone says it."
                )
            after[version_file] = notes.with_version(version_file, before[version_file] or "", wanted)
    if checklist:
        with collected(problems):
            before[checklist] = ticked = checklist_text(repository, checklist)
            problems += notes.checklist_problems(checklist, ticked)
            after[checklist] = notes.unticked(ticked or "")
            after[pages["checklist"]] = notes.archived(ticked or "", wanted)
    for path in found.paths:
        before[path], after[path] = repository.text(path), None
    if stale:
        problems.append(
            f"{len(stale)} files of the kit are stale: {', '.join(stale)}. Run playbooks/kit.yml and commit what it writes."
        )
    if problems:
        raise Refused(*problems)
    return Release(
        f"{app} {wanted}", wanted, date, tag, repository.commit("HEAD"), branch, last[0], len(listed), found, there,
        {path: before.get(path) for path in after}, after,
    )  # fmt: skip


# --- what is done --------------------------------------------------------------------------------


def command(argv: list[str], folder: str, what: str) -> None:
    """A command of the person's own, without a shell."""
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise Refused(
            f"{what} is {argv}, and it cannot be started in {folder}: {error.strerror}. Name a program that is on PATH."
        ) from None
    if done.returncode != 0:
        lines = "\n".join((done.stdout + done.stderr).strip().splitlines()[-LINES:])
        raise Refused(f"{what}, {argv}, ended with {done.returncode} in {folder}. Its last lines:\n{lines}")


def filled(word: Any, release: Release) -> str:
    """A word of a command, with the version and the day where it has them."""
    return str(word).replace("{version}", release.version).replace("{date}", release.date)


@contextlib.contextmanager
def beside(repository: Repository, commit: str) -> Iterator[Repository]:
    """A working tree of its own at a commit, gone afterwards."""
    folder = tempfile.mkdtemp(prefix="decant-release-")
    place = os.path.join(folder, "tree")
    try:
        repository.git("worktree", "add", "--quiet", "--detach", place, commit)
        yield Repository(place)
    finally:
        with contextlib.suppress(Refused):
            repository.git("worktree", "remove", "--force", place)
        shutil.rmtree(folder, ignore_errors=True)


def written(tree: Repository, release: Release, prepare: list[list[str]]) -> None:
    """The release's files in the tree that becomes its commit, and what commands of the person's own make of them."""
    for path, text in release.after.items():
        if text is not None:
            os.makedirs(os.path.dirname(tree.path(path)), exist_ok=True)
            with open(tree.path(path), "wb") as stream:
                stream.write(text.encode())
    for argv in prepare:
        command(argv, tree.folder, "A command of kit_release_prepare")
    for path in (path for path, text in release.after.items() if text is None):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(tree.path(path))
    tree.git("add", "--all")
    tree.git("add", "--", *(path for path, text in release.after.items() if text is not None))


def push(repository: Repository, there: Remote, commit: str, tag: str) -> None:
    """The branch and the tag, both or neither."""
    repository.git("push", "--quiet", "--atomic", there.name, f"{commit}:{there.ref}", f"refs/tags/{tag}")


def forward(repository: Repository, commit: str, checklist: str) -> None:
    """The person's branch and files at the release. Ticks that were not committed are in its copy of the checklist by now."""
    ticked = repository.text(checklist) if checklist and checklist in repository.dirty() else None
    try:
        if ticked is not None:
            repository.git("checkout", "--quiet", "HEAD", "--", checklist)
        repository.git("merge", "--quiet", "--ff-only", commit)
    except BaseException:
        if ticked is not None:
            with open(repository.path(checklist), "wb") as stream:
                stream.write(ticked.encode())
        raise


def signed(repository: Repository, tag: str) -> None:
    """Refuse a tag that git should have signed and did not: with a key that is missing, git 2.39 says so and ends well."""
    if repository.maybe("config", "--type=bool", "--get", "tag.gpgSign") != "true":
        return
    if "\n-----BEGIN " not in repository.git("cat-file", "tag", tag):
        raise Refused(
            f"tag.gpgSign is true, and git has not signed {tag}. Mend user.signingKey, and try: git tag -s -m x x"
        )


def make(repository: Repository, release: Release, v: Mapping[str, Any]) -> str:
    """Commit, tag, push when asked, and the person's branch forward.

    :returns: the commit.
    """
    tagged = pushed = False
    try:
        with beside(repository, release.head) as tree:
            written(tree, release, [[filled(word, release) for word in argv] for argv in v["kit_release_prepare"]])
            tree.git("commit", "--quiet", "--message", f"Release {release.version}")
            commit = tree.commit("HEAD")
        # Verbatim but for blanks: a line of the summary may begin with '#'.
        words = "\n\n".join(filter(None, (release.title, release.fragments.summary)))
        repository.git("tag", "--annotate", "--cleanup=whitespace", "--message", words, release.tag, commit)
        tagged = True
        signed(repository, release.tag)
        if v["kit_release_push"]:
            push(repository, release.remote, commit, release.tag)
            pushed = True
        forward(repository, commit, str(v["kit_release_checklist"]))
    except BaseException as error:
        if pushed:
            raise Refused(
                f"{release.tag} is made and pushed, and your branch could not follow: {error} Run the same again."
            ) from error
        if tagged:
            repository.git("update-ref", "-d", f"refs/tags/{release.tag}")
        if isinstance(error, Refused):
            raise Refused(*error.problems, "There is no commit and no tag; your files are as they were.") from None
        raise
    return commit


def released(repository: Repository, v: Mapping[str, Any]) -> str:
    """The commit of a release that is made already; nothing when there is none. A tag that is something else is refused."""
    wanted = str(v["kit_release"])
    tag = f"{v['kit_release_tag_prefix']}{wanted}"
    commit = repository.commit(f"refs/tags/{tag}")
    if not commit:
        return ""
    if not repository.maybe("rev-parse", "--quiet", "--verify", f"{commit}:{notes.FOLDER}/{wanted}.md"):
        raise Refused(
            f"{tag} is tagged already, at {commit[:7]}, and not by release.yml: that commit has no {notes.FOLDER}/{wanted}.md. "
            "A tag is never moved: use a greater version."
        )
    if not repository.holds(commit, "HEAD") and not repository.holds("HEAD", commit):
        raise Refused(
            f"{tag} is released already, at {commit[:7]}, and not on this branch. Switch to its branch, or use a greater version."
        )
    return commit


def finish(repository: Repository, v: Mapping[str, Any], commit: str, check: bool) -> list[str]:
    """What is still to do for a release that is made: a branch that a killed run has left behind, a push that is asked for now.

    :returns: what was done, or would be.
    """
    tag = f"{v['kit_release_tag_prefix']}{v['kit_release']}"
    branch = repository.maybe("symbolic-ref", "--quiet", "--short", "HEAD")
    did = []
    if not repository.holds(commit, "HEAD"):
        problems = tree_problems(repository, branch, str(v["kit_release_branch"]), str(v["kit_release_checklist"]))
        if problems:
            raise Refused(*problems)
        did.append(f"{branch} goes forward to {commit[:7]}")
        if not check:
            forward(repository, commit, str(v["kit_release_checklist"]))
    if v["kit_release_push"]:
        if not branch:
            raise Refused("HEAD is on no branch, and kit_release_push pushes one. Run git switch.")
        there = remote(repository, branch, tag, True, True)
        own = repository.git("rev-parse", f"refs/tags/{tag}").strip()
        if there.tag and there.tag != own:
            raise Refused(
                f"{there.name} has another tag {tag} ({there.tag[:7]}, and here it is {own[:7]}). A tag is never moved: use a greater version."
            )
        if not there.tag:
            did.append(f"{branch} and {tag} are pushed to {there.name}")
            if not check:
                push(repository, there, commit, tag)
    return did
