"""What the tests that kill share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def kill_counts(counted):
    """Real kills, by where they struck."""
    return counted("`perago run` killed and resumed")
