"""Look after jobs under way: end cancelled executions; notice late leases, a stuck poll, a process that stood still."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from perago.attempt.fence import assert_current_attempt_snapshot
from perago.errors import EngineError, StaleAttemptError
from perago.ports import Phase, WorkerEngine
from perago.values.models import Attempt
from perago.worker.attempts.job import Cause, Job
from perago.worker.attempts.journal import Journal

CHECK_SECONDS = 2.0
"""Between two looks at all executions in flight; `wire.CANCEL_GRACE_SECONDS` counts on it."""


def why_void(job: Job, current: Mapping[str, Attempt | None]) -> str | None:
    """Why an execution is no longer the current one; None: it is, or nobody can tell.

    Args:
        current: what the engine has now, by task id; None: the task is not there any more.
    """
    task_id = job.attempt.task_id
    if task_id not in current:
        return None
    now = current[task_id]
    if now is None:
        return f"task {task_id} is not there any more: its workflow was restarted, rerun or removed"
    try:
        assert_current_attempt_snapshot(job.attempt, now)
    except StaleAttemptError as exc:
        return str(exc)
    return None


def others_of(job: Job, jobs: Sequence[Job]) -> list[Job]:
    """Other executions of a job's task: an engine may give a worker a task again that it has already."""
    return [other for other in jobs if other is not job and other.attempt.task_id == job.attempt.task_id]


def end_older(job: Job, jobs: Sequence[Job], journal: Journal) -> None:
    """A job has just been taken: older executions of its task are void from now on."""
    for older in others_of(job, jobs):
        if older.phase != Phase.REPORT and older.end(Cause.CANCELLED):
            journal.tell(logging.INFO, f"cancelled: task {job.attempt.task_id} was handed out again", older)


class CancellationCheck:
    """Looks at all executions in flight, in one call, and ends those that are void.

    Args:
        jobs: those under way now.
    """

    def __init__(self, engine: WorkerEngine, jobs: Callable[[], Sequence[Job]], journal: Journal) -> None:
        self._engine = engine
        self._jobs = jobs
        self._journal = journal

    def turn(self) -> float:
        """One look; returns the seconds until the next one."""
        jobs = [job for job in self._jobs() if job.ending is None and job.phase != Phase.REPORT]
        if jobs:
            try:
                current = self._engine.current_of([job.attempt for job in jobs])
            except EngineError as exc:  # polling tells it too, and sooner
                self._journal.tell(logging.DEBUG, f"executions in flight could not be looked at: {exc}")
                return CHECK_SECONDS
            for job in jobs:
                self._judge(job, current)
        return CHECK_SECONDS

    def _judge(self, job: Job, current: Mapping[str, Attempt | None]) -> None:
        why = why_void(job, current)
        if why is not None and job.phase != Phase.REPORT and job.end(Cause.CANCELLED):
            self._journal.tell(logging.INFO, f"cancelled: {why}", job)


WATCH_SECONDS = 1.0

JUMP_SECONDS = 10.0
"""More than that between two turns of a second: the process was stopped (SIGSTOP, a suspended machine), or starved."""


def has_jumped(gap_seconds: float) -> bool:
    """Whether so much time between two turns tells that this process stood still."""
    return gap_seconds > WATCH_SECONDS + JUMP_SECONDS


def _passed() -> float:
    """Seconds since some moment; on Linux those for which the machine was suspended too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class Watchdog:
    """One turn each second; see `supervisor.Loop`.

    Args:
        jobs: those under way now.
        poll_seconds: how long the poll takes that is under way; 0: none is.
        poll_stall_seconds: from when on it is stuck.
        renew_polling: puts another poll loop in the place of the stuck one, if that may help; says what was done.
        look_for_cancelled: has the executions in flight looked at now.
        tell_status: writes the status if it has changed.
    """

    def __init__(
        self,
        engine: WorkerEngine,
        journal: Journal,
        *,
        jobs: Callable[[], Sequence[Job]],
        poll_seconds: Callable[[], float],
        poll_stall_seconds: float,
        renew_polling: Callable[[], str],
        look_for_cancelled: Callable[[], None],
        tell_status: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._jobs = jobs
        self._poll_seconds = poll_seconds
        self._poll_stall_seconds = poll_stall_seconds
        self._renew_polling = renew_polling
        self._look_for_cancelled = look_for_cancelled
        self._tell_status = tell_status
        self._last = _passed()
        self._failing: frozenset[str] = frozenset()
        self._told_of_polling = ""

    def turn(self) -> float:
        """Look at everything once; returns the seconds until the next look."""
        gap, self._last = _passed() - self._last, _passed()
        if has_jumped(gap):
            text = f"this worker stood still for {gap:.0f} s; executions that others have by now are ended"
            self._journal.tell(logging.WARNING, text)
            self._look_for_cancelled()
        jobs = self._jobs()
        for job in jobs:
            if job.is_void:
                job.let_lease_go()  # one that was taken up in the moment in which the job became void
                continue
            self._hold_when_due(job)
            self._renew_late_lease(job)
        self._failing &= {job.execution_id for job in jobs}
        self._look_at_polling()
        self._tell_status()
        self._last = _passed()
        return WATCH_SECONDS

    def _look_at_polling(self) -> None:
        seconds = self._poll_seconds()
        done = self._renew_polling() if seconds > self._poll_stall_seconds else ""
        if done and done != self._told_of_polling:
            self._journal.tell(logging.ERROR, f"a poll has taken {seconds:.0f} s; {done}")
        self._told_of_polling = done

    def _hold_when_due(self, job: Job) -> None:
        """For attempts in threads: nobody else looks after them meanwhile."""
        if job.lease is not None or job.seconds_until_hold() > 0:
            return
        try:
            job.hold(self._engine)
        except EngineError as exc:
            self._journal.tell(logging.WARNING, f"the lease could not be taken up: {exc}", job)

    def _renew_late_lease(self, job: Job) -> None:
        """In this turn or, while a heartbeat is in flight, in a later one: the watch waits for none."""
        lease = job.lease
        if lease is None or not lease.is_late:
            self._failing -= {job.execution_id}
            return
        if lease.is_retrying:
            self._tell_of_failing(job)
            return
        lease.let_go()
        if not lease.is_stopped:
            return
        self._journal.tell(logging.WARNING, "heartbeats are missing; the lease is taken up anew", job)
        try:
            job.hold_anew(self._engine, lease)
        except EngineError as exc:
            self._journal.tell(logging.WARNING, f"the lease could not be taken up: {exc}", job)

    def _tell_of_failing(self, job: Job) -> None:
        if job.execution_id not in self._failing:
            self._failing |= {job.execution_id}
            text = "the engine takes no heartbeats; they are sent again, and the lease is lost if it goes on"
            self._journal.tell(logging.WARNING, text, job)
