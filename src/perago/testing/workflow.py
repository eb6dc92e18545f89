"""One workflow instance of the in-memory engine: its definition, its tries, and what a decider makes of them.

It does what was measured on a Conductor server, races included. Nothing here fences: that is the attempt's business.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from perago.errors import EngineError
from perago.values.json_text import JsonObject
from perago.values.models import RuntimeTaskResult
from perago.values.record import InstanceRecord, TryRecord, TryStatus

TaskInput = JsonObject | Callable[[InstanceRecord], JsonObject]
"""A task's input, or the expression for it: evaluated anew for each try, with the record as it is then."""


class WorkflowStatus(enum.StrEnum):
    """Status of a workflow instance; the names are Conductor's."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TERMINATED = "TERMINATED"


CAME_TO_NOTHING = (
    TryStatus.FAILED,
    TryStatus.FAILED_WITH_TERMINAL_ERROR,
    TryStatus.TIMED_OUT,
    TryStatus.CANCELED,
)
"""Statuses of tries that a retry of their workflow tries again."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A logical task of the definition.

    Attributes:
        after: reference names of the tasks that have to be through first.
        retries: how many tries may follow the first.
        optional: when its last try has failed, the workflow goes on.
    """

    task_name: str
    reference_task_name: str
    input_data: TaskInput
    after: tuple[str, ...] = ()
    retries: int = 3
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One try, as the engine stores it.

    Attributes:
        is_retried: it has had its retry: the decider looks at it no more, whatever becomes of it.
    """

    record: TryRecord
    task_def_name: str
    input_data: JsonObject
    seq: int
    reason: str | None = None
    is_retried: bool = False

    @property
    def task_id(self) -> str:
        return self.record.task_id

    @property
    def status(self) -> TryStatus:
        return self.record.status

    def with_record(self, **values: Any) -> Row:
        """The same row with some fields of its record changed."""
        return replace(self, record=replace(self.record, **values))


class Instance:
    """A workflow instance.

    Args:
        tick: the engine's clock, in milliseconds; each answer is larger than the one before.
        new_id: makes task ids.
    """

    def __init__(self, instance_id: str, tick: Callable[[], int], new_id: Callable[[], str]) -> None:
        self.id = instance_id
        self.status = WorkflowStatus.RUNNING
        self._tick = tick
        self._new_id = new_id
        self._steps: dict[str, Step] = {}
        self._rows: list[Row] = []

    # ---- looking

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(self._rows)

    @property
    def is_running(self) -> bool:
        return self.status is WorkflowStatus.RUNNING

    def record(self) -> InstanceRecord:
        return InstanceRecord(self.id, tuple(row.record for row in self._rows))

    def find(self, task_id: str) -> Row | None:
        return next((row for row in self._rows if row.task_id == task_id), None)

    # ---- what people do

    def schedule(self, step: Step) -> None:
        """Add a step to the definition, and its first try if nothing has to come before it."""
        if step.reference_task_name in self._steps:
            raise EngineError(
                f"workflow {self.id} has a task {step.reference_task_name!r} already; give this one another "
                f"reference_task_name"
            )
        if self.status not in (WorkflowStatus.RUNNING, WorkflowStatus.COMPLETED):
            raise self._conflict("take another task")
        self._steps[step.reference_task_name] = step
        self.status = WorkflowStatus.RUNNING
        if not step.after:
            self._add(step)
        self._advance()

    def terminate(self) -> None:
        if not self.is_running:
            raise self._conflict("be terminated")
        self._stop(WorkflowStatus.TERMINATED)

    def retry(self) -> None:
        """Another try for each logical task whose last one came to nothing."""
        if self.status not in (WorkflowStatus.FAILED, WorkflowStatus.TERMINATED):
            raise self._conflict("be retried")
        last = {row.record.reference_task_name: row for row in self._rows}.values()
        wanting = [row for row in last if row.status in CAME_TO_NOTHING]
        if not wanting:
            raise self._conflict("be retried, as no task's last try came to nothing; restart it")
        self.status = WorkflowStatus.RUNNING
        for row in wanting:
            self._add(self._step_of(row), retried=row)
        self._advance()

    def rerun(self, row: Row) -> None:
        """Run a task again under its old id; the rows that were scheduled after it go.

        What other tasks have left that came to nothing is handed out again, too, under its old id and time: also tries
        that have had their retry, of which the decider makes nothing any more.
        """
        if self.is_running:
            raise self._conflict("be rerun before it is terminated")
        before = self._rows[: self._rows.index(row)]
        again = row.with_record(
            status=TryStatus.SCHEDULED, scheduled_time=self._tick(), poll_count=0, output=None, ended_time=None
        )
        name = row.record.reference_task_name
        self._rows = [entry if entry.record.reference_task_name == name else _revived(entry) for entry in before]
        self._rows.append(replace(again, reason=None, is_retried=False))
        self.status = WorkflowStatus.RUNNING

    def restart(self) -> None:
        """Begin from nothing: all rows go, and new ones get new ids."""
        if self.is_running:
            raise self._conflict("be restarted before it is terminated")
        self._rows.clear()
        self.status = WorkflowStatus.RUNNING
        for step in self._steps.values():
            if not step.after:
                self._add(step)

    # ---- what happens to a try

    def poll(self, row: Row) -> Row:
        return self._put(row.with_record(status=TryStatus.IN_PROGRESS, poll_count=row.record.poll_count + 1))

    def requeue(self, row: Row) -> None:
        self._expect(row, TryStatus.IN_PROGRESS, "requeued")
        self._put(row.with_record(status=TryStatus.SCHEDULED))

    def time_out(self, row: Row) -> None:
        self._expect(row, TryStatus.IN_PROGRESS, "timed out")
        if row.is_retried:
            raise EngineError(f"task {row.task_id} has had its retry, and never times out")
        self._end_badly(row, TryStatus.TIMED_OUT, "its response timeout has passed")

    def revert(self, row: Row) -> None:
        self._expect(row, TryStatus.COMPLETED, "reverted")
        self._put(row.with_record(status=TryStatus.IN_PROGRESS, output=None, ended_time=None))

    def takes_report_for(self, row: Row) -> bool:
        """Whether a report is taken, from whomever it comes; else it is dropped without a word."""
        return self.is_running and row.status.is_live

    def write(self, row: Row, result: RuntimeTaskResult) -> None:
        """Record a result on the row as it was read, which may be a while ago."""
        if self.find(row.task_id) is None:
            return
        if result.status == "COMPLETED":
            completed = row.with_record(status=TryStatus.COMPLETED, output=result.output, ended_time=self._tick())
            self._put(replace(completed, reason=None))
            self._advance()
        else:
            self._end_badly(row, TryStatus(result.status), result.reason_for_incompletion)

    # ---- the decider

    def _add(self, step: Step, retried: Row | None = None) -> None:
        expression = step.input_data
        input_data = expression if isinstance(expression, Mapping) else expression(self.record())
        record = TryRecord(
            task_id=self._new_id(),
            reference_task_name=step.reference_task_name,
            retry_count=0 if retried is None else retried.record.retry_count + 1,
            scheduled_time=self._tick(),
            poll_count=0,
            status=TryStatus.SCHEDULED,
            input_ref=_input_ref(input_data),
            retried_task_id=None if retried is None else retried.task_id,
        )
        seq = max((row.seq for row in self._rows), default=0) + 1
        if retried is not None:
            self._put(replace(retried, is_retried=True))
        self._rows.append(Row(record=record, task_def_name=step.task_name, input_data=input_data, seq=seq))

    def _put(self, row: Row) -> Row:
        self._rows = [row if other.task_id == row.task_id else other for other in self._rows]
        return row

    def _end_badly(self, row: Row, status: TryStatus, reason: str | None) -> None:
        """A try ended without a result: the next one, or the end of the workflow."""
        is_retried = row.is_retried or any(other.record.retried_task_id == row.task_id for other in self._rows)
        ended = row.with_record(status=status, output=None, ended_time=self._tick())
        row = self._put(replace(ended, reason=reason, is_retried=is_retried))
        if not self.is_running:
            return
        step = self._step_of(row)
        if is_retried:
            self._advance()
        elif row.record.retry_count < step.retries and status is not TryStatus.FAILED_WITH_TERMINAL_ERROR:
            self._add(step, retried=row)
        elif step.optional:
            self._put(row.with_record(status=TryStatus.COMPLETED_WITH_ERRORS))
            self._advance()
        else:
            self._stop(WorkflowStatus.FAILED)

    def _stop(self, status: WorkflowStatus) -> None:
        self.status = status
        for row in self.rows:
            if row.status.is_live:
                self._put(row.with_record(status=TryStatus.CANCELED, ended_time=self._tick()))

    def _advance(self) -> None:
        """Schedule what is next, or end the workflow."""
        if not self.is_running:
            return
        record = self.record()
        for step in self._steps.values():
            if step.after and not record.of(step.reference_task_name) and all(self._is_through(n) for n in step.after):
                self._add(step)
        # A task that a rerun removed and that follows none does not come back, and nobody waits for it.
        expected = [name for name, step in self._steps.items() if step.after or record.of(name)]
        waiting = [name for name in expected if not self._is_through(name)]
        if any(row.status.is_live for row in self._rows):
            return
        if not waiting:
            self.status = WorkflowStatus.COMPLETED
        elif any(record.of(name) for name in waiting):
            # A rerun removed the retry of a try that has come to nothing once more: what joins the tasks fails over it.
            self.status = WorkflowStatus.FAILED

    def _is_through(self, reference_task_name: str) -> bool:
        tries = self.record().of(reference_task_name)
        return any(entry.status is TryStatus.COMPLETED or entry.status.ends_task for entry in tries)

    def _step_of(self, row: Row) -> Step:
        return self._steps[row.record.reference_task_name]

    def _expect(self, row: Row, status: TryStatus, done: str) -> None:
        if not self.is_running or row.status is not status:
            raise EngineError(
                f"task {row.task_id} is {row.status} in a workflow that is {self.status}; only one that is {status} "
                f"in a running workflow can be {done}"
            )

    def _conflict(self, what: str) -> EngineError:
        return EngineError(f"workflow {self.id} is {self.status} and cannot {what}")


def _revived(row: Row) -> Row:
    """A row of another task than the one that is rerun: handed out again, if it came to nothing."""
    if row.status not in CAME_TO_NOTHING:
        return row
    return replace(row.with_record(status=TryStatus.SCHEDULED, ended_time=None), reason=None)


def _input_ref(input_data: JsonObject) -> str | None:
    workspace = input_data.get("workspace")
    ref = workspace.get("ref") if isinstance(workspace, Mapping) else None
    return ref if isinstance(ref, str) else None
