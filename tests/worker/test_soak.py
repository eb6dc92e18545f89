"""A worker at work for a while: its memory and its descriptors stay what they are."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from perago.stores.git import GitStore

sys.path.insert(0, str(Path(__file__).parent))
from start_support import StartedWorker, TaskFlow, wait_for

IN_CI = os.environ.get("CI") == "true"
SECONDS = float(os.environ.get("PERAGO_TEST_SOAK_SECONDS", "180" if IN_CI else "30"))
"""1800 by hand."""

ROUND_SECONDS, LEAST_ROUNDS = 0.5, 20
"""A round of work begins that often at most, so that other tests can run beside it; a busy machine gets its time."""

WARM_UP = 0.3
"""Part of the time and of the rounds after which everything is loaded, and nothing more may grow."""

SETTLE_SECONDS = 60.0
"""More than a connection is kept that is not used: how many there are at once is a matter of the machine's load."""


@pytest.fixture(autouse=True)
def nothing_stays():
    """In the place of conftest's: a session's server is none of a test's."""


@pytest.mark.first
@pytest.mark.usefixtures("bodies")  # for its modules
@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
def test_memory_and_descriptors_stay_flat(conductor, conductor_server, tmp_path):
    flow = TaskFlow(conductor, "supervised_bodies")
    store = _repository(tmp_path)
    modules = ["supervised_bodies:echo", "supervised_bodies:append", "supervised_bodies:log"]
    options = ("--domain", flow.domain, "--repo", str(tmp_path / "data.git"), "-j", "2")
    with StartedWorker(tmp_path, conductor_server.api_url, modules, *options) as worker:
        worker.wait_ready()
        family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        began, before, rounds = time.monotonic(), None, 0
        while (elapsed := time.monotonic() - began) < SECONDS or rounds < LEAST_ROUNDS:
            if before is None and elapsed > WARM_UP * SECONDS and rounds >= WARM_UP * LEAST_ROUNDS:
                before = _belongings(family)
            _work(flow, store)
            rounds += 1
            time.sleep(max(0.0, began + elapsed + ROUND_SECONDS - time.monotonic()))
        assert before is not None
        wait_for(
            lambda: not _grown(before, _belongings(family)),
            f"memory and descriptors to be {before} again after {rounds} rounds: {_belongings(family)}",
            SETTLE_SECONDS,
        )
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def _repository(directory):
    (directory / "files").mkdir()
    (directory / "files" / "readme.txt").write_text("data")
    store = GitStore.create(directory / "data.git")
    store.import_directory(directory / "files", "main", "begin")
    return store


def _work(flow, store):
    """One round: two light tasks, and one on a workspace."""
    workspace = {"repository": "data", "branch": "main", "refType": "commit", "ref": store.branch_head("main")}
    light = [flow.start("light.echo", {"text": "x"}), flow.start("light.log", {"text": "y"})]
    flow.completed(flow.start("space.append", {"text": "z"}, workspace=workspace))
    for workflow in light:
        flow.completed(workflow)


def _belongings(family):
    """Resident bytes and open descriptors of each of the worker's processes."""
    return [(process.memory_info().rss, process.num_fds()) for process in family]


def _grown(before, after):
    """Whether any process has more than it had: 10 % and a MiB of memory, or two descriptors."""
    return any(
        memory_after > memory * 1.1 + 2**20 or descriptors_after > descriptors + 2
        for (memory, descriptors), (memory_after, descriptors_after) in zip(before, after, strict=True)
    )
