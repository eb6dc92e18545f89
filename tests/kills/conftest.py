"""What the tests that kill share."""

import sys
from pathlib import Path

import pytest

import figures

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def kill_counts(counted):
    """Real kills, by where they struck."""
    return counted(figures.KILLS)
