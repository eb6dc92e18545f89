"""Tests against a real lakeFS; its fixtures are in servers/fixtures.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
