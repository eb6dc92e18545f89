"""What the tests of the simulator share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from perago.testing.simulator.run import scratch


@pytest.fixture
def fast_path():
    """A directory in memory where there is one."""
    with scratch() as path:
        yield path
