"""A worker at work for a while: its memory and its descriptors stay what they are."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pytest

from perago.stores.git import GitStore
from pipeline_support import surroundings
from start_support import StartedWorker, TaskFlow
from waiting import wait_for

SECONDS = float(os.environ.get("PERAGO_TEST_SOAK_SECONDS", "30"))
"""1800 by hand."""

ROUND_SECONDS, LEAST_ROUNDS = 0.5, 20
"""A round of work begins that often at most, so that other tests can run beside it; a busy machine gets its time."""

WARM_UP = 0.3
"""Part of the time and of the rounds after which everything is loaded, and nothing more may grow."""

SETTLE_SECONDS = 60.0
"""Longer than an unused connection is kept, because the number of connections depends on the machine's load."""


pytestmark = [pytest.mark.first, pytest.mark.timeout(SECONDS + 600)]


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


@dataclass(frozen=True)
class Place:
    """A repository on a store.

    Attributes:
        head: of its branch `main`.
        options, variables: that name the store to a worker.
    """

    name: str
    head: Callable[[], str]
    options: tuple[str, ...]
    variables: dict[str, str]


@pytest.fixture
def soak(conductor, conductor_server, tmp_path, bodies):
    """Has a worker at work on a place."""
    del bodies  # its modules can be imported now

    def work(place):
        flow = TaskFlow(conductor, "supervised_bodies")
        modules = ["supervised_bodies:echo", "supervised_bodies:append", "supervised_bodies:log"]
        options = ("--domain", flow.domain, "-j", "2", *place.options)
        with StartedWorker(tmp_path, conductor_server.api_url, modules, *options, **place.variables) as worker:
            worker.wait_ready()
            family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
            _stays_flat(family, lambda: _work(flow, place))
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0

    return work


def test_memory_and_descriptors_stay_flat_with_a_git_repository(soak, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "readme.txt").write_text("data")
    store = GitStore.create(tmp_path / "data.git")
    store.import_directory(tmp_path / "files", "main", "begin")
    soak(Place("data", lambda: store.branch_head("main"), ("--repo", str(tmp_path / "data.git")), {}))


def test_memory_and_descriptors_stay_flat_with_lakefs(soak, conductor_server, lakefs_server, lakefs_repository):
    lakefs_repository.commit_files("main", {"readme.txt": b"data"})
    variables = surroundings(conductor_server, lakefs_server)
    soak(Place(lakefs_repository.name, lambda: lakefs_repository.head("main"), (), variables))


def _stays_flat(family, work):
    began, before, rounds = time.monotonic(), None, 0
    while (elapsed := time.monotonic() - began) < SECONDS or rounds < LEAST_ROUNDS:
        if before is None and elapsed > WARM_UP * SECONDS and rounds >= WARM_UP * LEAST_ROUNDS:
            before = _belongings(family)
        work()
        rounds += 1
        time.sleep(max(0.0, began + elapsed + ROUND_SECONDS - time.monotonic()))
    assert before is not None
    wait_for(
        lambda: not _grown(before, _belongings(family)),
        lambda: f"memory and descriptors to be {before} again after {rounds} rounds: {_belongings(family)}",
        SETTLE_SECONDS,
    )
    print(f"{rounds} rounds: bytes and descriptors by generation were {before}, and are {_belongings(family)}")


def _work(flow, place):
    """One round: two light tasks, and one on a workspace."""
    workspace = {"repository": place.name, "branch": "main", "refType": "commit", "ref": place.head()}
    light = [flow.start("light.echo", {"text": "x"}), flow.start("light.log", {"text": "y"})]
    flow.completed(flow.start("space.append", {"text": "z"}, workspace=workspace))
    for workflow in light:
        flow.completed(workflow)


def _belongings(family):
    """The most resident bytes and open descriptors of the worker's processes of each generation.

    Executors are of one generation. One of them may have had no task on a workspace yet: it still grows to what
    another one is.
    """
    most, worker = {}, family[0]
    for process in family:
        generation = 0 if process == worker else 1 + process.parents().index(worker)
        memory, descriptors = most.get(generation, (0, 0))
        most[generation] = (max(memory, process.memory_info().rss), max(descriptors, process.num_fds()))
    return most


def _grown(before, after):
    """Whether any generation has more than it had: 10 % and a MiB of memory, or two descriptors."""
    return any(
        memory > before[generation][0] * 1.1 + 2**20 or descriptors > before[generation][1] + 2
        for generation, (memory, descriptors) in after.items()
    )
