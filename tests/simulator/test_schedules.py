"""Some thousand schedules, each judged: PERAGO_TEST_SCHEDULES, or 1,500; 500 of them in `make test`.

They run in processes of their own, which nobody measures the coverage of: that would make them three times as slow.
"""

import json
import os
import subprocess
import sys

import pytest

import figures
from servers.machine import slowness
from simulation.plan import EVENTS, FAULTS

SCHEDULES = int(os.environ.get("PERAGO_TEST_SCHEDULES", "1500"))
QUICK = 500
CHUNK = 500
TAKEN = ("published", "hit after its body", "waited for another", "source gone", "to be computed again")
"""What becomes of results of before, in each chunk."""

CHUNKS = [
    pytest.param(first, marks=[pytest.mark.quick] if first < QUICK else []) for first in range(0, SCHEDULES, CHUNK)
]


def simulated(seeds):
    """What the program tells of these seeds, and what it says of those that failed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-m", "simulation", f"{seeds.start}:{seeds.stop}", "--jobs", "1"]
    command += ["--core", os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280 * slowness(), env=environment)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.last
@pytest.mark.parametrize("first", CHUNKS)
def test_no_schedule_breaks_a_promise(counted, first):
    told, said = simulated(range(first, min(first + CHUNK, SCHEDULES)))
    counted(figures.SCHEDULES)["all"] += told["schedules"]
    counted(figures.BROKEN_SCHEDULES).update({"all": len(told["failed"])})
    counted(figures.INCIDENTS).update(told["fired"])
    assert told["failed"] == [], said
    assert told["counts"]["tasks taken along with a report"] > 0
    assert told["counts"]["tasks taken along with a report that was dropped"] > 0
    assert told["counts"]["failed tries handed out again"] > 0
    assert all(told["counts"][f"run: {end}"] > 0 for end in ("publish", "merge", "refused"))
    assert all(told["counts"][f"cached: {what}"] > 0 for what in TAKEN)
    happened = {pair.partition(" at ")[0] for pair, count in told["fired"].items() if count}
    assert happened == FAULTS.keys() | EVENTS.keys()
