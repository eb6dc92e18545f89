"""What a worker does with its tasks: take them, hand them to slots, settle them, deliver results that wait.

It starts no thread. The supervisor calls it from its threads, the simulation from its actors.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perago.errors import PeragoError
from perago.ports import Clock, HandedOut, SystemClock, WorkerEngine
from perago.values.joins import input_repository
from perago.values.models import RUN_BRANCH_TTL_SECONDS
from perago.worker.attempts.job import Cause, Job
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import AttemptEnd, Executor
from perago.worker.executor.wire import DeclaredTask
from perago.worker.supervisor.completion import Completion, TakesNext
from perago.worker.supervisor.delivery import SPOOL_DIRECTORY, Delivered, Delivery, ResultSpool, pause_before_round
from perago.worker.supervisor.held import HeldTasks, Inheritance
from perago.worker.supervisor.housekeeping import Housekeeping, KnownRepositories
from perago.worker.supervisor.polling import Pace, Polling
from perago.worker.supervisor.slot import Slot, SlotEvents, SlotState, Wear
from perago.worker.supervisor.watchdog import CancellationCheck, end_older


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Settings of one worker.

    Attributes:
        directory: the supervisor's own, below the workspace root; see `lock`.
        slots: number of attempts at a time.
        pace: of polling.
        domain: Conductor task domain to poll; None: tasks without a domain.
        may_have: whether the store may have a repository. Runs are begun and ended by workers of any module, which may
            have another store.
        gc_ttl_seconds, gc_interval_seconds: age at which orphans are removed, and how often the worker looks for them.
        run_branch_ttl_seconds: age at which branches of transactional runs are removed.
    """

    worker_id: str
    workspace_root: Path
    directory: Path
    execution_mode: Literal["process", "thread"]
    slots: int
    pace: Pace
    domain: str | None = None
    may_have: Callable[[str], bool] = lambda _: True
    wear: Wear = field(default_factory=Wear)
    failure_reason_max_length: int = 500
    gc_ttl_seconds: float = 86400.0
    gc_interval_seconds: float = 3600.0
    run_branch_ttl_seconds: float = RUN_BRANCH_TTL_SECONDS


def _nothing() -> None:
    """Default callback: does nothing."""


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Whom a dispatcher wakes. Each callback returns at once; any thread may call it.

    Attributes:
        on_start: the first slot is ready, or has failed (`Dispatcher.start_error`).
        on_free: a slot is free, and polling waits for one.
        on_taken: a task was taken.
        on_kept: a result could not be delivered and waits.
        on_change: something that the status shows has changed.
    """

    on_start: Callable[[], object] = _nothing
    on_free: Callable[[], object] = _nothing
    on_taken: Callable[[], object] = _nothing
    on_kept: Callable[[], object] = _nothing
    on_change: Callable[[], object] = _nothing


class Dispatcher:
    """The slots of a worker and the tasks in them. For any thread.

    Its owner runs `Slot.serve` of each slot, and repeats the turns of `polling`, `cancellation`, `housekeeping` and
    `deliver_kept`; each says when the next turn is due.

    Args:
        make_slot: makes a slot from its number and its callbacks.
        clock: Default: the machine's.
        make_job: makes a job of a task and of when it was asked for. Default: `Job`.

    Attributes:
        tasks: by name, as the first executor declared them.
        start_error: why the first executor did not start; None: it did, or has not yet.
        is_draining: the worker takes no more tasks.
        polling: None before `begin_polling`.

    Raises:
        EngineError: the spool of results cannot be read.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        engine: WorkerEngine,
        journal: Journal,
        make_slot: Callable[[int, SlotEvents], Slot],
        callbacks: Callbacks,
        clock: Clock | None = None,
        make_job: Callable[[HandedOut, float | None], Job] | None = None,
    ) -> None:
        self.journal = journal
        self.tasks: dict[str, DeclaredTask] = {}
        self.start_error: PeragoError | None = None
        self.is_draining = False
        self.polling: Polling | None = None
        self._settings = settings
        self._engine = engine
        self._callbacks = callbacks
        self._clock = clock = clock or SystemClock()
        self._make_job = make_job or (lambda attempt, asked: Job(attempt, clock, asked=asked))
        self._has_started = False
        self._rounds = 0
        self.slots = [make_slot(number, self) for number in range(1, settings.slots + 1)]
        self.delivery = Delivery(
            engine,
            ResultSpool(settings.directory / SPOOL_DIRECTORY),
            observer=journal.report,
            tell=lambda text, fields: journal.tell(logging.WARNING, text, **fields),
            clock=clock,
        )
        self._held = HeldTasks(settings.directory)
        self._inheritance = Inheritance(
            engine=engine,
            held=self._held,
            delivery=self.delivery,
            root=settings.workspace_root,
            journal=journal,
            clock=clock,
        )
        self.housekeeping = Housekeeping(
            settings.workspace_root,
            journal,
            self.slots,
            KnownRepositories(settings.directory),
            ttl_seconds=settings.gc_ttl_seconds,
            run_branch_ttl_seconds=settings.run_branch_ttl_seconds,
            interval_seconds=settings.gc_interval_seconds,
        )
        self._completion = Completion(
            engine=engine,
            jobs=self.jobs,
            delivery=self.delivery,
            journal=journal,
            workspace_root=settings.workspace_root,
            failure_reason_max_length=settings.failure_reason_max_length,
            gc_ttl_seconds=settings.gc_ttl_seconds,
            writes=self._writes,
            on_kept=self._begin_rounds,
            sweep=self.housekeeping.sweep_directories,
            release=self._held.release,
        )
        self.cancellation = CancellationCheck(engine, self.jobs, journal)

    def jobs(self) -> list[Job]:
        """The current jobs of all slots."""
        return [job for slot in self.slots if (job := slot.job) is not None]

    # ---- the end

    def drain(self) -> None:
        """Take no more tasks. A task that a poll under way brings is given back; current jobs go on."""
        self.is_draining = True
        for slot in self.slots:
            slot.close()

    @property
    def is_drained(self) -> bool:
        """Whether all slots have closed."""
        return all(slot.state is SlotState.CLOSED for slot in self.slots)

    def end(self, cause: Cause) -> None:
        """Request the end of every current job."""
        for job in self.jobs():
            if job.end(cause):
                self.journal.tell(logging.WARNING, f"ended by the shutdown ({cause})", job)

    def abandon(self, job: Job) -> None:
        """Let go of a job that cannot be ended, just before the process ends: see `Completion.abandon`."""
        self._completion.abandon(job)

    # ---- what slots tell

    def is_ready(self, slot: Slot, tasks: list[DeclaredTask]) -> None:
        self.tasks = self.tasks or {task.name: task for task in tasks}
        self._note_start()
        self.journal.tell(logging.DEBUG, f"slot {slot.number} is ready")

    def has_failed(self, slot: Slot, error: PeragoError | None, reason: str) -> None:
        if not self._has_started:
            self.start_error = error
            self._note_start()
        self.journal.executor_died()
        level = logging.WARNING if self.start_error is None else logging.DEBUG  # the failed start is told as such
        self.journal.tell(level, f"slot {slot.number} gets another executor: {reason}", deaths=slot.deaths)
        self._callbacks.on_change()

    def finish(self, slot: Slot, executor: Executor, job: Job, outcome: AttemptEnd, *, takes_next: bool) -> Job | None:
        polling = self.polling
        self._callbacks.on_change()
        if not takes_next or polling is None or not polling.is_backlogged or self.is_draining:
            self._completion.finish(slot, executor, job, outcome)
            return None
        reporter = TakesNext(self._engine, job.attempt, self._clock)
        self._completion.finish(slot, executor, job, outcome, reporter)
        polling.has_taken(reporter.taken)
        return None if reporter.taken is None else self._begin(reporter.taken, reporter.asked)

    def give_back(self, job: Job) -> None:
        self._completion.give_back_unbegun(job, "its slot closes")

    def is_free(self, slot: Slot) -> None:
        del slot
        self._callbacks.on_change()
        if self.polling is not None and self.polling.is_starved:
            self._callbacks.on_free()

    def _note_start(self) -> None:
        if not self._has_started:
            self._has_started = True
            self._callbacks.on_start()

    # ---- taking tasks

    def begin_polling(self) -> Polling:
        """Poll for the declared tasks from now on. A task that an earlier `Polling` still brings is given back."""
        if self.polling is not None:
            self.polling.is_over = lambda: True
        self.polling = Polling(
            engine=self._engine,
            task_types=[name for name, task in self.tasks.items() if not task.is_builtin],
            builtin_types=[name for name, task in self.tasks.items() if task.is_builtin],
            worker_id=self._settings.worker_id,
            domain=self._settings.domain,
            pace=self._settings.pace,
            free=lambda: sum(slot.is_free for slot in self.slots),
            take=self._take,
            give_back=self._refuse,
            is_over=lambda: self.is_draining,
            journal=self.journal,
            clock=self._clock,
        )
        return self.polling

    def _take(self, attempt: HandedOut, asked: float) -> None:
        if not self._has_its_repository(attempt):
            self._refuse(attempt, "its repository is not one of this worker's store")
            return
        job = self._begin(attempt, asked)
        if not any(slot.assign(job) for slot in self.slots):
            self._completion.give_back_unbegun(job, "its slot was gone")

    def _has_its_repository(self, attempt: HandedOut) -> bool:
        task = self.tasks.get(attempt.task_def_name)
        if task is None or not (task.is_builtin and task.has_workspace):
            return True
        repository = input_repository(attempt.input_data)
        return repository is None or self._settings.may_have(repository)

    def _refuse(self, attempt: HandedOut, why: str = "no slot takes it any more") -> None:
        self._completion.give_back_unbegun(self._make_job(attempt, None), why)

    def _begin(self, attempt: HandedOut, asked: float) -> Job:
        self._held.add(attempt)
        job = self._make_job(attempt, asked)
        self.housekeeping.note(attempt)
        end_older(job, self.jobs(), self.journal)
        task = self.tasks.get(attempt.task_def_name)
        if task is None:
            self.journal.begin(job, ())
        else:
            self.journal.begin(job, task.metric_groups, task.source)
        self.journal.tell(logging.DEBUG, "taken", job)
        self._callbacks.on_taken()
        self._callbacks.on_change()
        return job

    def _writes(self, task_name: str) -> bool:
        task = self.tasks.get(task_name)
        return task is not None and task.has_workspace and not task.is_read_only

    # ---- delivering what waits

    def deliver_kept(self, is_stopping: Callable[[], bool] = bool) -> float | None:
        """One turn: give back what a killed worker held, and retry every kept result.

        Args:
            is_stopping: asked before each result; if True, the others stay for later.

        Returns:
            Seconds until the next turn. None: nothing waits.
        """
        pauses = [pause for pause in (self._inheritance.turn(), self._retry_results(is_stopping)) if pause is not None]
        return min(pauses, default=None)

    def _retry_results(self, is_stopping: Callable[[], bool]) -> float | None:
        for kept, delivered in self.delivery.deliver_kept(is_stopping):
            if delivered is not Delivered.KEPT:
                text = f"a spooled result is {delivered.value}: {kept.result.status}"
                self.journal.tell(logging.INFO, text, **kept.attempt.fields())
        if not self.delivery.waiting:
            self._rounds = 0
            return None
        self._rounds += 1
        return pause_before_round(self._rounds)

    def _begin_rounds(self) -> None:
        self._rounds = 0
        self._callbacks.on_kept()
