"""The disk under repository and workspaces fills up at every call of an attempt, and stays full until it has ended.

The disk is a real one, a small tmpfs, so that libgit2 and the system meet it as Perago's own code does. Some pages are
left free, from none up to as many as the rest of the attempt needs, so that each write in it is once the first to fail.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fault_scenarios import SCENARIOS
from fault_stores import STORES
from fault_world import Scenario, World
from simulation.faults import Faults, late
from small_disk import small_disk_at

PAGE = os.sysconf("SC_PAGE_SIZE")
ENOUGH = 60
"""Pages that no attempt of these scenarios needs."""


class Disk:
    """A small file system that can be filled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, free_pages: int) -> None:
        """Leave so many pages free."""
        with self._filler.open("wb") as file:
            state = os.statvfs(self.path)
            pages = max(state.f_bfree * state.f_frsize // PAGE - free_pages, 0)
            os.posix_fallocate(file.fileno(), 0, max(pages * PAGE, 1))

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path):
    with small_disk_at(tmp_path, "4m") as path:
        yield Disk(path)


def run_until_it_fits(
    disk: Disk, repository: type, scenario: Scenario, number: int
) -> tuple[int, dict[str, list[str]]]:
    """Runs in which the disk is full from this call on, with more and more pages left; until the try gets through.

    Returns:
        how many runs met the full disk (0: there is no such call), and the promises that were broken.
    """
    broken = {}
    for pages in range(ENOUGH):
        world = World(disk.path / "run", repository, scenario)
        scenario.before(world)
        faults = Faults({number: late(lambda pages=pages: disk.fill(pages))})
        world.run_try(faults)
        disk.free()
        got_through = world.engine.status() == "COMPLETED"
        world.settle()
        world.sweep()
        found = world.broken_promises()
        world.remove()
        if not faults.fired:
            return 0, broken
        if found:
            broken[f"{number}: {faults.points[number - 1]}, {pages} pages left"] = found
        if got_through:
            return pages + 1, broken
    raise AssertionError(f"the attempt did not get through with {ENOUGH} pages left")


FULL = ("first try", "retry that adopts", "retried no-op", "snapshot")


@pytest.mark.parametrize("scenario", FULL)
@pytest.mark.parametrize("store", STORES)
def test_nothing_is_lost_or_half_done_wherever_the_disk_fills_up(disk, fault_counts, store, scenario):
    number, runs = 1, 0
    while True:
        met, broken = run_until_it_fits(disk, STORES[store], SCENARIOS[scenario], number)
        assert broken == {}
        if not met:
            break
        runs, number = runs + met, number + 1
    fault_counts[f"{store}/full"] += runs
