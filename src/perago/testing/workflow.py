"""One workflow instance of the in-memory engine: its definition, its tries, and its decider.

It behaves as measured on a Conductor server, including races. It has no fence: that is the attempt's task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perago.errors import EngineError
from perago.values.joins import input_refs
from perago.values.json_text import JsonObject
from perago.values.models import RuntimeTaskResult
from perago.values.record import CAME_TO_NOTHING, InstanceRecord, TryRecord, TryStatus, WorkflowStatus
from perago.values.tree import WorkflowInstance

TaskInput = JsonObject | Callable[[InstanceRecord], JsonObject]
"""A task's input, or a function of the present record that makes it for each try."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A logical task of the definition.

    Attributes:
        sub_workflow: makes the steps of a sub-workflow, by the present record of the workflow around it. It is called
            when the sub-workflow begins, or begins anew, as an instance of its own.
        after: reference names of its predecessors.
        retries: number of retries.
        optional: whether the workflow continues after its last try has failed.
    """

    task_name: str
    reference_task_name: str
    input_data: TaskInput
    after: tuple[str, ...] = ()
    retries: int = 3
    optional: bool = False
    sub_workflow: Callable[[InstanceRecord], Sequence[Step]] | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One try, as the engine stores it.

    Attributes:
        is_retried: it has had its retry, so the decider ignores it.
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
        """The row with some fields of its record changed."""
        return replace(self, record=replace(self.record, **values))


class Instance:
    """A workflow instance.

    Args:
        tick: the engine's clock in milliseconds; strictly increasing.
        new_id: creates task ids.
        new_child: creates an instance for a sub-workflow.
        parent, parent_task_id: for a sub-workflow, the instance that has started it, and the task there.
    """

    def __init__(
        self,
        instance_id: str,
        tick: Callable[[], int],
        new_id: Callable[[], str],
        new_child: Callable[[Instance, str], Instance],
        parent: Instance | None = None,
        parent_task_id: str | None = None,
    ) -> None:
        self.id = instance_id
        self.status = WorkflowStatus.RUNNING
        self.parent = parent
        self.parent_task_id = parent_task_id
        self._tick = tick
        self._new_id = new_id
        self._new_child = new_child
        self._children: dict[str, Instance] = {}
        self._steps: dict[str, Step] = {}
        self._rows: list[Row] = []

    # ---- state

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(self._rows)

    @property
    def is_running(self) -> bool:
        return self.status is WorkflowStatus.RUNNING

    def record(self) -> InstanceRecord:
        return InstanceRecord(self.id, tuple(row.record for row in self._rows))

    def shown(self) -> WorkflowInstance:
        """The instance by itself, with its sub-workflows as tries."""
        parent_id = None if self.parent is None else self.parent.id
        return WorkflowInstance(self.id, self.record().tries, parent_id, self.parent_task_id)

    def find(self, task_id: str) -> Row | None:
        return next((row for row in self._rows if row.task_id == task_id), None)

    # ---- actions of people

    def schedule(self, step: Step) -> None:
        """Add a step to the definition, and its first try if its predecessors have completed."""
        if step.reference_task_name in self._steps:
            raise EngineError(
                f"workflow {self.id} already has a task {step.reference_task_name!r}; give this one another "
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
        """Schedule another try for each logical task whose last one did not complete.

        A sub-workflow begins anew. To go on within one that has failed, retry its own instance.
        """
        if self.status not in (WorkflowStatus.FAILED, WorkflowStatus.TERMINATED):
            raise self._conflict("be retried")
        last = {row.record.reference_task_name: row for row in self._rows}.values()
        wanting = [row for row in last if row.status in CAME_TO_NOTHING]
        if not wanting:
            raise self._conflict("be retried, because the last try of every task completed; restart it")
        self.status = WorkflowStatus.RUNNING
        for row in wanting:
            self._add(self._step_of(row), retried=row)
        self._advance()
        if self.parent is not None:
            self.parent.child_resumed(self)

    def child_resumed(self, child: Instance) -> None:
        """The instance of a sub-workflow goes on: run again, unless that has begun anew since."""
        row = self._row_of(child)
        if row is None or row.is_retried:
            return
        self.status = WorkflowStatus.RUNNING
        self._put(row.with_record(status=TryStatus.IN_PROGRESS, ended_time=None))
        for other in self.rows:
            if other.status in CAME_TO_NOTHING and not other.is_retried and other.task_id != row.task_id:
                self._add(self._step_of(other), retried=other)
        if self.parent is not None:
            self.parent.child_resumed(self)

    def rerun(self, row: Row) -> None:
        """Run a task again under its old id. Rows scheduled after it are removed.

        Tries of other tasks that did not complete are handed out again, too, with their old id and time. That includes
        tries that have had their retry, which the decider ignores.
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
        for entry in self.rows:
            if entry.record.sub_workflow is not None and entry.status is TryStatus.SCHEDULED:
                self._begin_child(entry, self._step_of(entry))

    def restart(self) -> None:
        """Start again: all rows are removed, and new ones get new ids."""
        if self.is_running:
            raise self._conflict("be restarted before it is terminated")
        self._rows.clear()
        self.status = WorkflowStatus.RUNNING
        for step in self._steps.values():
            if not step.after:
                self._add(step)

    # ---- events of a try

    def poll(self, row: Row) -> Row:
        return self._put(row.with_record(status=TryStatus.IN_PROGRESS, poll_count=row.record.poll_count + 1))

    def requeue(self, row: Row) -> None:
        self._expect(row, TryStatus.IN_PROGRESS, "requeued")
        self._put(row.with_record(status=TryStatus.SCHEDULED))

    def time_out(self, row: Row) -> None:
        self._expect(row, TryStatus.IN_PROGRESS, "timed out")
        if row.is_retried:
            raise EngineError(f"task {row.task_id} has been retried already, so this try cannot time out")
        self._end_badly(row, TryStatus.TIMED_OUT, "its response timeout has passed")

    def revert(self, row: Row) -> None:
        self._expect(row, TryStatus.COMPLETED, "reverted")
        self._put(row.with_record(status=TryStatus.IN_PROGRESS, output=None, ended_time=None))

    def takes_report_for(self, row: Row) -> bool:
        """Whether a report, from any sender, is accepted; otherwise it is silently dropped."""
        return self.is_running and row.status.is_live

    def write(self, row: Row, result: RuntimeTaskResult) -> None:
        """Record a result on the row as read, which may be outdated."""
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
            input_refs=input_refs(input_data),
            retried_task_id=None if retried is None else retried.task_id,
            sub_workflow=None if step.sub_workflow is None else "",
        )
        seq = max((row.seq for row in self._rows), default=0) + 1
        if retried is not None:
            self._put(replace(retried, is_retried=True))
        row = Row(record=record, task_def_name=step.task_name, input_data=input_data, seq=seq)
        self._rows.append(row)
        if step.sub_workflow is not None:
            self._begin_child(row, step)

    def _begin_child(self, row: Row, step: Step) -> None:
        """Start an instance for a sub-workflow."""
        assert step.sub_workflow is not None, "only a sub-workflow has one"
        child = self._new_child(self, row.task_id)
        self._children[child.id] = child
        self._put(row.with_record(status=TryStatus.IN_PROGRESS, sub_workflow=child.id))
        for inner in step.sub_workflow(self.record()):
            child.schedule(inner)

    def _row_of(self, child: Instance) -> Row | None:
        """The task that an instance was started for, unless it has another one by now."""
        row = self.find(child.parent_task_id or "")
        return row if row is not None and row.record.sub_workflow == child.id else None

    def _tell_parent(self) -> None:
        if self.parent is not None:
            self.parent.child_ended(self)

    def child_ended(self, child: Instance) -> None:
        """End the task that an instance was started for, if it still waits."""
        row = self._row_of(child)
        if row is None or not row.status.is_live:
            return
        if child.status is WorkflowStatus.COMPLETED:
            output = child.rows[-1].record.output
            self._put(row.with_record(status=TryStatus.COMPLETED, output=output, ended_time=self._tick()))
            self._advance()
        else:
            status = TryStatus.FAILED if child.status is WorkflowStatus.FAILED else TryStatus.CANCELED
            self._end_badly(row, status, f"sub-workflow {child.id} is {child.status}")

    def _put(self, row: Row) -> Row:
        self._rows = [row if other.task_id == row.task_id else other for other in self._rows]
        return row

    def _end_badly(self, row: Row, status: TryStatus, reason: str | None) -> None:
        """End a try without a result: schedule the next one, or end the workflow."""
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
                child = self._children.get(row.record.sub_workflow or "")
                if child is not None and child.is_running:
                    child.terminate()
        self._tell_parent()

    def _advance(self) -> None:
        """Schedule the next tasks, or end the workflow."""
        if not self.is_running:
            return
        record = self.record()
        for step in self._steps.values():
            if step.after and not record.of(step.reference_task_name) and all(self._is_through(n) for n in step.after):
                self._add(step)
        # A task without predecessors that a rerun removed does not come back, and nothing waits for it.
        expected = [name for name, step in self._steps.items() if step.after or record.of(name)]
        waiting = [name for name in expected if not self._is_through(name)]
        if any(row.status.is_live for row in self._rows):
            return
        if not waiting:
            self.status = WorkflowStatus.COMPLETED
            self._tell_parent()
        elif any(record.of(name) for name in waiting):
            # A rerun removed the retry of a try that has failed again: the join of the tasks fails.
            self.status = WorkflowStatus.FAILED
            self._tell_parent()

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
    """A row of a task other than the rerun one: handed out again if it did not complete."""
    if row.status not in CAME_TO_NOTHING:
        return row
    return replace(row.with_record(status=TryStatus.SCHEDULED, ended_time=None), reason=None)
