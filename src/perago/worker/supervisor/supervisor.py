"""The supervisor of one worker: it polls, holds leases, reports, and looks after its executors."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perago.errors import PeragoError
from perago.ports import HandedOut, WorkerEngine
from perago.telemetry import instruments
from perago.telemetry.sink import OFF, Telemetry
from perago.worker.attempts.job import Cause, Job
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import AttemptEnd, Executor
from perago.worker.executor.wire import DeclaredTask
from perago.worker.supervisor.completion import Completion, TakesNext
from perago.worker.supervisor.delivery import SPOOL_DIRECTORY, Delivered, Delivery, ResultSpool, pause_before_round
from perago.worker.supervisor.health import Health, HealthFacts, Probe, Probes, health_of
from perago.worker.supervisor.held import HeldTasks, Inheritance
from perago.worker.supervisor.housekeeping import Housekeeping, KnownRepositories
from perago.worker.supervisor.polling import STALL_SECONDS, Pace, Polling
from perago.worker.supervisor.slot import Slot, SlotState, Wear
from perago.worker.supervisor.status import WorkerStatus, slot_statuses, write_status
from perago.worker.supervisor.task_log import TaskLog
from perago.worker.supervisor.watchdog import CancellationCheck, Watchdog, end_older


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker is told.

    Attributes:
        directory: the supervisor's own, below the workspace root; see `lock`.
        slots: attempts at a time.
        pace: of polling.
        domain: whose queues are polled; None: those without one.
        gc_ttl_seconds, gc_interval_seconds: of orphans, and how often they are looked for.
    """

    worker_id: str
    workspace_root: Path
    directory: Path
    execution_mode: Literal["process", "thread"]
    slots: int
    pace: Pace
    domain: str | None = None
    wear: Wear = field(default_factory=Wear)
    failure_reason_max_length: int = 500
    gc_ttl_seconds: float = 86400.0
    gc_interval_seconds: float = 3600.0


_LOGGER = logging.getLogger("perago.worker")

FAULT_PAUSE_SECONDS = 1.0
"""After work that raised what it should not."""


class Loop:
    """Does the work, waits for as long as the work says, and does it again; owned by whoever made it, who stops it.

    What the work raises is logged, and the work is done again after a second: such a thread must not die unseen.

    Args:
        name: of the thread.
        work: returns the seconds until the next turn, any number of them; None: until `nudge`.
    """

    def __init__(self, name: str, work: Callable[[], float | None]) -> None:
        self._name = name
        self._work = work
        self._changed = threading.Condition()
        self._nudged = False
        self._stopping = False
        self._turn_began: float | None = None
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """Have the next turn begin now."""
        with self._changed:
            self._nudged = True
            self._changed.notify()

    def turn_seconds(self) -> float:
        """How long the turn takes that is under way; 0 between two."""
        began = self._turn_began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def stop(self, seconds: float | None = None) -> bool:
        """No further turn; waits for the one under way, and says whether it has ended.

        Args:
            seconds: to wait at most; None: as long as it takes, which the work bounds.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        while not self._stopping:
            self._turn_began = time.monotonic()
            pause = self._turn()
            self._turn_began = None
            wait = None if pause is None else min(pause, threading.TIMEOUT_MAX)
            with self._changed:
                self._changed.wait_for(lambda: self._nudged or self._stopping, wait)
                self._nudged = False

    def _turn(self) -> float | None:
        try:
            return self._work()
        except Exception:
            _LOGGER.exception("%s failed, and is tried again", self._name)
            return FAULT_PAUSE_SECONDS


START_LOOK_SECONDS = 0.2

ABANDON_SECONDS = 3.0
"""For giving tasks back at the very end: an engine that does not answer by then hands them out again by itself."""

STATUS_SECONDS = 5.0
"""The age that the status has at most, though nothing has changed: it tells when the engine answered last."""


class Supervisor:
    """Runs slots on an engine until it is told to stop. It owns every thread that it starts.

    Args:
        make_executor: makes one; called in the slot's thread, with the journal for what it tells.
        check_tasks: is given the tasks of the first executor that is ready; what it raises ends the start.
        telemetry: is told of attempts, slots and executors; the caller closes it.
        probes: what else has to be there for the worker to be ready; see `health.Probes`.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        engine: WorkerEngine,
        make_executor: Callable[[Journal], AbstractContextManager[Executor]],
        check_tasks: Callable[[Sequence[DeclaredTask]], None] = lambda tasks: None,  # noqa: ARG005
        *,
        telemetry: Telemetry = OFF,
        probes: Mapping[str, Probe] | None = None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._check_tasks = check_tasks
        self._task_log = TaskLog(engine.log)
        self._telemetry = telemetry
        self.journal = Journal(self._task_log, self._note_change, telemetry)
        self._delivery = Delivery(
            engine,
            ResultSpool(settings.directory / SPOOL_DIRECTORY),
            observer=self.journal.report,
            tell=lambda text, fields: self.journal.tell(logging.WARNING, text, **fields),
        )
        self._held = HeldTasks(settings.directory)
        self._inheritance = Inheritance(
            engine=engine,
            held=self._held,
            delivery=self._delivery,
            root=settings.workspace_root,
            journal=self.journal,
        )
        self._tasks: dict[str, DeclaredTask] = {}
        self._first_answer = threading.Event()
        self._start_error: PeragoError | None = None
        self._draining = False
        self._changed = True
        self._status_written = float("-inf")
        self._started_at = time.time()
        self._rounds = 0
        self._slots = [
            Slot(number, lambda: make_executor(self.journal), self, settings.wear)
            for number in range(1, settings.slots + 1)
        ]
        self._housekeeping = self._new_housekeeping()
        self._completion = self._new_completion()
        self._polling: Polling | None = None
        self._poller: Loop | None = None
        self._stuck: Loop | None = None  # one that was replaced; it may come back
        check = CancellationCheck(engine, self.jobs, self.journal)
        self._canceller = Loop("perago-cancellation", check.turn)
        self._deliverer = Loop("perago-delivery", self._deliver_kept)
        self._keeper = Loop("perago-housekeeping", self._housekeeping.turn)
        self._watcher = Loop("perago-watch", self._watch().turn)
        self._probes = Probes(probes or {})
        self._prober = Loop("perago-probes", self._probes.turn)
        telemetry.watch(instruments.SLOTS, self._slot_states)
        telemetry.watch(instruments.RESULTS_WAITING, lambda: {"": self._delivery.waiting})

    def _new_completion(self) -> Completion:
        settings = self._settings
        return Completion(
            engine=self._engine,
            jobs=self.jobs,
            delivery=self._delivery,
            journal=self.journal,
            workspace_root=settings.workspace_root,
            failure_reason_max_length=settings.failure_reason_max_length,
            gc_ttl_seconds=settings.gc_ttl_seconds,
            writes=self._writes,
            on_kept=self._begin_rounds,
            sweep=self._housekeeping.sweep_directories,
            release=self._held.release,
        )

    def _new_housekeeping(self) -> Housekeeping:
        settings = self._settings
        return Housekeeping(
            settings.workspace_root,
            self.journal,
            self._slots,
            KnownRepositories(settings.directory),
            ttl_seconds=settings.gc_ttl_seconds,
            interval_seconds=settings.gc_interval_seconds,
        )

    # ---- its life

    def start(self, is_stopped: Callable[[], bool] = bool) -> None:
        """Start the executors, check their tasks, and begin to poll.

        Args:
            is_stopped: asked while modules are loaded; if so, nothing more is started.

        Raises:
            PeragoError: the modules cannot be loaded, or the tasks are not as they have to be.
        """
        self._keeper.start()
        self._deliverer.start()  # what an earlier worker left waits for no module
        for slot in self._slots:
            slot.start()
        while not self._first_answer.wait(START_LOOK_SECONDS):
            if is_stopped():
                return
        if self._start_error is not None:
            raise self._start_error
        self._check_tasks(list(self._tasks.values()))
        self._polling = self._new_polling()
        self._poller = Loop("perago-poll", self._polling.turn)
        for loop in (self._poller, self._canceller, self._watcher, self._prober):
            loop.start()
        tasks = ", ".join(sorted(self._tasks))
        text = f"worker {self._settings.worker_id} runs {tasks}, {self._settings.slots} at a time"
        self.journal.tell(logging.INFO, text)

    def jobs(self) -> list[Job]:
        """Those under way now."""
        return [job for slot in self._slots if (job := slot.job) is not None]

    @property
    def is_through(self) -> bool:
        """Drained: the last poll is over, or stuck, and all slots have closed."""
        return self._stop_polling(0) and all(slot.state is SlotState.CLOSED for slot in self._slots)

    def drain(self) -> None:
        """Take no further task: a poll under way is finished, and what it brings given back; what runs goes on."""
        self._draining = True
        self._changed = True
        if self._poller is not None:
            self.journal.tell(logging.INFO, f"no new tasks; {len(self.jobs())} under way")
            self._poller.stop(0)
        for slot in self._slots:
            slot.close()

    def end(self, cause: Cause) -> None:
        """End what is under way."""
        for job in self.jobs():
            if job.end(cause):
                self.journal.tell(logging.WARNING, f"ended by the shutdown ({cause})", job)

    def abandon(self) -> None:
        """Let go of what cannot be ended, as the process is about to end over it: bodies in threads, and reports that
        an engine does not answer. It takes `ABANDON_SECONDS` at most.
        """
        threads = [threading.Thread(target=self._completion.abandon, args=[job], daemon=True) for job in self.jobs()]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + ABANDON_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def close(self, seconds: float | None = None) -> bool:
        """End everything; says whether all of it has ended, but for a poll that is stuck.

        Args:
            seconds: for all of it at most; None: as long as attempts and calls of the engine take. What has not ended
                by then can be waited for by another call.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        if not self._draining:
            self.drain()

        def left() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        ended = [slot.join(left()) for slot in self._slots]
        loops = [self._canceller, self._watcher, self._keeper, self._deliverer, self._prober]
        for loop in loops:
            loop.stop(0)  # all of them first: they end beside each other
        ended += [loop.stop(left()) for loop in loops]
        ended.append(self._stop_polling(left()))
        if all(ended):
            ended.append(self._task_log.close(left()))
            self._changed = True
        self._tell_status()
        return all(ended)

    # ---- what slots tell

    def is_ready(self, slot: Slot, tasks: list[DeclaredTask]) -> None:
        self._tasks = self._tasks or {task.name: task for task in tasks}
        self._first_answer.set()
        self.journal.tell(logging.DEBUG, f"slot {slot.number} is ready")

    def has_failed(self, slot: Slot, error: PeragoError | None, reason: str) -> None:
        if not self._first_answer.is_set():
            self._start_error = error
            self._first_answer.set()
        self._telemetry.count(instruments.EXECUTOR_DEATHS)
        text = f"slot {slot.number} gets another executor: {reason}"
        level = logging.WARNING if self._start_error is None else logging.DEBUG  # that ends the start, and is told so
        self.journal.tell(level, text, deaths=slot.deaths)
        self._changed = True

    def finish(self, slot: Slot, executor: Executor, job: Job, outcome: AttemptEnd, *, takes_next: bool) -> Job | None:
        polling = self._polling
        self._changed = True
        if not takes_next or polling is None or not polling.is_backlogged or self._draining:
            self._completion.finish(slot, executor, job, outcome)
            return None
        reporter = TakesNext(self._engine, job.attempt)
        self._completion.finish(slot, executor, job, outcome, reporter)
        polling.has_taken(reporter.taken)
        return None if reporter.taken is None else self._begun(reporter.taken, reporter.asked)

    def give_back(self, job: Job) -> None:
        self._completion.give_back_unbegun(job, "its slot closes")

    def is_free(self, slot: Slot) -> None:
        del slot
        self._changed = True
        if self._polling is not None and self._poller is not None and self._polling.is_starved:
            self._poller.nudge()

    # ---- polling

    def _new_polling(self) -> Polling:
        return Polling(
            engine=self._engine,
            task_types=list(self._tasks),
            worker_id=self._settings.worker_id,
            domain=self._settings.domain,
            pace=self._settings.pace,
            free=lambda: sum(slot.is_free for slot in self._slots),
            take=self._take,
            give_back=lambda attempt: self._completion.give_back_unbegun(Job(attempt), "no slot takes it any more"),
            is_over=lambda: self._draining,
            journal=self.journal,
        )

    def _renew_polling(self) -> str:
        """The loop under way is stuck: it takes no further turn, and what it still brings is given back. Says what was
        done. While another one is stuck this one is left: a third would be too, and each keeps a connection.
        """
        if self._polling is None or self._poller is None or self._draining:
            return "it is waited for no longer"
        if self._stuck is not None and not self._stuck.stop(0):
            return "another one is stuck already: restart this worker"
        self._polling.is_over = lambda: True
        self._stuck = self._poller
        self._stuck.stop(0)
        self._polling = self._new_polling()
        self._poller = Loop("perago-poll", self._polling.turn)
        self._poller.start()
        return "polling begins anew"

    def _stop_polling(self, seconds: float | None) -> bool:
        """No further poll; waits for the one under way, as `Loop.stop` does, but no longer than until it is stuck."""
        poller = self._poller
        if poller is None:
            return True
        left = max(0.0, STALL_SECONDS - poller.turn_seconds())
        return poller.stop(left if seconds is None else min(seconds, left)) or poller.turn_seconds() >= STALL_SECONDS

    def _take(self, attempt: HandedOut, asked: float) -> None:
        job = self._begun(attempt, asked)
        if not any(slot.assign(job) for slot in self._slots):
            self._completion.give_back_unbegun(job, "its slot was gone")

    def _begun(self, attempt: HandedOut, asked: float) -> Job:
        self._held.add(attempt)
        job = Job(attempt, asked=asked)
        self._housekeeping.note(attempt)
        end_older(job, self.jobs(), self.journal)
        task = self._tasks.get(attempt.task_def_name)
        self.journal.begin(job, () if task is None else task.metric_groups)
        self.journal.tell(logging.DEBUG, "taken", job)
        self._changed = True
        return job

    # ---- delivering what could not be delivered

    def _begin_rounds(self) -> None:
        self._rounds = 0
        self._deliverer.nudge()

    def _deliver_kept(self) -> float | None:
        pauses = [pause for pause in (self._inheritance.turn(), self._deliver_results()) if pause is not None]
        return min(pauses, default=None)

    def _deliver_results(self) -> float | None:
        for kept, delivered in self._delivery.deliver_kept(lambda: self._deliverer.is_stopping):
            if delivered is not Delivered.KEPT:
                text = f"a result that waited is {delivered.value}: {kept.result.status}"
                self.journal.tell(logging.INFO, text, **kept.attempt.fields())
        if not self._delivery.waiting:
            self._rounds = 0
            return None
        self._rounds += 1
        return pause_before_round(self._rounds)

    def _writes(self, task_name: str) -> bool:
        task = self._tasks.get(task_name)
        return task is not None and task.has_workspace and not task.is_read_only

    # ---- watching

    def _slot_states(self) -> dict[str, int]:
        """How many slots are in each state; those in which none is are 0, so that a series never stands still."""
        states = Counter(slot.state.value for slot in self._slots)
        return {state.value: states[state.value] for state in SlotState}

    def _watch(self) -> Watchdog:
        return Watchdog(
            self._engine,
            self.journal,
            jobs=self.jobs,
            poll_seconds=lambda: 0.0 if self._poller is None else self._poller.turn_seconds(),
            poll_stall_seconds=STALL_SECONDS,
            renew_polling=self._renew_polling,
            look_for_cancelled=self._canceller.nudge,
            tell_status=self._tell_status,
        )

    def _note_change(self) -> None:
        self._changed = True

    def _tell_status(self) -> None:
        now = time.monotonic()
        if not self._changed and now - self._status_written < STATUS_SECONDS:
            return
        self._changed, self._status_written = False, now
        with suppress(OSError):  # the status is for those who look; a full disk must not end a worker
            write_status(self._settings.directory, self.status())

    def health(self) -> Health:
        """Whether it lives, and is ready; from what is known, at once. For any thread."""
        return health_of(
            HealthFacts(
                draining=self._draining,
                poll_seconds=0.0 if self._poller is None else self._poller.turn_seconds(),
                watch_seconds=self._watcher.turn_seconds(),
                answered_seconds=None if self._polling is None else self._polling.answered_seconds,
                slots=[slot.state.value for slot in self._slots],
                probes=self._probes.found(),
            )
        )

    def status(self) -> WorkerStatus:
        """What it does now."""
        answered, health = None if self._polling is None else self._polling.answered_seconds, self.health()
        return WorkerStatus(
            worker_id=self._settings.worker_id,
            pid=os.getpid(),
            state="draining" if self._draining else "running",
            execution_mode=self._settings.execution_mode,
            tasks=sorted(self._tasks),
            domain=self._settings.domain,
            started_at=self._started_at,
            polled_at=None if answered is None else time.time() - answered,
            undelivered=self._delivery.waiting,
            slots=slot_statuses(self._slots),
            live=health.is_live,
            ready=health.is_ready,
            checks=list(health.all),
        )
