"""One attempt as in `perago run`, without the command line and the body's own process.

usage: python -m benchmarks.git.program_attempt REPOSITORY WORKSPACE_ROOT COUNT WORD
It prints the seconds of the attempt and of each phase as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.stopwatch import Stopwatch
from benchmarks.tasks import change
from perago.attempt.context import RunContext
from perago.attempt.phases import Phases
from perago.attempt.report import report_attempt
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine
from perago.ports import SystemClock
from perago.stores.git import GitStore
from perago.tasks.declare import task_of


def main() -> None:
    """Run it and print the result."""
    repository, root, count, word = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    stopwatch = Stopwatch()
    began = time.perf_counter()
    status = attempt(repository, root, {"count": count, "word": word}, stopwatch)
    seconds = time.perf_counter() - began
    assert status == "COMPLETED", status
    print(json.dumps({"seconds": seconds, "phases": stopwatch.phases}))


def attempt(repository: Path, root: Path, params: dict[str, object], observer: Stopwatch) -> str:
    """Run the task on the head of `main` and report its result; returns its status."""
    task = task_of(change)
    assert task is not None
    store, engine = GitStore(repository, observer=observer), LocalEngine(repository / "perago" / "runs")
    workspace = {"repository": "r", "branch": "main", "refType": "commit", "ref": store.resolve("main")}
    input_data = {"workspace": workspace, "params": params}
    with engine.start_run(target="benchmarks.tasks:change", task_name=task.name, input_data=input_data) as run:
        result = run_attempt(
            task,
            input_data,
            run.attempt,
            RunContext(observer=observer),
            workspace_root=root,
            open_store=lambda: store,
            engine=engine,
        )
        phases = Phases(observer, SystemClock(), execution_id="", task_id=run.attempt.task_id)
        report_attempt(engine, run.attempt, result, phases)
    return result.status


if __name__ == "__main__":
    main()
