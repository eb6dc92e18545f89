"""Some thousand schedules, each judged. `make simulate` runs 10,000, and voids a run in which something is too rare."""

import pytest

from perago.testing.simulator.plan import EVENTS, FAULTS
from perago.testing.simulator.run import simulate_all

CHUNK = 250


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 2_000, CHUNK))
def test_no_schedule_breaks_a_promise(counted, first):
    figures = simulate_all(range(first, first + CHUNK))
    assert figures.failed == {}
    fired = {kind for kind, _ in figures.fired}
    assert fired == FAULTS.keys() | EVENTS.keys()
    counted("schedules simulated, each judged")["all"] += figures.simulated
    for (kind, _), count in figures.fired.items():
        counted("incidents in simulated schedules")[kind] += count
