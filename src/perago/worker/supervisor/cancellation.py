"""Seeing that executions are no longer the engine's current ones: heartbeats never tell."""

from __future__ import annotations

import logging
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
