"""Watch current jobs: end cancelled executions; notice late leases, a stuck poll, and a paused process."""

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
"""Time between two checks of all current executions. `wire.CANCEL_GRACE_SECONDS` relies on it."""


def why_void(job: Job, current: Mapping[str, Attempt | None]) -> str | None:
    """Why an execution is no longer the current one. Returns None if it is current, or if the engine did not tell.

    Args:
        current: the engine's current attempt by task id; None: the engine no longer has the task.
    """
    task_id = job.attempt.task_id
    if task_id not in current:
        return None
    now = current[task_id]
    if now is None:
        return f"{job.identity.label} is not there any more: its workflow was restarted, rerun or removed"
    try:
        assert_current_attempt_snapshot(job.attempt, now)
    except StaleAttemptError as exc:
        return str(exc)
    return None


def others_of(job: Job, jobs: Sequence[Job]) -> list[Job]:
    """Other executions of the job's task: an engine may hand a task out again to the worker that still has it."""
    return [other for other in jobs if other is not job and other.attempt.task_id == job.attempt.task_id]


def end_older(job: Job, jobs: Sequence[Job], journal: Journal) -> None:
    """End older executions of the task of a job that was just taken: they are void."""
    for older in others_of(job, jobs):
        if older.phase != Phase.REPORT and older.end(Cause.CANCELLED):
            journal.tell(logging.INFO, f"cancelled: {job.identity.label} was handed out again", older)


class CancellationCheck:
    """Checks all current executions in one call and ends those that are void.

    Args:
        jobs: the current jobs.
    """

    def __init__(self, engine: WorkerEngine, jobs: Callable[[], Sequence[Job]], journal: Journal) -> None:
        self._engine = engine
        self._jobs = jobs
        self._journal = journal

    def turn(self) -> float:
        """Check once; returns the seconds until the next check."""
        jobs = [job for job in self._jobs() if job.ending is None and job.phase != Phase.REPORT]
        if jobs:
            try:
                current = self._engine.current_of([job.attempt for job in jobs])
            except EngineError as exc:  # polling logs it too, and sooner
                self._journal.tell(logging.DEBUG, f"current executions could not be checked: {exc}")
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
"""A longer gap between two turns means that the process was paused (SIGSTOP, a suspended machine) or starved."""


def has_jumped(gap_seconds: float) -> bool:
    """Whether a gap between two turns is so long that this process must have been paused."""
    return gap_seconds > WATCH_SECONDS + JUMP_SECONDS


def _passed() -> float:
    """Seconds since a fixed moment. On Linux they include the time during which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class Watchdog:
    """Watches jobs and polling, one turn each second; see `supervisor.Loop`.

    Args:
        jobs: the current jobs.
        poll_seconds: age of the current poll; 0 between two polls.
        poll_stall_seconds: age from which a poll is stuck.
        renew_polling: replaces a stuck poll loop if that can help; returns what was done.
        look_for_cancelled: starts a cancellation check now.
        tell_status: writes the status if it has changed.
    """

    def __init__(  # noqa: PLR0913 - one callable for each thing that it looks after
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
        """Check everything once; returns the seconds until the next turn."""
        gap, self._last = _passed() - self._last, _passed()
        if has_jumped(gap):
            text = f"the worker was paused for {gap:.0f} s; tasks that were reassigned in that time are stopped"
            self._journal.tell(logging.WARNING, text)
            self._look_for_cancelled()
        jobs = self._jobs()
        for job in jobs:
            if job.is_void:
                job.let_lease_go()  # it may have been taken up just as the job became void
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
        """Start the lease of an attempt in a thread once it is due; its own thread is busy with the body."""
        if job.lease is not None or job.seconds_until_hold() > 0:
            return
        try:
            job.hold(self._engine)
        except EngineError as exc:
            self._journal.tell(logging.WARNING, f"the lease could not be taken up: {exc}", job)

    def _renew_late_lease(self, job: Job) -> None:
        """Replace a lease without heartbeats. While a heartbeat is in flight, leave it to a later turn: never wait."""
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
        self._journal.tell(logging.WARNING, "heartbeats are missing; the lease is renewed", job)
        try:
            job.hold_anew(self._engine, lease)
        except EngineError as exc:
            self._journal.tell(logging.WARNING, f"the lease could not be taken up: {exc}", job)

    def _tell_of_failing(self, job: Job) -> None:
        if job.execution_id not in self._failing:
            self._failing |= {job.execution_id}
            text = "the engine does not accept heartbeats. They are retried; the lease is lost if this goes on"
            self._journal.tell(logging.WARNING, text, job)
