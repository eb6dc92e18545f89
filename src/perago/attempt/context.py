"""The context of an attempt of any task."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from perago.attempt.body import InvokeBody, invoke_in_process
from perago.attempt.output import FAILURE_REASON_MAX_LENGTH, result_for_exception, status_for_exception
from perago.attempt.phases import Phases
from perago.attempt.reuse import RunCache
from perago.ports import BranchQueue, Clock, Observer, SystemClock, no_queue
from perago.tasks.context import TaskContext
from perago.tasks.declare import TaskDefinition
from perago.tasks.metrics import MetricRecorder
from perago.telemetry.logs import log_event
from perago.values import redaction
from perago.values.models import AttemptIdentity, ResultStatus, RuntimeTaskResult
from perago.values.sandbox import SandboxMode
from perago.values.trace_context import TraceContext
from perago.workspace.warm.place import WarmPlace


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Who runs an attempt, and how.

    Attributes:
        execution_id: unique for this attempt.
        worker_id: for the owner marker and the stamp.
        metrics: receives what the body records; None if the task declares no metrics or they are discarded.
        failure_reason_max_length: in characters.
        status_of: returns the status of a failure.
        on_failure: receives the error that fails the attempt.
        invoke_body: runs the body; invoke_guards: the task's own guards. Default: in this process.
        is_cancelled: tells the body whether the attempt is cancelled.
        keep_failed_workspace: whether the directory of a failed attempt is kept.
        trace: the attempt's trace context, or None.
        sandbox: the mode in which the body runs, for the stamp.
        cache: where earlier results are found; None if none are used, and none are kept for later.
        queue: where the attempt waits for others that write its branch.
        warm: where workspaces stay for later attempts. Only where bodies run in processes of their own, of which
            nothing is left at their end. None if none stay.
    """

    execution_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    worker_id: str = field(default_factory=lambda: f"{platform.node()}-{os.getpid()}")
    metrics: MetricRecorder | None = None
    failure_reason_max_length: int = FAILURE_REASON_MAX_LENGTH
    status_of: Callable[[BaseException], ResultStatus] = status_for_exception
    on_failure: Callable[[BaseException], None] = lambda _error: None
    invoke_body: InvokeBody = invoke_in_process
    invoke_guards: InvokeBody = invoke_in_process
    is_cancelled: Callable[[], bool] = bool
    keep_failed_workspace: bool = False
    observer: Observer = log_event
    clock: Clock = field(default_factory=SystemClock)
    trace: TraceContext | None = None
    sandbox: SandboxMode = "off"
    cache: RunCache | None = None
    queue: BranchQueue = no_queue
    warm: WarmPlace | None = None

    def phases(self, identity: AttemptIdentity) -> Phases:
        return Phases(self.observer, self.clock, execution_id=self.execution_id, task_id=identity.task_id)

    def of_task(self, task: TaskDefinition, identity: AttemptIdentity) -> TaskContext:
        """The body's view of the context."""
        return TaskContext(
            identity=identity,
            execution_id=self.execution_id,
            task_name=task.name,
            is_cancelled=self.is_cancelled,
            trace=self.trace,
        )

    def result_of(self, run: Callable[[], RuntimeTaskResult]) -> RuntimeTaskResult:
        """The result that `run` returns, or its error as a failure. Only KeyboardInterrupt passes through."""
        try:
            return run()
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001 - every error of an attempt becomes its result
            self.on_failure(exc)
            failure = result_for_exception(exc, max_length=self.failure_reason_max_length)
            return replace(failure, status=self.status_of(exc))
        finally:
            redaction.forget(self.execution_id)
