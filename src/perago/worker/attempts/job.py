"""One execution in a worker: its lease from poll to report, and the steps that end it early."""

from __future__ import annotations

import enum
import threading
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from perago.ports import PHASES, Clock, HandedOut, Lease, SystemClock, WorkerEngine
from perago.values.models import AttemptIdentity, RuntimeTaskResult
from perago.values.timing import Stopwatch
from perago.values.trace_context import TraceContext
from perago.worker.executor.wire import CANCEL_GRACE_SECONDS

HOLD_SECONDS = 1.0
HOLD_FRACTION = 1 / 6
"""Heartbeats begin at the latest after a sixth of the response timeout. They are a third of it apart."""


class Job:
    """A current execution. Any thread may read it and request its end.

    Args:
        clock: Default: the machine's.
        asked: when the call was made that brought the task, monotonic seconds. Default: not known.

    Attributes:
        execution_id: a new id that this worker chose.
        begun: monotonic seconds; begun_at: the same moment, UTC.
        phase: current phase of the attempt; "" before the first.
        progress: the last progress of the body: `done`, `total`, `message`.
        lease: None if it is not held.
        result: the result that is being reported, or None.
        trace: trace context for body and stamp, or None.
        stopwatch: adds up its phases.
    """

    def __init__(self, attempt: HandedOut, clock: Clock | None = None, *, asked: float | None = None) -> None:
        self.clock = clock or SystemClock()
        self.attempt = attempt
        self.identity = AttemptIdentity.of(attempt)
        self.execution_id = uuid.uuid4().hex
        self.begun = self.clock.monotonic()
        self.begun_at = self.clock.now()
        self.phase = ""
        self.progress: dict[str, Any] = {}
        self.lease: Lease | None = None
        self.result: RuntimeTaskResult | None = None
        self.trace: TraceContext | None = None
        self.stopwatch = Stopwatch()
        self.lease_lock: AbstractContextManager[object] = threading.Lock()
        self._asked = asked
        self._is_lease_over = False
        self._is_late = False  # heartbeats have been missing
        self._is_void = False
        self._is_claimed = False
        self._ending: tuple[Cause, float] | None = None
        self._ending_lock = threading.Lock()
        self._wake: Callable[[], None] = _nobody

    @property
    def ending(self) -> tuple[Cause, float] | None:
        """Why the execution is to end, and when that was requested (monotonic seconds). None: it may go on."""
        return self._ending

    @property
    def is_cancelled(self) -> bool:
        """The value of `TaskContext.cancelled`."""
        return self._ending is not None

    @property
    def is_void(self) -> bool:
        """The execution is no longer the engine's current one, so its result does not count."""
        return self._is_void

    def end(self, cause: Cause) -> bool:
        """Request the end. Returns whether the request is new. Only `AT_ONCE` overrides an earlier request."""
        with self._ending_lock:
            if self._ending is not None and (cause is not Cause.AT_ONCE or self._ending[0] is Cause.AT_ONCE):
                return False
            self._ending = (cause, self.clock.monotonic())
            self._is_void = self._is_void or cause is Cause.CANCELLED
        if self._is_void:
            self.let_lease_go()
        self._wake()
        return True

    def claim(self, result: RuntimeTaskResult | None = None) -> bool:
        """Take over settling this job. Returns False if another thread has done so.

        Args:
            result: the result to report; None: the task is given back, or the job is dropped.
        """
        with self._ending_lock:
            if self._is_claimed:
                return False
            self._is_claimed, self.result = True, result
        return True

    def on_ending(self, wake: Callable[[], None]) -> None:
        """Set the callback for a request to end. The requesting thread calls it."""
        self._wake = wake
        if self._ending is not None:
            wake()

    @property
    def _is_settled(self) -> bool:
        """The lease must not be held again."""
        return self._is_lease_over or self.is_void

    def hold(self, engine: WorkerEngine) -> None:
        """Begin to hold the lease, unless it is held, was stopped, or another execution has the task.

        No heartbeat may be in flight during a report.
        """
        if self._is_settled:
            return  # `stop_lease` may hold the lock for as long as a heartbeat is in flight
        with self.lease_lock:
            if self.lease is None and not self._is_settled:
                self.lease = engine.hold(self.attempt, at_once=self._is_late or self._is_overdue)

    def hold_anew(self, engine: WorkerEngine, late: Lease) -> None:
        """Replace a lease whose heartbeats were missing and have been stopped; the first new heartbeat goes at once.

        Otherwise like `hold`.
        """
        if self._is_settled:
            return
        with self.lease_lock:
            if self.lease is not late:  # stopped for the report
                return
            self.lease, self._is_late = None, True
            if not self._is_settled:
                self.lease = engine.hold(self.attempt, at_once=True)

    @property
    def _is_overdue(self) -> bool:
        """Heartbeats should have begun long ago; perhaps this process was paused."""
        timeout = self.attempt.response_timeout_seconds
        return timeout > 0 and self.seconds_until_hold() < -timeout * HOLD_FRACTION

    def let_lease_go(self) -> None:
        """Send no more heartbeats; one may still be in flight. Returns at once.

        For a void execution: its heartbeats would keep the task from other workers and undo their results.
        """
        lease = self.lease
        if lease is not None:
            lease.let_go()

    def seconds_until_hold(self) -> float:
        """Seconds until heartbeats must begin. Most light attempts end earlier and need none."""
        timeout = self.attempt.response_timeout_seconds
        latest = min(HOLD_SECONDS, timeout * HOLD_FRACTION) if timeout > 0 else HOLD_SECONDS
        handed_out = self.begun if self._asked is None else self._asked  # at the earliest
        return handed_out + latest - self.clock.monotonic()

    @property
    def is_just_handed_out(self) -> bool:
        """Handed out so recently that no heartbeat is due yet, and so no timeout can have taken the task away.

        Time counts from the request, because the answer may have been slow. The date counts too, because monotonic
        time stops while a machine is suspended.
        """
        if self._asked is None or self.seconds_until_hold() <= 0:
            return False
        return (self.clock.now() - self.begun_at).total_seconds() <= HOLD_SECONDS

    def stop_lease(self) -> None:
        """Stop heartbeats and wait for the one in flight."""
        with self.lease_lock:
            self._is_lease_over = True
            lease, self.lease = self.lease, None
            if lease is not None:
                lease.stop()

    def fields(self) -> dict[str, Any]:
        """Fields that identify the execution in a log line or a status."""
        return {
            "workflow": self.identity.workflow_instance_id,
            "task": self.identity.task_def_name,
            "reference": self.identity.reference_task_name,
            "task_id": self.identity.task_id,
            "attempt": self.identity.retry_count,
            "execution": self.execution_id,
            "phase": self.phase,
        }


def _nobody() -> None:
    """No callback."""


class Cause(enum.StrEnum):
    """Why an attempt is to end early."""

    CANCELLED = "cancelled"  # the execution is no longer the engine's current one: nothing is reported
    SHUTDOWN = "shutdown"  # the worker shuts down: the task is given back
    AT_ONCE = "at once"  # the same, without a grace period


class Step(enum.IntEnum):
    """Steps to end an attempt, in order."""

    NONE = 0
    TELL = 1  # sets TaskContext.cancelled
    TERMINATE = 2  # SIGTERM to the executor's process group: KeyboardInterrupt in the body
    KILL = 3  # SIGKILL to the process group


PUBLISHING_GRACE_SECONDS = 30.0
"""Grace period while a store works after the body. The fence ends that by itself; a kill leaves more to clean."""

SHUTDOWN_GRACE_SECONDS = 2.0
"""Time from SIGTERM to SIGKILL when the worker shuts down."""

_PUBLISHING = frozenset(phase.value for phase, facts in PHASES.items() if facts.is_publishing)
"""Phases after the body. `DIFF` leaves nothing to discard, but it counts: the fence after it ends the attempt."""


def due_steps(cause: Cause, phase: str) -> tuple[tuple[float, Step], ...]:
    """The steps, each with its time in seconds after the request to end.

    Args:
        phase: current phase of the attempt.
    """
    match cause:
        case Cause.CANCELLED:
            grace = PUBLISHING_GRACE_SECONDS if phase in _PUBLISHING else CANCEL_GRACE_SECONDS
            return ((0.0, Step.TELL), (grace, Step.TERMINATE), (2 * grace, Step.KILL))
        case Cause.SHUTDOWN:
            return ((0.0, Step.TELL), (0.0, Step.TERMINATE), (SHUTDOWN_GRACE_SECONDS, Step.KILL))
        case Cause.AT_ONCE:
            return ((0.0, Step.KILL),)


def next_step(cause: Cause, phase: str, taken: Step, elapsed: float) -> tuple[Step, float | None]:
    """The step to take now, and the seconds until the next one.

    Args:
        taken: the last step taken.
        elapsed: seconds since the request to end.

    Returns:
        `Step.NONE` if no step is due; None seconds if no step is left.
    """
    left = [(due, step) for due, step in due_steps(cause, phase) if step > taken]
    if not left:
        return Step.NONE, None
    due, step = left[0]
    if elapsed < due:
        return Step.NONE, due - elapsed
    return step, max(0.0, left[1][0] - elapsed) if len(left) > 1 else None
