"""What the tests of the simulator share."""

import pytest

from simulation.run import scratch


@pytest.fixture
def fast_path():
    """A directory in memory where there is one."""
    with scratch() as path:
        yield path
