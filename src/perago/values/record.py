"""The engine's record of a workflow: of its instance and of those of its sub-workflows."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from perago.values.json_text import JsonObject

WITHIN = "/"
"""Between the reference name of a sub-workflow and that of a task in it, in a path from the root: `train/fit`."""

_LISTING = "_items"


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
        reference_task_name: its path from the root: in the sub-workflow `train`, `train/fit`.
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
        return self._output_workspace("ref")

    @property
    def output_branch(self) -> str | None:
        """The branch in the output of a COMPLETED workspace task."""
        return self._output_workspace("branch")

    def _output_workspace(self, name: str) -> str | None:
        workspace = (self.output or {}).get("workspace")
        value = workspace.get(name) if isinstance(workspace, Mapping) else None
        return value if isinstance(value, str) else None


@dataclass(frozen=True)
class InstanceRecord:
    """All tries of a workflow that count, in the order of scheduling: of the root and of all its sub-workflows.

    An engine that runs sub-workflows as instances of their own may leave out those that nothing asks for.

    Attributes:
        workflow_instance_id: of the root.
        parts: the sub-workflows' instances that `tries` has: their ids, with the path of each from the root.
        unread: paths of sub-workflows whose tries `tries` lacks, with the id of the instance, or "" if it is unknown.
        params: of the root, secrets masked; None if it has none, or it is unknown which of them are secrets.
        workflow: name of the root's workflow; None if it is unknown.
    """

    workflow_instance_id: str
    tries: tuple[TryRecord, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    params: JsonObject | None = None
    workflow: str | None = None

    def find(self, task_id: str) -> TryRecord | None:
        return next((entry for entry in self.tries if entry.task_id == task_id), None)

    def of(self, path: str) -> tuple[TryRecord, ...]:
        return tuple(entry for entry in self.tries if entry.reference_task_name == path)

    def beside(self, path: str) -> tuple[TryRecord, ...]:
        """The tries of the other tasks of the same workflow or sub-workflow."""
        around = path.rpartition(WITHIN)[0]
        names = ((entry, entry.reference_task_name) for entry in self.tries)
        return tuple(entry for entry, name in names if name != path and name.rpartition(WITHIN)[0] == around)

    def has_instance(self, workflow_instance_id: str) -> bool:
        """Whether an instance is the root, or one of a sub-workflow whose outcome counts; True if nothing is known."""
        is_root = self.workflow_instance_id in ("", workflow_instance_id)
        return is_root or workflow_instance_id in self.parts

    def path_of(self, workflow_instance_id: str, reference_task_name: str) -> str:
        """The path from the root of a task, given by its instance and its reference name there."""
        around = self.parts.get(workflow_instance_id)
        return reference_task_name if around is None else around + WITHIN + reference_task_name

    def around(self, workflow_instance_id: str) -> tuple[str, ...]:
        """The instances around that of a sub-workflow, the root first; none if the sub-workflow does not count."""
        if workflow_instance_id not in self.parts:
            return ()
        paths = paths_around(self.parts[workflow_instance_id])
        return (self.workflow_instance_id, *(name for name, path in self.parts.items() if path in paths))

    def is_unread(self, path: str) -> bool:
        """Whether a task is in a sub-workflow whose tries are missing here."""
        return any(around in self.unread for around in paths_around(path))

    def is_passed_over(self, path: str) -> bool:
        """Whether the workflow continues without the result of this task, or of a sub-workflow that it is in."""
        return any(entry.status.ends_task for name in (*paths_around(path), path) for entry in self.of(name))


NO_RECORD = InstanceRecord("")
"""The record of an engine that shows none: nothing is known of any try, and no commit is of its workflow."""


def paths_around(path: str) -> tuple[str, ...]:
    """The sub-workflows that a task is in, the outermost first: `a` and `a/b` for `a/b/c`."""
    names = path.split(WITHIN)
    return tuple(WITHIN.join(names[:count]) for count in range(1, len(names)))


def listing_name(of_map: str) -> str:
    """The reference name of the task that lists the tasks of a map."""
    return of_map + _LISTING


def name_of_map(listing: str) -> str:
    """The name of the map whose tasks a task lists."""
    return listing.removesuffix(_LISTING)
