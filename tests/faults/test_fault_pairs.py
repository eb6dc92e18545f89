"""Two faults in one run, the second one anywhere later, in the next try too; the in-memory store."""

from itertools import product

import pytest

from fault_scenarios import KINDS, SCENARIOS
from fault_stores import MemoryRepository
from fault_world import World
from simulation.faults import Faults

ANOTHER = "late, another worker does it"
PAIRS = [
    *(("first try", *pair) for pair in product(("lost", "crash", "late, timed out", ANOTHER), repeat=2)),
    *(("retried no-op", *pair) for pair in product(("lost", ANOTHER), repeat=2)),
]


def run_pair(directory, scenario, first, second):
    """Two tries that meet the faults at two (number, kind); then faults stop. Returns the faults and what broke."""
    world = World(directory, MemoryRepository, scenario)
    scenario.before(world)
    faults = Faults({number: KINDS[kind].make(world) for number, kind in (first, second)})
    world.run_try(faults, observed=False)
    world.time_out()
    if world.engine.status() == "RUNNING":
        faults.restart()
        world.run_try(faults, observed=False)
    world.settle()
    world.sweep()
    broken = world.broken_promises()
    world.remove()
    return faults, broken


def sweep_pairs(directory, scenario, first_kind, second_kind):
    runs, broken, first = 0, {}, 1
    while True:
        second = first + 1
        while True:
            where = (first, first_kind), (second, second_kind)
            faults, found = run_pair(directory / "run", scenario, *where)
            runs += len(faults.fired) == 2
            if found:
                broken[str(where)] = found
            if second not in faults.fired:
                break
            second += 1
        if not faults.fired:
            return runs, broken
        first += 1


@pytest.mark.parametrize(("scenario", "first_kind", "second_kind"), PAIRS)
def test_nothing_is_lost_or_done_twice_by_two_faults(fast_path, fault_counts, scenario, first_kind, second_kind):
    runs, broken = sweep_pairs(fast_path, SCENARIOS[scenario], first_kind, second_kind)
    assert broken == {}
    assert runs >= 30
    fault_counts["memory/pairs"] += runs
