"""Whole attempts on a store, beside those by steps of `bench`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from perago.attempt.context import RunContext
from perago.attempt.run import run_attempt
from perago.errors import required
from perago.ports import Observer, ignore
from perago.tasks.declare import task, task_of
from perago.testing.contract.bench import Bench
from perago.testing.engine import MemoryEngine
from perago.values.models import RuntimeTaskResult
from perago.values.spec import WorkspaceSpec


class Empty(BaseModel):
    """Params and result."""


def whole_attempt(
    bench: Bench,
    spec: WorkspaceSpec,
    change: Callable[[Path], None],
    observer: Observer = ignore,
    engine: MemoryEngine | None = None,
) -> RuntimeTaskResult:
    """An attempt on the head of `main`.

    Args:
        change: the body.
        engine: gets the task, into its workflow. Default: one of its own.
    """

    @task(name="t", owner_email="ada@example.org", workspace=spec)
    def body(workspace: Path, params: Empty) -> Empty:  # noqa: ARG001 - a task has params
        change(workspace)
        return Empty()

    definition, engine = required(task_of(body), "it is decorated"), engine or MemoryEngine()
    given = {"workspace": bench.input(bench.head()).model_dump(), "params": {}}
    engine.schedule("t", given, reference_task_name=f"t-{uuid.uuid4().hex}")
    attempt = required(engine.poll(), "it is scheduled")
    return run_attempt(
        definition,
        attempt.input_data,
        attempt,
        RunContext(execution_id=uuid.uuid4().hex, observer=observer),
        workspace_root=bench.root / "attempts",
        open_store=lambda: bench.store,
        engine=engine,
    )
