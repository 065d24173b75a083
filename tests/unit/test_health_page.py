# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The picture: what a person reads on it, and that nothing on it is markup of somebody else's."""

from __future__ import annotations

import html.parser
import re
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.module_utils import health_page

NOW = 1_795_000_000.0
VOID = {"meta", "link", "br", "rect", "line", "path"}


class Reader(html.parser.HTMLParser):
    """The text of a page, its tags and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == [], "every tag is closed"
    return reader


def says(page: str) -> str:
    return re.sub(r"\s+", " ", "".join(read(page).words))


def view(**changes: Any) -> dict[str, Any]:
    bucket = {"asked": 10, "failed": 0, "p50": 0.012, "max": 0.2}
    return {
        "app": "projects",
        "host": "web",
        "generated_at": NOW,
        "refresh_seconds": 30,
        "release": {
            "id": "R1",
            "version": "v1.4.0",
            "commit": "3f1fdde" * 6,
            "since": NOW - 9000,
            "by": "alice@laptop",
        },
        "health": "healthy",
        "silence": None,
        "checks": [
            {
                "name": "live",
                "title": "Liveness",
                "state": "ok",
                "value": "12 ms",
                "limit": "5 s",
                "detail": "",
                "since": NOW,
            }
        ],
        "problems": [],
        "history": {
            "day": [{"at": NOW - 300 * n, **bucket} for n in range(288, 0, -1)],
            "month": [{"at": NOW - 7200 * n, **bucket} for n in range(360, 0, -1)],
        },
        "marks": [{"at": NOW - 9000, "kind": "deploy", "release": "R1", "outcome": "ok", "by": "alice@laptop"}],
        "certificate": {"days": 71.2, "not_after": NOW + 71.2 * 86400},
        "backup": {"at": NOW - 7300, "age": 7300.0},
        **changes,
    }


def test_what_a_person_reads():
    found = says(health_page.render(view()))
    for words in (
        "projects on web",
        "Healthy",
        "No open problem.",
        "R1",
        "v1.4.0",
        "3f1fdde3f1fd",
        "by alice@laptop",
        "71 days left",
        "2 hours ago",
        "Last 24 hours: 100 %",
        "Last 30 days: 100 %",
        "typical answer 12 ms, slowest 200 ms",
        "Liveness",
        "good",
        "deploy R1, ok",
        "Written 2026-",
    ):
        assert words in found, words


def test_what_is_wrong():
    problem = {
        "check": "edge",
        "state": "fail",
        "since": NOW - 600,
        "cause": "connection refused",
        "runbook": "https://x/edge.md",
    }
    history = {"day": [{"at": NOW - 300, "asked": 200, "failed": 1, "p50": 1.5, "max": 2.0}], "month": []}
    silence = {"until": NOW + 600, "reason": "moving the disk", "by": "bob"}
    page = health_page.render(view(health="failing", problems=[problem], history=history, silence=silence))
    found = says(page)
    for words in (
        "Failing",
        "edge, failing: connection refused",
        "for 10 minutes",
        "What to do",
        "99.50 %",
        "no data",
        "No alerts until",
        "by bob: moving the disk",
        "slowest 2.0 s",
    ):
        assert words in found, words
    assert read(page).links == ["data:,", "https://x/edge.md"]


def test_an_outage_is_never_rounded_away():
    buckets = [{"at": NOW, "asked": 1_000_000, "failed": 1, "p50": 0, "max": 0}]
    assert health_page.uptime(buckets) == "99.99 %"
    assert health_page.uptime([]) == "no data"


def test_nothing_is_known_yet():
    page = health_page.render(
        view(
            release=None,
            health="new",
            checks=[],
            history={"day": [], "month": []},
            marks=[],
            certificate=None,
            backup=None,
        )
    )
    found = says(page)
    for words in ("Unknown", "none serves", "none seen", "no data", "nothing measured", "None on record."):
        assert words in found, words


def hostile(value: Any) -> Any:
    """Markup in every text."""
    if isinstance(value, str):
        return f'"><script>{value}</script>'
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    return [hostile(item) for item in value] if isinstance(value, list) else value


def test_nothing_is_markup_of_somebody_elses():
    bad = view(
        problems=[{"check": "edge", "state": "fail", "since": NOW, "cause": "x", "runbook": "javascript:alert(1)"}],
        silence={"until": NOW, "reason": "x", "by": "y"},
    )
    page = health_page.render(hostile(bad))
    assert "script" not in read(page).tags
    assert "javascript:" not in " ".join(read(page).links)
    assert "script" not in read(health_page.render_fleet([hostile(bad)], NOW)).tags


def test_the_page_asks_for_nothing():
    page = health_page.render(view())
    assert read(page).links == ["data:,"]
    assert not re.search(r"https?://|@import|url\(|<script|<img", page)
    assert '<meta http-equiv="refresh" content="30">' in page


@pytest.mark.parametrize("name", ["day", "month"])
def test_a_gap_is_a_gap(name: str):
    width = {"day": 300, "month": 7200}[name]
    bucket = {"asked": 1, "failed": 0, "p50": 0.01, "max": 0.01}
    whole = [{"at": n * width, **bucket} for n in range(10)]
    drawn = [
        health_page.sparkline(found, width, 0, 10 * width, [], "x").count("M")
        for found in (whole, whole[:4] + whole[6:], whole[::3])
    ]
    assert drawn == [1, 2, 4]


def test_a_fleet_is_one_report():
    page = health_page.render_fleet([view(), {"host": "web2", "app": "projects", "error": "unreachable"}], NOW)
    found = says(page)
    for words in ("projects, 2 hosts", "web2", "not read", "unreachable", "projects on web", "Report of 2026-"):
        assert words in found, words
    assert "refresh" not in page
    assert "0 hosts" in says(health_page.render_fleet([], NOW))
