"""A run in a list."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Self

from perago.engines.local.record import RunRecord, workspace_field
from perago.engines.local.record_json import AnyRecord
from perago.engines.local.workflow_record import WorkflowRecord, WorkflowTry
from perago.values.code import CodeVersion
from perago.values.json_text import JsonObject
from perago.values.record import TryStatus, WorkflowStatus
from perago.values.workflow_params import params_in

RUNNING = "running"
KILLED = "killed"
UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """A task of a workflow in a list: its newest try.

    Attributes:
        duration: seconds of that try; None if its end was not observed.
        code: the git commit of its code; None if it is unknown.
        cached_from: full id of the commit whose result was taken; None if a body ran, or that is not known.
    """

    reference_task_name: str
    task_name: str
    status: str
    tries: int
    output_ref: str | None = None
    duration: float | None = None
    code: CodeVersion | None = None
    cached_from: str | None = None

    @classmethod
    def of(cls, entry: WorkflowTry) -> Self:
        return cls(
            reference_task_name=entry.reference_task_name,
            task_name=entry.task_name,
            status=entry.status.value,
            tries=entry.retry_count + 1,
            output_ref=workspace_field(entry.output, "ref"),
            duration=None if entry.duration_ms is None else entry.duration_ms / 1000,
            code=entry.code,
            cached_from=entry.cached_from,
        )


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A recorded run in a list.

    Attributes:
        status: of the newest try if it has ended, or of the workflow: "COMPLETED", "FAILED", …; otherwise "running" if
            a process holds the run, or "killed" if that process is gone; "unreadable" if the record is damaged.
        task_name: name of the task, or of the workflow.
        tasks: of a workflow, in the order of their beginning, those of a sub-workflow right after it; else empty.
        tries: number of tries, of all tasks together.
        output_ref: the commit that a COMPLETED run of a workspace task ended with.
        run_branch: the branch that the tasks of a transactional workflow work on; None if there is none.
        reason: why the newest try ended without a result, or what is wrong with the record.
        started: start of the first try.
        duration: seconds of the newest try, so far if it runs; None if its end was not observed.
        params: of the task or workflow, secrets masked; empty if it has none.
        result: of a COMPLETED run, secrets masked; None if it has none.
        code: the git commit of the task's code; None if it is unknown, or for a workflow, whose `tasks` have theirs.
        cached_from: as of a `TaskSummary`; None for a workflow.
    """

    run_id: str
    status: str
    target: str = ""
    task_name: str = ""
    repository: str | None = None
    branch: str | None = None
    input_ref: str | None = None
    tries: int = 0
    output_ref: str | None = None
    run_branch: str | None = None
    reason: str | None = None
    started: datetime | None = None
    duration: float | None = None
    params: JsonObject = field(default_factory=dict)
    result: JsonObject | None = None
    code: CodeVersion | None = None
    cached_from: str | None = None
    kind: Literal["task", "workflow"] = "task"
    tasks: tuple[TaskSummary, ...] = ()

    @classmethod
    def of(cls, record: AnyRecord, *, is_held: bool, now: datetime) -> Self:
        """Summarize a record. `is_held`: a live process holds the run."""
        if isinstance(record, WorkflowRecord):
            return cls._of_workflow(record, is_held=is_held, now=now)
        return cls._of_task(record, is_held=is_held, now=now)

    @classmethod
    def _of_workflow(cls, record: WorkflowRecord, *, is_held: bool, now: datetime) -> Self:
        status, ended = record.status.value, record.ended_time
        if record.status is WorkflowStatus.RUNNING:
            status = RUNNING if is_held else KILLED
            ended = round(now.timestamp() * 1000) if is_held else None
        return cls(
            run_id=record.run_id,
            status=status,
            target=record.target,
            task_name=record.name,
            repository=workspace_field(record.input_data, "repository"),
            branch=workspace_field(record.input_data, "branch"),
            input_ref=workspace_field(record.input_data, "ref"),
            tries=len(record.tries),
            output_ref=workspace_field(record.output, "ref"),
            run_branch=record.run_branch,
            reason=record.reason,
            started=datetime.fromtimestamp(record.started_time / 1000, UTC),
            duration=None if ended is None else max(ended - record.started_time, 0) / 1000,
            params=params_in(record.input_data) or {},
            result=result_in(record.output) if record.status is WorkflowStatus.COMPLETED else None,
            kind="workflow",
            tasks=tuple(map(TaskSummary.of, record.tasks)),
        )

    @classmethod
    def _of_task(cls, record: RunRecord, *, is_held: bool, now: datetime) -> Self:
        newest = record.current
        if newest.status is not TryStatus.IN_PROGRESS:
            status = newest.status.value
            duration = None if newest.duration_ms is None else newest.duration_ms / 1000
        else:
            status = RUNNING if is_held else KILLED
            duration = max(now.timestamp() - newest.scheduled_time / 1000, 0.0) if is_held else None
        return cls(
            run_id=record.run_id,
            status=status,
            target=record.target,
            task_name=record.task_name,
            repository=workspace_field(record.input_data, "repository"),
            branch=workspace_field(record.input_data, "branch"),
            input_ref=workspace_field(record.input_data, "ref"),
            tries=len(record.tries),
            output_ref=workspace_field(newest.output, "ref"),
            reason=newest.reason,
            started=datetime.fromtimestamp(record.tries[0].scheduled_time / 1000, UTC),
            duration=duration,
            params=params_in(record.input_data) or {},
            result=result_in(newest.output) if newest.status is TryStatus.COMPLETED else None,
            code=newest.code,
            cached_from=newest.cached_from,
        )

    @classmethod
    def unreadable(cls, run_id: str, why: str) -> Self:
        """The entry for a record that cannot be read."""
        return cls(run_id=run_id, status=UNREADABLE, reason=why)


def result_in(output: JsonObject | None) -> JsonObject | None:
    """The result in the output of a task or workflow; None if it has none that is a JSON object."""
    found = (output or {}).get("result")
    return found if isinstance(found, dict) else None
