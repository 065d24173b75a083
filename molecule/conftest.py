"""Lets the scenarios' tests import molecule/shared/testing.py as `testing`, and what is in tools/."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "shared"), str(HERE.parent / "tools")]
