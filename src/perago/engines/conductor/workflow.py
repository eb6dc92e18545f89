"""A workflow instance as Conductor shows it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from perago.values.joins import input_refs
from perago.values.json_text import JsonObject
from perago.values.plans import REFUSAL
from perago.values.record import WITHIN, paths_around
from perago.values.workflow_params import showable_params

_SYSTEM = frozenset({"FORK", "JOIN", "SWITCH", "SET_VARIABLE", "TERMINATE", "INLINE", "DO_WHILE"})
ENDED = frozenset({"COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT"})
"""Statuses of a workflow that has ended."""


@dataclass(frozen=True, kw_only=True)
class ConductorTask:
    """A try of a task that workers run, or of a sub-workflow; among all steps of an instance, also of its forks etc.

    Attributes:
        kind: as in the definition: SIMPLE, SUB_WORKFLOW, JOIN, ...
        seq: the place in the order of scheduling.
        input_data: complete.
        is_limited: its TaskDef has a `concurrentExecLimit`.
        sub_workflow_id: the instance that runs for it, if it is one and that has been started.
        seconds: from its hand-out to its end, or until now by the server's last update; 0.0 before its hand-out.
        domain: of the workers that may take it; None for those without one.
        due_in: seconds until a worker may take it, if it waits to be retried; by the clock of this machine.
        started_time: its hand-out, by the server's clock, milliseconds since the epoch; 0 before.
        worker_id: of the worker that took it last; "" before its hand-out.
    """

    task_id: str
    reference_task_name: str
    task_name: str
    status: str
    retry_count: int
    output: JsonObject
    reason: str | None
    seconds: float
    kind: str
    seq: int
    input_data: JsonObject
    is_limited: bool
    sub_workflow_id: str | None = None
    domain: str | None = None
    due_in: float = 0.0
    started_time: int = 0
    worker_id: str = ""

    @property
    def has_ended(self) -> bool:
        return self.status not in ("SCHEDULED", "IN_PROGRESS")

    @property
    def has_failed(self) -> bool:
        """Whether it has failed, rather than having been cancelled."""
        return self.status in ("FAILED", "FAILED_WITH_TERMINAL_ERROR", "TIMED_OUT")

    @property
    def is_refused(self) -> bool:
        """Whether the publish fence has refused it."""
        return self.has_failed and (self.reason or "").startswith(REFUSAL)

    @property
    def output_ref(self) -> str | None:
        """The commit in the output of a workspace task."""
        return self._output_workspace("ref")

    @property
    def output_branch(self) -> str | None:
        """The branch in the output of a workspace task."""
        return self._output_workspace("branch")

    @property
    def has_published(self) -> bool:
        """Whether it has completed with another commit than it was given."""
        given = input_refs(self.input_data)
        return self.status == "COMPLETED" and bool(given) and self.output_ref not in (None, *given)

    def _output_workspace(self, name: str) -> str | None:
        workspace = self.output.get("workspace")
        return _text(workspace.get(name)) if isinstance(workspace, Mapping) else None


@dataclass(frozen=True, kw_only=True)
class ConductorWorkflow:
    """A workflow instance.

    Attributes:
        tasks: tries of tasks that workers run and of sub-workflows, in the order of scheduling.
        steps: the same of this instance alone, with its forks, joins and switches.
        definition: as the server keeps it for this instance.
        taken_cases: the case that each switch has taken, by the switch's reference name; None for the default.
        parent_id: the instance that it is a sub-workflow of, or None.
        started_time, ended_time: by the server's clock, milliseconds since the epoch; 0 before, and while it runs.
    """

    workflow_id: str
    name: str
    status: str
    input_data: JsonObject
    output: JsonObject
    reason: str | None
    tasks: tuple[ConductorTask, ...]
    definition: JsonObject
    taken_cases: Mapping[str, str | None] = field(default_factory=dict)
    steps: tuple[ConductorTask, ...] = ()
    parent_id: str | None = None
    ended_time: int = 0
    started_time: int = 0

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def params(self) -> JsonObject | None:
        """See `showable_params`."""
        return showable_params(self.definition, self.input_data)

    @property
    def named_reason(self) -> str | None:
        """Why it did not complete. The server gives the ids of tasks; here their names stand before them."""
        if self.reason is None:
            return None
        if (told := self._told_by_task(self.reason)) is not None:
            return told
        names = {task.task_id: task.reference_task_name for task in (*self.steps, *self.tasks) if task.task_id}
        reason = self.reason
        for task_id, name in names.items():
            reason = reason.replace(task_id, f"{name!r} ({task_id})")
        return reason

    def reason_of(self, task: ConductorTask) -> str | None:
        """Why a task did not complete. Of a sub-workflow: which of its tasks failed, and why."""
        if task.reason is None:
            return None
        return self._told_by_task(task.reason, task.reference_task_name + WITHIN) or task.reason

    def _told_by_task(self, reason: str, within: str = "") -> str | None:
        """The reason of the task that a reason is about; the server wraps it once for each workflow around the task."""
        about = (
            task
            for task in self.failed_tasks
            if task.reason and task.task_id in reason and task.reference_task_name.startswith(within)
        )
        return next(
            (f"task {one.reference_task_name!r} ({one.task_id}) is {one.status}: {one.reason}" for one in about), None
        )

    @property
    def failed_tasks(self) -> tuple[ConductorTask, ...]:
        """The newest tries that failed or were cancelled, without those of sub-workflows that hold such a task."""
        last = {task.reference_task_name: task for task in self.tasks}
        lost = [task for task in last.values() if task.has_failed or task.status == "CANCELED"]
        around = {path for task in lost for path in paths_around(task.reference_task_name)}
        return tuple(task for task in lost if task.reference_task_name not in around)

    @classmethod
    def of(cls, document: JsonObject) -> Self:
        """Read the server's JSON. What is missing is empty."""
        given = document.get("tasks")
        found = [one for one in (given if isinstance(given, Sequence) else ()) if isinstance(one, Mapping)]
        steps = [_task(task) for task in found]
        return cls(
            workflow_id=str(document.get("workflowId", "")),
            name=str(document.get("workflowName", "")),
            status=str(document.get("status", "")),
            input_data=_object(document.get("input")),
            output=_object(document.get("output")),
            reason=_text(document.get("reasonForIncompletion")),
            tasks=tuple(step for step, task in zip(steps, found, strict=True) if task.get("taskType") not in _SYSTEM),
            steps=tuple(steps),
            definition=_object(document.get("workflowDefinition")),
            taken_cases=_taken_cases(found),
            parent_id=_text(document.get("parentWorkflowId")),
            ended_time=int(document.get("endTime") or 0),
            started_time=int(document.get("startTime") or document.get("createTime") or 0),
        )


class InstanceHead(NamedTuple):
    """What the server's index has of an instance.

    Attributes:
        status: as of the index, which may lag behind.
        updated: changes when the instance does, as far as the index knows.
    """

    workflow_id: str
    status: str
    updated: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read an entry of a search."""
        return cls(*(str(document.get(name, "")) for name in ("workflowId", "status", "updateTime")))


def _task(document: Mapping[str, Any]) -> ConductorTask:
    declared = _object(document.get("workflowTask"))
    started, ended = document.get("startTime") or 0, document.get("endTime") or document.get("updateTime") or 0
    return ConductorTask(
        task_id=str(document.get("taskId", "")),
        reference_task_name=str(document.get("referenceTaskName", "")),
        task_name=str(document.get("taskDefName", "")),
        status=str(document.get("status", "")),
        retry_count=int(document.get("retryCount") or 0),
        output=_object(document.get("outputData")),
        reason=_text(document.get("reasonForIncompletion")),
        seconds=max(ended - started, 0) / 1000 if started else 0.0,
        kind=str(declared.get("type") or document.get("taskType", "")),
        seq=int(document.get("seq") or 0),
        input_data=_object(document.get("inputData")),
        is_limited=bool(_object(declared.get("taskDefinition")).get("concurrentExecLimit")),
        sub_workflow_id=_text(document.get("subWorkflowId")),
        domain=_text(document.get("domain")),
        due_in=_due_in(document),
        started_time=int(started),
        worker_id=_text(document.get("workerId")) or "",
    )


def _due_in(document: Mapping[str, Any]) -> float:
    delay, scheduled = document.get("startDelayInSeconds"), document.get("scheduledTime")
    if not delay or not scheduled:
        return 0.0
    return max(float(scheduled) / 1000 + float(delay) - time.time(), 0.0)


def _taken_cases(tasks: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """The case that each switch has taken. The server names the default case as it names others, by the value."""
    cases: dict[str, str | None] = {}
    for task in tasks:
        if task.get("taskType") == "SWITCH" and task.get("status") == "COMPLETED":
            given = _object(_object(task.get("workflowTask")).get("decisionCases"))
            taken = _text(_object(task.get("outputData")).get("selectedCase"))
            cases[str(task.get("referenceTaskName"))] = taken if taken in given else None
    return cases


def _object(value: object) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
