"""The ports: what an attempt, a worker and the commands ask of a store and an engine, the observer, the clock."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from perago.values.findings import Finding
from perago.values.history import History, Stamp
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, Changes, RuntimeTaskResult, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.record import InstanceRecord
from perago.values.spec import WorkspaceSpec

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


class AttemptEngine(Protocol):
    """What an attempt asks of a task engine, as methods of one object."""

    @property
    def load_current_attempt(self) -> LoadCurrentAttempt: ...
    @property
    def load_record(self) -> LoadRecord: ...


class Engine(AttemptEngine, Protocol):
    """A task engine, with the report of what an attempt came to."""

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


AttemptLiveness = Callable[[Stamp], Literal["alive", "dead", "unknown"]]
"""Whether the attempt that made a stamp is at work, as far as its engine can tell."""


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One commit.

    Attributes:
        id, parents: full commit ids.
        author: name of the author; time: of the commit, UTC.
        subject: first line of the message.
        stamp: what it says of itself, if it counts: a copied one does not.
        added, modified, deleted: number of paths changed since the first parent.
    """

    id: str
    parents: tuple[str, ...]
    author: str
    time: datetime
    subject: str
    stamp: Stamp | None
    added: int
    modified: int
    deleted: int


_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""The times that Python has in every zone."""


def commit_time(seconds: int) -> datetime:
    """The time of a commit, given in seconds since the epoch; where it is none that Python has, the nearest to it."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST.timestamp()), _LAST.timestamp()), UTC)


class Repository(WorkspaceStore, Protocol):
    """One repository of a store."""

    def branch_head(self, branch: str) -> str | None:
        """Full id of the commit that a branch points at; None where there is no such branch."""
        ...

    def branches(self) -> list[str]:
        """Names of all branches that people work on, sorted.

        Raises:
            RepositoryNotFoundError
        """
        ...

    def resolve(self, ref: str) -> str:
        """Full id of the commit that a branch, a tag or the beginning of an id names.

        Raises:
            RefNotFoundError: it names nothing, or more than one commit.
        """
        ...

    def import_directory(
        self, source: Path, branch: str, message: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> str | None:
        """Put a directory's files onto a branch below `spec.prefix`, in one commit without a stamp.

        A branch that is not there is made.

        Args:
            spec: prefix, include and exclude count: what is not selected stays as it is. Default: everything.
            mirror: selected files that the directory does not have are deleted; else they stay.

        Returns:
            the full id of the branch's new head, or None where nothing differs.

        Raises:
            WorkspaceError: the directory holds what cannot be stored, or a file where the branch keeps a directory, or
                the other way round.
            HeadMovedError: the branch moved again and again.
        """
        ...

    def compare_directory(
        self, source: Path, branch: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> Changes:
        """What `import_directory` would change, by path below `spec.prefix`; nothing is written.

        `deleted` names what the directory does not have, without `mirror` too.

        Raises:
            WorkspaceError: as `import_directory`.
        """
        ...

    def export(self, ref: str, prefix: str, target: Path) -> int:
        """Lay out a commit's files below a new or empty directory; returns how many.

        Raises:
            RefNotFoundError: `ref` is no full commit id, or there is no such commit.
            PrefixNotFoundError: there is nothing below the prefix.
            ObjectNameError: a name that cannot be laid out; nothing was written.
            WorkspaceStorageError: the directory is not empty, or cannot be written.
        """
        ...

    def log(self, ref: str, limit: int) -> Iterator[LogEntry]:
        """The commit `ref` and its first parents, newest first, at most `limit` of them."""
        ...

    def sweep(self, older_than_seconds: float) -> object:
        """Remove what killed attempts left staged longer ago than this."""
        ...

    def examine(
        self,
        *,
        older_than_seconds: float,
        liveness_of: AttemptLiveness = ...,
        living_since: float | None = None,
        deep: bool = False,
    ) -> Iterator[Finding]:
        """Find what killed attempts left, and what is missing or damaged; nothing is changed.

        Args:
            older_than_seconds: age of what counts as left behind where nothing else tells.
            living_since: when the oldest attempt began that may be at work; seconds since the epoch.
            deep: read content too, where that can tell something.
        """
        ...
