"""Lets the scenarios' tests import molecule/shared/testing.py as `testing`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "shared"))
