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
from start_support import StartedWorker, TaskFlow

SECONDS = float(os.environ.get("PERAGO_TEST_SOAK_SECONDS", "180"))
"""1800 by hand."""

WARM_UP = 0.3
"""Part of the time after which everything is loaded, and nothing more may grow."""


@pytest.fixture(autouse=True)
def nothing_stays():
    """In the place of conftest's: a session's server is none of a test's."""


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 240)
def test_memory_and_descriptors_stay_flat(conductor, conductor_server, bodies, tmp_path):
    flow = TaskFlow(conductor, "supervised_bodies")
    repository = tmp_path / "data.git"
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "readme.txt").write_text("data")
    store = GitStore.create(repository)
    store.import_directory(tmp_path / "files", "main", "begin")
    modules = ["supervised_bodies:echo", "supervised_bodies:append", "supervised_bodies:log"]
    options = ("--domain", flow.domain, "--repo", str(repository), "-j", "2")
    with StartedWorker(tmp_path, conductor_server.api_url, modules, *options) as worker:
        worker.wait_ready()
        family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        began, before, rounds = time.monotonic(), None, 0
        while (elapsed := time.monotonic() - began) < SECONDS:
            workspace = {"repository": "data", "branch": "main", "refType": "commit", "ref": store.branch_head("main")}
            light = [flow.start("light.echo", {"text": "x"}), flow.start("light.log", {"text": "y"})]
            flow.completed(flow.start("space.append", {"text": "z"}, workspace=workspace))
            for workflow in light:
                flow.completed(workflow)
            rounds += 1
            if before is None and elapsed > WARM_UP * SECONDS:
                before = _belongings(family)
        after = _belongings(family)
        assert before is not None
        assert rounds > SECONDS / 10
        for (memory, descriptors), (memory_after, descriptors_after) in zip(before, after, strict=True):
            assert descriptors_after <= descriptors + 2, f"after {rounds} rounds"
            assert memory_after <= memory * 1.1 + 2**20, f"after {rounds} rounds"
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def _belongings(family):
    """Resident bytes and open descriptors of each process."""
    return [(process.memory_info().rss, process.num_fds()) for process in family]
