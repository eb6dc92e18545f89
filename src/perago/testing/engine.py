"""A task engine in memory, for tests: a small Conductor, with its races as events that a test triggers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from perago.errors import EngineError, TaskNotFoundError
from perago.ports import Clock, SystemClock
from perago.testing.workflow import Instance, Row, Step, TaskInput
from perago.values.models import Attempt, EngineTask, RuntimeTaskResult
from perago.values.record import InstanceRecord, TryStatus, WorkflowStatus
from perago.values.tree import read_tree, record_of_tree

RESPONSE_TIMEOUT_SECONDS = 600

MemoryAttempt = EngineTask
"""A task as delivered by a poll or shown by the engine."""


class MemoryEngine:
    """Workflow instances, their tries, and events that can happen to them. Thread-safe.

    Like the real engine it has no fence: a report is accepted from any sender, and a late one is silently dropped.
    Scheduled and end times strictly increase, whatever the clock does. The default of `workflow` is the first instance,
    which always exists.

    Args:
        clock: source of scheduled times. Default: the machine's.
        retries: default number of retries of tasks.
    """

    def __init__(self, clock: Clock | None = None, *, retries: int = 3) -> None:
        self._clock = clock or SystemClock()
        self._retries = retries
        self._lock = threading.RLock()
        self._last_tick = 0
        self._last_task = 0
        self._instances: dict[str, Instance] = {}
        self._first = self.start_workflow()

    # ---- workflows

    def start_workflow(self) -> str:
        """Start another workflow instance; returns its id."""
        with self._lock:
            return self._new_instance(None, None).id

    def schedule(
        self,
        task_name: str,
        input_data: TaskInput,
        *,
        reference_task_name: str | None = None,
        after: tuple[str, ...] = (),
        retries: int | None = None,
        optional: bool = False,
        workflow: str | None = None,
    ) -> None:
        """Add a task to a workflow's definition. It is scheduled when its predecessors have completed.

        Args:
            input_data: the task's input, or a function of the record that makes it for each try.
            reference_task_name: unique in the workflow. Default: the task's name.
            after: reference names of its predecessors. After a restart, or if a rerun removed it, it is scheduled again
                after them. A task without predecessors is only scheduled again by a restart.
            retries: number of retries. Default: the engine's.
            optional: whether the workflow continues after its last try has failed.
            workflow: an instance that is running or COMPLETED, which then continues.

        Raises:
            EngineError: there is no such instance, it has ended, or it already has such a task.
        """
        step = Step(
            task_name=task_name,
            reference_task_name=reference_task_name or task_name,
            input_data=input_data,
            after=after,
            retries=self._retries if retries is None else retries,
            optional=optional,
        )
        with self._lock:
            self._instance(workflow).schedule(step)

    def schedule_sub_workflow(
        self,
        reference_task_name: str,
        steps: Callable[[InstanceRecord], Sequence[Step]],
        *,
        after: tuple[str, ...] = (),
        optional: bool = False,
        workflow: str | None = None,
    ) -> None:
        """Add a sub-workflow to a workflow's definition. It is started as an instance of its own.

        It has one try. Its output is that of its last task.

        Args:
            steps: makes its tasks, each time that it begins, by the record of the workflow around it.
            after, optional, workflow: as for `schedule`.

        Raises:
            EngineError: as for `schedule`.
        """
        step = Step(
            task_name=reference_task_name,
            reference_task_name=reference_task_name,
            input_data={},
            after=after,
            retries=0,
            optional=optional,
            sub_workflow=steps,
        )
        with self._lock:
            self._instance(workflow).schedule(step)

    def status(self, workflow: str | None = None) -> WorkflowStatus:
        with self._lock:
            return self._instance(workflow).status

    def record(self, workflow: str | None = None) -> InstanceRecord:
        """Every try of an instance, except removed ones."""
        with self._lock:
            return self._instance(workflow).record()

    def tree(self, workflow: str | None = None) -> InstanceRecord:
        """Every try of a workflow and its sub-workflows that counts, by the id of any of its instances."""
        with self._lock:
            instances = {name: one.shown().tries for name, one in self._instances.items()}
            return record_of_tree(self._root_of(self._instance(workflow)).id, instances)

    def instances(self, workflow: str) -> list[str]:
        """Ids of a workflow and all instances that its sub-workflows ever had."""
        with self._lock:
            return [name for name, one in self._instances.items() if self._root_of(one).id == workflow]

    def attempt(self, task_id: str) -> EngineTask:
        """A task as it is now."""
        with self._lock:
            return _attempt(*self._find(task_id))

    def reason(self, task_id: str) -> str | None:
        """The reported reason of a try without a result."""
        with self._lock:
            return self._find(task_id)[1].reason

    def has_been_retried(self, task_id: str) -> bool:
        """Whether a try has had its retry, even if a rerun has handed it out again since."""
        with self._lock:
            return self._find(task_id)[1].is_retried

    # ---- workers

    def poll(self, task_name: str | None = None, *, reference_task_name: str | None = None) -> EngineTask | None:
        """Deliver the task that has waited longest, or None.

        Args:
            task_name: of the task definition. Default: any.
            reference_task_name: of the task within its workflow. Default: any.
        """
        with self._lock:
            waiting = [
                (row.record.scheduled_time, instance, row)
                for instance in self._instances.values()
                for row in instance.rows
                if instance.is_running
                and row.status is TryStatus.SCHEDULED
                and task_name in (None, row.task_def_name)
                and reference_task_name in (None, row.record.reference_task_name)
            ]
            if not waiting:
                return None
            _, instance, row = min(waiting, key=lambda entry: entry[0])
            return _attempt(instance, instance.poll(row))

    def load_current_attempt(self, attempt: Attempt) -> EngineTask:
        """The attempt's task as it is now.

        Raises:
            EngineError: a rerun or a restart removed it.
        """
        return self.attempt(attempt.task_id)

    def load_record(self, attempt: Attempt, paths: Collection[str] = ()) -> InstanceRecord:
        """Every try of the attempt's workflow, from the outermost one on."""
        with self._lock:
            return read_tree(lambda name: self._instance(name).shown(), attempt.workflow_instance_id, paths)

    def report_result(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Record a result. A result for an ended task or workflow is silently dropped.

        Raises:
            EngineError: a rerun or a restart removed the task.
        """
        self.slow_report(attempt, result)()

    def slow_report(self, attempt: Attempt, result: RuntimeTaskResult, /) -> Callable[[], None]:
        """A report that stalls in the server after reading the row. Returns a function that writes the whole row, once.

        Changes in between are overwritten. (A real server updates a task without its workflow's lock.)
        """
        with self._lock:
            instance, row = self._find(attempt.task_id)
            is_taken = instance.takes_report_for(row)

        def write() -> None:
            with self._lock:
                if is_taken:
                    instance.write(row, result)

        return write

    # ---- events

    def timeout(self, task_id: str) -> None:
        """Let the task's response timeout pass: it is TIMED_OUT, and retried if retries are left.

        Raises:
            EngineError: it is not running, or it never times out because a rerun handed it out after its retry.
        """
        with self._lock:
            instance, row = self._find(task_id)
            instance.time_out(row)

    def requeue(self, task_id: str) -> None:
        """Hand the task out again under its id, with the next poll count."""
        with self._lock:
            instance, row = self._find(task_id)
            instance.requeue(row)

    def revert(self, task_id: str) -> None:
        """Put the task back to IN_PROGRESS, like a heartbeat in flight while COMPLETED is reported."""
        with self._lock:
            instance, row = self._find(task_id)
            instance.revert(row)

    def terminate(self, workflow: str | None = None) -> None:
        """Terminate the workflow: live tries are CANCELED."""
        with self._lock:
            self._instance(workflow).terminate()

    def retry_workflow(self, workflow: str | None = None) -> None:
        """Retry an ended workflow: new tries with new ids; retry counts continue.

        Raises:
            EngineError: it has neither failed nor been terminated, or the last try of every task completed.
        """
        with self._lock:
            self._instance(workflow).retry()

    def rerun(self, task_id: str) -> None:
        """Rerun an ended workflow from a task: same id and retry count, new scheduled time. Later rows are removed.

        Earlier tries of other tasks that did not complete are handed out again, too. One that has had its retry can
        only complete: it never times out, and is not retried.
        """
        with self._lock:
            instance, row = self._find(task_id)
            instance.rerun(row)

    def restart(self, workflow: str | None = None) -> None:
        """Restart an ended workflow: all rows are removed, and tasks without predecessors get new ids."""
        with self._lock:
            self._instance(workflow).restart()

    # ---- internal

    @staticmethod
    def _root_of(instance: Instance) -> Instance:
        while instance.parent is not None:
            instance = instance.parent
        return instance

    def _new_instance(self, parent: Instance | None, parent_task_id: str | None) -> Instance:
        instance_id = f"workflow-{len(self._instances) + 1}"
        made = Instance(instance_id, self._tick, self._new_task_id, self._new_instance, parent, parent_task_id)
        self._instances[instance_id] = made
        return made

    def _instance(self, workflow: str | None) -> Instance:
        instance = self._instances.get(self._first if workflow is None else workflow)
        if instance is None:
            raise EngineError(f"there is no workflow {workflow!r}; start one with start_workflow()")
        return instance

    def _find(self, task_id: str) -> tuple[Instance, Row]:
        for instance in self._instances.values():
            row = instance.find(task_id)
            if row is not None:
                return instance, row
        raise TaskNotFoundError(f"there is no task {task_id!r}; a rerun or a restart may have removed it")

    def _tick(self) -> int:
        """Milliseconds since the epoch, strictly increasing."""
        self._last_tick = max(self._last_tick + 1, round(self._clock.now().timestamp() * 1000))
        return self._last_tick

    def _new_task_id(self) -> str:
        self._last_task += 1
        return f"task-{self._last_task}"


def _attempt(instance: Instance, row: Row) -> EngineTask:
    record = row.record
    return EngineTask(
        status=record.status.value,
        workflow_instance_id=instance.id,
        task_id=record.task_id,
        retry_count=record.retry_count,
        reference_task_name=record.reference_task_name,
        task_def_name=row.task_def_name,
        scheduled_time=record.scheduled_time,
        poll_count=record.poll_count,
        seq=row.seq,
        iteration=0,
        input_data=row.input_data,
        response_timeout_seconds=RESPONSE_TIMEOUT_SECONDS,
    )
