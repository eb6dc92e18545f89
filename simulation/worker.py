"""A worker: production's dispatcher and slots, whose turns and cycles are actors here instead of threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from perago.ports import Event, HandedOut, Phase
from perago.telemetry.facts import Outcome
from perago.telemetry.instruments import Group
from perago.values.code import TaskSource
from perago.values.models import Attempt
from perago.worker.attempts.job import Job
from perago.worker.attempts.journal import Journal
from perago.worker.executor.runner import AttemptRunner, ExecutorStore
from perago.worker.supervisor.delivery import SPOOL_DIRECTORY, KeptAttempt
from perago.worker.supervisor.dispatcher import Callbacks, Dispatcher, WorkerSettings
from perago.worker.supervisor.polling import Pace
from perago.worker.supervisor.slot import Slot, SlotEvents, Wear
from perago.worker.supervisor.supervisor import ABANDON_SECONDS
from perago.worker.supervisor.watchdog import others_of
from perago.workspace.directory import OWNER_FILE
from simulation.baton import Baton, Flag, Mutex, Process, Signal, VirtualClock
from simulation.engine_port import EnginePort
from simulation.executor import SimulatedExecutor, WorkerParts
from simulation.network import Caller, Network
from simulation.results import MachineResults
from simulation.servers import SimulatedEngine, SimulatedStore
from simulation.tasks import TASKS, BodyRun

GC_TTL_SECONDS = 60.0
GC_INTERVAL_SECONDS = 30.0
WORKSPACES = "workspaces"
PACE = Pace(after=lambda idle: 0.5 if idle < 2.0 else 1.5, after_failures=lambda failures, _: min(4.0, 0.5 * failures))
WEAR = Wear(max_attempts=3)
"""Few enough that executors are replaced."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Parts that all workers share.

    Attributes:
        directory: each worker has its own below it.
        new_execution_id: unique in the simulation.
        make_body_run, note_phase: see `executor.WorkerParts`.
        count: called with what happened.
        outfit: wraps the parts that executors use.
    """

    baton: Baton
    network: Network
    engine: SimulatedEngine
    store: SimulatedStore
    directory: Path
    new_execution_id: Callable[[], str]
    make_body_run: Callable[[Job, Process], BodyRun]
    note_phase: Callable[[Job, Event], None]
    count: Callable[[str], None]
    outfit: Callable[[WorkerParts], WorkerParts]


class SimulatedJournal(Journal):
    """Writes to the trace.

    Args:
        jobs: those in slots.
        broken: gets a sentence for each promise that is broken when a job begins or ends.

    Attributes:
        open: jobs that were begun and have not ended, by execution id.
    """

    def __init__(self, baton: Baton, jobs: Callable[[], Sequence[Job]], broken: list[str]) -> None:
        super().__init__(_NoLines())
        self.open: dict[str, Job] = {}
        self._baton = baton
        self._jobs = jobs
        self._broken = broken
        self._settled: set[str] = set()

    def begin(self, job: Job, groups: Iterable[Group], source: TaskSource | None = None) -> None:
        super().begin(job, groups, source)
        for older in others_of(job, self._jobs()):
            if older.ending is None and older.phase != Phase.REPORT:
                self._broken.append(f"{older.execution_id} goes on beside {job.execution_id}, which has its task now")
        self.open[job.execution_id] = job

    def end(self, job: Job, outcome: Outcome, reason: str | None = None) -> None:
        super().end(job, outcome, reason)
        self.open.pop(job.execution_id, None)
        if job.execution_id in self._settled:
            self._broken.append(f"{job.execution_id} was settled twice")
        self._settled.add(job.execution_id)

    def tell(self, level: int, text: str, job: Job | None = None, **fields: Any) -> None:
        del level, fields
        self._baton.tell(f"{'' if job is None else job.execution_id + ' '}{text}")


class Worker:
    """A worker on a machine of its own. After its death it is started again with the files on its disk.

    Attributes:
        process: the present one.
        clock: the machine's.
        spool: directory of the results that wait.
        broken: promises that its processes did not keep.
    """

    def __init__(self, name: str, slots: int, site: Site, task_types: Sequence[str]) -> None:
        home = site.directory / name
        home.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.clock = VirtualClock(site.baton)
        self.workspaces = home / WORKSPACES
        self.spool = home / SPOOL_DIRECTORY
        self.results = MachineResults(home / "index", site.baton, site.count)
        self.broken: list[str] = []
        self._site = site
        self._tasks = {name: TASKS[name] for name in task_types}
        self._starts = 0
        self._settings = WorkerSettings(
            worker_id=name,
            workspace_root=self.workspaces,
            directory=home,
            execution_mode="process",
            slots=slots,
            pace=PACE,
            wear=WEAR,
            gc_ttl_seconds=GC_TTL_SECONDS,
            gc_interval_seconds=GC_INTERVAL_SECONDS,
        )
        self.boot()

    def boot(self) -> None:
        """Start the worker's process."""
        baton, self._starts = self._site.baton, self._starts + 1
        self.process = Process(f"{self.name}.{self._starts}")
        self.journal = SimulatedJournal(baton, self.jobs, self.broken)
        self._is_resting = False
        self._executors: dict[int, SimulatedExecutor] = {}
        self._port = EnginePort(self._site.engine, self._site.network, self._caller)
        self._polled, kept, self._taken = Signal(baton), Signal(baton), Signal(baton)
        callbacks = Callbacks(
            on_start=self._begin_polling, on_free=self._polled.set, on_taken=self._taken.set, on_kept=kept.set
        )
        self.dispatcher = Dispatcher(
            self._settings, self._port, self.journal, self._make_slot, callbacks, self.clock, self._make_job
        )
        self._loop("cancellation", self._look_for_cancelled, self._taken)
        self._loop("delivery", self.dispatcher.deliver_kept, kept)
        self._loop("housekeeping", self.dispatcher.housekeeping.turn, Signal(baton))
        for slot in self.dispatcher.slots:
            self._spawn(f"slot{slot.number}", slot.serve)

    def jobs(self) -> list[Job]:
        """The current jobs."""
        return self.dispatcher.jobs()

    @property
    def is_idle(self) -> bool:
        """Alive, with nothing to do."""
        return not (self.process.is_dead or self.jobs() or self.dispatcher.delivery.waiting)

    @property
    def is_drained(self) -> bool:
        """All slots have closed, and nothing that it began is under way."""
        return self.dispatcher.is_drained and not self.journal.open

    def lost(self, abandoned: Sequence[Job] = ()) -> list[str]:
        """Tasks that came to its process and are nowhere: in no slot, not settled, not being given back."""
        jobs, returning, name = [*self.jobs(), *abandoned], self._port.returning, self.process.name
        handed = [identity for identity, process in self._site.network.handed.items() if process is self.process]
        found = [f"{name} was handed {identity.task_id}, and neither began it nor gave it back" for identity in handed]
        left = [job for job in self.journal.open.values() if job not in jobs and job.attempt not in returning]
        return found + [f"{name} began {job.execution_id}, and neither settled it nor gave it back" for job in left]

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
        for slot in self.dispatcher.slots:
            executor = self._executors.get(slot.number)
            if executor is not None and slot.job is not None and process in (None, executor.process.process):
                executor.process.kill()
                return True
        return False

    def rest(self) -> None:
        """Take no more tasks, and keep the slots open."""
        self._is_resting = True

    def end(self) -> None:
        """Let go of what has not ended, as `Supervisor.abandon` does, and end the process."""
        process, jobs, began = self.process, self.jobs(), self._site.baton.now
        for job in jobs:
            self._spawn(f"abandon:{job.execution_id}", partial(self.dispatcher.abandon, job))
        if jobs:
            self._site.baton.pause(ABANDON_SECONDS)
        if process.is_dead:
            return
        for job in jobs if process.still_until <= began else []:  # one that stood still has not abandoned them
            is_kept = self.dispatcher.delivery.keeps(KeptAttempt.of(job.attempt))
            if job.execution_id in self.journal.open and job.result is not None and not is_kept:
                self.broken.append(f"{process.name} ended over the result of {job.execution_id}, and kept it nowhere")
        self.broken += self.lost(jobs)
        self.crash()
        self.boot()

    # ---- its actors

    def _begin_polling(self) -> None:
        polling = self.dispatcher.begin_polling()
        self._loop("poll", lambda: None if self._is_resting else polling.turn(), self._polled)

    def _look_for_cancelled(self) -> float | None:
        """A look; without a job there is none until one is taken, which spares the simulation idle turns."""
        seconds = self.dispatcher.cancellation.turn()
        return seconds if self.jobs() else None

    def _loop(self, name: str, turn: Callable[[], float | None], bell: Signal) -> None:
        def serve() -> None:
            while True:
                bell.wait(turn())

        self._spawn(name, serve)

    def _spawn(self, name: str, work: Callable[[], object]) -> None:
        self._site.baton.spawn(f"{self.process.name}:{name}", self.process, work)

    # ---- what a dispatcher is given

    def _make_slot(self, number: int, events: SlotEvents) -> Slot:
        make_executor = partial(self._make_executor, number)
        return Slot(number, make_executor, events, WEAR, clock=self.clock, closing=Flag(self._site.baton))

    def _make_executor(self, number: int) -> SimulatedExecutor:
        executor = SimulatedExecutor(f"{self.process.name}:executor{number}", self._parts())
        self._executors[number] = executor
        return executor

    def _make_job(self, attempt: HandedOut, asked: float | None) -> Job:
        job = Job(attempt, self.clock, asked=asked)
        job.execution_id = self._site.new_execution_id()
        job.lease_lock = Mutex(self._site.baton)
        self._site.network.note_begun(attempt)
        return job

    # ---- within

    def _caller(self, attempt: Attempt | None) -> Caller:
        for slot in self.dispatcher.slots:
            if attempt is not None and slot.job is not None and slot.job.attempt is attempt:
                executor = self._executors.get(slot.number)
                process = None if executor is None else executor.process.process
                return Caller(self.process, process, slot.job.execution_id, attempt)
        return Caller(self.process, attempt=attempt)

    def _parts(self) -> WorkerParts:
        site = self._site
        runner = AttemptRunner(
            tasks=self._tasks,
            store=ExecutorStore(None),
            workspace_root=self.workspaces,
            worker_id=self.name,
            failure_reason_max_length=500,
            run_cache="proven",
        )
        parts = WorkerParts(
            baton=site.baton,
            network=site.network,
            worker=self.process,
            clock=self.clock,
            store=site.store,
            runner=runner,
            results=self.results,
            engine=self._port,
            journal=self.journal,
            make_body_run=site.make_body_run,
            note_phase=site.note_phase,
            on_death=lambda job: self._orphan(f"*-{job.execution_id}"),
        )
        return site.outfit(parts)

    def _orphan(self, pattern: str) -> None:
        """What the operating system does when a process ends: nobody owns these directories any more."""
        for marker in self.workspaces.glob(f"{pattern}/{OWNER_FILE}"):
            marker.write_text(json.dumps(json.loads(marker.read_text()) | {"process_started": 0}))


class _NoLines:
    def add(self, attempt: HandedOut, text: str) -> None:
        """Nobody reads them."""
