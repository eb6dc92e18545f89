"""Attempts one after the other in one process, as in a worker.

usage: python -m benchmarks.lakefs.program_attempt URL REPOSITORY DIRECTORY CACHE TASK COUNT WORD...
with the access key in PERAGO_BENCH_KEY_ID and PERAGO_BENCH_SECRET. It runs an attempt for each word, and prints the
seconds of each attempt and each phase, the CPU seconds, and the peak memory as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import tasks
from benchmarks.stopwatch import Stopwatch
from perago.attempt.context import RunContext
from perago.attempt.phases import Phases
from perago.attempt.report import report_attempt
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine
from perago.ports import SystemClock
from perago.stores.lakefs import LakeFSStore
from perago.tasks.declare import task_of
from perago.workspace.cache import ObjectCache

CACHE_BYTES = 10 * 1024**3


class Case(NamedTuple):
    """The work of a run."""

    repository: str
    root: Path
    task: str
    observer: Stopwatch


def main() -> None:
    """Run them and print the results."""
    url, repository, directory, cache, task, count, *words = sys.argv[1:]
    stopwatch = Stopwatch()
    samples = []
    with (
        ObjectCache(Path(cache), CACHE_BYTES) as kept,
        LakeFSStore(
            endpoint_url=url,
            access_key_id=os.environ["PERAGO_BENCH_KEY_ID"],
            secret_access_key=os.environ["PERAGO_BENCH_SECRET"],
            cache=kept,
            observer=stopwatch,
        ) as store,
    ):
        engine = LocalEngine(Path(directory) / "runs")
        case = Case(repository, Path(directory), task, stopwatch)
        for word in words:
            stopwatch.phases.clear()
            began, cpu = time.perf_counter(), time.process_time()
            status = attempt(store, engine, case, {"count": int(count), "word": word})
            seconds, spent = time.perf_counter() - began, time.process_time() - cpu
            assert status == "COMPLETED", status
            samples.append({"seconds": seconds, "cpu": spent, "phases": dict(stopwatch.phases)})
    print(json.dumps(samples))


def attempt(store: LakeFSStore, engine: LocalEngine, case: Case, params: dict[str, object]) -> str:
    """Run a task on the head of `main` and report its result; returns its status."""
    repository, root, name, observer = case
    task = task_of(getattr(tasks, name))
    assert task is not None
    workspace = {"repository": repository, "branch": "main", "refType": "commit"}
    input_data = {"workspace": {**workspace, "ref": store.repository(repository).branch_head("main")}, "params": params}
    with engine.start_run(target=f"benchmarks.tasks:{name}", task_name=task.name, input_data=input_data) as run:
        result = run_attempt(
            task,
            input_data,
            run.attempt,
            RunContext(observer=observer),
            workspace_root=root / "workspaces",
            open_store=lambda: store,
            engine=engine,
        )
        phases = Phases(observer, SystemClock(), execution_id="", task_id=run.attempt.task_id)
        report_attempt(engine, run.attempt, result, phases)
    return result.status


if __name__ == "__main__":
    main()
