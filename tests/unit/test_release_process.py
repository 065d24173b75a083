# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""playbooks/release.yml on real repositories: every refusal, the one commit and tag, the failure midway, the push that is asked for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.decant.flask.plugins.plugin_utils import notes, tagging
from controller import play

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = yaml.safe_load((ROOT / "roles/kit/defaults/main.yml").read_text(encoding="utf-8"))
CHECKLIST = "# Release checklist of projects\n\n## Before\n\n- [ ] Green.\n- [ ] Told.\n\n## During\n\n- [ ] Pushed.\n"
DATE = "2026-11-22"
FIX = {"bugfixes": ["The list is sorted again."]}


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def put(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")


def commit(folder: Path, subject: str, **files: Any) -> None:
    for name, content in files.items():
        put(folder, name, content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", subject)


def tick(folder: Path) -> None:
    """The boxes before the tag."""
    path = folder / "docs/releases/checklist.md"
    before, heading, after = path.read_text().partition("## During")
    path.write_text(before.replace("[ ]", "[x]") + heading + after)


@pytest.fixture(autouse=True)
def nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git as it is for somebody who has a name and nothing else."""
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A clone of a bare repository: 1.4.0 is tagged, a commit and a fragment came since, the boxes are ticked."""
    git(tmp_path, "init", "--quiet", "--bare", "upstream.git")
    git(tmp_path, "clone", "--quiet", "upstream.git", "projects")
    found = tmp_path / "projects"
    git(found, "checkout", "--quiet", "-B", "main")
    files = {"pyproject.toml": '[project]\nname = "projects"\nversion = "1.4.0" # of the last tag\n'}
    commit(found, "Begin", **files, **{"docs/releases/checklist.md": CHECKLIST})
    git(found, "tag", "--annotate", "--message", "v1.4.0", "v1.4.0")
    commit(found, "Sort the <list> *again*", **{"changelogs/fragments/1-sort.yml": FIX})
    git(found, "push", "--quiet", "--set-upstream", "origin", "main", "v1.4.0")
    tick(found)
    return found


def inputs(repo: Path, **changes: Any) -> dict[str, Any]:
    own = {"app_name": "projects", "kit_dest": str(repo), "kit_release": "1.4.1", "kit_release_date": DATE}
    return {**DEFAULTS, **own, **changes}


def plan(repo: Path, stale: list[str] | None = None, **changes: Any) -> tagging.Release:
    v = inputs(repo, **changes)
    return tagging.plan(tagging.opened(str(repo)), v, stale or [], DATE)


def release(repo: Path, **changes: Any) -> str:
    v = inputs(repo, **changes)
    return tagging.make(tagging.opened(str(repo)), plan(repo, **changes), v)


def state(repo: Path) -> dict[str, Any]:
    """All that a failure must leave: refs, the index, every file with its text, and no second working tree."""
    files = {str(p.relative_to(repo)): p.read_bytes() for p in repo.rglob("*") if p.is_file() and ".git" not in p.parts}
    refs = git(repo, "for-each-ref", "--format=%(refname) %(objectname)")
    return {
        "files": files,
        "refs": refs,
        "head": (repo / ".git/HEAD").read_text(),
        "status": git(repo, "status", "--porcelain"),
        "trees": git(repo, "worktree", "list", "--porcelain"),
        "upstream": git(repo.parent / "upstream.git", "for-each-ref"),
    }


# --- a release -----------------------------------------------------------------------------------


def test_one_commit_and_a_tag(repo: Path):
    before = git(repo, "rev-parse", "HEAD")
    made = release(repo)
    assert git(repo, "rev-parse", "HEAD^") == before and git(repo, "rev-parse", "HEAD") == made
    assert git(repo, "cat-file", "-t", "v1.4.1") == "tag" and git(repo, "rev-parse", "v1.4.1^{commit}") == made
    assert git(repo, "status", "--porcelain") == ""
    assert git(repo, "show", "--no-renames", "--name-status", "--format=%s", "HEAD").splitlines() == [
        "Release 1.4.1",
        "",
        "D\tchangelogs/fragments/1-sort.yml",
        "A\tdocs/releases/1.4.1-checklist.md",
        "A\tdocs/releases/1.4.1.md",
        "A\tdocs/releases/release-notes.md",
        "M\tpyproject.toml",
    ]
    assert '\nversion = "1.4.1" # of the last tag\n' in (repo / "pyproject.toml").read_text()
    short = git(repo, "rev-parse", "--short", before)
    assert (repo / "docs/releases/1.4.1.md").read_text() == (
        f"# projects 1.4.1\n\nReleased {DATE}, after v1.4.0.\n\n## Mended\n\n- The list is sorted again.\n\n"
        f"## Commits\n\n- `{short}` Sort the \\<list\\> \\*again\\*\n"
    )
    assert (repo / "docs/releases/checklist.md").read_text() == CHECKLIST
    kept = (repo / "docs/releases/1.4.1-checklist.md").read_text()
    assert (
        kept.startswith("# Release checklist of projects, 1.4.1\n")
        and kept.count("[x]") == 2
        and "- [ ] Pushed." in kept
    )
    assert "v1.4.1" not in git(repo, "ls-remote", "origin")


def test_ticks_that_are_committed_count_as_well(repo: Path):
    commit(repo, "Tick")
    release(repo)
    assert (repo / "docs/releases/checklist.md").read_text() == CHECKLIST
    assert git(repo, "status", "--porcelain") == ""


def test_the_next_release_is_on_top_of_the_index(repo: Path):
    release(repo)
    summary = {"release_summary": "Sorting is quicker.\n\n# Not a comment\n", "minor_changes": ["A\nB"]}
    commit(repo, "More", **{"changelogs/fragments/2.yml": summary})
    tick(repo)
    release(repo, kit_release="1.5.0")
    assert (repo / "docs/releases/release-notes.md").read_text() == (
        f"# Release notes of projects\n\n{notes.INDEX_MARK}\n\n- [1.5.0](1.5.0.md), {DATE}: Sorting is quicker.\n- [1.4.1](1.4.1.md), {DATE}\n"
    )
    page = (repo / "docs/releases/1.5.0.md").read_text()
    assert "after v1.4.1" in page and "Release 1.4.1" not in page and "- A\n  B\n" in page
    assert "# Not a comment" in git(repo, "tag", "--list", "--format=%(contents)", "v1.5.0")


def test_the_first_release_lists_no_history(repo: Path):
    git(repo, "tag", "--delete", "v1.4.0")
    release(repo, kit_release="0.3.0")
    page = (repo / "docs/releases/0.3.0.md").read_text()
    assert f"Released {DATE}.\n" in page and "Commits" not in page


def test_new_revisions_of_the_schema_are_named(repo: Path):
    commit(repo, "Add a column", **{"api/migrations/versions/ab12_note.py": "revision = 'ab12'\n"})
    found = plan(repo, app_subdir="api")
    assert "## Revisions of the schema\n\n- `api/migrations/versions/ab12_note.py`" in (
        found.after["docs/releases/1.4.1.md"] or ""
    )


def test_what_prepare_writes_is_in_the_commit(repo: Path):
    words = ["cp", "docs/releases/{version}.md", "own-{date}.txt"]
    release(repo, kit_release_prepare=[words])
    assert git(repo, "show", f"HEAD:own-{DATE}.txt").startswith("# projects 1.4.1\n")


def test_the_tag_is_signed_when_git_says_so(repo: Path, tmp_path: Path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    for name, value in (("gpg.format", "ssh"), ("user.signingKey", str(tmp_path / "key")), ("tag.gpgSign", "true")):
        git(repo, "config", name, value)
    release(repo)
    assert "BEGIN SSH SIGNATURE" in git(repo, "cat-file", "tag", "v1.4.1")


# --- the push ------------------------------------------------------------------------------------


def test_a_push_brings_branch_and_tag(repo: Path):
    made = release(repo, kit_release_push=True)
    listed = git(repo, "ls-remote", "origin")
    assert f"{made}\trefs/heads/main" in listed and f"{git(repo, 'rev-parse', 'v1.4.1')}\trefs/tags/v1.4.1" in listed


def test_a_release_is_pushed_later(repo: Path):
    made = release(repo)
    commit(repo, "Not for the others yet")
    v = inputs(repo, kit_release_push=True)
    there = tagging.opened(str(repo))
    assert tagging.released(there, v) == made
    before = state(repo)
    assert len(tagging.finish(there, v, made, check=True)) == 1 and state(repo) == before
    assert len(tagging.finish(there, v, made, check=False)) == 1
    assert f"{made}\trefs/heads/main" in git(repo, "ls-remote", "origin")
    assert tagging.finish(there, v, made, check=False) == []


def test_a_branch_without_upstream_goes_to_origin(repo: Path):
    git(repo, "branch", "--unset-upstream")
    release(repo, kit_release_push=True)
    assert "refs/tags/v1.4.1" in git(repo, "ls-remote", "origin")


# --- a failure midway ----------------------------------------------------------------------------


def hook(folder: Path, name: str, when: str = "true") -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\nif {when}; then echo 'not today' >&2; exit 1; fi\n")
    path.chmod(0o755)


def no_commit(repo: Path) -> None:
    hook(repo / ".git/hooks", "commit-msg")


def no_tag(repo: Path) -> None:
    git(repo, "config", "gpg.format", "ssh")
    git(repo, "config", "user.signingKey", "/nonexistent/key")
    git(repo, "config", "tag.gpgSign", "true")


def no_push(repo: Path) -> None:
    hook(repo.parent / "upstream.git/hooks", "pre-receive")


def no_tag_there(repo: Path) -> None:
    """The branch alone would be taken."""
    hook(repo.parent / "upstream.git/hooks", "update", '[ "$1" = refs/tags/v1.4.1 ]')


def in_the_way(repo: Path) -> None:
    put(repo, "docs/releases/1.4.1.md", "somebody's, written meanwhile\n")


def no_forward(repo: Path) -> None:
    (repo / ".git/index.lock").touch()


@pytest.mark.parametrize(
    ("broken", "changes"),
    [
        (no_commit, {}),
        (no_tag, {}),
        (no_push, {"kit_release_push": True}),
        (no_tag_there, {"kit_release_push": True}),
        (no_forward, {}),
        (in_the_way, {}),
        (None, {"kit_release_prepare": [["false"]]}),
        (None, {"kit_release_prepare": [["no-such-program"]]}),
    ],
)
def test_a_failure_midway_leaves_nothing(repo: Path, broken: Callable[[Path], None] | None, changes: dict[str, Any]):
    found = plan(repo, **changes)
    if broken:
        broken(repo)
    before = state(repo)
    with pytest.raises(notes.Refused) as refused:
        tagging.make(tagging.opened(str(repo)), found, inputs(repo, **changes))
    assert "There is no commit and no tag" in str(refused.value)
    assert state(repo) == before


def test_a_run_that_was_killed_before_the_branch_followed_is_finished(repo: Path, monkeypatch: pytest.MonkeyPatch):
    def killed(*_: Any) -> None:
        os._exit(9)

    child = os.fork()
    if not child:
        monkeypatch.setattr(tagging, "forward", killed)
        release(repo)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    v, there = inputs(repo), tagging.opened(str(repo))
    made = tagging.released(there, v)
    assert git(repo, "rev-parse", "HEAD") != made
    assert tagging.finish(there, v, made, check=False) == [f"main goes forward to {made[:7]}"]
    assert git(repo, "rev-parse", "HEAD") == made and git(repo, "status", "--porcelain") == ""


def test_what_somebody_commits_meanwhile_stays(repo: Path):
    found = plan(repo)
    commit(repo, "Meanwhile", other="x")
    head = git(repo, "rev-parse", "HEAD")
    with pytest.raises(notes.Refused):
        tagging.make(tagging.opened(str(repo)), found, inputs(repo))
    assert git(repo, "rev-parse", "HEAD") == head and git(repo, "tag", "--list") == "v1.4.0"


# --- what is refused -----------------------------------------------------------------------------


def other_branch(repo: Path) -> None:
    git(repo, "switch", "--quiet", "--create", "topic")


def detached(repo: Path) -> None:
    git(repo, "stash", "--quiet")
    git(repo, "switch", "--quiet", "--detach", "HEAD")
    git(repo, "stash", "pop", "--quiet")


def behind(repo: Path) -> None:
    git(repo.parent, "clone", "--quiet", "upstream.git", "other")
    commit(repo.parent / "other", "Theirs")
    git(repo.parent / "other", "push", "--quiet")


def tagged_upstream(repo: Path) -> None:
    git(repo, "push", "--quiet", "origin", "HEAD:refs/tags/v1.4.1")


def upstream_away(repo: Path) -> None:
    git(repo, "remote", "set-url", "origin", str(repo.parent / "nowhere.git"))


def nothing_new(repo: Path) -> None:
    (repo / "changelogs/fragments/1-sort.yml").unlink()
    commit(repo, "x")
    git(repo, "tag", "--force", "v1.4.0")
    tick(repo)


def nobody(repo: Path) -> None:
    (repo.parent / "gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")


def outside(repo: Path) -> None:
    put(repo.parent, "VERSION", "1.4.0\n")
    (repo / "VERSION").symlink_to("../VERSION")
    commit(repo, "Link")


def having(subject: str = "x", **files: Any) -> Callable[[Path], None]:
    return lambda repo: commit(repo, subject, **files)


def fragment(content: Any) -> Callable[[Path], None]:
    return having(**{"changelogs/fragments/2.yml": content})


REFUSED: dict[str, tuple[Callable[[Path], None] | None, dict[str, Any], str]] = {
    "a file that is not committed": (lambda r: put(r, "api/new.py", ""), {}, "Not committed: api/new.py."),
    "a changed file": (lambda r: put(r, "pyproject.toml", '[project]\nversion = "1"\n'), {}, "Not committed: pyproject.toml."),
    "another branch": (other_branch, {}, "The branch is topic, and kit_release_branch is 'main'"),
    "no branch": (detached, {}, "HEAD is on no branch"),
    "behind": (behind, {}, "main is behind origin"),
    "tagged upstream": (tagged_upstream, {}, "origin has the tag v1.4.1 already"),
    "upstream away": (upstream_away, {}, "cannot be asked whether main is behind it"),
    "no remote to push to": (
        lambda r: git(r, "remote", "remove", "origin"), {"kit_release_push": True}, "there is no remote 'origin'"),
    "nobody commits": (nobody, {}, "git var in"),
    "an older version": (None, {"kit_release": "1.3.9"}, "v1.3.9 cannot follow v1.4.0. Use 1.4.1 or greater"),
    "an addition in a patch": (
        fragment({"minor_changes": ["New."]}), {}, "and changelogs/fragments/2.yml has minor_changes. Use 1.5.0 or greater"),
    "a break in a minor": (
        fragment({"breaking_changes": ["Gone."]}), {"kit_release": "1.9.0"}, "has breaking_changes. Use 2.0.0 or greater"),
    "a removal in a minor": (fragment({"removed_features": ["Gone."]}), {"kit_release": "1.5.0"}, "Use 2.0.0 or greater"),
    "no version file": (None, {"kit_release_version_file": "VERSION"}, "is 'VERSION', and there is no such file"),
    "a file without version": (having(VERSION="a b\n"), {"kit_release_version_file": "VERSION"}, "It needs the version alone"),
    "a link as version file": (outside, {"kit_release_version_file": "VERSION"}, "VERSION is a link"),
    "open boxes": (
        lambda r: git(r, "checkout", "--quiet", "--", "docs"), {}, "boxes that are not ticked: 'Green.'; 'Told.'."),
    "no checklist": (
        lambda r: git(r, "checkout", "--quiet", "--", "docs"),
        {"kit_release_checklist": "docs/other.md"},
        "is 'docs/other.md', and there is no such file",
    ),
    "a checklist without boxes": (having(**{"docs/releases/checklist.md": "# x\n"}), {}, "has no box to tick"),
    "a checklist that is changed": (
        lambda r: put(r, "docs/releases/checklist.md", CHECKLIST.replace("[ ]", "[x]") + "- [x] More.\n"), {}, "other than ticks"),
    "a fragment that is no YAML": (fragment("a: [1\nb"), {}, "changelogs/fragments/2.yml is no YAML, line 2"),
    "a fragment that is no mapping": (fragment("- x\n"), {}, "2.yml is no mapping of sections"),
    "an empty fragment": (fragment(""), {}, "2.yml is no mapping of sections"),
    "an unknown section": (fragment({"bugfix": ["x"]}), {}, "2.yml has the section 'bugfix', which is not one of release_summary,"),
    "a section that is no list": (fragment({"bugfixes": "x"}), {}, "2.yml has bugfixes that is no list of texts"),
    "a mapping where a text is due": (fragment("bugfixes:\n  - one: two\n"), {}, "no list of texts"),
    "a summary that is a list": (fragment({"release_summary": ["x"]}), {}, "has release_summary that is no text"),
    "two summaries": (
        having(**{"changelogs/fragments/2.yml": {"release_summary": "x"}, "changelogs/fragments/3.yml": {"release_summary": "y"}}),
        {}, "2.yml and changelogs/fragments/3.yml have a release_summary"),
    "nothing new": (nothing_new, {}, "Nothing has changed since v1.4.0"),
    "a page that is there": (
        having(**{"docs/releases/1.4.1.md": "mine\n"}), {}, "docs/releases/1.4.1.md is there already"),
    "a page that git ignores": (
        lambda r: (commit(r, "x", **{".gitignore": "1.4.1.md\n"}), put(r, "docs/releases/1.4.1.md", "mine\n")), {},
        "docs/releases/1.4.1.md is there already"),
    "an index of somebody's": (
        having(**{"docs/releases/release-notes.md": "# Ours\n"}), {}, "lacks the line <!-- One line for each version"),
    "a stale kit": (None, {"stale": ["PRODUCTION.md"]}, "1 files of the kit are stale: PRODUCTION.md."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_release_is_refused(repo: Path, case: str):
    change, changes, part = REFUSED[case]
    if change:
        change(repo)
        if "checklist" not in case and "boxes" not in case:
            tick(repo)
    before = state(repo)
    with pytest.raises(notes.Refused) as refused:
        plan(repo, **changes)
    assert len(refused.value.problems) == 1, refused.value.problems
    assert part in str(refused.value)
    assert state(repo) == before


def test_everything_is_refused_at_once(repo: Path):
    other_branch(repo)
    put(repo, "x", "y")
    with pytest.raises(notes.Refused) as refused:
        plan(repo, kit_release="1.0.0", kit_release_version_file="VERSION")
    assert len(refused.value.problems) == 4


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"kit_release": ""}, "kit_release is ''"),
        ({"kit_release": "1.5"}, "Write three numbers"),
        ({"kit_release": "v1.5.0"}, "without 'v'"),
        ({"kit_release": "1.05.0"}, "Write three numbers"),
        ({"kit_release": "1.5.0-rc.1"}, "a branch or a commit in app_version"),
        ({"kit_release_tag_prefix": "v 1"}, "kit_release_tag_prefix is 'v 1'"),
        ({"kit_release_date": "22.11.2026"}, "kit_release_date is"),
        ({"kit_release_version_file": "/etc/passwd"}, "relative to the repository's top"),
        ({"kit_release_fragments": "../x"}, "relative to the repository's top"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, changes: dict[str, Any], part: str):
    (found,) = tagging.name_problems(inputs(tmp_path, **changes))
    assert part in found


def test_what_is_no_whole_repository_is_refused(repo: Path, tmp_path: Path):
    for folder, part in ((tmp_path, "not a git repository"), (repo / "docs", "name its top")):
        with pytest.raises(notes.Refused, match=part):
            tagging.opened(str(folder))
    git(tmp_path, "init", "--quiet", "empty")
    with pytest.raises(notes.Refused, match="has no commit"):
        tagging.opened(str(tmp_path / "empty"))
    git(tmp_path, "clone", "--quiet", "--depth", "1", (tmp_path / "upstream.git").as_uri(), "shallow")
    with pytest.raises(notes.Refused, match="git fetch --unshallow"):
        tagging.opened(str(tmp_path / "shallow"))


def test_a_tag_of_somebody_elses_is_refused(repo: Path):
    git(repo, "tag", "v1.4.1")
    with pytest.raises(notes.Refused, match="not by release.yml"):
        tagging.released(tagging.opened(str(repo)), inputs(repo))


def test_a_release_of_another_branch_is_refused(repo: Path):
    release(repo)
    git(repo, "reset", "--quiet", "--hard", "HEAD^")
    commit(repo, "Elsewhere")
    with pytest.raises(notes.Refused, match="not on this branch"):
        tagging.released(tagging.opened(str(repo)), inputs(repo))


# --- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text", "wanted"),
    [
        ("pyproject.toml", '[tool.x]\nversion = "9"\n[project]\nversion = "1"\n', '[tool.x]\nversion = "9"\n[project]\nversion = "2.0.0"\n'),
        ("api/app/__init__.py", "x = 1\n__version__ = '1'\r\n", "x = 1\n__version__ = '2.0.0'\r\n"),
        ("VERSION", "1.0\n", "2.0.0\n"),
        ("galaxy.yml", "name: x\nversion: 0.1.0 # y\n", "name: x\nversion: 2.0.0 # y\n"),
    ],
)  # fmt: skip
def test_a_version_is_set_where_it_is(path: str, text: str, wanted: str):
    assert notes.with_version(path, text, "2.0.0") == wanted


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("pyproject.toml", '[project]\ndynamic = ["version"]\n[tool.x]\nversion = "1"\n'),
        ("pyproject.toml", '[tool.x]\nversion = "1"\n'),
        ("app.py", "VERSION = '1'\n"),
        ("galaxy.yml", "name: x\n"),
    ],
)
def test_a_version_elsewhere_is_not_guessed(path: str, text: str):
    with pytest.raises(notes.Refused, match="has no version"):
        notes.with_version(path, text, "2.0.0")


@pytest.mark.parametrize(
    ("last", "sections", "wanted"),
    [
        ((1, 4, 2), [], (1, 4, 3)),
        ((1, 4, 2), ["bugfixes", "trivial"], (1, 4, 3)),
        ((1, 4, 2), ["minor_changes"], (1, 5, 0)),
        ((1, 4, 2), ["minor_changes", "breaking_changes"], (2, 0, 0)),
        ((0, 4, 2), ["minor_changes"], (0, 4, 3)),
        ((0, 4, 2), ["removed_features"], (0, 5, 0)),
    ],
)
def test_the_least_version(last: notes.Version, sections: list[str], wanted: notes.Version):
    assert notes.least(last, sections) == wanted


def test_trivial_changes_are_not_shown():
    found = notes.read_fragments({"a.yml": "trivial: [x]\nknown_issues: [y]\n"})
    page = notes.page("p 1.0.0", DATE, found, [], "v0.9.0", [])
    assert "## Known issues\n\n- y\n" in page and "- x" not in page


# --- the playbook --------------------------------------------------------------------------------


def playbook(place: Path, name: str, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """A playbook for the repository in place/projects, whose kit is its release pages."""
    own = {"app_name": "projects", "kit_parts": ["releases"], "kit_release_date": DATE, **changes}
    return play(place, name, place / "projects", own, *arguments)


def test_the_playbook(repo: Path, tmp_path: Path):
    git(repo, "checkout", "--quiet", "--", "docs")
    said = playbook(tmp_path, "kit.yml", "-e", "kit_overwrite=true")
    assert said.returncode == 0, said.stdout + said.stderr
    commit(repo, "Take the kit's pages")
    git(repo, "push", "--quiet")
    tick(repo)
    version = ("-e", "kit_release=1.4.1")

    before = state(repo)
    looked = playbook(tmp_path, "release.yml", *version, "--check", "--diff", kit_release_test_command=["touch", "ran"])
    assert looked.returncode == 0 and "changed=1" in looked.stdout, looked.stdout + looked.stderr
    assert "+Released 2026-11-22, after v1.4.0." in looked.stdout and "Nothing was done." in looked.stdout
    assert state(repo) == before

    refused = playbook(tmp_path, "release.yml", *version, kit_release_test_command=["false"])
    assert refused.returncode != 0 and "['false'], ended with 1" in " ".join(refused.stdout.split())
    littered = playbook(tmp_path, "release.yml", *version, kit_release_test_command=["touch", "ran"])
    assert littered.returncode != 0 and "has left ran" in " ".join(littered.stdout.split())
    (repo / "ran").unlink()
    stale = playbook(tmp_path, "release.yml", *version, kit_release_tag_prefix="release-")
    assert stale.returncode != 0
    assert "files of the kit are stale: docs/releases/README.md" in " ".join(stale.stdout.split())
    assert state(repo) == before

    done = playbook(tmp_path, "release.yml", *version, kit_release_test_command=["true"])
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout + done.stderr
    assert "It is not pushed" in done.stdout and git(repo, "status", "--porcelain") == ""
    assert state(repo)["upstream"] == before["upstream"]

    after = state(repo)
    again = playbook(tmp_path, "release.yml", *version)
    assert again.returncode == 0 and "changed=0" in again.stdout and "projects 1.4.1 is released" in again.stdout
    assert playbook(tmp_path, "kit.yml", "--check").returncode == 0, "a release makes no page of the kit stale"
    assert state(repo) == after

    sent = playbook(tmp_path, "release.yml", *version, "-e", "kit_release_push=true")
    assert sent.returncode == 0 and "changed=1" in sent.stdout, sent.stdout + sent.stderr
    assert "refs/tags/v1.4.1" in state(repo)["upstream"]
    assert "changed=0" in playbook(tmp_path, "release.yml", *version, "-e", "kit_release_push=true").stdout
