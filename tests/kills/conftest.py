"""What the tests that kill share."""

import pytest

import figures


@pytest.fixture
def kill_counts(counted):
    """Real kills, by where they struck."""
    return counted(figures.KILLS)
