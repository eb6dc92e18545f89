"""Workflows on real servers while workers are killed, each server is restarted, and a person commits."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from perago.stores.lakefs import LakeFSStore
from servers.fixtures import repository_on

sys.path.insert(0, str(Path(__file__).parent))
from nemesis import Nemesis, processes_of
from pipeline_support import Pipeline, surroundings
from start_support import wait_for

IN_CI = os.environ.get("CI") == "true"
ROUNDS = int(os.environ.get("PERAGO_TEST_NEMESIS_WORKFLOWS", "60" if IN_CI else "12"))
"""Workflows; 200 by hand."""
BRANCHES = max(2, min(20, ROUNDS // 3))
SECONDS = 240.0 + 5 * ROUNDS
"""A bound, for a machine that has much else to do."""


@pytest.fixture(autouse=True)
def nothing_stays():
    """In the place of conftest's: a session's server is none of a test's."""


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
def test_nothing_is_lost_nothing_twice_and_nothing_orphaned(start_conductor, start_lakefs, tmp_path, counted):
    seed = int(os.environ.get("PERAGO_TEST_NEMESIS_SEED", random.randrange(2**32)))
    lakefs, conductor = start_lakefs(), start_conductor()
    with ExitStack() as stack:
        repository, api = stack.enter_context(repository_on(lakefs)), stack.enter_context(conductor.api())
        pipeline = Pipeline(api, repository, surroundings(conductor, lakefs), tmp_path)
        workers = [stack.enter_context(pipeline.worker(f"worker-{number}", "-j", "2")) for number in range(2)]
        for worker in workers:
            worker.wait_ready()
        names = [f"b{number}" for number in range(BRANCHES)]
        nemesis = Nemesis(pipeline, (lakefs, conductor), workers, names, ROUNDS, seed)
        began = time.monotonic()
        nemesis.run(SECONDS)
        print(f"seed {seed}: {dict(nemesis.done)} in {time.monotonic() - began:.0f} s")

        faults = [fault for branch in nemesis.branches.values() for fault in branch.faults()]
        assert faults == [], f"seed {seed}"
        for worker in workers:
            assert len(processes_of(worker.wait_ready())) > 1, "no executors are found where there are some"
            worker.signal(signal.SIGTERM)
        for worker in workers:
            assert worker.wait(60) == 0
            wait_for(lambda root=worker: not processes_of(root), "all processes of a worker to end")
            left = sorted(path.name for path in worker.root.iterdir() if path.name != "supervisor")
            assert left == [], f"seed {seed}: attempt directories are left"
        _sweep(lakefs, repository)
        assert repository.branches("perago-", hidden=True) == [], f"seed {seed}: staged work is left"
    ended = [(branch, found) for branch in nemesis.branches.values() for found in branch.workflows]
    completed = sum(found["status"] == "COMPLETED" for _, found in ended)
    refused = len(ended) - completed
    counted(f"workflows on {BRANCHES} branches under a nemesis").update(completed=completed, refused=refused)
    counted("what the nemesis did").update(nemesis.done)
    assert len(ended) == ROUNDS
    assert completed
    assert refused, "the person was never in the way"
    assert nemesis.done["executors killed"]
    assert nemesis.done["supervisors killed"]
    assert nemesis.done["lakeFS restarted"] == nemesis.done["Conductor restarted"] == 1


def _sweep(lakefs, repository):
    """The janitor, when nobody works any more."""
    keys = {"access_key_id": lakefs.access_key_id, "secret_access_key": lakefs.secret_access_key}
    store = LakeFSStore(endpoint_url=lakefs.url, **keys)
    try:
        store.repository(repository.name).sweep(0.0)
    finally:
        store.close()
