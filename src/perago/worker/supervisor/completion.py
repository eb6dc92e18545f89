"""Completion of a job: stop its lease, report its result or give its task back, remove its files, take the next one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from perago.errors import EngineError, WorkspaceStorageError
from perago.ports import PHASES, Clock, Engine, HandedOut, Phase, SystemClock, WorkerEngine
from perago.telemetry import facts as telemetry
from perago.values.json_text import encodable
from perago.values.models import Attempt, RuntimeTaskResult
from perago.values.record import InstanceRecord, TryStatus
from perago.values.redaction import mask_text
from perago.values.timing import timing_line
from perago.worker.attempts.job import Cause, Job
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import AttemptEnd, Died, Ended, Executor, Finished
from perago.worker.executor.wire import Discard, Sweep, attempt_to_json
from perago.worker.supervisor.delivery import Delivered, Delivery
from perago.worker.supervisor.watchdog import others_of
from perago.workspace import janitor
from perago.workspace.directory import directory_name

_STAGING_PHASES = frozenset(phase.value for phase, facts in PHASES.items() if facts.may_leave_staged)
"""Phases in which a killed attempt may have left staged work."""


class TakesChores(Protocol):
    """A slot: its executor runs chores while it has no job."""

    def add_chore(self, order: Discard | Sweep) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Settles every job of a worker once its attempt has ended.

    Attributes:
        jobs: the current jobs.
        writes: whether the task with this name publishes.
        gc_ttl_seconds: age at which staged work of any worker may be removed.
        on_kept: called when a result could not be delivered and waits for the next round.
        sweep: removes attempt directories whose processes are dead.
        release: called when an execution no longer belongs to this worker; see `held.HeldTasks`.
    """

    engine: WorkerEngine
    jobs: Callable[[], Sequence[Job]]
    delivery: Delivery
    journal: Journal
    workspace_root: Path
    failure_reason_max_length: int
    gc_ttl_seconds: float
    writes: Callable[[str], bool]
    on_kept: Callable[[], None]
    sweep: Callable[[], object]
    release: Callable[[Attempt], object] = lambda attempt: None  # noqa: ARG005 - held tasks are not recorded

    def finish(
        self, slot: TakesChores, executor: Executor, job: Job, outcome: AttemptEnd, reporter: Engine | None = None
    ) -> None:
        """Stop the lease; report the result, give the task back, or drop the job; remove its files.

        Args:
            reporter: reports the result of an attempt that finished. Default: the engine.
        """
        result = self._result_of(job, outcome)
        if not job.claim(result):
            return  # another thread has abandoned the job and given its task back
        died_in = job.phase
        became, reason = telemetry.Outcome.FAILED, None
        try:
            job.stop_lease()
            for older in others_of(job, self.jobs()):
                if older.is_void:
                    older.stop_lease()  # a heartbeat of any execution can undo the report of its task
            job.phase = Phase.REPORT.value
            became, reason = self._settle(executor, job, outcome, result, reporter)
            if not isinstance(outcome, Finished) and not executor.is_alive:
                self._remove_what_is_left(slot, job, died_in)
        finally:
            self.journal.end(job, became, reason)

    def give_back_unbegun(self, job: Job, why: str) -> None:
        """Give back the task of a job that no slot runs."""
        job.stop_lease()
        self._give_back(job, why)
        self.journal.end(job, telemetry.Outcome.GIVEN_BACK, why)

    def abandon(self, job: Job) -> None:
        """Let go of a job that is unfinished when the process ends. Called from another thread than its slot's.

        A result whose report is under way is kept: giving the task back would undo a report that arrives.
        """
        if job.claim():
            self.give_back_unbegun(job, "the worker ends before its attempt does")
        elif job.result is not None:
            self.delivery.keep(job.attempt, job.result)
            text = "the worker ends before the engine has answered; the next worker delivers the result"
            self.journal.tell(logging.WARNING, text, job)

    def _settle(
        self,
        executor: Executor,
        job: Job,
        outcome: AttemptEnd,
        result: RuntimeTaskResult | None,
        reporter: Engine | None,
    ) -> tuple[telemetry.Outcome, str | None]:
        """Report, give back, or drop the job; returns the outcome of the attempt and the reason for it."""
        if result is not None:
            living = executor if isinstance(outcome, Finished) else None
            return self._deliver(job, result, living, reporter), result.reason_for_incompletion
        match outcome:
            case Ended(Cause.CANCELLED):
                text = "stopped, not reported: the engine has another execution of this task, or has ended it"
                self.journal.tell(logging.INFO, text, job)
                self.release(job.attempt)
                return telemetry.Outcome.CANCELLED, text
            case Ended(cause):
                why = f"the worker is shutting down ({cause})"
            case _:
                why = "its executor died before it began"
        self._give_back(job, why)
        return telemetry.Outcome.GIVEN_BACK, why

    def _result_of(self, job: Job, outcome: AttemptEnd) -> RuntimeTaskResult | None:
        """The result to report, with the line on its times for the task's log; or None."""
        line = mask_text(timing_line(job.stopwatch.timing(job.clock.monotonic() - job.begun)))
        match outcome:
            case Finished(result):
                return replace(result, log=line)
            case Died(reason):
                text = encodable(mask_text(f"task {job.attempt.task_def_name!r}: {reason}"))
                text = text[: self.failure_reason_max_length]
                return RuntimeTaskResult("FAILED", reason_for_incompletion=text, log=line)
            case _:
                return None

    def _deliver(
        self, job: Job, result: RuntimeTaskResult, executor: Executor | None, reporter: Engine | None = None
    ) -> telemetry.Outcome:
        look = None
        if self.writes(job.attempt.task_def_name):
            look = _JobLastLook(self.engine, job, executor)
        delivered = self.delivery.deliver(
            job.attempt,
            result,
            last_look=look,
            execution_id=job.execution_id,
            reporter=reporter,
            is_just_seen=look is None and job.is_just_handed_out,
        )
        self.release(job.attempt)
        if look is not None:
            look.release()
        seconds = round(job.clock.monotonic() - job.begun, 3)
        reason = f": {result.reason_for_incompletion}" if result.reason_for_incompletion else ""
        level = logging.INFO if result.status == "COMPLETED" else logging.WARNING
        text = f"{result.status} after {seconds} s{reason}"
        self.journal.tell(level, text, job, status=result.status, seconds=seconds, delivered=delivered.value)
        if delivered is Delivered.KEPT:
            self.on_kept()
        return telemetry.Outcome.CANCELLED if delivered is Delivered.VOID else telemetry.Outcome(result.status.lower())

    def _give_back(self, job: Job, why: str) -> None:
        try:
            was_ours = self.engine.give_back(job.attempt)
        except EngineError as exc:
            text = f"could not be given back ({why}): {exc}. The engine hands it out again after its response timeout"
            self.journal.tell(logging.WARNING, text, job)
            return
        self.release(job.attempt)
        done = "given back" if was_ours else "not given back, because the engine has ended or reassigned it"
        self.journal.tell(logging.INFO, f"{done}: {why}", job)

    def _remove_what_is_left(self, slot: TakesChores, job: Job, died_in: str) -> None:
        """Remove the files of a killed executor. The slot's next executor discards what it staged."""
        path = self.workspace_root / directory_name(job.attempt.task_id, job.execution_id)
        try:
            if path.exists():
                janitor.remove(path)
        except (WorkspaceStorageError, OSError) as exc:
            self.journal.tell(logging.WARNING, f"the attempt directory could not be removed: {exc}", job)
        self.sweep()  # a directory that the executor was creating or removing has another name
        if died_in in _STAGING_PHASES:
            slot.add_chore(
                Discard(
                    attempt=attempt_to_json(job.attempt),
                    execution_id=job.execution_id,
                    older_than_seconds=self.gc_ttl_seconds,
                )
            )


class _JobLastLook:
    """Last look before a report: has another try of the logical task completed, and with which result?

    The engine's record answers the first question, the executor the second: it has the store and the task. Without the
    executor (it died, or runs another attempt) nothing is reported over the completed try.
    """

    def __init__(self, engine: WorkerEngine, job: Job, executor: Executor | None) -> None:
        self._engine = engine
        self._job = job
        self._executor = executor

    def release(self) -> None:
        """Forget the executor, which goes on to other attempts."""
        self._executor = None

    def __call__(self) -> RuntimeTaskResult | None:
        if not another_try_completed(self._engine.load_record(self._job.attempt), self._job):
            return None
        if self._executor is None:
            raise EngineError(f"another try of {self._job.identity.label} has completed")
        return self._executor.look(self._job)


def another_try_completed(record: InstanceRecord, job: Job) -> bool:
    """Whether the record has a COMPLETED try of the job's logical task other than the job's own."""
    path = record.path_of(job.identity.workflow_instance_id, job.identity.reference_task_name or "")
    tries = record.of(path)
    return any(entry.status is TryStatus.COMPLETED and entry.task_id != job.attempt.task_id for entry in tries)


class TakesNext:
    """An engine that reports one result and takes the next task in the same call.

    Attributes:
        taken: the task that came along, or None. The caller runs it or gives it back.
        asked: when the call was made, monotonic seconds.
    """

    def __init__(self, engine: WorkerEngine, reported: HandedOut, clock: Clock | None = None) -> None:
        self.taken: HandedOut | None = None
        self.asked = 0.0
        self._engine = engine
        self._clock = clock or SystemClock()
        self._reported = reported

    def load_current_attempt(self, attempt: Attempt, /) -> Attempt:
        return self._engine.load_current_attempt(attempt)

    def load_record(self, attempt: Attempt, paths: Collection[str] = (), /) -> InstanceRecord:
        return self._engine.load_record(attempt, paths)

    def report_result(self, attempt: Attempt, result: RuntimeTaskResult, /) -> None:
        """Report the result and take a task. A repeated report takes no second task."""
        if self.taken is None:
            self.asked = self._clock.monotonic()
            self.taken = self._engine.report_and_take(self._reported, result)
        else:
            self._engine.report_result(attempt, result)
