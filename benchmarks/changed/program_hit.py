"""Attempts of one task of the pipeline, one after the other in one process, each of which takes an earlier result.

usage: python -m benchmarks.changed.program_hit TASK COUNT REMOVED
in the directory of a project, with its environment. Before each attempt, the files below REMOVED, if it is not empty,
are deleted from the branch. It prints the seconds of each attempt and its calls to a server as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from benchmarks.scoped.place import Repository, counted
from perago.attempt.context import RunContext
from perago.attempt.reuse import RunCache
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine
from perago.index.results import IndexedResults, earlier_results
from perago.ports import Event
from perago.stores.git import GitStore
from perago.stores.lakefs import LakeFSStore
from perago.tasks.declare import TaskDefinition, task_of
from perago.values.credentials import LAKEFS_KEY_ID, LAKEFS_SECRET, LAKEFS_URL
from perago.values.spec import WorkspaceSpec


def main() -> None:
    """Run them and print the results."""
    name, count, removed = sys.argv[1:]
    task = task_of(getattr(import_module("pipeline.tasks"), name))
    assert task is not None
    with ExitStack() as stack:
        repository, at, results = _opened(stack)
        engine = LocalEngine(Path("runs").absolute())
        samples = []
        for _ in range(int(count) + 1):  # the first one loads modules
            if removed:
                _remove(repository, removed)
            samples.append(_hit(task, repository, at, results, engine))
    print(json.dumps(samples[1:]))


def _opened(stack: ExitStack) -> tuple[Repository, str, IndexedResults]:
    """The repository, its name in an input, and what its history has."""
    given, state = os.environ["PERAGO_REPO"], Path(os.environ["XDG_STATE_HOME"]) / "perago"
    if not given.startswith("lakefs://"):
        results = earlier_results(state, str(Path(given).absolute()), is_server=False)
        assert results is not None
        return GitStore(given), "data", results
    name = given.removeprefix("lakefs://")
    store = LakeFSStore(
        endpoint_url=os.environ[LAKEFS_URL],
        access_key_id=os.environ[LAKEFS_KEY_ID],
        secret_access_key=os.environ[LAKEFS_SECRET],
    )
    results = earlier_results(state, os.environ[LAKEFS_URL], is_server=True)
    assert results is not None
    return stack.enter_context(store).repository(name), name, results


def _remove(repository: Repository, prefix: str) -> None:
    with tempfile.TemporaryDirectory() as empty:
        spec = WorkspaceSpec(prefix=prefix)
        assert repository.import_directory(Path(empty), "main", "removed", spec=spec, mirror=True) is not None


def _hit(
    task: TaskDefinition, repository: Repository, name: str, results: IndexedResults, engine: LocalEngine
) -> dict[str, float]:
    """Seconds, calls and calls for the listing of one attempt."""
    workspace = {"repository": name, "branch": "main", "refType": "commit", "ref": repository.resolve("main")}
    input_data = {"workspace": workspace, "params": {}}
    told: list[object] = []
    with counted() as calls, engine.start_run(target=task.target, task_name=task.name, input_data=input_data) as run:
        began = time.perf_counter()
        result = run_attempt(
            task,
            input_data,
            run.attempt,
            RunContext(cache=RunCache(results=results, mode="observed"), observer=_noting(told)),
            workspace_root=Path("workspaces").absolute(),
            open_store=lambda: repository,
            engine=engine,
        )
        seconds = time.perf_counter() - began
    assert result.status == "COMPLETED", result
    assert "hit" in told, told
    return {"seconds": seconds, "calls": len(calls)}


def _noting(told: list[object]) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        told.append(event.attributes.get("cache"))

    return observe


if __name__ == "__main__":
    main()
