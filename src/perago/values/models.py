"""Values that pass between the layers: inputs, outputs, attempts, executions, changes; the staging branch's name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, field_validator, model_serializer, model_validator

from perago.errors import EngineError
from perago.values.history import Plan, Stamp
from perago.values.json_text import JsonObject

# ---------------------------------------------------------------- workspace references


class _WorkspaceRef(BaseModel):
    """A commit of a branch. Accepts `refType` (0.6) or `ref_type` (older), and serializes with the same spelling."""

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
            raise ValueError("the reference type is given twice, as refType and as ref_type; give it once")
        renamed = {("refType" if key == "ref_type" else key): value for key, value in data.items()}
        validated = handler(renamed)
        validated._spelling = "ref_type"  # noqa: SLF001 - an alternative constructor
        return validated

    @field_validator("repository", "branch", "ref")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value

    @model_serializer(mode="plain")
    def _with_input_spelling(self) -> dict[str, Any]:
        return {
            "repository": self.repository,
            "branch": self.branch,
            self._spelling: self.refType,
            "ref": self.ref,
        }

    @property
    def ref_type(self) -> str:
        """The reference type, under its name before 0.6."""
        return self.refType


class WorkspaceInput(_WorkspaceRef):
    """The commit of a branch that an attempt starts from."""

    def published_output(self, ref: str) -> WorkspaceOutput:
        """The output with this repository, branch and spelling, and another commit."""
        return WorkspaceOutput.from_input(self, ref)


class WorkspaceOutput(_WorkspaceRef):
    """The commit that an attempt completes with."""

    @classmethod
    def from_input(cls, workspace_input: WorkspaceInput, ref: str) -> WorkspaceOutput:
        """The input's repository, branch and spelling, with another commit."""
        return cls.model_validate({**workspace_input.model_dump(), "ref": ref})


@dataclass(frozen=True)
class StagedWorkspace:
    """Changes that are uploaded and committed, but not yet published.

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
    """The report to the engine: either an output or a reason.

    Attributes:
        log: a line for the engine's log of the task, or None. It is no part of what the result says.

    Raises:
        TypeError: the reason is not a string.
        ValueError: both or neither are given, the output is not a mapping, or the reason is empty.
    """

    status: ResultStatus
    output: JsonObject | None = None
    reason_for_incompletion: str | None = None
    log: str | None = field(default=None, kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.status not in ("COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"):
            raise ValueError(f"unknown result status {self.status!r}")
        output, reason = self.output, self.reason_for_incompletion
        if reason is not None and not isinstance(reason, str):
            raise TypeError(f"reason_for_incompletion is {type(reason).__name__}; give a string, such as str(exc)")
        if self.status == "COMPLETED" and not (isinstance(output, Mapping) and reason is None):
            raise ValueError("a COMPLETED result takes an output, which is a mapping, and no reason_for_incompletion")
        if self.status != "COMPLETED" and not (output is None and reason):
            raise ValueError(f"a {self.status} result takes a reason_for_incompletion and no output")

    def conductor_payload(self) -> JsonObject:
        """The result as a JSON object with Conductor's names: `status`, and `output` or `reasonForIncompletion`."""
        if self.status == "COMPLETED":
            return {"status": self.status, "output": self.output}
        return {"status": self.status, "reasonForIncompletion": self.reason_for_incompletion}


# ---------------------------------------------------------------- attempts and executions


class Attempt(Protocol):
    """The engine's task object, as far as every attempt needs it. `AttemptIdentity.of` reads optional attributes."""

    @property
    def status(self) -> str: ...
    @property
    def workflow_instance_id(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def retry_count(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class EngineTask:
    """One execution of a task, as its engine shows it: an `Attempt` with all that a store, the core or a worker uses.

    Each engine makes it by a mapping of its own (`engines.conductor.mapping`, `engines.local.run`). Times are
    milliseconds since the epoch. None means unknown.

    Attributes:
        status: Conductor's status, such as IN_PROGRESS.
        reference_task_name: unique in the workflow; `name__2` for the second iteration of a loop.
        poll_count: number of deliveries; with the scheduled time, it distinguishes executions of one task id.
        iteration: of a loop, from 1; 0 outside of loops.
        input_data: the task's input.
        response_timeout_seconds: seconds without a heartbeat after which the engine gives up the execution; 0 if
            unknown.
        worker_id: the worker it was delivered to; "" before that.
        retried_task_id: the try that this one retries; None for a first try.
        domain: of its queue.
    """

    status: str
    workflow_instance_id: str
    task_id: str
    retry_count: int
    task_def_name: str
    reference_task_name: str | None = None
    scheduled_time: int | None = None
    poll_count: int | None = None
    seq: int | None = None
    iteration: int | None = None
    input_data: JsonObject = field(default_factory=dict, repr=False, hash=False)
    response_timeout_seconds: int = 0
    start_time: int | None = None
    worker_id: str = ""
    retried_task_id: str | None = None
    correlation_id: str | None = None
    domain: str | None = None
    workflow_type: str | None = None
    reason_for_incompletion: str | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptIdentity:
    """The engine's identity of one execution, and related names.

    `(task_id, retry_count, scheduled_time, poll_count)` identifies the execution; `(workflow_instance_id,
    reference_task_name)` the logical task. Times are milliseconds since the epoch. None means unknown.
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
        """Read an engine's task object. Only this method handles missing attributes and numeric ids.

        Raises:
            EngineError: an id is missing.
        """
        return cls(
            workflow_instance_id=_id_of(attempt, "workflow_instance_id"),
            task_id=_id_of(attempt, "task_id"),
            retry_count=attempt.retry_count,
            reference_task_name=_text_of(getattr(attempt, "reference_task_name", None)),
            task_def_name=_text_of(getattr(attempt, "task_def_name", None)),
            **{name: getattr(attempt, name, None) for name in _OPTIONAL_NUMBERS},
        )

    @property
    def label(self) -> str:
        """The task for a message: `task 'clean' (ID)`, or `task ID` if its name is unknown."""
        name = self.reference_task_name or self.task_def_name
        return f"task {self.task_id}" if not name else f"task {name!r} ({self.task_id})"


def _id_of(attempt: Attempt, name: str) -> str:
    value: object = getattr(attempt, name)
    if value is None:
        raise EngineError(f"the engine's task has no {name}, which identifies the execution; set it on the task")
    return str(value)


def _text_of(name: object) -> str | None:
    return None if name is None else str(name)


_OPTIONAL_NUMBERS = ("scheduled_time", "poll_count", "seq", "iteration")


@dataclass(frozen=True)
class Changes:
    """The body's changes, as sorted POSIX paths relative to the workspace directory.

    A file with only a changed executable bit is `modified`.
    """

    added: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.deleted)

    @property
    def written(self) -> tuple[str, ...]:
        """The paths to upload."""
        return self.added + self.modified

    def beginning_with(self, prefix: str) -> Changes:
        """Those of paths that begin with it."""
        if not prefix:
            return self
        added, modified, deleted = (
            tuple(path for path in paths if path.startswith(prefix))
            for paths in (self.added, self.modified, self.deleted)
        )
        return Changes(added=added, modified=modified, deleted=deleted)


@dataclass(frozen=True, kw_only=True)
class TaskExecution:
    """One execution, as passed to a store: the attempt's attributes, and what Perago adds.

    Attributes:
        attempt: the engine's object; supplies every attribute that is not defined here.
        identity: the typed identity of the attempt.
        execution_id: Perago's own id, new for each attempt.
        stamp: for the commit; None before the body has run.
        changes: to be staged; None before the diff.
        plan: the publish fence's decision; None if the attempt reads no history, and the store decides by itself
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


_PART_LENGTH = 40
_NUMBER_LENGTH = 10
_DIGEST_LENGTH = 16


def staging_branch_name(task: Attempt) -> str:
    """The name of a branch for what this execution stages.

    It starts with readable parts, each cut (workflow instance, reference task name, task id, retry count, execution id
    if present). It ends with a digest of all of them uncut, which makes it unique.

    Args:
        task: the engine's task object, or an execution.

    Returns:
        at most 200 characters of `[a-z0-9-]`, starting with a letter.
    """
    identity = AttemptIdentity.of(task)
    parts = (
        identity.workflow_instance_id,
        identity.reference_task_name,
        identity.task_id,
        str(identity.retry_count),
        getattr(task, "execution_id", None),
    )
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGEST_LENGTH]
    lengths = (_PART_LENGTH, _PART_LENGTH, _PART_LENGTH, _NUMBER_LENGTH, _PART_LENGTH)
    slugs = [_slug(part or "", length) for part, length in zip(parts, lengths, strict=True)]
    return "-".join(["perago", *filter(None, slugs), digest])


RUN_PREFIX = "perago-run-"
"""All branches of transactional runs start with this."""

RUN_BRANCH_TTL_SECONDS = 7 * 86_400.0
"""How long the branch of a run is kept after its last use: a run that failed before a holiday can still be looked at
and resumed after it. It must exceed the longest task, because a branch is used only when a run begins or publishes."""

_RUN_TIME = "%Y%m%dt%H%M%Sz"
_RUN_NAME = re.compile(rf"{RUN_PREFIX}(\d{{8}}t\d{{6}}z)-([a-z0-9-]+)")


def run_branch_name(identity: AttemptIdentity) -> str:
    """The name of the branch on which a transactional run works.

    It has the time at which the beginning was scheduled, because a branch records none; the workflow instance; and a
    digest of the try: workflow instance, task id, scheduled time. So each delivery of the try finds the same branch,
    and a rerun of the beginning another.

    Returns:
        at most 84 characters of `[a-z0-9-]`.

    Raises:
        EngineError: the engine gives no scheduled time.
    """
    if identity.scheduled_time is None:
        raise EngineError("the engine's task has no scheduled_time, which names the branch of a transactional run")
    parts = (identity.workflow_instance_id, identity.task_id, identity.scheduled_time)
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGEST_LENGTH]
    begun = datetime.fromtimestamp(identity.scheduled_time / 1000, UTC).strftime(_RUN_TIME)
    slug = _slug(identity.workflow_instance_id, _PART_LENGTH)
    return "-".join([f"{RUN_PREFIX}{begun}", *filter(None, [slug]), digest])


def run_branch_time(name: str) -> datetime | None:
    """The time in the name of a run's branch, whole seconds, UTC; None for any other branch."""
    match = _RUN_NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], _RUN_TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def outsiders_fault(branch: str) -> str | None:
    """Why a person's command does not publish to a branch; None if it may."""
    if run_branch_time(branch) is None:
        return None
    return (
        f"branch {branch!r} belongs to a transactional run, and only that run's tasks publish to it. Give another "
        f"branch; `perago export --branch {branch}` shows the files of this one"
    )


def run_branch_owner(name: str) -> str | None:
    """The workflow instance that began the run of a branch, as the branch's name has it; None for any other branch.

    The name has the id cut, and with other characters replaced. Ids of `perago run` and of Conductor are whole.
    """
    match = _RUN_NAME.fullmatch(name)
    return None if match is None else match[2].rpartition("-")[0]


def is_run_branch_of(name: str, workflow_instance_id: str) -> bool:
    """Whether a branch is of a run that this workflow instance began."""
    return run_branch_owner(name) == _slug(workflow_instance_id, _PART_LENGTH)


def run_branch_age(name: str, head_time: datetime, now: datetime) -> float | None:
    """The seconds since a run's branch was last used; None for any other branch.

    That is the newer of the time in its name and that of its head commit. The latter alone would be wrong: until a
    task of the run has published, the head is the commit that the run began at, which may be old.
    """
    begun = run_branch_time(name)
    return None if begun is None else (now - max(begun, head_time)).total_seconds()


def _slug(text: str, length: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:length].strip("-")
