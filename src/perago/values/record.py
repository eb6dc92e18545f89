"""The engine's record of a workflow instance."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from perago.values.json_text import JsonObject

WITHIN = "/"
"""Between the reference name of a sub-workflow and that of a task in it, where a run names its tasks."""


class WorkflowStatus(enum.StrEnum):
    """Status of a workflow instance; the names are Conductor's."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TERMINATED = "TERMINATED"


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
        """Whether the workflow continues without this task's result, so that no later try adopts what it published."""
        return self in (TryStatus.COMPLETED_WITH_ERRORS, TryStatus.SKIPPED)


CAME_TO_NOTHING = (
    TryStatus.FAILED,
    TryStatus.FAILED_WITH_TERMINAL_ERROR,
    TryStatus.TIMED_OUT,
    TryStatus.CANCELED,
)
"""Statuses of tries that a retry of the workflow retries."""


@dataclass(frozen=True, kw_only=True)
class TryRecord:
    """One try of a logical task, in the engine's current record.

    Attributes:
        input_refs: the commits that its input names, sorted: one, those of a join, or none without a workspace.
        output: of a COMPLETED try, else None; also if it is nested too deeply to be from Perago.
        ended_time: milliseconds since the epoch by the engine's clock; None if live or unknown.
        retried_task_id: the try that this one retries; None for a first try.
        sub_workflow: if the engine runs a sub-workflow as an instance of its own, the id of that instance; "" if there
            is none yet; None for other tasks.
    """

    task_id: str
    reference_task_name: str
    retry_count: int
    scheduled_time: int
    poll_count: int
    status: TryStatus
    input_refs: tuple[str, ...] = ()
    output: JsonObject | None = None
    ended_time: int | None = None
    retried_task_id: str | None = None
    sub_workflow: str | None = None

    @property
    def output_ref(self) -> str | None:
        """The commit in the output of a COMPLETED workspace task."""
        workspace = (self.output or {}).get("workspace")
        ref = workspace.get("ref") if isinstance(workspace, Mapping) else None
        return ref if isinstance(ref, str) else None


@dataclass(frozen=True)
class InstanceRecord:
    """All tries of one workflow instance, in the order of scheduling.

    Attributes:
        parent: for a sub-workflow with an instance of its own, the id of the instance around it; None for others.
    """

    workflow_instance_id: str
    tries: tuple[TryRecord, ...] = ()
    parent: str | None = None

    @property
    def has_sub_workflows(self) -> bool:
        """Whether it has sub-workflows with instances of their own."""
        return any(entry.sub_workflow is not None for entry in self.tries)

    def find(self, task_id: str) -> TryRecord | None:
        return next((entry for entry in self.tries if entry.task_id == task_id), None)

    def of(self, reference_task_name: str) -> tuple[TryRecord, ...]:
        return tuple(entry for entry in self.tries if entry.reference_task_name == reference_task_name)
