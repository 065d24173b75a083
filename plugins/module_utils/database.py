# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The database of a release: what decant-database says of it, and the records of its backups."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils import envfile
from ansible_collections.decant.flask.plugins.module_utils.host import run
from ansible_collections.decant.flask.plugins.module_utils.layout import SECRETS_FILE, Layout

ANSWER = re.compile(r"^decant-database: (\{.*\})$", re.MULTILINE)
TROUBLE = re.compile(r"^decant-database: (?!\{|serves )(.*)$", re.MULTILINE)
SERVES = re.compile(r"^decant-database: serves (\{.*\})$", re.MULTILINE)


def answer(text: str) -> dict[str, Any]:
    """The last result in what the program printed; empty when it did not get that far."""
    found = ANSWER.findall(text)
    return json.loads(found[-1]) if found else {}


def served(text: str) -> list[dict[str, str]]:
    """The databases that the workers of an instance said they resolve, each once."""
    return [json.loads(line) for line in dict.fromkeys(SERVES.findall(text))]


@contextlib.contextmanager
def delivered(layout: Layout, user: str, release_id: str) -> Iterator[dict[str, str]]:
    """What a release's credentials add to an environment, <NAME>_FILE: systemd delivers them to units alone, so here each is a
    file in memory that the backend's user can read for as long as it is needed."""
    values = layout.secrets_of(release_id)
    if not values:
        yield {}
        return
    folder = tempfile.mkdtemp(prefix="decant-", dir="/run")
    try:
        for name, value in values.items():
            descriptor = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.write(value)
            shutil.chown(f"{folder}/{name}", user, user)
        shutil.chown(folder, user, user)
        yield {f"{name}_FILE": f"{folder}/{name}" for name in values}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(layout: Layout, release_id: str) -> dict[str, str]:
    """The variables in a release's .env."""
    with open(f"{layout.release(release_id)}/{SECRETS_FILE}", encoding="utf-8") as stream:
        return envfile.parse(stream.read())


def ask(layout: Layout, user: str, release_id: str, *words: str, timeout: float = 120) -> dict[str, Any]:
    """What decant-database says to these words, run as a release would: its Python, code, environment and user.

    :param timeout: seconds; the program is killed then.
    :raises CommandError, subprocess.TimeoutExpired, OSError, ValueError: when it cannot be asked.
    """
    record = layout.manifest(release_id)
    env = environment(layout, release_id)
    program = [f"{layout.release(release_id)}/venv/bin/python", f"{layout.root}/bin/decant-database", *words]
    with delivered(layout, user, release_id) as files:
        done = run(
            [*program, "--directory", record.get("migrate_directory", "migrations")],
            env={**env, **files, "FLASK_SKIP_DOTENV": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=layout.code(release_id, record.get("subdir", "")),
            user=user,
            timeout=timeout,
        )
    found = answer(done.stdout)
    if not found:
        raise ValueError(f"decant-database {words[0]} printed no result")
    return found


def show(layout: Layout, user: str, release_id: str) -> dict[str, Any]:
    """What a release reads of its database and of its own migrations: now, heads, database, fingerprint. Changes nothing; raises as
    ask() does."""
    return ask(layout, user, release_id, "show")


def backups(layout: Layout) -> list[dict[str, Any]]:
    """The records of the backups that are there, oldest first."""
    folder, found = f"{layout.root}/backups", []
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        if name.endswith(".json"):
            try:
                with open(f"{folder}/{name}", encoding="utf-8") as stream:
                    record = json.load(stream)
            except (OSError, ValueError):
                continue
            if isinstance(record, dict) and record.get("id") == name[: -len(".json")]:
                found.append(record)
    return sorted(found, key=lambda record: (str(record.get("at", "")), record["id"]))
