"""The supervisor of one worker: its threads, from the start to the shutdown.

What the threads do with tasks is the `dispatcher`'s. Here they are started, woken, watched, and ended.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress

from perago.ports import WorkerEngine
from perago.telemetry import instruments
from perago.telemetry.sink import OFF, Telemetry
from perago.worker.attempts.job import Cause, Job
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import Executor
from perago.worker.executor.wire import DeclaredTask
from perago.worker.supervisor.dispatcher import Callbacks, Dispatcher, WorkerSettings
from perago.worker.supervisor.health import Health, HealthFacts, Probe, Probes, health_of
from perago.worker.supervisor.polling import STALL_SECONDS
from perago.worker.supervisor.slot import Slot, SlotState
from perago.worker.supervisor.status import WorkerStatus, slot_statuses, write_status
from perago.worker.supervisor.task_log import TaskLog
from perago.worker.supervisor.watchdog import Watchdog

_LOGGER = logging.getLogger("perago.worker")

FAULT_PAUSE_SECONDS = 1.0
"""Pause after work that raised an error."""


class Loop:
    """A thread that repeats its work, with a pause that the work chooses. Its owner stops it.

    Errors of the work are logged, and the work is repeated after a second: such a thread must not die silently.

    Args:
        name: of the thread.
        work: returns the seconds until the next turn; None: wait for `nudge`.
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
        """Start the next turn now."""
        with self._changed:
            self._nudged = True
            self._changed.notify()

    def turn_seconds(self) -> float:
        """Age of the current turn in seconds; 0 between two turns."""
        began = self._turn_began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def stop(self, seconds: float | None = None) -> bool:
        """Stop after the current turn and wait for its end. Returns whether it has ended.

        Args:
            seconds: the longest wait; None: no limit but that of the work.
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
            _LOGGER.exception("%s failed and is tried again", self._name)
            return FAULT_PAUSE_SECONDS


START_LOOK_SECONDS = 0.2

ABANDON_SECONDS = 3.0
"""Time limit for giving tasks back at the very end. An engine that does not answer hands them out again by itself."""

STATUS_SECONDS = 5.0
"""Maximum age of the status file, even if nothing changes: the file tells when the engine last answered."""


class Supervisor:
    """Runs slots on an engine until it is told to stop. It owns every thread that it starts.

    Args:
        make_executor: makes an executor; called in the slot's thread, with the journal that the executor writes to.
        check_tasks: gets the tasks of the first executor that is ready. An error that it raises ends the start.
        telemetry: counts attempts, slots and executors; the caller closes it.
        probes: more conditions for the worker to be ready; see `health.Probes`.

    Attributes:
        dispatcher: what the threads work on.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        engine: WorkerEngine,
        make_executor: Callable[[Journal], AbstractContextManager[Executor]],
        check_tasks: Callable[[Sequence[DeclaredTask]], None] = lambda tasks: None,  # noqa: ARG005 - nothing to check
        *,
        telemetry: Telemetry = OFF,
        probes: Mapping[str, Probe] | None = None,
    ) -> None:
        self._settings = settings
        self._check_tasks = check_tasks
        self._task_log = TaskLog(engine.log)
        self.journal = Journal(self._task_log, self._note_change, telemetry)
        self._first_answer = threading.Event()
        self._changed = True
        self._status_written = float("-inf")
        self._started_at = time.time()
        self.dispatcher = dispatcher = Dispatcher(
            settings,
            engine,
            self.journal,
            lambda number, events: Slot(number, lambda: make_executor(self.journal), events, settings.wear),
            Callbacks(
                on_start=self._first_answer.set,
                on_free=self._poll_now,
                on_kept=self._deliver_now,
                on_change=self._note_change,
            ),
        )
        self._slot_threads = [
            threading.Thread(target=slot.serve, name=f"perago-slot-{slot.number}", daemon=True)
            for slot in dispatcher.slots
        ]
        self._poller: Loop | None = None
        self._stuck: Loop | None = None  # one that was replaced; it may come back
        self._canceller = Loop("perago-cancellation", dispatcher.cancellation.turn)
        self._deliverer = Loop("perago-delivery", lambda: dispatcher.deliver_kept(lambda: self._deliverer.is_stopping))
        self._keeper = Loop("perago-housekeeping", dispatcher.housekeeping.turn)
        self._watcher = Loop("perago-watch", self._watch(engine).turn)
        self._probes = Probes(probes or {})
        self._prober = Loop("perago-probes", self._probes.turn)
        telemetry.watch(instruments.SLOTS, self._slot_states)
        telemetry.watch(instruments.RESULTS_WAITING, lambda: {"": dispatcher.delivery.waiting})

    # ---- start and end

    def start(self, is_stopped: Callable[[], bool] = bool) -> None:
        """Start the executors, check their tasks, and begin to poll.

        Args:
            is_stopped: asked while modules are loaded; if True, nothing more is started.

        Raises:
            PeragoError: the modules cannot be loaded, or `check_tasks` refused the tasks.
        """
        self._keeper.start()
        self._deliverer.start()  # results that an earlier worker left need no module
        for thread in self._slot_threads:
            thread.start()
        while not self._first_answer.wait(START_LOOK_SECONDS):
            if is_stopped():
                return
        if self.dispatcher.start_error is not None:
            raise self.dispatcher.start_error
        tasks = [task for task in self.dispatcher.tasks.values() if not task.is_builtin]
        self._check_tasks(tasks)
        self._poller = Loop("perago-poll", self.dispatcher.begin_polling().turn)
        for loop in (self._poller, self._canceller, self._watcher, self._prober):
            loop.start()
        names = ", ".join(self._task_names())
        builtin = sorted(name for name, task in self.dispatcher.tasks.items() if task.is_builtin)
        also = f"; for workflows also {', '.join(builtin)}" if builtin else ""
        text = f"worker {self._settings.worker_id} runs {names}, {self._settings.slots} at a time{also}"
        self.journal.tell(logging.INFO, text)

    def _task_names(self) -> list[str]:
        """The tasks of the worker's modules."""
        return sorted(name for name, task in self.dispatcher.tasks.items() if not task.is_builtin)

    def jobs(self) -> list[Job]:
        """The current jobs of all slots."""
        return self.dispatcher.jobs()

    @property
    def is_through(self) -> bool:
        """Drained: the last poll is over, or stuck, and all slots have closed."""
        return self._stop_polling(0) and self.dispatcher.is_drained

    def drain(self) -> None:
        """Take no more tasks. The current poll is finished, and a task that it brings is given back; jobs go on."""
        if self._poller is not None:
            self.journal.tell(logging.INFO, f"no new tasks; {len(self.jobs())} under way")
        self.dispatcher.drain()
        self._changed = True
        if self._poller is not None:
            self._poller.stop(0)

    def end(self, cause: Cause) -> None:
        """Request the end of every current job."""
        self.dispatcher.end(cause)

    def abandon(self) -> None:
        """Let go of jobs that cannot be ended, just before the process ends: bodies in threads, and reports that the
        engine does not answer. Takes `ABANDON_SECONDS` at most.
        """
        threads = [threading.Thread(target=self.dispatcher.abandon, args=[job], daemon=True) for job in self.jobs()]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + ABANDON_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def close(self, seconds: float | None = None) -> bool:
        """End everything. Returns whether everything has ended, a stuck poll aside.

        Args:
            seconds: the longest wait; None: as long as attempts and calls of the engine take. Call it again to go on
                waiting.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        if not self.dispatcher.is_draining:
            self.drain()

        def left() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        ended = [_joined(thread, left()) for thread in self._slot_threads]
        loops = [self._canceller, self._watcher, self._keeper, self._deliverer, self._prober]
        for loop in loops:
            loop.stop(0)  # all of them first, so that they end at the same time
        ended += [loop.stop(left()) for loop in loops]
        ended.append(self._stop_polling(left()))
        if all(ended):
            ended.append(self._task_log.close(left()))
            self._changed = True
        self._tell_status()
        return all(ended)

    # ---- polling and delivery

    def _deliver_now(self) -> None:
        self._deliverer.nudge()

    def _poll_now(self) -> None:
        if self._poller is not None:
            self._poller.nudge()

    def _renew_polling(self) -> str:
        """Replace a stuck poll loop; returns what was done. The stuck loop takes no further turn, and a task that it
        still brings is given back. Only one is replaced at a time: each stuck loop keeps a connection.
        """
        if self._poller is None or self.dispatcher.is_draining:
            return "the worker no longer waits for it"
        if self._stuck is not None and not self._stuck.stop(0):
            return "another poll is stuck already: restart this worker"
        self._stuck = self._poller
        self._stuck.stop(0)
        self._poller = Loop("perago-poll", self.dispatcher.begin_polling().turn)
        self._poller.start()
        return "polling starts again"

    def _stop_polling(self, seconds: float | None) -> bool:
        """Stop polling as `Loop.stop` does, but wait no longer than until the current poll counts as stuck."""
        poller = self._poller
        if poller is None:
            return True
        left = max(0.0, STALL_SECONDS - poller.turn_seconds())
        return poller.stop(left if seconds is None else min(seconds, left)) or poller.turn_seconds() >= STALL_SECONDS

    # ---- watching

    def _slot_states(self) -> dict[str, int]:
        """Slots by state. States without a slot are 0, so that their series goes on."""
        states = Counter(slot.state.value for slot in self.dispatcher.slots)
        return {state.value: states[state.value] for state in SlotState}

    def _watch(self, engine: WorkerEngine) -> Watchdog:
        return Watchdog(
            engine,
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
        """Whether the worker is live and ready. Returns at once; for any thread."""
        return health_of(
            HealthFacts(
                draining=self.dispatcher.is_draining,
                poll_seconds=0.0 if self._poller is None else self._poller.turn_seconds(),
                watch_seconds=self._watcher.turn_seconds(),
                answered_seconds=self._answered_seconds,
                slots=[slot.state.value for slot in self.dispatcher.slots],
                probes=self._probes.found(),
            )
        )

    def status(self) -> WorkerStatus:
        """The status of the worker."""
        answered, health = self._answered_seconds, self.health()
        return WorkerStatus(
            worker_id=self._settings.worker_id,
            pid=os.getpid(),
            state="draining" if self.dispatcher.is_draining else "running",
            execution_mode=self._settings.execution_mode,
            tasks=self._task_names(),
            domain=self._settings.domain,
            started_at=self._started_at,
            polled_at=None if answered is None else time.time() - answered,
            undelivered=self.dispatcher.delivery.waiting,
            slots=slot_statuses(self.dispatcher.slots),
            live=health.is_live,
            ready=health.is_ready,
            checks=list(health.all),
        )

    @property
    def _answered_seconds(self) -> float | None:
        polling = self.dispatcher.polling
        return None if polling is None else polling.answered_seconds


def _joined(thread: threading.Thread, seconds: float | None) -> bool:
    """Wait for a thread, at most that long. Returns whether it has ended, or was never started."""
    if thread.ident is not None:
        thread.join(seconds)
    return not thread.is_alive()
