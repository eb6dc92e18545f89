"""What the core asks of the world: a store, an engine, an observer, a clock. Protocols and their event values only."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from perago.history import History
from perago.json_text import JsonObject
from perago.models import Attempt, RuntimeTaskResult, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.record import InstanceRecord
from perago.spec import WorkspaceSpec

# ---------------------------------------------------------------- store

FileDigests = Mapping[str, str]
"""Path relative to the workspace directory -> `<algorithm>:<hex>` of its content; see `workspace.digest`."""


class DownloadWorkspace(Protocol):
    """Lay out the input's files under the workspace directory.

    A store that knows what it wrote returns the digests, and the manifest need not read the files again; None is fine.
    """

    def __call__(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, workspace_dir: Path, /
    ) -> FileDigests | None: ...


class StageWorkspace(Protocol):
    """Upload `execution.changes` and commit them, by `execution.plan`, where nobody reads.

    Without a plan the store reads the head by itself and decides with `plans.plan_without_engine`.
    If it raises, it has cleaned up what it made.
    """

    def __call__(
        self,
        workspace_dir: Path,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
        /,
    ) -> StagedWorkspace: ...


class PublishWorkspace(Protocol):
    """Move the target from the head that was staged upon to the staged content: exactly once, or not at all.

    Returns the published commit's full id.

    Raises:
        HeadMovedError: the target moved meanwhile; nothing was published.
    """

    def __call__(
        self,
        staged: StagedWorkspace,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
        /,
    ) -> str: ...


class CleanupStaging(Protocol):
    """Remove what staging left. Called whenever staging returned, after success and after failure."""

    def __call__(self, staged: StagedWorkspace, /) -> None: ...


class CompleteNoopWorkspace(Protocol):
    """A writable task changed nothing: say which commit it completes with.

    With a `Complete` plan that is the plan's commit. Without a plan the store looks by itself whether anything lies
    between the input and the head, and raises `PublishFenceError` if so.
    """

    def __call__(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, execution: TaskExecution, /
    ) -> str: ...


class ReadHistory(Protocol):
    """Read the head of the input's branch, then the first-parent line from it down to the input ref.

    Raises:
        RefNotFoundError, BranchNotFoundError, RepositoryNotFoundError: the input names what is not there.
        PublishFenceError: the input ref is not on the line, or not within `plans.MAX_HISTORY` commits.
    """

    def __call__(self, workspace_input: WorkspaceInput, /) -> History: ...


class WorkspaceStore(Protocol):
    """A versioned store: the callables of an attempt, as methods of one object."""

    @property
    def download_workspace(self) -> DownloadWorkspace: ...
    @property
    def stage_workspace(self) -> StageWorkspace: ...
    @property
    def publish_workspace(self) -> PublishWorkspace: ...
    @property
    def cleanup_staging(self) -> CleanupStaging: ...
    @property
    def complete_noop_workspace(self) -> CompleteNoopWorkspace: ...
    @property
    def read_history(self) -> ReadHistory: ...


# ---------------------------------------------------------------- engine


class LoadCurrentAttempt(Protocol):
    """Read the engine's present state of this attempt's task, for the attempt fence."""

    def __call__(self, attempt: Attempt, /) -> Attempt: ...


class LoadRecord(Protocol):
    """Read every try of the attempt's workflow instance: the engine's verdict on stamps rests on it."""

    def __call__(self, attempt: Attempt, /) -> InstanceRecord: ...


class ReportResult(Protocol):
    """Tell the engine the attempt's result. An engine that has moved on may drop it silently: read back."""

    def __call__(self, attempt: Attempt, result: RuntimeTaskResult, /) -> None: ...


class Engine(Protocol):
    """A task engine: the callables of an attempt, as methods of one object."""

    @property
    def load_current_attempt(self) -> LoadCurrentAttempt: ...
    @property
    def load_record(self) -> LoadRecord: ...
    @property
    def report_result(self) -> ReportResult: ...


class HandedOut(Attempt, Protocol):
    """A task as a poll hands it out to a worker."""

    @property
    def task_def_name(self) -> str: ...
    @property
    def input_data(self) -> JsonObject: ...
    @property
    def response_timeout_seconds(self) -> int:
        """Without a sign of life from the worker, until the engine gives the execution up; 0: it does not say."""
        ...


class Lease(Protocol):
    """The worker's right to an execution, kept by heartbeats in the background until it is stopped."""

    @property
    def is_late(self) -> bool:
        """Heartbeats are missing, so that the lease is soon lost; or it was let go. Stop it, and hold the attempt anew,
        unless it `is_retrying`.
        """
        ...

    @property
    def is_retrying(self) -> bool:
        """The engine did not take the last heartbeat, which is sent again soon: another lease could do no more."""
        ...

    @property
    def is_stopped(self) -> bool:
        """There are no more heartbeats, and none is in flight."""
        ...

    def let_go(self) -> None:
        """No more heartbeats; returns at once, while one may still be in flight."""
        ...

    def stop(self) -> None:
        """No more heartbeats; returns when the one in flight has its answer. Comes before the report."""
        ...


class WorkerEngine(Engine, Protocol):
    """What a worker needs of an engine beyond an attempt's callables. Every method may raise `EngineError`.

    All of it may be called from any thread.
    """

    def poll(
        self, task_types: Sequence[str], count: int, worker_id: str, domain: str | None = None
    ) -> Sequence[HandedOut]:
        """Take up to `count` waiting tasks, at once; whoever takes one holds it or gives it back."""
        ...

    def report_and_take(self, attempt: HandedOut, result: RuntimeTaskResult) -> HandedOut | None:
        """Report as `report_result` does, and take the next waiting task of the same type and domain in one call.

        None: none waits, or the engine gives none along. It may wait a moment for one. A task can come along with a
        report that is dropped too.
        """
        ...

    def hold(self, attempt: HandedOut, *, at_once: bool = False) -> Lease:
        """Keep an execution's lease.

        Args:
            at_once: begin with a heartbeat, as others were missing.
        """
        ...

    def give_back(self, attempt: Attempt) -> bool:
        """Put a task back into its queue, spending no retry; says whether it was still this execution's."""
        ...

    def current_of(self, attempts: Iterable[HandedOut]) -> Mapping[str, Attempt | None]:
        """What the engine has now of many tasks, by task id; None: it is not there any more.

        One that cannot be read is left out; where none can, it raises.
        """
        ...

    def log(self, attempt: HandedOut, text: str) -> None:
        """Add an entry to the task's log."""
        ...


# ---------------------------------------------------------------- observer


class Phase(enum.StrEnum):
    """The phases of an attempt. `DECIDE` is each look at history and record: at the start, and at the publish fence."""

    POLL = "poll"
    PARSE = "parse"
    DECIDE = "decide"
    MATERIALIZE = "materialize"
    PRE_GUARDS = "pre_guards"
    BODY = "body"
    POST_GUARDS = "post_guards"
    DIFF = "diff"
    STAGE = "stage"
    FENCE = "fence"
    PUBLISH = "publish"
    REPORT = "report"
    CLEAN = "clean"


EventKind = Literal["started", "progress", "completed", "failed"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened in a phase.

    Attributes:
        attributes: what the phase knows, by the field's standard names: `files`, `bytes` (so far, in this phase),
            `total_files`, `total_bytes`, `plan`, `ref`, `added`, `modified`, `deleted`, …
        seconds: duration of the phase so far; 0 for `started`.
        error: of a `failed` event.
    """

    phase: Phase
    kind: EventKind
    execution_id: str = ""
    task_id: str = ""
    seconds: float = 0.0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    error: BaseException | None = None


class Observer(Protocol):
    """The one hook on which logs, metrics, traces, progress bars, kill points and fault injection hang.

    What it raises fails the phase (that is how faults are injected); sinks that must not do so guard themselves.
    """

    def __call__(self, event: Event, /) -> None: ...


def ignore(event: Event, /) -> None:
    """The observer that looks away."""


# ---------------------------------------------------------------- clock


class Clock(Protocol):
    """Where time comes from, so that a simulation can make it up."""

    def now(self) -> datetime:
        """The present, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
