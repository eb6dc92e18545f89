"""Attempts one after the other in one process, as in a worker's slot, whose workspaces stay or do not.

usage: python -m benchmarks.warm.program_attempts STORE DIRECTORY on|off COUNT WORD...
STORE is the path of a git repository, or URL#REPOSITORY of a lakeFS server with the access key in PERAGO_BENCH_KEY_ID
and PERAGO_BENCH_SECRET. It runs an attempt for each word, and prints the seconds of each attempt and each phase, from
the end of the body before to the begin of its own, the CPU seconds, and the peak memory as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.stopwatch import Stopwatch
from benchmarks.tasks import change
from perago.attempt.context import RunContext
from perago.attempt.phases import Phases
from perago.attempt.report import report_attempt
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine
from perago.ports import Event, Phase, Repository, SystemClock
from perago.stores.git import GitStore
from perago.stores.lakefs import LakeFSStore
from perago.tasks.declare import task_of
from perago.workspace.cache import ObjectCache
from perago.workspace.warm.place import WarmPlace

CACHE_BYTES = 10 * 1024**3


class Watch:
    """Adds up phases, and notes when bodies begin and end."""

    def __init__(self) -> None:
        self.stopwatch = Stopwatch()
        self.began = self.ended = 0.0

    def __call__(self, event: Event, /) -> None:
        self.stopwatch(event)
        if event.phase is Phase.BODY and event.kind == "started":
            self.began = time.perf_counter()
        if event.phase is Phase.BODY and event.kind == "completed":
            self.ended = time.perf_counter()


def main() -> None:
    """Run them and print the results."""
    place, directory, stays, count, *words = sys.argv[1:]
    watch, samples = Watch(), []
    root = Path(directory) / "root"
    with ExitStack() as stack:
        store = stack.enter_context(_opened(place, Path(directory), watch))
        engine = LocalEngine(Path(directory) / "runs")
        warm = stack.enter_context(WarmPlace()) if stays == "on" else None
        for word in words:
            watch.stopwatch.phases.clear()
            ended, began, cpu = watch.ended, time.perf_counter(), time.process_time()
            _attempt(store, engine, root, watch, warm, {"count": int(count), "word": word})
            samples.append(
                {
                    "seconds": time.perf_counter() - began,
                    "between": watch.began - ended if ended else None,
                    "cpu": time.process_time() - cpu,
                    "phases": dict(watch.stopwatch.phases),
                }
            )
    print(json.dumps({"samples": samples, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


@contextmanager
def _opened(place: str, directory: Path, watch: Watch) -> Iterator[Repository]:
    url, is_server, name = place.partition("#")
    if not is_server:
        yield GitStore(place, observer=watch)
        return
    with (
        ObjectCache(directory / "cache", CACHE_BYTES) as kept,
        LakeFSStore(
            endpoint_url=url,
            access_key_id=os.environ["PERAGO_BENCH_KEY_ID"],
            secret_access_key=os.environ["PERAGO_BENCH_SECRET"],
            cache=kept,
            observer=watch,
        ) as store,
    ):
        yield store.repository(name)


def _attempt(
    store: Repository,
    engine: LocalEngine,
    root: Path,
    watch: Watch,
    warm: WarmPlace | None,
    params: dict[str, object],
) -> None:
    """Run the task on the head of `main` and report its result."""
    task = task_of(change)
    assert task is not None
    name = getattr(store, "name", "r")
    workspace = {"repository": name, "branch": "main", "refType": "commit", "ref": store.branch_head("main")}
    input_data = {"workspace": workspace, "params": params}
    with engine.start_run(target="benchmarks.tasks:change", task_name=task.name, input_data=input_data) as run:
        result = run_attempt(
            task,
            input_data,
            run.attempt,
            RunContext(observer=watch, warm=warm),
            workspace_root=root,
            open_store=lambda: store,
            engine=engine,
        )
        phases = Phases(watch, SystemClock(), execution_id="", task_id=run.attempt.task_id)
        report_attempt(engine, run.attempt, result, phases)
    assert result.status == "COMPLETED", result


if __name__ == "__main__":
    main()
