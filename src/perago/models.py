"""Frozen values that travel between the layers: workspace references, executions, stamps, history and records."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, field_validator, model_serializer, model_validator

JsonObject = Mapping[str, Any]

# ---------------------------------------------------------------- workspace references


class _WorkspaceRef(BaseModel):
    """A commit of a branch. The reference type is read as `refType` (0.6) or `ref_type` (before), answered alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    branch: str
    refType: Literal["commit"]  # noqa: N815 - the name is published contract
    ref: str

    _spelling: str = PrivateAttr(default="refType")

    @model_validator(mode="wrap")
    @classmethod
    def _either_spelling(cls, data: Any, handler: Any) -> Self:
        if not (isinstance(data, Mapping) and "ref_type" in data):
            validated: Self = handler(data)
            return validated
        if "refType" in data:
            raise ValueError("give the reference type once, as refType or as ref_type, not both")
        renamed = {("refType" if key == "ref_type" else key): value for key, value in data.items()}
        validated = handler(renamed)
        validated._spelling = "ref_type"  # noqa: SLF001 - an alternative constructor
        return validated

    @field_validator("repository", "branch", "ref")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("may not be blank")
        return value

    @model_serializer(mode="plain")
    def _in_the_spelling_that_came_in(self) -> dict[str, Any]:
        return {
            "repository": self.repository,
            "branch": self.branch,
            self._spelling: self.refType,
            "ref": self.ref,
        }

    @property
    def ref_type(self) -> str:
        """The reference type under the name that versions before 0.6 used."""
        return self.refType


class WorkspaceInput(_WorkspaceRef):
    """The commit of a branch that an attempt works on."""


class WorkspaceOutput(_WorkspaceRef):
    """The commit that a completed attempt leaves."""

    @classmethod
    def from_input(cls, workspace_input: WorkspaceInput, ref: str) -> WorkspaceOutput:
        """The input's repository and branch with another commit, in the input's spelling."""
        return cls.model_validate({**workspace_input.model_dump(), "ref": ref})


@dataclass(frozen=True)
class StagedWorkspace:
    """Changes uploaded and committed where nobody reads.

    Attributes:
        repository: as the input names it.
        branch: the staging branch or ref that keeps the commit alive.
        commit: full id of the staged commit.
    """

    repository: str
    branch: str
    commit: str


# ---------------------------------------------------------------- results

ResultStatus = Literal["COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"]


@dataclass(frozen=True)
class RuntimeTaskResult:
    """What is reported to the engine: an output, or a reason; never both, never neither.

    Raises:
        ValueError: on a mixed shape.
    """

    status: ResultStatus
    output: JsonObject | None = None
    reason_for_incompletion: str | None = None

    def __post_init__(self) -> None:
        if self.status not in ("COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"):
            raise ValueError(f"unknown result status {self.status!r}")
        if self.status == "COMPLETED" and (self.output is None or self.reason_for_incompletion is not None):
            raise ValueError("a COMPLETED result has an output and no reason_for_incompletion")
        if self.status != "COMPLETED" and (self.output is not None or not self.reason_for_incompletion):
            raise ValueError(f"a {self.status} result has a reason_for_incompletion and no output")


# ---------------------------------------------------------------- attempts and executions


class Attempt(Protocol):
    """What an attempt needs of the engine's task object; `AttemptIdentity.of` reads what else it may have."""

    @property
    def status(self) -> str: ...
    @property
    def workflow_instance_id(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def retry_count(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class AttemptIdentity:
    """The engine's identity of one execution, and the names around it.

    `(task_id, retry_count, scheduled_time, poll_count)` is the execution; `(workflow_instance_id,
    reference_task_name)` the logical task. Times are milliseconds since the epoch. None: the engine does not say.
    """

    workflow_instance_id: str
    task_id: str
    retry_count: int
    reference_task_name: str | None = None
    task_def_name: str | None = None
    scheduled_time: int | None = None
    poll_count: int | None = None
    seq: int | None = None
    iteration: int | None = None

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptIdentity:
        """Read an engine's task object: the one place that knows that some attributes may be missing."""
        return cls(
            workflow_instance_id=attempt.workflow_instance_id,
            task_id=attempt.task_id,
            retry_count=attempt.retry_count,
            **{name: getattr(attempt, name, None) for name in _OPTIONAL_IDENTITY},
        )


_OPTIONAL_IDENTITY = ("reference_task_name", "task_def_name", "scheduled_time", "poll_count", "seq", "iteration")


@dataclass(frozen=True)
class Changes:
    """What the body changed, as paths relative to the workspace directory, POSIX style, sorted.

    A file whose executable bit alone changed is `modified`.
    """

    added: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.deleted)

    @property
    def written(self) -> tuple[str, ...]:
        """The paths whose content is to be uploaded."""
        return self.added + self.modified


@dataclass(frozen=True, kw_only=True)
class TaskExecution:
    """One execution, as the store's callables get it: every attribute of the attempt, and what the run knows of it.

    Attributes:
        attempt: the engine's object; an attribute that is not found here is looked up there.
        identity: the same, typed.
        execution_id: ours, fresh for each run.
        stamp: what the commit is to say of itself; None before the body has run.
        changes: what is to be staged; None before the diff.
        plan: the publish fence's decision; None where no history callable was given, and the store decides by itself
            (`plans.plan_without_engine`).
    """

    attempt: Attempt
    identity: AttemptIdentity
    execution_id: str
    stamp: Stamp | None = None
    changes: Changes | None = None
    plan: Plan | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "attempt":
            raise AttributeError(name)
        return getattr(self.attempt, name)

    @property
    def status(self) -> str:
        return self.attempt.status

    @property
    def workflow_instance_id(self) -> str:
        return self.identity.workflow_instance_id

    @property
    def task_id(self) -> str:
        return self.identity.task_id

    @property
    def retry_count(self) -> int:
        return self.identity.retry_count


# ---------------------------------------------------------------- stamps and history


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """The metadata on a published commit: who made it, from what, with what result. `stamps` writes and reads it.

    Attributes:
        task: name of the task definition.
        workflow_instance_id, reference_task_name: the logical task.
        task_id, retry_count, scheduled_time, poll_count: the execution, as the engine names it.
        execution_id: the execution, as we name it; unique for each run.
        input_ref: full id of the commit that the attempt worked on.
        branch: that the publication moved; on another branch the stamp does not count. Empty: not said.
        expected_head: full id of the head that the publication moved; empty until a store puts the commit on a head.
            A stamp counts only where this is the commit's first parent.
        params_digest, code_digest, result_digest: `sha256:<hex>`.
        params, result: the JSON objects, secret fields masked; None where larger than 16 KiB.
        result_exact: the stored result is the reported one (nothing was masked or left out), so that it can be adopted.
        abandoned: ids of commits between input and head whose content this publication replaces.
        completes: a seal: the id of the commit that its attempt completes with; None on a publication.
        started_at: RFC 3339, UTC; duration_ms: from start to the stamp.
        worker: who ran it.
        traceparent: W3C trace context of the attempt, if there was one.
    """

    task: str
    workflow_instance_id: str
    reference_task_name: str
    task_id: str
    retry_count: int
    scheduled_time: int | None
    poll_count: int | None
    execution_id: str
    input_ref: str
    branch: str = ""
    expected_head: str = ""
    params_digest: str
    code_digest: str
    result_digest: str
    params: JsonObject | None = None
    result: JsonObject | None = None
    result_exact: bool = False
    abandoned: tuple[str, ...] = ()
    completes: str | None = None
    started_at: str = ""
    duration_ms: int = 0
    worker: str = ""
    traceparent: str | None = None

    @property
    def logical_task(self) -> tuple[str, str]:
        return (self.workflow_instance_id, self.reference_task_name)

    def on(self, head: str, abandoned: tuple[str, ...] = ()) -> Stamp:
        """The same stamp for a commit whose first parent is `head`."""
        return replace(self, expected_head=head, abandoned=abandoned)

    def is_for(self, branch: str) -> bool:
        """Whether it may count on a branch: a copy of the commit on another one is a person's."""
        return self.branch in ("", branch)


@dataclass(frozen=True)
class CommitFacts:
    """One commit between the input and the head, on the first-parent line.

    Attributes:
        id: full commit id.
        parent: id of the first parent.
        stamp: what the commit says of itself; None where it has no readable stamp.
        empty: its content equals its first parent's.
        author, subject: for messages to people.
    """

    id: str
    parent: str
    stamp: Stamp | None = None
    empty: bool = False
    author: str = ""
    subject: str = ""

    @property
    def counting_stamp(self) -> Stamp | None:
        """The stamp if it counts: a cherry-picked or copied one names another parent, and is a person's commit."""
        if self.stamp is not None and self.stamp.expected_head == self.parent:
            return self.stamp
        return None

    @property
    def is_seal(self) -> bool:
        """Ours, and without content of its own: the publish fence passes over it."""
        stamp = self.counting_stamp
        return stamp is not None and stamp.completes is not None and self.empty


@dataclass(frozen=True)
class History:
    """What lies between an input ref and the head of its branch.

    Attributes:
        head: full id of the commit that the branch points at.
        base: full id of the input ref.
        commits: first-parent line from the head (first) down to the base (left out).
    """

    head: str
    base: str
    commits: tuple[CommitFacts, ...] = ()

    @property
    def between(self) -> tuple[CommitFacts, ...]:
        """Oldest first, seals passed over: what the publish fence judges."""
        return tuple(commit for commit in reversed(self.commits) if not commit.is_seal)

    def on_branch(self, branch: str) -> History:
        """The same history as `branch`'s: a stamp that was made for another branch is a copy, and says nothing."""
        commits = (
            commit if commit.stamp is None or commit.stamp.is_for(branch) else replace(commit, stamp=None)
            for commit in self.commits
        )
        return replace(self, commits=tuple(commits))


# ---------------------------------------------------------------- the engine's record


class TryStatus(enum.StrEnum):
    """Status of one try in the engine's record; the names are Conductor's."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
    FAILED = "FAILED"
    FAILED_WITH_TERMINAL_ERROR = "FAILED_WITH_TERMINAL_ERROR"
    TIMED_OUT = "TIMED_OUT"
    CANCELED = "CANCELED"
    SKIPPED = "SKIPPED"

    @property
    def is_live(self) -> bool:
        return self in (TryStatus.SCHEDULED, TryStatus.IN_PROGRESS)

    @property
    def ends_task(self) -> bool:
        """The logical task goes on without an outcome: no later try will adopt what this one published."""
        return self in (TryStatus.COMPLETED_WITH_ERRORS, TryStatus.SKIPPED)


@dataclass(frozen=True, kw_only=True)
class TryRecord:
    """One try of a logical task, as the engine has it now.

    Attributes:
        input_ref: the commit that its input names; None for a free task.
        output: of a COMPLETED try, else None.
        ended_time: when it ended, by the engine's clock, milliseconds since the epoch; None: live, or not said.
        retried_task_id: the try that this one retries; None on a first try.
    """

    task_id: str
    reference_task_name: str
    retry_count: int
    scheduled_time: int
    poll_count: int
    status: TryStatus
    input_ref: str | None = None
    output: JsonObject | None = None
    ended_time: int | None = None
    retried_task_id: str | None = None

    @property
    def output_ref(self) -> str | None:
        """The commit that the output names, of a COMPLETED workspace task."""
        workspace = (self.output or {}).get("workspace")
        ref = workspace.get("ref") if isinstance(workspace, Mapping) else None
        return ref if isinstance(ref, str) else None


@dataclass(frozen=True)
class InstanceRecord:
    """Every try of one workflow instance, in the order in which they were scheduled."""

    workflow_instance_id: str
    tries: tuple[TryRecord, ...] = ()

    def find(self, task_id: str) -> TryRecord | None:
        return next((entry for entry in self.tries if entry.task_id == task_id), None)

    def of(self, reference_task_name: str) -> tuple[TryRecord, ...]:
        return tuple(entry for entry in self.tries if entry.reference_task_name == reference_task_name)


# ---------------------------------------------------------------- plans: what the publish fence decides


@dataclass(frozen=True)
class Publish:
    """Stage the input's content plus the changes on top of `head`; commits in `abandoned` stay in the history only."""

    head: str
    abandoned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merge:
    """`snapshot` isolation: stage the input's content, plus what the `foreign` commits (oldest first) brought
    (`plans.foreign_changes`), plus the changes, on top of `head`; what `abandoned` commits changed is left out.

    Attributes:
        replaced: each commit that says it replaced some of `abandoned`, with those. It may have written a path as one
            of them had, which no difference to its first parent shows.
        line: all of `foreign` and `abandoned`, oldest first; may be left out if `replaced` is empty.

    Raises:
        ValueError: a line that is needed is not all of them.
    """

    head: str
    foreign: tuple[str, ...]
    abandoned: tuple[str, ...] = ()
    replaced: tuple[tuple[str, tuple[str, ...]], ...] = ()
    line: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.replaced and {*self.line} != {*self.foreign, *self.abandoned}:
            raise ValueError("a merge with commits that replaced others needs the line of all of them, oldest first")


@dataclass(frozen=True)
class Seal:
    """Stage an empty commit on top of `head` that says "completed with `completes`", and complete with that commit.

    `source` is the stamp whose result the attempt completes with: the adopted one, or the attempt's own for a no-op.
    """

    head: str
    completes: str
    source: Stamp | None = None


@dataclass(frozen=True)
class Complete:
    """Complete with `ref` and write nothing. `result` is another try's; None: this attempt's own."""

    ref: str
    result: JsonObject | None = None


@dataclass(frozen=True)
class Refuse:
    """The target may not move: `foreign` commits (oldest first) lie between the input and the head."""

    head: str
    foreign: tuple[CommitFacts, ...]


Plan = Publish | Merge | Seal | Complete | Refuse
WritePlan = Publish | Merge | Seal
