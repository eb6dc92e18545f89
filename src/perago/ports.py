"""The ports: what an attempt, a worker and the commands require of a store, an engine, an observer and a clock."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from perago.values.findings import Finding
from perago.values.history import Conflict, History, Merge, Stamp
from perago.values.json_text import JsonObject
from perago.values.models import (
    RUN_BRANCH_TTL_SECONDS,
    Attempt,
    Changes,
    RuntimeTaskResult,
    StagedWorkspace,
    TaskExecution,
    WorkspaceInput,
)
from perago.values.record import InstanceRecord
from perago.values.spec import WorkspaceSpec

# ---------------------------------------------------------------- store

FileDigests = Mapping[str, str]
"""Path relative to the workspace directory -> `<algorithm>:<hex>` of the file's content; see `workspace.digest`."""


class DownloadWorkspace(Protocol):
    """Lay out the input's files under the workspace directory.

    A store that knows the digests returns them (`FileDigests`), which saves the manifest from reading the files again.
    Anything else that it returns is ignored.
    """

    def __call__(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, workspace_dir: Path, /
    ) -> object: ...


class ListedFile(NamedTuple):
    """A file of a commit, by what is known without its content.

    Attributes:
        size: bytes.
        digest: `<algorithm>:<hex>` of its content, see `workspace.digest`; of an algorithm that nobody knows if the
            store cannot tell.
    """

    size: int
    executable: bool
    digest: str


class ListWorkspace(Protocol):
    """The files that `download_workspace` would lay out, by path relative to the workspace directory."""

    def __call__(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, /
    ) -> Mapping[str, ListedFile]: ...


class Source(NamedTuple):
    """What a store lays out at a path.

    Attributes:
        content: names the content: what has the same name has the same bytes, whenever and in whatever commit.
    """

    content: str
    executable: bool


class Kept(NamedTuple):
    """What a workspace directory already has of an input.

    Attributes:
        digests: of the files that are there, exactly as they would be laid out.
        directories: paths of the directories that are there, without the root.
    """

    digests: FileDigests
    directories: Collection[str]


NOTHING_KEPT = Kept({}, ())

KeepFiles = Callable[[Mapping[str, Source]], Kept]
"""Keeps what is already there of an input, by path, and removes everything else."""


class CompleteWorkspace(Protocol):
    """As `DownloadWorkspace`, for a directory that may have some of the files.

    Calls `keep` once, when the input is known and its names are checked; then lays out what `keep` has not told.
    """

    def __call__(
        self,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        workspace_dir: Path,
        keep: KeepFiles,
        /,
    ) -> FileDigests: ...


@runtime_checkable
class CompletesWorkspaces(Protocol):
    """A store that lays out only what is missing."""

    def complete_workspace(
        self,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        workspace_dir: Path,
        keep: KeepFiles,
        /,
    ) -> FileDigests:
        """See `CompleteWorkspace`."""
        ...


class ForeseeDownload(Protocol):
    """Begin to find out what `download_workspace` will lay out, and return at once. Optional; the attempt calls it
    before it reads the history, which needs nothing of it. An error is the download's.
    """

    def __call__(self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, /) -> None: ...


@runtime_checkable
class ForeseesDownload(Protocol):
    """A store that saves the time of a look-up by knowing of a download before it is due."""

    def foresee_download(self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, /) -> None:
        """See `ForeseeDownload`."""
        ...


class StageWorkspace(Protocol):
    """Upload `execution.changes` and commit them according to `execution.plan`, invisible to readers of the branch.

    Without a plan the store reads the head itself and decides with `plans.plan_without_engine`.
    If it raises, it has removed everything it created.
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
    """Move the target from the head that was staged on to the staged content: exactly once, or not at all.

    Returns the published commit's full id.

    Raises:
        HeadMovedError: the target is at another head; nothing was published.
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
    """Remove what staging left. Called whenever staging has returned, after success and after failure."""

    def __call__(self, staged: StagedWorkspace, /) -> None: ...


class CompleteNoopWorkspace(Protocol):
    """Choose the commit that a writable task completes with if it changed nothing.

    With a `Complete` plan, that is the plan's commit. Without a plan the store checks for commits between the input and
    the head, and raises `PublishFenceError` if there are any.
    """

    def __call__(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, execution: TaskExecution, /
    ) -> str: ...


class ReadHistory(Protocol):
    """Read the head of the input's branch, then the first-parent line from it down to the input ref.

    Raises:
        RefNotFoundError, BranchNotFoundError, RepositoryNotFoundError: something that the input names does not exist.
        PublishFenceError: the input ref is not among the line's last `plans.MAX_HISTORY` commits.
    """

    def __call__(self, workspace_input: WorkspaceInput, /) -> History: ...


class ValidateReads(Protocol):
    """Compare the input with what a merge builds on, where the task could see it: below its prefix, as selected.

    What it builds on is the input's content with the changes of the foreign commits on it. Without abandoned commits
    that is the head's. Reads the differences below the prefix only.

    Returns the paths that differ, with the foreign commits that changed them; None if there are none.
    """

    def __call__(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, merge: Merge, /
    ) -> Conflict | None: ...


class WorkspaceStore(Protocol):
    """A versioned store: the callables that an attempt uses, as methods of one object."""

    @property
    def download_workspace(self) -> DownloadWorkspace: ...
    @property
    def list_workspace(self) -> ListWorkspace: ...
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
    @property
    def validate_reads(self) -> ValidateReads: ...


@runtime_checkable
class TransactionalStore(Protocol):
    """A store on which a transactional workflow runs: on a branch of its own, which is published as a whole."""

    def create_run_branch(self, repository: str, branch: str, source: str, /) -> str:
        """Create the branch of a run, unless it exists.

        Args:
            source: a full commit id, or a branch, for its head.

        Returns:
            The full id of the commit at which the branch was created. Of one that exists, that is the newest commit
            on its first-parent line whose stamp does not name this branch.

        Raises:
            RefNotFoundError, BranchNotFoundError, RepositoryNotFoundError: something named does not exist.
        """
        ...

    def changes_of_run(self, workspace_input: WorkspaceInput, run_ref: str, /) -> Changes:
        """The paths of the repository that differ from the input to a commit of the run's branch."""
        ...

    def stage_run(self, workspace_input: WorkspaceInput, run_ref: str, execution: TaskExecution, /) -> StagedWorkspace:
        """As `StageWorkspace`, with the changes that lead from the input to `run_ref`. Moves no content.

        `execution.changes` are those of `changes_of_run`. `publish_workspace` then moves the branch as for any attempt.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CommitEntry:
    """One commit, as an index of history keeps it.

    Attributes:
        id, parents: full commit ids.
        author: name of the author; time: of the commit, UTC.
        subject: first line of the message.
        message: the rest of it that is no stamp, at most `MAX_MESSAGE` characters.
        stamp: None if the commit has none, or one that does not count, such as a copy.
    """

    id: str
    parents: tuple[str, ...]
    author: str
    time: datetime
    subject: str
    message: str = ""
    stamp: Stamp | None = None


MAX_MESSAGE = 1_000
"""Characters of a commit's message that an index keeps. What says that a commit was reverted is in the first ones."""


@runtime_checkable
class ReusableStore(Protocol):
    """A store whose history can be read as a whole, and whose content can be committed again without moving it."""

    def commits_since(self, repository: str, known: Callable[[str], bool], /) -> Iterator[CommitEntry]:
        """All commits of all branches, each once, those of transactional runs included; without staged ones.

        Follows all parents, and none of a known commit.

        Args:
            known: whether a commit, by its full id, is known, and with it all that came before.

        Raises:
            RepositoryNotFoundError: it does not exist.
        """
        ...

    def changes_of(self, repository: str, commits: Sequence[CommitEntry], prefix: str = "", /) -> list[Changes]:
        """The names that each commit changed since its first parent, in the order of the commits.

        Args:
            prefix: only names that begin with it. A store answers that sooner than for all names.

        Raises:
            RepositoryNotFoundError, RefNotFoundError: the repository, or a commit, does not exist.
        """
        ...

    def has_same_files(self, workspace_input: WorkspaceInput, ref: str, workspace_spec: WorkspaceSpec, /) -> bool:
        """Whether the files that a spec selects are the same in the input and in another commit, with executable bits.

        Looks only at what differs. False also if the store cannot tell so: `list_workspace` then tells.

        Args:
            ref: full id of a commit of the repository.

        Raises:
            StoreError: one of the two commits is not there, or the store did not answer.
        """
        ...

    def stage_copy(
        self,
        source_ref: str,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
        /,
    ) -> StagedWorkspace:
        """As `StageWorkspace`, with the content of `execution.changes.written` from another commit. Moves no content.

        Args:
            source_ref: full id of a commit of the repository, which has these paths below the prefix.

        Raises:
            SourceGoneError: the commit, or the content of a path, is not there any more. Nothing was staged.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class EarlierResult:
    """What a commit of the history has for a key.

    Attributes:
        commit: full id of the publication, or of the seal of a task that changed nothing.
        outputs: full id of the commit that has its outputs.
        origin: full id of the commit that a body made. `commit` is another one if it took its result from there, or
            records that a retry adopted it.
        made: when a body made it, UTC; None if that is not known.
        stamp: of `commit`.
    """

    commit: str
    outputs: str
    origin: str
    made: datetime | None
    stamp: Stamp


class EarlierResults(Protocol):
    """The results that the history of a repository has, as this host knows it."""

    def with_key(self, store: ReusableStore, repository: str, key: str, /) -> Sequence[EarlierResult]:
        """Those with this key that may be used, newest first: effective, neither reverted nor distrusted. Looks for new
        commits first.

        Raises:
            StoreError, WorkspaceStorageError: the history cannot be read, or the index cannot be written.
        """
        ...

    def of_task(self, repository: str, task: str, /) -> Sequence[CommitEntry]:
        """The newest commits of a task that have a key, newest first, whether they may be used or not. As the index has
        them.

        Raises:
            WorkspaceStorageError: the index cannot be read.
        """
        ...

    def standing(self, repository: str, commit: str, /) -> str | None:
        """Why the result of a commit is not used: `distrusted`, `reverted` or `replaced`; None if nothing is known
        against it.

        Raises:
            WorkspaceStorageError: the index cannot be read.
        """
        ...

    def computing(self, repository: str, key: str, is_cancelled: Callable[[], bool], /) -> AbstractContextManager[bool]:
        """While a result is computed. Waits for a process of this host that computes one for the same key.

        Yields whether it has waited. The wait ends when the other one does, after a limit, or when the attempt is
        cancelled. Never raises.
        """
        ...


# ---------------------------------------------------------------- queue for a branch


class Turn(Protocol):
    """The turn of one attempt to publish to its branch."""

    def lost(self, times: int) -> None:
        """Wait before the next try: a writer elsewhere has moved the branch.

        Args:
            times: lost swaps of this attempt so far, from 1.
        """
        ...


class BranchQueue(Protocol):
    """Attempts that write one branch wait here for each other instead of racing for its head.

    Only an optimization: the swap decides. The context begins when it is the attempt's turn, when the wait takes too
    long, or when the attempt is cancelled, and it never raises.
    """

    def __call__(self, target: WorkspaceInput, is_cancelled: Callable[[], bool], /) -> AbstractContextManager[Turn]: ...


class _Race:
    def lost(self, times: int) -> None:
        """Try again at once."""


@contextmanager
def no_queue(target: WorkspaceInput, is_cancelled: Callable[[], bool], /) -> Iterator[Turn]:  # noqa: ARG001 - a port
    """`BranchQueue` in which nobody waits."""
    yield _Race()


# ---------------------------------------------------------------- engine


class LoadCurrentAttempt(Protocol):
    """Read the engine's current state of this attempt's task, for the attempt fence."""

    def __call__(self, attempt: Attempt, /) -> Attempt: ...


class LoadRecord(Protocol):
    """Read every try of the attempt's workflow, from the outermost one on. The verdict on stamps is based on it.

    An engine that runs sub-workflows as instances of their own reads those that the attempt is in, and those of the
    tasks with these paths. It lists others as unread.
    """

    def __call__(self, attempt: Attempt, paths: Collection[str] = (), /) -> InstanceRecord: ...


class ReportResult(Protocol):
    """Report the attempt's result to the engine. An engine that has moved on may drop it silently: read it back."""

    def __call__(self, attempt: Attempt, result: RuntimeTaskResult, /) -> None: ...


class AttemptEngine(Protocol):
    """What an attempt requires of a task engine, as methods of one object."""

    @property
    def load_current_attempt(self) -> LoadCurrentAttempt: ...
    @property
    def load_record(self) -> LoadRecord: ...


class Engine(AttemptEngine, Protocol):
    """A task engine that also takes reports."""

    @property
    def report_result(self) -> ReportResult: ...


class HandedOut(Attempt, Protocol):
    """A task that a poll has delivered to a worker."""

    @property
    def task_def_name(self) -> str: ...
    @property
    def input_data(self) -> JsonObject: ...
    @property
    def response_timeout_seconds(self) -> int:
        """Seconds without a heartbeat after which the engine gives up the execution; 0 if unknown."""
        ...


class Lease(Protocol):
    """The worker's right to an execution, renewed by heartbeats in the background until it is stopped."""

    @property
    def is_late(self) -> bool:
        """Whether heartbeats are missing, so that the lease will soon be lost, or the lease was let go. Unless it
        `is_retrying`, stop it and hold the attempt again.
        """
        ...

    @property
    def is_retrying(self) -> bool:
        """Whether the last heartbeat failed and will be sent again soon. A new lease could do no more."""
        ...

    @property
    def is_stopped(self) -> bool:
        """Whether heartbeats have ended and none is in flight."""
        ...

    def let_go(self) -> None:
        """Send no more heartbeats. Returns at once, even if one is still in flight."""
        ...

    def stop(self) -> None:
        """Send no more heartbeats, and wait for the one in flight. Call it before the report."""
        ...


class WorkerEngine(Engine, Protocol):
    """What a worker requires of an engine, besides an attempt's callables. Every method may raise `EngineError`.

    Every method may be called from any thread.
    """

    def poll(
        self, task_types: Sequence[str], count: int, worker_id: str, domain: str | None = None
    ) -> Sequence[HandedOut]:
        """Take up to `count` waiting tasks, without waiting for more. The caller must hold or give back each one."""
        ...

    def report_and_take(self, attempt: HandedOut, result: RuntimeTaskResult) -> HandedOut | None:
        """Report as `report_result` does, and take the next waiting task of the same type and domain in the same call.

        Returns None if no task waits or the engine returns none with a report. It may wait briefly for a task. A task
        can be returned even if the report was dropped.
        """
        ...

    def hold(self, attempt: HandedOut, *, at_once: bool = False) -> Lease:
        """Keep an execution's lease.

        Args:
            at_once: start with a heartbeat, because earlier ones are missing.
        """
        ...

    def give_back(self, attempt: Attempt) -> bool:
        """Return a task to its queue without using up a retry. Returns whether it still was this execution's."""
        ...

    def current_of(self, attempts: Iterable[HandedOut]) -> Mapping[str, Attempt | None]:
        """The engine's current state of many tasks, by task id; None if the engine no longer has the task.

        Tasks that cannot be read are left out. If none can be read, it raises.
        """
        ...

    def log(self, attempt: HandedOut, text: str) -> None:
        """Add an entry to the task's log."""
        ...


# ---------------------------------------------------------------- observer


class Phase(enum.StrEnum):
    """The phases of an attempt. `DECIDE` evaluates history and record, at the start and at the publish fence.

    "Where something new goes" in ARCHITECTURE.md says what a new phase needs.
    """

    POLL = "poll"  # comes before an attempt, so none emits it; the nemesis kills workers there
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


PhaseKind = Literal["get", "body", "put", "other"]
"""What a phase is for: to lay out files, to run the body, to publish, or anything else."""


@dataclass(frozen=True, kw_only=True)
class PhaseFacts:
    """What those that watch an attempt need to know of a phase.

    Attributes:
        kind: how the page shows it.
        is_emitted: attempts emit its events.
        may_begin_cancelled: it begins even if the attempt was cancelled.
        is_interruptible: an observer may end it by an error, at its progress. Whoever runs a body ends that itself.
        transfer: the direction in which it moves files; its progress has `files` and `bytes`.
        is_publishing: a store works in it; it gets more time to end by itself.
        may_leave_staged: killed in it, an attempt may leave staged work.
        may_lose_swap: in it a store can tell that the head has moved.
        is_best_effort: its failure fails nothing, and is a warning.
    """

    kind: PhaseKind
    is_emitted: bool = True
    may_begin_cancelled: bool = False
    is_interruptible: bool = False
    transfer: Literal["download", "upload"] | None = None
    is_publishing: bool = False
    may_leave_staged: bool = False
    may_lose_swap: bool = False
    is_best_effort: bool = False


PHASES: Mapping[Phase, PhaseFacts] = {
    Phase.POLL: PhaseFacts(kind="other", is_emitted=False, may_begin_cancelled=True),
    Phase.PARSE: PhaseFacts(kind="other"),
    Phase.DECIDE: PhaseFacts(kind="other"),
    Phase.MATERIALIZE: PhaseFacts(kind="get", is_interruptible=True, transfer="download"),
    Phase.PRE_GUARDS: PhaseFacts(kind="other"),
    Phase.BODY: PhaseFacts(kind="body"),
    Phase.POST_GUARDS: PhaseFacts(kind="other"),
    Phase.DIFF: PhaseFacts(kind="put", is_publishing=True),
    Phase.STAGE: PhaseFacts(
        kind="put",
        is_interruptible=True,
        transfer="upload",
        is_publishing=True,
        may_leave_staged=True,
        may_lose_swap=True,
    ),
    Phase.FENCE: PhaseFacts(kind="put", is_publishing=True, may_leave_staged=True),
    Phase.PUBLISH: PhaseFacts(  # what is published should be reported, too
        kind="put", may_begin_cancelled=True, is_publishing=True, may_leave_staged=True, may_lose_swap=True
    ),
    Phase.REPORT: PhaseFacts(kind="other", may_begin_cancelled=True),
    Phase.CLEAN: PhaseFacts(
        kind="other", may_begin_cancelled=True, is_publishing=True, may_leave_staged=True, is_best_effort=True
    ),
}


EventKind = Literal["started", "progress", "completed", "failed", "lost"]
"""`lost`: the phase ended because another writer won the compare-and-swap. The attempt decides again, so this is no
failure of it."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened in a phase.

    Attributes:
        attributes: details by standard names: `files`, `bytes` (so far, in this phase), `total_files`,
            `total_bytes`, `plan`, `ref`, `added`, `modified`, `deleted`, …
        seconds: duration of the phase so far; 0 for `started`.
        error: set on a `failed` or `lost` event.
    """

    phase: Phase
    kind: EventKind
    execution_id: str = ""
    task_id: str = ""
    seconds: float = 0.0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    error: BaseException | None = None


class Observer(Protocol):
    """The one hook for logs, metrics, traces, progress bars, kill points and fault injection.

    An exception from an observer fails the phase, which is how faults are injected. Sinks must catch their own.
    """

    def __call__(self, event: Event, /) -> None: ...


def ignore(event: Event, /) -> None:
    """Observer that discards events."""


# ---------------------------------------------------------------- clock


class Clock(Protocol):
    """The source of time, which a simulation replaces."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since a fixed point; never goes back."""
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
"""Whether the attempt that made a stamp is still running, as far as its engine knows."""

RunAgeLimit = Callable[[str], float]
"""The age in seconds from which the branch of a transactional run, given by its name, is removed. Infinite for a run
that goes on. See `run_branch_age`."""


def default_run_age_limit(_branch: str) -> float:
    """The limit without any knowledge of the run."""
    return RUN_BRANCH_TTL_SECONDS


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One commit.

    Attributes:
        id, parents: full commit ids.
        author: name of the author; time: of the commit, UTC.
        subject: first line of the message.
        stamp: None if the commit has none, or one that does not count, such as a copy.
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

    @property
    def kind(self) -> Literal["commit", "publication", "seal"]:
        """What its stamp makes of it: somebody's own commit, an attempt's publication, or an attempt's seal."""
        if self.stamp is None:
            return "commit"
        return "publication" if self.stamp.completes is None else "seal"


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit.

    Attributes:
        size: bytes.
        read: returns the content, checked as in a download. Only while the repository is open.
    """

    size: int
    read: Callable[[], bytes]


_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""The range of times that Python can represent in every time zone."""


def commit_time(seconds: int) -> datetime:
    """The time of a commit, from seconds since the epoch; clipped to what Python can represent."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST.timestamp()), _LAST.timestamp()), UTC)


class Repository(WorkspaceStore, Protocol):
    """One repository of a store."""

    def branch_head(self, branch: str) -> str | None:
        """Full id of the commit that a branch points at; None if there is no such branch."""
        ...

    def branches(self) -> list[str]:
        """Names of all branches that people work on, sorted. Those of transactional runs are not among them.

        Raises:
            RepositoryNotFoundError
        """
        ...

    def create_branch(self, branch: str, commit: str) -> None:
        """Create a branch at a commit, by its full id.

        Raises:
            HeadMovedError: there is a branch with this name, at another commit.
            BranchNotFoundError: no branch can have this name. RefNotFoundError: there is no such commit.
        """
        ...

    def resolve(self, ref: str) -> str:
        """Full id of the commit named by a branch, a tag or the beginning of an id.

        Raises:
            RefNotFoundError: no commit, or more than one, has this name.
        """
        ...

    def import_directory(
        self, source: Path, branch: str, message: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> str | None:
        """Commit a directory's files to a branch below `spec.prefix`, in one commit without a stamp.

        Creates the branch if needed.

        Args:
            spec: selects files by prefix, include and exclude; others stay unchanged. Default: everything.
            mirror: delete selected files that the directory does not have.

        Returns:
            the full id of the branch's new head, or None if nothing differs.

        Raises:
            WorkspaceError: the directory contains something that cannot be stored, or a path is a file on one side and
                a directory on the other.
            HeadMovedError: the branch moved during each try.
        """
        ...

    def compare_directory(
        self, source: Path, branch: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> Changes:
        """The changes that `import_directory` would make, by path below `spec.prefix`. Writes nothing.

        `deleted` lists what the directory does not have, even without `mirror`.

        Raises:
            WorkspaceError: as in `import_directory`.
        """
        ...

    def export(self, ref: str, prefix: str, target: Path) -> int:
        """Lay out a commit's files below a new or empty directory. Returns the number of files.

        Raises:
            RefNotFoundError: `ref` is not a full commit id, or there is no such commit.
            PrefixNotFoundError: the commit has nothing below the prefix.
            ObjectNameError: a name cannot be laid out; nothing was written.
            WorkspaceStorageError: the directory is not empty, or cannot be written.
        """
        ...

    def files(self, ref: str, prefix: str) -> list[str]:
        """The names of a commit's files below a prefix, sorted. Reads no content.

        Args:
            ref: full commit id.
            prefix: "/" for the whole repository.

        Raises:
            RefNotFoundError, PrefixNotFoundError: as `export`.
        """
        ...

    def find_file(self, ref: str, path: str) -> StoredFile | None:
        """A file of a commit by its name in the repository; None if the commit has no such file.

        Args:
            ref: full commit id.

        Raises:
            RefNotFoundError: as `export`.
        """
        ...

    def find_files(self, ref: str, paths: Sequence[str]) -> Iterator[StoredFile | None]:
        """Files of a commit by their names in the repository, in the order of these; None for each that the commit does
        not have, or that no file can have. Reads little further than the iteration goes.

        Args:
            ref: full commit id.

        Raises:
            RefNotFoundError: as `export`.
        """
        ...

    def log(self, ref: str, limit: int) -> Iterator[LogEntry]:
        """The commit `ref` and its first parents, newest first, at most `limit` of them."""
        ...

    def changes(self, before: str, after: str) -> Changes:
        """The names that differ from one commit to another.

        Args:
            before, after: full commit ids.

        Raises:
            RefNotFoundError: there is no such commit.
        """
        ...

    def sweep(self, older_than_seconds: float, *, runs_older_than_seconds: float = RUN_BRANCH_TTL_SECONDS) -> object:
        """Remove what nobody needs any more.

        Args:
            older_than_seconds: age of staged work that killed attempts left.
            runs_older_than_seconds: age of branches of transactional runs; see `run_branch_age`.
        """
        ...

    def examine(
        self,
        *,
        older_than_seconds: float,
        run_age_limit: RunAgeLimit = default_run_age_limit,
        liveness_of: AttemptLiveness = ...,
        living_since: float | None = None,
        deep: bool = False,
    ) -> Iterator[Finding]:
        """Find leftovers of killed attempts and missing or damaged data. Changes nothing.

        Args:
            older_than_seconds: age from which staged work counts as a leftover if nothing else is known about it.
            run_age_limit: age from which the branch of a transactional run counts as a leftover. A mender asks again.
            living_since: start of the oldest attempt that may still run; seconds since the epoch.
            deep: also read content, where that helps.
        """
        ...
