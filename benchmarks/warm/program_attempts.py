"""Attempts one after the other in one process, as in a worker's slot, whose workspaces stay or do not.

usage: python -m benchmarks.warm.program_attempts STORE DIRECTORY on|off|turns COUNT WORD...
STORE is the path of a git repository, or URL#REPOSITORY of a lakeFS server with the login in the environment. It runs
an attempt for each word, and prints the seconds of each attempt and each phase, from the end of the body before to the
begin of its own, the CPU seconds, and the peak memory as JSON. With `turns` it runs two for each word, of which one
leaves its files, each in a root of its own, which is removed: all are the first ones there.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.stopwatch import Stopwatch
from benchmarks.tasks import change
from perago.attempt.context import RunContext
from perago.attempt.phases import Phases
from perago.attempt.report import report_attempt
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine
from perago.ports import Event, Observer, Phase, Repository, SystemClock
from perago.stores.git import GitStore
from perago.stores.lakefs import LakeFSStore
from perago.tasks.declare import task_of
from perago.values.credentials import LAKEFS_KEY_ID, LAKEFS_SECRET
from perago.workspace.cache import ObjectCache
from perago.workspace.warm.place import WarmPlace

CACHE_BYTES = 10 * 1024**3
TURNS = ("off", "on")


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
        store = stack.enter_context(opened(place, Path(directory), watch))
        engine = LocalEngine(Path(directory) / "runs")
        warm = stack.enter_context(WarmPlace())
        for number, word in enumerate(words):
            order = TURNS[:: 1 if number % 2 else -1] if stays == "turns" else (stays,)
            for side in order:
                watch.stopwatch.phases.clear()
                params = {"count": int(count), "word": f"{side[-1]}{word}"}
                ended, began, cpu = watch.ended, time.perf_counter(), time.process_time()
                attempt(change, store, engine, root, RunContext(observer=watch, warm=_if_on(side, warm)), params)
                samples.append(
                    {
                        "side": side,
                        "seconds": time.perf_counter() - began,
                        "between": watch.began - ended if ended else None,
                        "cpu": time.process_time() - cpu,
                        "phases": dict(watch.stopwatch.phases),
                    }
                )
                if stays == "turns":
                    shutil.rmtree(root)
    print(json.dumps({"samples": samples, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def _if_on(side: str, warm: WarmPlace) -> WarmPlace | None:
    return warm if side == "on" else None


@contextmanager
def opened(place: str, directory: Path, watch: Observer) -> Iterator[Repository]:
    """The repository STORE.

    Args:
        directory: for the host's cache.
    """
    url, is_server, name = place.partition("#")
    if not is_server:
        yield GitStore(place, observer=watch)
        return
    with (
        ObjectCache(directory / "cache", CACHE_BYTES) as kept,
        LakeFSStore(
            endpoint_url=url,
            access_key_id=os.environ[LAKEFS_KEY_ID],
            secret_access_key=os.environ[LAKEFS_SECRET],
            cache=kept,
            observer=watch,
        ) as store,
    ):
        yield store.repository(name)


def attempt(
    function: Callable[..., object],
    store: Repository,
    engine: LocalEngine,
    root: Path,
    context: RunContext,
    params: dict[str, object],
) -> None:
    """Run a task on the head of `main` and report its result."""
    task = task_of(function)
    assert task is not None
    name = getattr(store, "name", "r")
    workspace = {"repository": name, "branch": "main", "refType": "commit", "ref": store.branch_head("main")}
    input_data = {"workspace": workspace, "params": params}
    target = f"{function.__module__}:{function.__name__}"
    with engine.start_run(target=target, task_name=task.name, input_data=input_data) as run:
        result = run_attempt(
            task,
            input_data,
            run.attempt,
            context,
            workspace_root=root,
            open_store=lambda: store,
            engine=engine,
        )
        phases = Phases(context.observer, SystemClock(), execution_id="", task_id=run.attempt.task_id)
        report_attempt(engine, run.attempt, result, phases)
    assert result.status == "COMPLETED", result


if __name__ == "__main__":
    main()
