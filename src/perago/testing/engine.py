"""A task engine in memory, for tests: an honest little Conductor, with its races as events that a test sets off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from perago.errors import EngineError, TaskNotFoundError
from perago.ports import Clock, SystemClock
from perago.testing.workflow import Instance, Row, Step, TaskInput, WorkflowStatus
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, RuntimeTaskResult
from perago.values.record import InstanceRecord, TryStatus


@dataclass(frozen=True, kw_only=True)
class MemoryAttempt:
    """A task as a poll delivers it, and as the engine shows it later; see `models.AttemptIdentity` for the rest."""

    status: str
    workflow_instance_id: str
    task_id: str
    retry_count: int
    reference_task_name: str
    task_def_name: str
    scheduled_time: int
    poll_count: int
    seq: int
    iteration: int = 0
    input_data: JsonObject
    response_timeout_seconds: int = 600


class MemoryEngine:
    """Workflow instances, their tries, and the events that can befall them. Safe to share between threads.

    Like the real engine it does not fence: a report is taken from whoever sends it, a late one is dropped without a
    word. Scheduled and end times strictly rise, whatever the clock does. Where `workflow` is left out, the first
    instance is meant; it is there from the start.

    Args:
        clock: where scheduled times come from. Default: the machine's.
        retries: of tasks that do not say, how many tries may follow the first.
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
        """Begin another workflow instance; returns its id."""
        with self._lock:
            instance_id = f"workflow-{len(self._instances) + 1}"
            self._instances[instance_id] = Instance(instance_id, self._tick, self._new_task_id)
            return instance_id

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
        """Add a task to a workflow's definition. It is scheduled at once, or when those that it follows are through.

        Args:
            input_data: the task's input, or a function of the record that makes it, asked anew for each try.
            reference_task_name: unique in the workflow. Default: the task's name.
            after: reference names of the tasks that it follows. At a restart, and when a rerun removed it, it is
                scheduled anew after them; one that follows none is scheduled at a restart only.
            retries: how many tries may follow the first. Default: the engine's.
            optional: the workflow goes on when its last try has failed.
            workflow: an instance that runs, or is COMPLETED: then it goes on.

        Raises:
            EngineError: there is no such instance, it was ended, or it has such a task already.
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

    def status(self, workflow: str | None = None) -> WorkflowStatus:
        with self._lock:
            return self._instance(workflow).status

    def record(self, workflow: str | None = None) -> InstanceRecord:
        """Every try of an instance that was not removed."""
        with self._lock:
            return self._instance(workflow).record()

    def attempt(self, task_id: str) -> MemoryAttempt:
        """A task as it is now."""
        with self._lock:
            return _attempt(*self._find(task_id))

    def reason(self, task_id: str) -> str | None:
        """Why a try ended without a result, as it was reported."""
        with self._lock:
            return self._find(task_id)[1].reason

    def has_been_retried(self, task_id: str) -> bool:
        """Whether a try has had its retry; it may have been handed out again by a rerun since."""
        with self._lock:
            return self._find(task_id)[1].is_retried

    # ---- workers

    def poll(self, task_name: str | None = None, *, reference_task_name: str | None = None) -> MemoryAttempt | None:
        """Deliver the task that waits longest; None: none waits.

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

    def load_current_attempt(self, attempt: Attempt) -> MemoryAttempt:
        """The attempt's task as it is now.

        Raises:
            EngineError: a rerun or a restart removed it.
        """
        return self.attempt(attempt.task_id)

    def load_record(self, attempt: Attempt) -> InstanceRecord:
        """Every try of the attempt's workflow instance."""
        return self.record(attempt.workflow_instance_id)

    def report_result(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Record a result; one for a task or a workflow that has ended is dropped without a word.

        Raises:
            EngineError: a rerun or a restart removed the task.
        """
        self.slow_report(attempt, result)()

    def slow_report(self, attempt: Attempt, result: RuntimeTaskResult, /) -> Callable[[], None]:
        """A report that stalls in the server after it has read the row; what it returns writes the whole row, once.

        Whatever happened between is overwritten. (A real server updates a task without its workflow's lock.)
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
        """The task's response timeout passes: TIMED_OUT, and another try while retries are left.

        Raises:
            EngineError: it does not run, or a rerun handed it out again although it had its retry: it never times out.
        """
        with self._lock:
            instance, row = self._find(task_id)
            instance.time_out(row)

    def requeue(self, task_id: str) -> None:
        """The task is handed out again under its id, with the next poll count."""
        with self._lock:
            instance, row = self._find(task_id)
            instance.requeue(row)

    def revert(self, task_id: str) -> None:
        """A heartbeat that was in flight when COMPLETED was reported puts the task back to IN_PROGRESS."""
        with self._lock:
            instance, row = self._find(task_id)
            instance.revert(row)

    def terminate(self, workflow: str | None = None) -> None:
        """A person ends the workflow: live tries are CANCELED."""
        with self._lock:
            self._instance(workflow).terminate()

    def retry_workflow(self, workflow: str | None = None) -> None:
        """A person takes an ended workflow up again: new tries, new ids, retry counts go on.

        Raises:
            EngineError: it did not fail or was not terminated, or the last try of none of its tasks came to nothing.
        """
        with self._lock:
            self._instance(workflow).retry()

    def rerun(self, task_id: str) -> None:
        """A person reruns an ended workflow from a task: same id and retry count, new scheduled time; later rows go.

        Tries of other tasks before it that came to nothing are handed out again, too. Of one that has had its retry
        already nothing is made any more but COMPLETED: it never times out, and is not tried again.
        """
        with self._lock:
            instance, row = self._find(task_id)
            instance.rerun(row)

    def restart(self, workflow: str | None = None) -> None:
        """A person restarts an ended workflow: all rows go, tasks that follow none get new ids."""
        with self._lock:
            self._instance(workflow).restart()

    # ---- within

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
        raise TaskNotFoundError(
            f"there is no task {task_id!r}, or no more: a rerun or a restart removes tasks for good"
        )

    def _tick(self) -> int:
        """Milliseconds since the epoch, larger than ever before."""
        self._last_tick = max(self._last_tick + 1, round(self._clock.now().timestamp() * 1000))
        return self._last_tick

    def _new_task_id(self) -> str:
        self._last_task += 1
        return f"task-{self._last_task}"


def _attempt(instance: Instance, row: Row) -> MemoryAttempt:
    record = row.record
    return MemoryAttempt(
        status=record.status.value,
        workflow_instance_id=instance.id,
        task_id=record.task_id,
        retry_count=record.retry_count,
        reference_task_name=record.reference_task_name,
        task_def_name=row.task_def_name,
        scheduled_time=record.scheduled_time,
        poll_count=record.poll_count,
        seq=row.seq,
        input_data=row.input_data,
    )
