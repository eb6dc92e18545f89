"""One execution in a worker's hands: its lease from poll to report, and the steps that end it early."""

from __future__ import annotations

import enum
import threading
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from perago.ports import Clock, HandedOut, Lease, Phase, SystemClock, WorkerEngine
from perago.values.models import AttemptIdentity, RuntimeTaskResult
from perago.values.trace_context import TraceContext
from perago.worker.executor.wire import CANCEL_GRACE_SECONDS

HOLD_SECONDS = 1.0
HOLD_FRACTION = 1 / 6
"""Of the response timeout: heartbeats, a third of it apart, begin at the latest after a sixth."""


class Job:
    """An execution under way. Other threads look at it, and may ask for its end.

    Args:
        clock: where time comes from. Default: the machine's.
        asked: when the call was made that brought it, monotonic seconds. Default: nobody knows.

    Attributes:
        execution_id: ours, fresh.
        begun: monotonic seconds; begun_at: the same moment, UTC.
        phase: that the attempt is in; "" before the first.
        progress: what the body told last: `done`, `total`, `message`.
        lease: None: not held (any more).
        result: that is being reported; None: not yet, or nothing is.
        trace: its place in its trace, for body and stamp; None: it has none.
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
        self.lease_lock: AbstractContextManager[object] = threading.Lock()
        self._asked = asked
        self._is_lease_over = False
        self._is_late = False  # heartbeats were missing
        self._is_void = False
        self._is_claimed = False
        self._ending: tuple[Cause, float] | None = None
        self._ending_lock = threading.Lock()
        self._wake: Callable[[], None] = _nobody

    @property
    def ending(self) -> tuple[Cause, float] | None:
        """Why it is to end, and since when (monotonic seconds); None: it may go on."""
        return self._ending

    @property
    def is_cancelled(self) -> bool:
        """What `TaskContext.cancelled` tells."""
        return self._ending is not None

    @property
    def is_void(self) -> bool:
        """The execution is known to be no longer the engine's current one: nothing of it counts any more."""
        return self._is_void

    def end(self, cause: Cause) -> bool:
        """Have it ended; says whether that is news. Only "at once" is stronger than what was asked before."""
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
        """See to its end; False: another thread does that already.

        Args:
            result: that is to be reported; None: it is given back, or nothing is done.
        """
        with self._ending_lock:
            if self._is_claimed:
                return False
            self._is_claimed, self.result = True, result
        return True

    def on_ending(self, wake: Callable[[], None]) -> None:
        """Have a function called when the end is asked for, from the thread that asks."""
        self._wake = wake
        if self._ending is not None:
            wake()

    @property
    def _is_settled(self) -> bool:
        """No lease is to be kept any more."""
        return self._is_lease_over or self.is_void

    def hold(self, engine: WorkerEngine) -> None:
        """Begin to keep the lease, unless it is kept already, or was stopped, or another execution has the task: no
        heartbeat goes beside a report.
        """
        if self._is_settled:
            return  # whoever stops it may hold the lock for as long as a heartbeat is in flight
        with self.lease_lock:
            if self.lease is None and not self._is_settled:
                self.lease = engine.hold(self.attempt, at_once=self._is_late or self._is_overdue)

    def hold_anew(self, engine: WorkerEngine, late: Lease) -> None:
        """Keep the lease by other heartbeats than those, which were missing and are stopped: the first of them goes at
        once. Else as `hold`.
        """
        if self._is_settled:
            return
        with self.lease_lock:
            if self.lease is not late:  # it was stopped for the report
                return
            self.lease, self._is_late = None, True
            if not self._is_settled:
                self.lease = engine.hold(self.attempt, at_once=True)

    @property
    def _is_overdue(self) -> bool:
        """Heartbeats were to begin a while ago: this process stood still, perhaps."""
        timeout = self.attempt.response_timeout_seconds
        return timeout > 0 and self.seconds_until_hold() < -timeout * HOLD_FRACTION

    def let_lease_go(self) -> None:
        """No more heartbeats, though one may be in flight: another execution has the task, and they would keep it from
        others, and undo their results. Returns at once.
        """
        lease = self.lease
        if lease is not None:
            lease.let_go()

    def seconds_until_hold(self) -> float:
        """Until heartbeats have to begin. Most light attempts are over by then: they cost none."""
        timeout = self.attempt.response_timeout_seconds
        latest = min(HOLD_SECONDS, timeout * HOLD_FRACTION) if timeout > 0 else HOLD_SECONDS
        handed_out = self.begun if self._asked is None else self._asked  # at the earliest
        return handed_out + latest - self.clock.monotonic()

    @property
    def is_just_handed_out(self) -> bool:
        """So short a while ago that not even a heartbeat is due: no timeout can have taken it away since.

        It is counted from when the engine was asked, so that an answer that was long on its way makes it older; and by
        the date too, as monotonic time stands still while a machine is suspended.
        """
        if self._asked is None or self.seconds_until_hold() <= 0:
            return False
        return (self.clock.now() - self.begun_at).total_seconds() <= HOLD_SECONDS

    def stop_lease(self) -> None:
        """No more heartbeats, and none in flight."""
        with self.lease_lock:
            self._is_lease_over = True
            lease, self.lease = self.lease, None
            if lease is not None:
                lease.stop()

    def fields(self) -> dict[str, Any]:
        """Whose it is, for a log line or a status."""
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
    """Nobody waits."""


class Cause(enum.StrEnum):
    """Why an attempt is to end before it is done."""

    CANCELLED = "cancelled"  # the execution is no longer the engine's current one: nothing is reported
    SHUTDOWN = "shutdown"  # the worker's time is over: the task is given back
    AT_ONCE = "at once"  # the same, without any patience


class Step(enum.IntEnum):
    """What is done to the attempt, each step after the one before."""

    NONE = 0
    TELL = 1  # TaskContext.cancelled
    TERMINATE = 2  # SIGTERM to the executor's process group: KeyboardInterrupt in the body
    KILL = 3  # SIGKILL to it


PUBLISHING_GRACE_SECONDS = 30.0
"""The same while a store is at work after the body: the fence ends that by itself, and cutting it off leaves more to
clean."""

SHUTDOWN_GRACE_SECONDS = 2.0
"""From SIGTERM to SIGKILL when the worker's own time is over."""

_PUBLISHING = frozenset({Phase.DIFF, Phase.STAGE, Phase.FENCE, Phase.PUBLISH, Phase.CLEAN})


def due_steps(cause: Cause, phase: str) -> tuple[tuple[float, Step], ...]:
    """The steps, and how many seconds after the decision each is due.

    Args:
        phase: that the attempt is in.
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
    """The step to take now, and the seconds until the one after it.

    Args:
        taken: the last step that was taken.
        elapsed: seconds since the decision.

    Returns:
        `Step.NONE` where none is due; None where none is left.
    """
    left = [(due, step) for due, step in due_steps(cause, phase) if step > taken]
    if not left:
        return Step.NONE, None
    due, step = left[0]
    if elapsed < due:
        return Step.NONE, due - elapsed
    return step, max(0.0, left[1][0] - elapsed) if len(left) > 1 else None
