"""What the sweeps share."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

import figures


@pytest.fixture
def fast_path(tmp_path):
    """A directory in memory where there is one: syncing some thousand repositories to a disk would take minutes."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="perago-faults-", dir=memory))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def fault_counts(counted):
    """Runs with a fault, by what they swept."""
    return counted(figures.FAULTS)


@pytest.fixture
def point_counts(counted):
    """Calls that faults were to meet, and those that they met."""
    return counted(figures.POINTS)


@pytest.fixture
def broken_points(counted):
    """Calls at which a fault broke a promise, by what they swept."""
    return counted(figures.BROKEN_POINTS)
