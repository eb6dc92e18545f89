"""The tests that kill tell at the end how often they did."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


class KillCounts(Counter[str]):
    """Real kills, by where they struck. `notes` are told beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []


_COUNTS = pytest.StashKey[KillCounts]()


@pytest.fixture
def kill_counts(pytestconfig):
    """Real kills, by where they struck."""
    return pytestconfig.stash.setdefault(_COUNTS, KillCounts())


def pytest_terminal_summary(terminalreporter, config):
    counts = config.stash.get(_COUNTS, KillCounts())
    if counts:
        told = ", ".join(f"{count} {where}" for where, count in counts.items())
        notes = "".join(f"; {note}" for note in counts.notes)
        terminalreporter.write_line(f"perago run killed {counts.total()} times, and resumed: {told}{notes}")
