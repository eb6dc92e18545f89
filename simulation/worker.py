"""A worker: production's polling, cancellation check, delivery, completion and housekeeping, as actors.

What a `Supervisor` and its `Slot`s do with threads is done here with actors, in as few lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from perago.ports import Event, HandedOut
from perago.values.models import Attempt
from perago.worker.attempts.job import Cause, Job
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import AttemptEnd, Finished
from perago.worker.executor.runner import AttemptRunner, ExecutorStore
from perago.worker.executor.wire import Discard, Sweep
from perago.worker.supervisor.completion import Completion, TakesNext
from perago.worker.supervisor.delivery import Delivered, Delivery, ResultSpool, pause_before_round
from perago.worker.supervisor.held import HeldTasks, Inheritance
from perago.worker.supervisor.housekeeping import Housekeeping, KnownRepositories
from perago.worker.supervisor.polling import Pace, Polling
from perago.worker.supervisor.slot import pause_before
from perago.worker.supervisor.watchdog import CancellationCheck, end_older
from perago.workspace.directory import OWNER_FILE
from simulation.baton import Baton, Mutex, Process, Signal, VirtualClock
from simulation.engine_port import EnginePort
from simulation.executor import SimulatedExecutor, WorkerParts
from simulation.network import Caller, Network
from simulation.servers import SimulatedEngine, SimulatedStore
from simulation.tasks import TASKS, BodyRun

GC_TTL_SECONDS = 60.0
GC_INTERVAL_SECONDS = 30.0
SPOOL = "undelivered"
STATE = "state"
WORKSPACES = "workspaces"
PACE = Pace(after=lambda idle: 0.5 if idle < 2.0 else 1.5, after_failures=lambda failures, _: min(4.0, 0.5 * failures))


@dataclass(frozen=True, kw_only=True)
class Site:
    """Parts that all workers share.

    Attributes:
        directory: each worker has its own below it.
        new_execution_id: unique in the simulation.
        make_body_run, note_phase: see `executor.WorkerParts`.
        outfit: wraps the parts that executors use.
    """

    baton: Baton
    network: Network
    engine: SimulatedEngine
    store: SimulatedStore
    directory: Path
    new_execution_id: Callable[[], str]
    make_body_run: Callable[[Job], BodyRun]
    note_phase: Callable[[Job, Event], None]
    outfit: Callable[[WorkerParts], WorkerParts]


class Slot:
    """One job at a time, in one executor after the other."""

    def __init__(self, number: int, baton: Baton) -> None:
        self.number = number
        self.job: Job | None = None
        self.executor: SimulatedExecutor | None = None
        self.chores: list[Discard | Sweep] = []
        self.bell = Signal(baton)

    @property
    def is_free(self) -> bool:
        return self.job is None and self.executor is not None and self.executor.is_alive

    def add_chore(self, order: Discard | Sweep) -> None:
        self.chores.append(order)
        self.bell.set()


class SimulatedJournal(Journal):
    """Writes to the trace."""

    def __init__(self, baton: Baton) -> None:
        super().__init__(_NoLines())
        self._baton = baton

    def tell(self, level: int, text: str, job: Job | None = None, **fields: Any) -> None:
        del level, fields
        self._baton.tell(f"{'' if job is None else job.execution_id + ' '}{text}")


class Worker:
    """A worker on a machine of its own. After its death it is started again with the files on its disk.

    Attributes:
        process: the present one.
        clock: the machine's.
    """

    def __init__(self, name: str, slots: int, site: Site, task_types: Sequence[str]) -> None:
        self.name = name
        self.clock = VirtualClock(site.baton)
        self.workspaces = site.directory / name / WORKSPACES
        self.spool = ResultSpool(site.directory / name / SPOOL)
        self._home = site.directory / name
        self._home.mkdir(parents=True, exist_ok=True)
        self.slots: list[Slot] = []
        self._site = site
        self._slot_count = slots
        self._task_types = task_types
        self._starts = 0
        self.boot()

    def boot(self) -> None:
        """Start the worker's process."""
        site, self._starts = self._site, self._starts + 1
        self.process = Process(f"{self.name}.{self._starts}")
        self._is_draining = False
        self.slots = [Slot(number, site.baton) for number in range(1, self._slot_count + 1)]
        self.journal = SimulatedJournal(site.baton)
        self._port = EnginePort(site.engine, site.network, self._caller)
        self.delivery = Delivery(self._port, self.spool, clock=self.clock)
        self._held = HeldTasks(self._home)
        self._inheritance = Inheritance(
            engine=self._port,
            held=self._held,
            delivery=self.delivery,
            root=self.workspaces,
            journal=self.journal,
            clock=self.clock,
        )
        self._polled, self._kept, self._taken = Signal(site.baton), Signal(site.baton), Signal(site.baton)
        self._rounds = 0
        self.housekeeping = Housekeeping(
            self.workspaces,
            self.journal,
            self.slots,
            KnownRepositories(self.spool.directory.parent / STATE),
            ttl_seconds=GC_TTL_SECONDS,
            interval_seconds=GC_INTERVAL_SECONDS,
        )
        self._completion = Completion(
            engine=self._port,
            jobs=self.jobs,
            delivery=self.delivery,
            journal=self.journal,
            workspace_root=self.workspaces,
            failure_reason_max_length=500,
            gc_ttl_seconds=GC_TTL_SECONDS,
            writes=lambda name: name != "read",
            on_kept=self._begin_rounds,
            sweep=self.housekeeping.sweep_directories,
            release=self._held.release,
        )
        self._check = CancellationCheck(self._port, self.jobs, self.journal)
        self._polling = self._new_polling()
        self._loop("poll", self._polling.turn, self._polled)
        self._loop("cancellation", self._look_for_cancelled, self._taken)
        self._loop("delivery", self._deliver_kept, self._kept)
        self._loop("housekeeping", self.housekeeping.turn)
        for slot in self.slots:
            self._spawn(f"slot{slot.number}", partial(self._serve, slot))

    def jobs(self) -> list[Job]:
        """The running jobs."""
        return [slot.job for slot in self.slots if slot.job is not None]

    @property
    def is_idle(self) -> bool:
        """Whether it is alive with nothing to do."""
        return not (self.process.is_dead or self.jobs() or self.delivery.waiting)

    # ---- what befalls it

    def crash(self) -> None:
        """Its processes die; their unfinished work stays as it is."""
        self.process.killed = True
        self._orphan("*")

    def kill_executor(self, process: Process | None) -> bool:
        """One of its executors dies; returns whether there was one.

        Args:
            process: Default: the first busy one.
        """
        for slot in self.slots:
            executor = slot.executor
            if executor is not None and slot.job is not None and process in (None, executor.process.process):
                executor.process.kill()
                return True
        return False

    def drain(self) -> None:
        """Take no more tasks."""
        self._is_draining = True

    def end_jobs(self) -> None:
        for job in self.jobs():
            job.end(Cause.SHUTDOWN)

    # ---- its actors

    def _serve(self, slot: Slot) -> None:
        deaths = 0
        while True:
            if seconds := pause_before(deaths):
                self._site.baton.pause(seconds)
            slot.executor = SimulatedExecutor(f"{self.process.name}:executor{slot.number}", self._parts())
            self._polled.set()
            self._work(slot, slot.executor)
            deaths = 1

    def _work(self, slot: Slot, executor: SimulatedExecutor) -> None:
        """Run jobs until the executor is dead."""
        while executor.is_alive or slot.job is not None:
            if slot.job is not None:
                outcome = executor.run(slot.job)
                slot.job = self._finish(slot, executor, slot.job, outcome)
                if slot.job is None:
                    self._polled.set()
            elif slot.chores:
                executor.chore(slot.chores.pop(0))
            else:
                slot.bell.wait()

    def _finish(self, slot: Slot, executor: SimulatedExecutor, job: Job, outcome: AttemptEnd) -> Job | None:
        """See to the end of a job; returns the one to go on with, where one came along with its report."""
        is_asked_for = isinstance(outcome, Finished) and not (self._is_draining or slot.chores)
        if not is_asked_for or not self._polling.is_backlogged:
            self._completion.finish(slot, executor, job, outcome)
            return None
        reporter = TakesNext(self._port, job.attempt, self.clock)
        self._completion.finish(slot, executor, job, outcome, reporter)
        self._polling.has_taken(reporter.taken)
        if reporter.taken is None:
            return None
        following = self._begun(reporter.taken, reporter.asked)
        if not self._is_draining:
            return following
        self._completion.give_back_unbegun(following, "its slot closes")
        return None

    def _loop(self, name: str, turn: Callable[[], float | None], nudged: Signal | None = None) -> None:
        bell = nudged or Signal(self._site.baton)

        def serve() -> None:
            while True:
                bell.wait(turn())

        self._spawn(name, serve)

    def _spawn(self, name: str, work: Callable[[], object]) -> None:
        self._site.baton.spawn(f"{self.process.name}:{name}", self.process, work)

    # ---- what a supervisor does

    def _new_polling(self) -> Polling:
        return Polling(
            engine=self._port,
            task_types=self._task_types,
            worker_id=self.name,
            domain=None,
            pace=PACE,
            free=lambda: 0 if self._is_draining else sum(slot.is_free for slot in self.slots),
            take=self._take,
            give_back=lambda attempt: self._completion.give_back_unbegun(self._job(attempt), "no slot takes it"),
            is_over=lambda: self._is_draining,
            journal=self.journal,
            clock=self.clock,
        )

    def _job(self, attempt: HandedOut, asked: float | None = None) -> Job:
        job = Job(attempt, self.clock, asked=asked)
        job.execution_id = self._site.new_execution_id()
        job.lease_lock = Mutex(self._site.baton)
        self._site.network.note_begun(attempt)
        return job

    def _take(self, attempt: HandedOut, asked: float) -> None:
        job = self._begun(attempt, asked)
        free = next((slot for slot in self.slots if slot.is_free), None)
        if free is None:
            self._completion.give_back_unbegun(job, "its slot was gone")
            return
        free.job = job
        free.bell.set()

    def _begun(self, attempt: HandedOut, asked: float) -> Job:
        self._held.add(attempt)
        job = self._job(attempt, asked)
        self.housekeeping.note(attempt)
        end_older(job, self.jobs(), self.journal)
        self._taken.set()
        return job

    def _look_for_cancelled(self) -> float | None:
        """A look; without a job there is none until one is taken, which spares the simulation idle turns."""
        seconds = self._check.turn()
        return seconds if self.jobs() else None

    def _begin_rounds(self) -> None:
        self._rounds = 0
        self._kept.set()

    def _deliver_kept(self) -> float | None:
        pauses = [pause for pause in (self._inheritance.turn(), self._deliver_results()) if pause is not None]
        return min(pauses, default=None)

    def _deliver_results(self) -> float | None:
        for kept, delivered in self.delivery.deliver_kept():
            if delivered is not Delivered.KEPT:
                self.journal.tell(0, f"a result that waited is {delivered.value}: {kept.attempt.task_id}")
        if not self.delivery.waiting:
            self._rounds = 0
            return None
        self._rounds += 1
        return pause_before_round(self._rounds)

    # ---- within

    def _caller(self, attempt: Attempt | None) -> Caller:
        for slot in self.slots:
            if attempt is not None and slot.job is not None and slot.job.attempt is attempt:
                executor = None if slot.executor is None else slot.executor.process.process
                return Caller(self.process, executor, slot.job.execution_id, attempt)
        return Caller(self.process, attempt=attempt)

    def _parts(self) -> WorkerParts:
        site = self._site
        runner = AttemptRunner(
            tasks=TASKS,
            store=ExecutorStore(None),
            workspace_root=self.workspaces,
            worker_id=self.name,
            failure_reason_max_length=500,
        )
        parts = WorkerParts(
            baton=site.baton,
            network=site.network,
            worker=self.process,
            clock=self.clock,
            store=site.store,
            runner=runner,
            engine=self._port,
            journal=self.journal,
            make_body_run=site.make_body_run,
            note_phase=site.note_phase,
            on_death=lambda job: self._orphan("*" if job is None else f"*-{job.execution_id}"),
        )
        return site.outfit(parts)

    def _orphan(self, pattern: str) -> None:
        """What the operating system does when a process ends: nobody owns these directories any more."""
        for marker in self.workspaces.glob(f"{pattern}/{OWNER_FILE}"):
            marker.write_text(json.dumps(json.loads(marker.read_text()) | {"process_started": 0}))


class _NoLines:
    def add(self, attempt: HandedOut, text: str) -> None:
        """Nobody reads them."""
