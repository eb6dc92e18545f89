"""Calling the task's function, and taking its result."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from perago.errors import TaskExecutionError
from perago.json_text import JsonObject
from perago.tasks.context import TaskContext
from perago.tasks.declare import TaskDefinition
from perago.tasks.metrics import MetricRecorder
from perago.tasks.params import validate_result


@dataclass(frozen=True, kw_only=True)
class BodyCall:
    """One call of a task's function.

    Attributes:
        params: validated.
        raw_params: as they came in, for a body that runs in another process and validates them there.
        workspace: the body's own directory; None for a free task.
        metrics: where the body's metrics go; None: nowhere.
        context: the attempt as the body may see it.
    """

    task: TaskDefinition
    params: BaseModel
    raw_params: JsonObject
    context: TaskContext
    workspace: Path | None = None
    metrics: MetricRecorder | None = None


class InvokeBody(Protocol):
    """Run the body, wherever, and return its validated result as JSON.

    Raises:
        TaskExecutionError: the body failed or its result does not validate.
    """

    def __call__(self, call: BodyCall, /) -> JsonObject: ...


def invoke_in_process(call: BodyCall) -> JsonObject:
    """Run the body here, in this thread; an `async def` body on an event loop of its own."""
    return validate_result(call.task, call_body(call))


def call_body(call: BodyCall) -> object:
    """Call the function; returns what it returns, not validated yet.

    Raises:
        TaskExecutionError: the body called `sys.exit`. What it raises is passed on.
    """
    try:
        returned = call.task.fn(*call.task.arguments(call.workspace, call.params, call.metrics, call.context))
        return _finish(returned) if inspect.iscoroutine(returned) else returned
    except SystemExit as exc:
        raise TaskExecutionError(
            f"task {call.task.name!r}: the body called sys.exit({exc.code!r}); raise TaskFailed or TaskTerminalError "
            f"to fail a task"
        ) from exc


def _finish(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run a coroutine to its end, also where this thread has a running loop (a notebook, an async test)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    outcome: list[object] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(coroutine))
        except BaseException as exc:  # noqa: BLE001 - handed to the caller's thread, which raises it
            failure.append(exc)

    thread = threading.Thread(target=run, name=f"perago-body-{threading.get_ident()}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
