"""One slot of a worker: it runs one job after another, in one executor after another.

A slot starts no thread. Its owner calls `Slot.serve` from a thread, the simulation from an actor.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from perago.errors import PeragoError
from perago.ports import Clock, SystemClock
from perago.values.backoff import backoff
from perago.values.redaction import text_of
from perago.worker.attempts.job import Job
from perago.worker.attempts.port import AttemptEnd, Died, Ended, Executor, Finished, NotBegun
from perago.worker.executor.wire import DeclaredTask, Discard, Sweep

_LOGGER = logging.getLogger("perago.worker")


CHORE_PAUSE_SECONDS = 1.0
"""Pause between two chores. The slot can take a job then: a thousand chores may wait, and each takes up to a minute."""


class SlotState(enum.StrEnum):
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    WAITING = "waiting"  # pauses before it replaces its executor
    CLOSED = "closed"


class SlotEvents(Protocol):
    """Callbacks of a slot; the slot calls them from `serve`."""

    def is_ready(self, slot: Slot, tasks: list[DeclaredTask]) -> None:
        """An executor has loaded the modules."""
        ...

    def has_failed(self, slot: Slot, error: PeragoError | None, reason: str) -> None:
        """An executor died, or did not start; then `error` says why."""
        ...

    def finish(self, slot: Slot, executor: Executor, job: Job, outcome: AttemptEnd, *, takes_next: bool) -> Job | None:
        """Settle a job that has ended: report its result, give its task back, or drop it.

        Args:
            takes_next: the slot can run another job right away.

        Returns:
            The next job, if one came along with the report.
        """
        ...

    def give_back(self, job: Job) -> None:
        """Give back the task of a job that the slot will not run."""
        ...

    def is_free(self, slot: Slot) -> None:
        """The slot can take a job."""
        ...


class Closing(Protocol):
    """A flag that the owner of a slot sets once; `threading.Event` is one."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...

    def wait(self, timeout: float | None = None, /) -> bool: ...


@dataclass(frozen=True)
class Wear:
    """Limits after which an executor is replaced; None: no limit."""

    max_attempts: int | None = None
    max_memory_bytes: int | None = None


class Slot:
    """One slot. Any thread may call its public methods; `serve` runs once.

    Args:
        number: from 1.
        make_executor: starts an executor; may raise PeragoError.
        clock: Default: the machine's.
        closing: is set when the slot is to close. Default: a `threading.Event`.

    Attributes:
        job: the current job, or None.
        since: when the current state began, seconds since the epoch.
        deaths: executors that died in a row.
    """

    def __init__(
        self,
        number: int,
        make_executor: Callable[[], AbstractContextManager[Executor]],
        events: SlotEvents,
        wear: Wear,
        *,
        clock: Clock | None = None,
        closing: Closing | None = None,
    ) -> None:
        self.number = number
        self.state = SlotState.STARTING
        self.job: Job | None = None
        self.deaths = 0
        self._make_executor = make_executor
        self._events = events
        self._wear = wear
        self._clock = clock or SystemClock()
        self._closing = closing or threading.Event()
        self._lock = threading.Lock()
        self._executor: Executor | None = None
        self._starting: Executor | None = None
        self._chores: list[Discard | Sweep] = []
        self._next_chore_at = self._clock.monotonic()
        self.since = self._clock.now().timestamp()

    @property
    def is_free(self) -> bool:
        """Whether the slot can take a job now."""
        return (
            self.state is SlotState.IDLE
            and self.job is None
            and self._executor is not None
            and not self._closing.is_set()
        )

    @property
    def memory_bytes(self) -> int:
        """Memory of the executor after its last attempt."""
        executor = self._executor
        return 0 if executor is None else executor.memory_bytes

    def assign(self, job: Job) -> bool:
        """Hand a job to the slot. Returns False if the slot is not free."""
        with self._lock:
            executor = self._executor
            if executor is None or not self.is_free:
                return False
            self.job = job
            executor.wake()
            return True

    def add_chore(self, order: Discard | Sweep) -> None:
        """Queue an order for the executor, which runs it while the slot has no job. An order is queued only once."""
        with self._lock:
            if order not in self._chores:
                self._chores.append(order)
            if self._executor is not None:
                self._executor.wake()

    def close(self) -> None:
        """Take no more jobs. `serve` returns when the current job has ended."""
        self._closing.set()
        with self._lock:
            if self._executor is not None:
                self._executor.wake()
            if self._starting is not None:
                self._starting.abort_start()

    def serve(self) -> None:
        """Run jobs until the slot closes."""
        while not self._closing.is_set():
            pause = pause_before(self.deaths)
            if pause:
                self._enter(SlotState.WAITING)
                if self._closing.wait(pause):
                    break
            self._enter(SlotState.STARTING)
            try:
                self._serve_with_one_executor()
            except Exception:
                self._offer(None)
                self.deaths += 1
                _LOGGER.exception("slot %d failed and starts over", self.number)
        if self.job is not None:  # it came just as the slot closed, or as its executor failed
            if self.job.claim():  # no other thread has given it back
                self._give_back(self.job)
            self.job = None
        self._enter(SlotState.CLOSED)

    def _serve_with_one_executor(self) -> None:
        """Start an executor and run jobs in it until it dies, is worn out, or the slot closes."""
        attempts, ready_at = 0, self._clock.monotonic()
        try:
            with self._make_executor() as executor:
                tasks = self._start(executor)
                ready_at = self._clock.monotonic()
                self._offer(executor)
                self._events.is_ready(self, tasks)
                died = self._work(executor)
                attempts = executor.attempts
                self._offer(None)
                if not died:
                    self.deaths = 0
                    return
                reason = executor.death()
        except PeragoError as exc:
            self._offer(None)
            self.deaths += 1
            if not self._closing.is_set():
                self._events.has_failed(self, exc, str(exc))
            return
        self.deaths = deaths_after(self.deaths, attempts=attempts, lived_seconds=self._clock.monotonic() - ready_at)
        self._events.has_failed(self, None, reason)

    def _start(self, executor: Executor) -> list[DeclaredTask]:
        with self._lock:
            self._starting = executor
        try:
            if self._closing.is_set():
                executor.abort_start()
            return executor.start()
        finally:
            with self._lock:
                self._starting = None

    def _work(self, executor: Executor) -> bool:
        """Run jobs. Returns whether the executor died by itself."""
        while True:
            job = self._next_job(executor)
            if job is None:
                return not executor.is_alive and not self._closing.is_set()
            outcome = self._run(executor, job)
            following = self._finish(executor, job, outcome)
            with self._lock:
                self.job = following
            if following is not None:
                continue
            if isinstance(outcome, Died | NotBegun):
                return True
            if isinstance(outcome, Ended) and (outcome.was_signalled or not executor.is_alive):
                return False  # the signal would hit the next attempt
            if self._closing.is_set() or self._is_worn_out(executor):
                return False

    def _run(self, executor: Executor, job: Job) -> AttemptEnd:
        try:
            return executor.run(job)
        except Exception as exc:  # a slot must neither die silently nor keep the task
            _LOGGER.exception("slot %d failed to run a task", self.number)
            return Died(f"the worker itself failed: {type(exc).__name__}: {text_of(exc)}")

    def _finish(self, executor: Executor, job: Job, outcome: AttemptEnd) -> Job | None:
        """Settle a job that has ended; returns the next job, if one came along."""
        takes_next = isinstance(outcome, Finished) and not (
            self._closing.is_set() or self._seconds_until_chore() == 0 or self._is_worn_out(executor)
        )
        try:
            following = self._events.finish(self, executor, job, outcome, takes_next=takes_next)
        except Exception:
            _LOGGER.exception("slot %d failed to settle a task", self.number)
            return None
        if following is None or not self._closing.is_set():
            return following
        self._give_back(following)
        return None

    def _give_back(self, job: Job) -> None:
        try:
            self._events.give_back(job)
        except Exception:
            _LOGGER.exception("slot %d failed to give a task back", self.number)

    def _next_job(self, executor: Executor) -> Job | None:
        """Wait for a job and run chores in the meantime. Returns None when this executor gets no more jobs."""
        while executor.is_alive:
            chore = self._next_chore()
            if chore is not None:
                executor.chore(chore)
                self._next_chore_at = self._clock.monotonic() + CHORE_PAUSE_SECONDS
                continue
            if self.job is None:
                if self._closing.is_set():
                    return None
                if self.state is not SlotState.IDLE:
                    self._enter(SlotState.IDLE)
                    self._events.is_free(self)
                executor.wait(self._seconds_until_chore())
            else:
                self._enter(SlotState.BUSY)
                return self.job
        return self._job_that_came_too_late()

    def _job_that_came_too_late(self) -> Job | None:
        """The executor died idle. A job assigned at that moment is run all the same: it ends as `NotBegun`."""
        with self._lock:
            self._executor = None
            return self.job

    def _next_chore(self) -> Discard | Sweep | None:
        """The chore that is due. The slot is busy, and takes no job, until that is done."""
        with self._lock:
            if self._seconds_until_chore() != 0 or self.job is not None or self._closing.is_set():
                return None
            self._set_state(SlotState.BUSY)
            return self._chores.pop(0)

    def _seconds_until_chore(self) -> float | None:
        """Returns None when no chore waits."""
        return max(0.0, self._next_chore_at - self._clock.monotonic()) if self._chores else None

    def _is_worn_out(self, executor: Executor) -> bool:
        return is_worn_out(
            attempts=executor.attempts,
            memory_bytes=executor.memory_bytes,
            is_spent=executor.is_spent,
            max_attempts=self._wear.max_attempts,
            max_memory_bytes=self._wear.max_memory_bytes,
        )

    def _offer(self, executor: Executor | None) -> None:
        with self._lock:
            self._executor = executor

    def _enter(self, state: SlotState) -> None:
        with self._lock:
            self._set_state(state)

    def _set_state(self, state: SlotState) -> None:
        self.state, self.since = state, self._clock.now().timestamp()


FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""Pause before an executor is replaced: 1, 2, 4, 8, 16, 30 s as more die in a row. Part of the published contract."""

STEADY_SECONDS = 60.0
"""An executor that lived this long, or finished an attempt, did not die of starting: counting begins again at 1."""


def pause_before(deaths: int) -> float:
    """Seconds until the next executor is started.

    Args:
        deaths: executors that died in a row; 0: the previous one did not die.
    """
    return 0.0 if deaths <= 0 else backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, deaths - 1)


def deaths_after(deaths: int, *, attempts: int, lived_seconds: float) -> int:
    """Executors that have died in a row, now that one more has.

    Args:
        deaths: the count before this death.
        attempts: that this executor finished.
        lived_seconds: since it was ready.
    """
    return 1 if attempts > 0 or lived_seconds >= STEADY_SECONDS else deaths + 1


def is_worn_out(
    *,
    attempts: int,
    memory_bytes: int,
    is_spent: bool,
    max_attempts: int | None,
    max_memory_bytes: int | None,
) -> bool:
    """Whether a healthy executor is to be replaced.

    Args:
        attempts: that it has run.
        memory_bytes: of its process.
        is_spent: a body has changed process state that cannot be restored.
        max_attempts, max_memory_bytes: None: no limit.
    """
    return (
        is_spent
        or (max_attempts is not None and attempts >= max_attempts)
        or (max_memory_bytes is not None and memory_bytes >= max_memory_bytes)
    )
