# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What mkdocs adds to docs/: links that hold in the repository and on the site, and pages made of what the plugins say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from test_bench import tool

ROOT = Path(__file__).resolve().parents[2]
pages = tool("docs_pages")

KNOWN = {
    "README.md": "overview.md",
    "docs/security.md": "security.md",
    "docs/runbooks/disk.md": "runbooks/disk.md",
    "roles/nginx/README.md": "reference/roles/nginx.md",
    "roles/app/README.md": "reference/roles/app.md",
    "playbooks/rollback.yml": "reference/playbooks.md#rollback",
}


@pytest.mark.parametrize(
    ("target", "origin", "page", "wanted"),
    [
        ("../README.md", "docs/security.md", "security.md", "overview.md"),
        ("../roles/nginx/README.md", "docs/security.md", "security.md", "reference/roles/nginx.md"),
        ("../../docs/security.md", "roles/nginx/README.md", "reference/roles/nginx.md", "../../security.md"),
        ("../app/README.md#toc", "roles/nginx/README.md", "reference/roles/nginx.md", "app.md#toc"),
        ("docs/runbooks/disk.md", "README.md", "overview.md", "runbooks/disk.md"),
        ("../security.md#the-host", "docs/runbooks/disk.md", "runbooks/disk.md", "../security.md#the-host"),
        ("../playbooks/rollback.yml", "docs/security.md", "security.md", "reference/playbooks.md#rollback"),
        ("#toc", "roles/nginx/README.md", "reference/roles/nginx.md", "#toc"),
        ("https://example.org/README.md", "README.md", "overview.md", "https://example.org/README.md"),
        ("/README.md", "docs/security.md", "security.md", "/README.md"),
        ("../roles/none/README.md", "docs/security.md", "security.md", "../roles/none/README.md"),
    ],
)
def test_a_link_leads_to_the_page_of_a_file(target: str, origin: str, page: str, wanted: str):
    assert pages.led(target, origin, page, KNOWN) == wanted


def test_code_is_no_link():
    text = "[a](../README.md) `[b](../README.md)`\n\n```text\n[c](../README.md)\n```\n\n[`d`](../README.md)\n"
    assert pages.rewritten(text, "docs/security.md", "security.md", KNOWN) == (
        "[a](overview.md) `[b](../README.md)`\n\n```text\n[c](../README.md)\n```\n\n[`d`](overview.md)\n"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Takes C(a) or V(b), never O(c=d).", "Takes `a` or `b`, never `c=d`."),
        ("I(Slowly), with B(care): C(f(x)).", "*Slowly*, with **care**: `f(x)`."),
        (["One.", "Two\nlines."], "One. Two lines."),
        ("See L(the page, https://example.org/x).", "See [the page](https://example.org/x)."),
    ],
)
def test_the_plugins_markup_as_markdown(text: str | list[str], wanted: str):
    assert pages.plain(text) == wanted


def test_a_plugin_as_a_section():
    entry = {
        "doc": {
            "short_description": "Takes the lock",
            "description": ["It is a lease."],
            "has_action": True,
            "options": {
                "name": {"type": "str", "required": True, "description": "Whose."},
                "state": {"type": "str", "choices": ["held", "a|b"], "default": "held", "description": "What."},
                "more": {
                    "type": "dict",
                    "description": "More.",
                    "suboptions": {"x": {"type": "int", "description": "X."}},
                },
            },
        },
        "examples": "\n- name: Take it\n",
        "return": {"lock": {"type": "dict", "description": "It.", "contains": {"who": {"type": "str"}}}},
    }
    text = pages.section("lock", entry)
    assert text.startswith("## lock {#lock}\n\nTakes the lock.\n\nIt is a lease.\n")
    assert "| `name` | str | required | Whose. |" in text
    assert '| `state` | str: `held`, `a\\|b` | `"held"` | What. |' in text
    assert "| `more.x` | int |  | X. |" in text
    assert "```yaml\n- name: Take it\n```" in text
    assert "| `lock.who` | str |  |" in text


def test_a_playbook_is_known_by_the_comment_at_its_top():
    assert pages.header("---\n# One, and\n# two.\n- hosts: all\n# three\n") == "One, and two."
    text = pages.playbooks_page()
    for path in ROOT.glob("playbooks/*.yml"):
        assert len(pages.header(path.read_text(encoding="utf-8"))) > 20, path
        assert f"{{#{path.stem}}}" in text
    assert "ansible-playbook -i inventories/production deploy.yml" in text
    assert "playbooks/deploy.yml" not in text


@pytest.mark.parametrize(("type_", "folder"), [("module", "modules"), ("filter", "filter"), ("lookup", "lookup")])
def test_every_plugin_has_a_section(type_: str, folder: str):
    found = pages.documented(type_)
    ours = {path.stem for path in (ROOT / "plugins" / folder).glob("*.*")} - {"quoting"}
    assert set(found) == ours
    for entry in found.values():
        assert str(ROOT) not in pages.section("x", entry)


def test_a_link_of_the_repository_leads_to_a_file():
    """In the repository as on the site. Anchors are mkdocs' to check."""
    bad = []
    for origin in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/README.md")]:
        for target in pages.links(origin.read_text(encoding="utf-8")):
            path = target.partition("#")[0]
            if path and "://" not in path and not (origin.parent / path).is_file():
                bad.append(f"{origin.relative_to(ROOT)}: {target}")
    assert bad == []


def test_nothing_is_asked_of_another_host():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert (config["theme"]["font"], config["strict"], config["extra"]["generator"]) == (False, True, False)
    assert set(config["validation"]["links"].values()) == set(config["validation"]["nav"].values()) == {"warn"}
