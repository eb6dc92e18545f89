"""Runs a body alone, on a test's files, with the guards, models and names of an attempt. Nothing is published."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, overload

from pydantic import BaseModel

from perago.attempt.body import BodyCall, call_body
from perago.attempt.context import RunContext
from perago.attempt.parse import parse_params
from perago.attempt.run import AttemptRun
from perago.errors import TaskInputError
from perago.ports import Event, Phase
from perago.tasks.context import TaskContext
from perago.tasks.declare import TaskDefinition
from perago.tasks.metrics import Instrument, MetricRecorder
from perago.tasks.params import validate_result
from perago.testing.engine import MemoryEngine
from perago.testing.given import Files, Params, commit_given, definition_of, directory_for, expect_params
from perago.testing.in_process import expect_no_sandbox
from perago.testing.store import MemoryStore
from perago.values import redaction
from perago.values.json_text import JsonObject
from perago.values.models import Changes
from perago.values.spec import WorkspaceSpec

R = TypeVar("R", bound=BaseModel)


class Progress(NamedTuple):
    """One call of `TaskContext.progress`."""

    done: float
    total: float | None
    message: str | None


class Metric(NamedTuple):
    """One recorded value."""

    instrument: Instrument
    name: str
    value: float
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class BodyRun(Generic[R]):
    """The result of a body that returned.

    Attributes:
        result: its validated result.
        added, modified, deleted: sorted paths that an attempt would publish; empty for a read-only or a free task.
        files: all files in the workspace afterwards, path -> content.
        progress, metrics: its calls, in order.
    """

    result: R
    added: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    progress: tuple[Progress, ...] = ()
    metrics: tuple[Metric, ...] = ()


@overload
def run_body(
    task: Callable[..., Coroutine[Any, Any, R]],
    params: Params | None = None,
    workspace: Files | None = None,
    *,
    context: TaskContext | None = None,
    metrics: MetricRecorder | None = None,
    guards: bool = True,
    root: Path | None = None,
) -> BodyRun[R]: ...
@overload
def run_body(
    task: Callable[..., R],
    params: Params | None = None,
    workspace: Files | None = None,
    *,
    context: TaskContext | None = None,
    metrics: MetricRecorder | None = None,
    guards: bool = True,
    root: Path | None = None,
) -> BodyRun[R]: ...
@overload
def run_body(
    task: TaskDefinition,
    params: Params | None = None,
    workspace: Files | None = None,
    *,
    context: TaskContext | None = None,
    metrics: MetricRecorder | None = None,
    guards: bool = True,
    root: Path | None = None,
) -> BodyRun[BaseModel]: ...
def run_body(
    task: TaskDefinition | Callable[..., object],
    params: Params | None = None,
    workspace: Files | None = None,
    *,
    context: TaskContext | None = None,
    metrics: MetricRecorder | None = None,
    guards: bool = True,
    root: Path | None = None,
) -> BodyRun[Any]:
    """Run the body of a task in this process, as an attempt does: parse, materialize, guards, body, guards, diff.

    Args:
        task: a function decorated with `@task`, or its definition.
        params: Default: `{}`.
        workspace: the body's files, by path in the workspace (below the task's prefix). Files that the task's patterns
            exclude are left out. A directory is copied. Default: no files.
        context: the body's `TaskContext`. Default: `TaskContext.for_test(<name of the task>)`.
        metrics: also receives what the body records. Default: nothing.
        guards: whether to check the guards.
        root: directory for the workspace. That of a failed body stays in `<root>/kept/`. Default: a temporary directory
            that is removed.

    Raises:
        TaskInputError: the params do not validate, `task` is not a task, or files are given to a task without a
            workspace.
        PreGuardrailViolation, PostGuardrailViolation: a guard is violated.
        TaskExecutionError: the result does not validate.
        ObjectNameError, WorkspaceContentError: files in the workspace could not be published.
        Exception: an error of the body, unchanged.
    """
    definition = definition_of(task)
    rehearsal = _Rehearsal(definition, context or TaskContext.for_test(definition.name), metrics)
    given = {} if params is None else params
    if workspace is None and definition.workspace is not None:
        expect_params(given, definition)
    changes = Changes()
    if definition.workspace is not None:
        spec = definition.workspace
        kept = spec if guards else spec.model_copy(update={"pre": [], "post": []})
        with directory_for(root) as directory:
            files = {} if workspace is None else workspace
            changes = _rehearse(rehearsal, kept, given, files, directory, keep=root is not None)
    elif workspace is None:
        rehearsal.run_free(given)
    else:
        raise TaskInputError(f"task {definition.name!r} has no workspace; leave workspace= out, or declare a workspace")
    return rehearsal.finished(changes)


class _Rehearsal:
    """One run of a body, with its observations."""

    def __init__(self, task: TaskDefinition, context: TaskContext, metrics: MetricRecorder | None) -> None:
        self.task = task
        self.context = context.reporting_to(self._note_progress)
        self.recorder = _Recorder(metrics)
        self._listener = context.on_progress
        self._progress: list[Progress] = []
        self._workspace: Path | None = None
        self._result: BaseModel | None = None
        self._files: dict[str, bytes] = {}

    def run_free(self, params: Params) -> None:
        model, raw = parse_params(self.task, {"params": params})
        self.invoke(BodyCall(task=self.task, params=model, raw_params=raw, context=self.context))

    def invoke(self, call: BodyCall, /) -> JsonObject:
        """`InvokeBody` that also keeps the result model."""
        expect_no_sandbox(self.task)
        self._workspace = call.workspace
        returned = call_body(replace(call, context=self.context, metrics=self.recorder))
        output = validate_result(self.task, returned)
        model = self.task.output_model
        self._result = returned if isinstance(returned, model) else model.model_validate(returned)
        return output

    def observe(self, event: Event, /) -> None:
        """`Observer` that reads the files after all checks."""
        read_only = self.task.workspace is not None and self.task.workspace.read_only
        last = Phase.POST_GUARDS if read_only else Phase.DIFF
        if (event.phase, event.kind) == (last, "completed") and self._workspace is not None:
            self._files = _read_files(self._workspace)

    def finished(self, changes: Changes) -> BodyRun[Any]:
        assert self._result is not None, "the body has returned"
        return BodyRun(
            result=self._result,
            added=changes.added,
            modified=changes.modified,
            deleted=changes.deleted,
            files=self._files,
            progress=tuple(self._progress),
            metrics=tuple(self.recorder.recorded),
        )

    def _note_progress(self, done: float, total: float | None, message: str | None, /) -> None:
        self._progress.append(Progress(done, total, message))
        self._listener(done, total, message)


class _Recorder(MetricRecorder):
    """Keeps what a body records, and passes it on."""

    def __init__(self, listener: MetricRecorder | None) -> None:
        self.recorded: list[Metric] = []
        self._listener = listener

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:
        self.recorded.append(Metric(instrument, name, value, labels))
        if self._listener is not None:
            self._listener.deliver(instrument, name, value, labels)


def _rehearse(
    rehearsal: _Rehearsal, spec: WorkspaceSpec, params: Params, files: Files, directory: Path, *, keep: bool
) -> Changes:
    store, engine, task = MemoryStore(), MemoryEngine(), rehearsal.task
    ref = commit_given(store, "main", files, below=spec.root)
    engine.schedule(task.name, {"workspace": store.input(ref=ref).model_dump(), "params": params})
    attempt = engine.poll()
    assert attempt is not None, "a task without predecessors is scheduled at once"
    context = RunContext(
        worker_id="test",
        metrics=rehearsal.recorder,
        invoke_body=rehearsal.invoke,
        is_cancelled=rehearsal.context.is_cancelled,
        keep_failed_workspace=keep,
        observer=rehearsal.observe,
    )
    try:
        run = AttemptRun(task, spec, attempt, directory, context)
        return run.rehearse(
            attempt.input_data, store.download_workspace, store.list_workspace, store.read_history
        ).changes
    finally:
        redaction.forget(context.execution_id)


def _read_files(workspace: Path) -> dict[str, bytes]:
    paths = sorted(path for path in workspace.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(workspace).as_posix(): path.read_bytes() for path in paths}
