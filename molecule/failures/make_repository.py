# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A git repository of the example backend, with one branch for each way in which a release can be bad."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
REPOSITORY = Path(os.environ["DECANT_TEST_STATE"], "repository")
HEALTH = "api/app/api/health.py"
MIGRATION = '''"""{message}"""

from alembic import op

revision = "{revision}"
down_revision = "{down}"


def upgrade():
    op.execute("{sql}")


def downgrade():
    pass
'''


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=REPOSITORY, check=True, capture_output=True)


def write(path: str, text: str) -> None:
    (REPOSITORY / path).write_text(text, encoding="utf-8")


def replace(path: str, before: str, after: str) -> None:
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    assert before in text, f"{path} has no {before!r}"
    write(path, text.replace(before, after, 1))


def migration(revision: str, down: str, sql: str) -> None:
    text = MIGRATION.format(message=f"Revision {revision}", revision=revision, down=down, sql=sql)
    write(f"api/migrations/versions/{revision}_test.py", text)


def no_requirements() -> None:
    (REPOSITORY / "api/requirements.txt").unlink()


def two_heads() -> None:
    migration("1004", "0003", "CREATE TABLE a (id INTEGER)")
    migration("1005", "0003", "CREATE TABLE b (id INTEGER)")


BRANCHES = {
    "second": lambda: write("api/app/marker.py", "RELEASE = 2\n"),
    "import-error": lambda: replace("api/app/pages.py", "", 'raise RuntimeError("boom at import")\n'),
    "health-500": lambda: replace(
        HEALTH, "def live() -> dict:", "def live() -> dict:\n    raise ValueError('broken health')"
    ),
    "health-never": lambda: replace(
        HEALTH, "def live() -> dict:", "def live() -> dict:\n    __import__('time').sleep(30)"
    ),
    "health-redirects": lambda: replace(
        HEALTH, "def live() -> dict:", "def live() -> dict:\n    return __import__('flask').redirect('/api/ready')"
    ),
    "no-requirements": no_requirements,
    "unsatisfiable": lambda: write("api/requirements.txt", "flask==99.0\n"),
    "hidden-factory": lambda: write("api/launch.py", "from app.config import *  # noqa: F403\n"),
    "failing-migration": lambda: migration("0004", "0003", "ALTER TABLE nowhere ADD COLUMN x INTEGER"),
    "mended-migration": lambda: migration("0004", "0003", "CREATE TABLE somewhere (id INTEGER)"),
    "two-heads": two_heads,
}


def main() -> None:
    source = ROOT / "examples/backend"
    unwanted = shutil.ignore_patterns("__pycache__", ".pytest_cache", "*.db", "instance")
    shutil.copytree(source, REPOSITORY, ignore=unwanted)
    git("init", "--quiet", "--initial-branch=main")
    git("add", "--all")
    git("commit", "--quiet", "--message", "The example backend")
    for name, change in BRANCHES.items():
        git("checkout", "--quiet", "-b", name, "main")
        change()
        git("add", "--all")
        git("commit", "--quiet", "--message", name)
    git("checkout", "--quiet", "main")


if __name__ == "__main__":
    main()
