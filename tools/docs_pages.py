# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What mkdocs adds to docs/ when it builds the site: pages that live elsewhere in the repository, and generated ones.

Links of the repository's pages lead to files of the repository, so that they work where the repository is read. On the way into
the site each is led to the page that the file has become: roles/nginx/README.md to reference/roles/nginx.md, and
playbooks/rollback.yml to its part of reference/playbooks.md. What no page comes of is left as it is, and mkdocs refuses it.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
MODULES, PLUGINS, PLAYBOOKS = "reference/modules.md", "reference/plugins.md", "reference/playbooks.md"
KINDS = {"filter": "Filters", "lookup": "Lookups", "callback": "Callbacks"}


def moved(root: Path = ROOT) -> dict[str, str]:
    """Files that are a page of the site as they are, by their path in the repository."""
    roles = sorted(path.parent.name for path in root.glob("roles/*/README.md"))
    return {
        "README.md": "overview.md",
        "CHANGELOG.md": "changelog.md",
        **{f"roles/{role}/README.md": f"reference/roles/{role}.md" for role in roles},
    }


@cache
def places() -> dict[str, str]:
    """Where on the site a file of the repository is: a page, or a heading of one."""
    pages = {
        f"docs/{path.relative_to(ROOT / 'docs')}": str(path.relative_to(ROOT / "docs"))
        for path in (ROOT / "docs").rglob("*.md")
    }
    modules = {f"plugins/modules/{path.name}": f"{MODULES}#{path.stem}" for path in ROOT.glob("plugins/modules/*.py")}
    playbooks = {f"playbooks/{path.name}": f"{PLAYBOOKS}#{path.stem}" for path in ROOT.glob("playbooks/*.yml")}
    return {**pages, **modules, **playbooks, "deploy.yml": f"{PLAYBOOKS}#deploy", **moved()}


# --- links ---------------------------------------------------------------------------------------


def led(target: str, origin: str, page: str, known: dict[str, str]) -> str:
    """The target of a link for the site.

    :param target: as it is written in the file, for example ../roles/nginx/README.md#variables.
    :param origin: path of that file in the repository.
    :param page: path of the page that the file has become, in the site.
    :param known: where on the site each file of the repository is.
    """
    path, _, anchor = target.partition("#")
    if not path or re.match(r"[a-z][a-z0-9+.-]*:|/", path):
        return target
    place = known.get(posixpath.normpath(posixpath.join(posixpath.dirname(origin), path)))
    if place is None:
        return target
    place, _, heading = place.partition("#")
    anchor = anchor or heading
    return posixpath.relpath(place, posixpath.dirname(page) or ".") + (f"#{anchor}" if anchor else "")


def relinked(text: str, change: Callable[[str], str]) -> str:
    """A page's text with the target of each link changed. Code is left as it is."""
    parts = re.split(r"(^```.*?^```|`[^`\n]+`)", text, flags=re.DOTALL | re.MULTILINE)
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"\]\(([^()\s]+)\)", lambda found: f"]({change(found[1])})", parts[index])
    return "".join(parts)


def links(text: str) -> list[str]:
    """The targets of a page's links."""
    found: list[str] = []
    relinked(text, lambda target: found.append(target) or target)
    return found


def rewritten(text: str, origin: str, page: str, known: dict[str, str]) -> str:
    """A page's text with its links led into the site."""
    return relinked(text, lambda target: led(target, origin, page, known))


# --- generated pages -----------------------------------------------------------------------------


def plain(text: str | list[str]) -> str:
    """A description of a plugin as Markdown: C(x), V(x) and O(x) are code, I(x) is emphasis, and so on."""
    text = " ".join([text] if isinstance(text, str) else text)
    text = re.sub(r"\b[CVOPME]\(((?:[^()]|\([^()]*\))*)\)", r"`\1`", text)
    text = re.sub(r"\bI\(([^()]*)\)", r"*\1*", text)
    text = re.sub(r"\bB\(([^()]*)\)", r"**\1**", text)
    text = re.sub(r"\bU\(([^()]*)\)", r"<\1>", text)
    return " ".join(re.sub(r"\bL\(([^(),]*),\s*([^()]*)\)", r"[\1](\2)", text).split())


def cell(text: str) -> str:
    """A text as a cell of a table."""
    return text.replace("|", "\\|")


def kind(option: dict[str, Any]) -> str:
    """The type of an option, with what a list holds and what may be chosen."""
    text = option.get("type", "str") + (f" of {option['elements']}" if "elements" in option else "")
    return text + (": " + ", ".join(f"`{choice}`" for choice in option["choices"]) if "choices" in option else "")


def rows(options: dict[str, Any], prefix: str = "") -> list[str]:
    """Options, and those below them, as rows of a table."""
    found = []
    for name, option in options.items():
        default = "required" if option.get("required") else ""
        if option.get("default") is not None:
            default = f"`{json.dumps(option['default'])}`"
        found.append(
            cell(f"`{prefix}{name}`")
            + f" | {cell(kind(option))} | {cell(default)} | {cell(plain(option['description']))}"
        )
        found += rows(option.get("suboptions") or {}, f"{prefix}{name}.")
    return [row if row.startswith("|") else f"| {row} |" for row in found]


def answers(values: dict[str, Any], prefix: str = "") -> list[str]:
    """What a plugin returns, as rows of a table."""
    found = []
    for name, value in values.items():
        description = plain(value.get("description", ""))
        found.append(f"| `{prefix}{name}` | {cell(kind(value))} | {cell(description)} |")
        found += answers(value.get("contains") or {}, f"{prefix}{name}.")
    return found


def section(name: str, entry: dict[str, Any], level: int = 2) -> str:
    """A plugin as a section of a page, from what ansible-doc says of it."""
    doc = entry["doc"]
    parts = [
        f"{'#' * level} {name} {{#{name}}}",
        f"{plain(doc['short_description'])}.",
        plain(doc.get("description", "")),
    ]
    if doc.get("has_action"):
        parts.append("An action plugin of this name runs on the controller.")
    if doc.get("options"):
        parts.append(
            "\n".join(["| option | type | default | meaning |", "| --- | --- | --- | --- |", *rows(doc["options"])])
        )
    if entry.get("examples"):
        parts.append(f"```yaml\n{entry['examples'].strip()}\n```")
    if entry.get("return"):
        parts.append("\n".join(["| returns | type | meaning |", "| --- | --- | --- |", *answers(entry["return"])]))
    return "\n\n".join(part for part in parts if part) + "\n"


def documented(type_: str) -> dict[str, dict[str, Any]]:
    """What ansible-doc knows of the collection's plugins of one type, by their short names."""
    program = str(Path(sys.executable).parent / "ansible-doc")
    env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"}

    def ask(*words: str) -> dict[str, Any]:
        done = subprocess.run(
            [program, "--json", "--type", type_, *words], env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"ansible-doc cannot read the plugins of type {type_}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    names = sorted(ask("--list", "decant.flask"))
    return {name.rsplit(".", 1)[1]: entry for name, entry in ask(*names).items()} if names else {}


def modules_page() -> str:
    """The page of the modules."""
    head = "# Modules\n\nWhat the roles are made of. Generated from the modules' own documentation.\n"
    return "\n".join([head, *(section(name, entry) for name, entry in documented("module").items())])


def plugins_page() -> str:
    """The page of the other plugins."""
    parts = ["# Filters, lookups and callbacks\n\nGenerated from the plugins' own documentation.\n"]
    for type_, title in KINDS.items():
        parts.append(f"## {title}\n")
        parts += [section(name, entry, 3) for name, entry in documented(type_).items()]
    return "\n".join(parts)


def header(text: str) -> str:
    """The comment at the top of a playbook, as one paragraph."""
    lines = [line for line in text.splitlines() if line != "---"]
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    return " ".join(comment)


def playbooks_page(root: Path = ROOT) -> str:
    """The page of the playbooks, from the comments at their tops."""
    parts = [
        "# Playbooks\n\nThe verbs. From a checkout by their paths; from the installed collection by their names, such as "
        "`decant.flask.rollback`. Generated from the comments at the playbooks' tops.\n"
    ]
    for path in sorted(root.glob("playbooks/*.yml")):
        text = path.read_text(encoding="utf-8")
        hosts = sorted({play["hosts"] for play in yaml.safe_load(text) if "hosts" in play})
        file = "deploy.yml" if path.stem == "deploy" else f"playbooks/{path.name}"
        groups = f"Hosts: {', '.join(f'`{name}`' for name in hosts)}.\n" if hosts else ""
        command = f"```sh\nansible-playbook -i inventories/production {file}\n```\n"
        parts += [f"## {path.stem} {{#{path.stem}}}\n", header(text) + "\n", groups, command]
    return "\n".join(part for part in parts if part)


# --- what mkdocs calls ---------------------------------------------------------------------------


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that docs/ does not hold."""
    places.cache_clear()  # mkdocs serve builds again and again
    pages = {page: (ROOT / path).read_text(encoding="utf-8") for path, page in moved().items()}
    pages |= {MODULES: modules_page(), PLUGINS: plugins_page(), PLAYBOOKS: playbooks_page()}
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Lead the links of a page into the site."""
    uri = page.file.src_uri
    origins = {to: path for path, to in moved().items()}
    return rewritten(markdown, origins.get(uri, f"docs/{uri}"), uri, places())
