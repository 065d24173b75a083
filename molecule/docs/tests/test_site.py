# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The documentation as a site: no link leads nowhere, and a page asks nothing of another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from testing import ROOT, STATE

# What a browser fetches by itself. A link that a reader follows is not among it.
FETCHED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}
FOREIGN = re.compile(r"(?:https?:)?//")


def build(config: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """mkdocs, with its warnings: the ones that it does not print are none to it."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(target)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site() -> Path:
    done = build(ROOT / "mkdocs.yml", STATE / "site")
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout
    return STATE / "site"


class Fetched(HTMLParser):
    """What a page has a browser fetch from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            fetched = name == FETCHED.get(tag) or name in ("srcset", "style")
            if fetched and FOREIGN.search(value or "") and dict(attrs).get("rel") != "canonical":
                self.found.append(f"<{tag} {name}={value}>")


def fetched(text: str) -> list[str]:
    page = Fetched()
    page.feed(text)
    return page.found


def test_the_site_is_whole(site: Path) -> None:
    for page in (
        "index",
        "tutorial",
        "overview",
        "variables",
        "reference/modules",
        "reference/roles/nginx",
        "runbooks/disk",
    ):
        assert "<article" in (site / f"{page}.html").read_text(encoding="utf-8")


def test_a_page_asks_nothing_of_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    assert {str(page): found for page in pages if (found := fetched(page.read_text(encoding="utf-8")))} == {}
    # The theme would get the program for such a picture from elsewhere.
    assert [page for page in pages if 'class="mermaid"' in page.read_text(encoding="utf-8")] == []
    styles = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.css")}
    assert [path for path, text in styles.items() if re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", text)] == []


def test_what_would_be_asked_is_seen() -> None:
    assert fetched('<script src="https://example.org/x.js"></script>') == ["<script src=https://example.org/x.js>"]
    assert fetched('<link href="//example.org/x.css"><img src="x.png"><a href="https://example.org/">x</a>') == [
        "<link href=//example.org/x.css>"
    ]


def test_no_table_and_no_link_stays_text(site: Path) -> None:
    """Markdown that mkdocs reads otherwise than a reader of the repository."""
    left = []
    for page in site.rglob("*.html"):
        body = page.read_text(encoding="utf-8").partition("<article")[2].partition("</article")[0]
        body = re.sub(r"<(pre|code)\b.*?</\1>", "", body, flags=re.DOTALL)
        left += [f"{page}: {line}" for line in body.splitlines() if re.search(r"\]\(|^\s*\| |\| --- \||```|\*\*", line)]
    assert left == []


@pytest.mark.parametrize("link", ["[x](none.md)", "[x](index.md#none)", "[x](/index.md)", "[x](none/)"])
def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path, link: str) -> None:
    ours = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# Title\n\n{link}\n", encoding="utf-8")
    config = {
        "site_name": "x",
        "theme": {"name": "mkdocs"},
        "plugins": [],
        **{key: ours[key] for key in ("strict", "validation")},
    }
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1
    assert "Aborted with 1 warnings in strict mode" in done.stdout
