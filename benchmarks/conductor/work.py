"""Gives work to workers and reads from the server when it was done, by the server's clock."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from benchmarks.conductor.workers import Worker
from servers.conductor_api import ConductorApi, simple

Inputs = Mapping[str, Any]

STARTERS = 4
"""Number of connections that start workflows."""

READY_SECONDS, DONE_SECONDS = 120.0, 600.0
LOOK_SECONDS = 0.1
SETTLE_SECONDS = 0.5
"""Seconds after a worker is paused, for the server to answer its pending polls, whose tasks would be held."""


class Done(NamedTuple):
    """A completed workflow of one task; times in seconds since the epoch."""

    began: float
    task_began: float
    ended: float


class Backlog(NamedTuple):
    """Result of processing many tasks.

    Attributes:
        rate: tasks per second.
        cpu: CPU seconds of the worker for each.
    """

    rate: float
    cpu: float


class Desk:
    """Starts workflows of a single task on one server.

    Args:
        api: to inspect the server from this thread.
        worker: the worker of the task.
    """

    def __init__(self, api: ConductorApi, worker: Worker) -> None:
        self._api = api
        self._worker = worker
        inputs = {name: f"${{workflow.input.{name}}}" for name in worker.inputs}
        if not worker.kind.registers:
            api.define_task(worker.task)
        self._flow = api.define_workflow(f"{worker.task}.flow", [simple(worker.task, "only", inputs)])

    def start(self, inputs: Inputs) -> str:
        return self._api.start_workflow(self._flow, inputs)

    def start_all(self, inputs: Sequence[Inputs]) -> list[str]:
        """Start a workflow for each input, several at a time."""
        local, opened = threading.local(), []

        def start(given: Inputs) -> str:
            if not hasattr(local, "api"):
                local.api = ConductorApi(self._api.url)
                opened.append(local.api)
            api: ConductorApi = local.api
            return api.start_workflow(self._flow, given)

        try:
            with ThreadPoolExecutor(STARTERS) as pool:
                return list(pool.map(start, inputs))
        finally:
            for api in opened:
                api.close()

    def done(self, workflow_id: str, seconds: float = DONE_SECONDS) -> Done:
        """Wait for it to complete.

        Raises:
            RuntimeError: it ended with another status, or not in time, or its worker has ended.
        """
        deadline = time.monotonic() + seconds
        while (found := self._api.workflow(workflow_id))["status"] == "RUNNING":
            self._worker.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._worker.kind.title} did not do its work in {seconds:g} s")
            time.sleep(LOOK_SECONDS)
        task = found["tasks"][-1]
        if found["status"] != "COMPLETED":
            reason = task.get("reasonForIncompletion")
            raise RuntimeError(f"{self._worker.kind.title}: a workflow is {found['status']}: {reason}")
        return Done(found["createTime"] / 1000, task["startTime"] / 1000, found["endTime"] / 1000)

    def warm_up(self, inputs: Sequence[Inputs]) -> None:
        """Let the worker do some tasks first."""
        for workflow_id in self.start_all(inputs):
            self.done(workflow_id, READY_SECONDS)

    def now_and_then(self, inputs: Sequence[Inputs], source: random.Random, pause: tuple[float, float]) -> list[float]:
        """Run workflows one after the other with pauses; returns the seconds from start to completion of each."""
        taken = []
        for given in inputs:
            time.sleep(source.uniform(*pause))
            done = self.done(self.start(given))
            taken.append(done.ended - done.began)
        return taken

    def backlog(self, inputs: Sequence[Inputs]) -> Backlog:
        """Queue all inputs while the worker is paused, then let it continue."""
        self._worker.stop()
        time.sleep(SETTLE_SECONDS)
        started = self.start_all(inputs)
        before = self._worker.cpu_seconds()
        began = self._worker.go_on()
        self._wait_for_an_empty_queue()
        ended = max(self.done(workflow_id).ended for workflow_id in started)
        return Backlog(len(inputs) / (ended - began), (self._worker.cpu_seconds() - before) / len(inputs))

    def _wait_for_an_empty_queue(self) -> None:
        """Checks seldom, because each check takes server time from the worker."""
        deadline = time.monotonic() + DONE_SECONDS
        task = self._worker.task
        while self._api.expect("GET", "/tasks/queue/sizes", query={"taskType": task}).get(task):
            self._worker.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._worker.kind.title} did not empty its queue in {DONE_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)
