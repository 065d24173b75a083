# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes the checkout importable as the collection it is, through the committed link, never from an installed copy; and its tools."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "collections"), str(ROOT / "tools")]


@pytest.fixture(scope="session")
def program() -> ModuleType:
    """decant-database, which hosts run by its path; no Flask is needed for what is tested here."""
    loader = importlib.machinery.SourceFileLoader("decant_database", str(ROOT / "roles/migrate/files/decant-database"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module
