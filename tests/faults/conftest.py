"""The sweeps tell at the end how many faults they set off."""

import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

_COUNTS = pytest.StashKey[Counter[str]]()


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
def fault_counts(pytestconfig):
    """Runs with a fault, by what they swept."""
    return pytestconfig.stash.setdefault(_COUNTS, Counter())


def pytest_terminal_summary(terminalreporter, config):
    counts = config.stash.get(_COUNTS, Counter())
    if counts:
        told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"faults set off, each checked: {told}; {counts.total()} runs in all")
