"""One slot of a worker: a thread with one executor after the other, and the pause before each replacement."""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from perago.errors import PeragoError
from perago.values.redaction import text_of
from perago.worker.attempts.job import Job
from perago.worker.attempts.port import AttemptEnd, Died, Ended, Executor, Finished, NotBegun
from perago.worker.executor.wire import DeclaredTask, Discard, Sweep

_LOGGER = logging.getLogger("perago.worker")


CHORE_PAUSE_SECONDS = 1.0
"""Between two chores of a slot, in which it can take a job: there may be a thousand of them, each of up to a minute."""


class SlotState(enum.StrEnum):
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    WAITING = "waiting"  # for the pause before a replacement to be over
    CLOSED = "closed"


class SlotEvents(Protocol):
    """Who hears of a slot; called from its thread."""

    def is_ready(self, slot: Slot, tasks: list[DeclaredTask]) -> None:
        """Its executor has loaded the modules."""
        ...

    def has_failed(self, slot: Slot, error: PeragoError | None, reason: str) -> None:
        """Its executor died, or could not be started (`error`)."""
        ...

    def finish(self, slot: Slot, executor: Executor, job: Job, outcome: AttemptEnd, *, takes_next: bool) -> Job | None:
        """See to what a job came to: report it, give it back, or neither.

        Args:
            takes_next: the slot goes on with another job, if there is one at hand, which is returned.
        """
        ...

    def give_back(self, job: Job) -> None:
        """The slot does not take it after all."""
        ...

    def is_free(self, slot: Slot) -> None:
        """It can take a job."""
        ...


@dataclass(frozen=True)
class Wear:
    """When an executor is worn out; None: no bound."""

    max_attempts: int | None = None
    max_memory_bytes: int | None = None


class Slot:
    """One slot, with a thread of its own.

    Args:
        number: from 1.
        make_executor: starts an executor; may raise PeragoError.

    Attributes:
        job: under way; None: none.
        since: when the state began, seconds since the epoch.
        deaths: executors that died in a row.
    """

    def __init__(
        self, number: int, make_executor: Callable[[], AbstractContextManager[Executor]], events: SlotEvents, wear: Wear
    ) -> None:
        self.number = number
        self.state = SlotState.STARTING
        self.since = time.time()
        self.job: Job | None = None
        self.deaths = 0
        self._make_executor = make_executor
        self._events = events
        self._wear = wear
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._executor: Executor | None = None
        self._starting: Executor | None = None
        self._chores: list[Discard | Sweep] = []
        self._next_chore_at = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name=f"perago-slot-{number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_free(self) -> bool:
        """Whether it can take a job now."""
        return (
            self.state is SlotState.IDLE
            and self.job is None
            and self._executor is not None
            and not self._closing.is_set()
        )

    @property
    def memory_bytes(self) -> int:
        """Of its executor, after the last attempt."""
        executor = self._executor
        return 0 if executor is None else executor.memory_bytes

    def assign(self, job: Job) -> bool:
        """Have a job run; False: the slot cannot take it (any more)."""
        with self._lock:
            executor = self._executor
            if executor is None or not self.is_free:
                return False
            self.job = job
            executor.wake()
            return True

    def add_chore(self, order: Discard | Sweep) -> None:
        """Have something done by the executor, when it has no job; what waits already is done once."""
        with self._lock:
            if order not in self._chores:
                self._chores.append(order)
            if self._executor is not None:
                self._executor.wake()

    def close(self) -> None:
        """Take no further job, and end when the one under way has ended."""
        self._closing.set()
        with self._lock:
            if self._executor is not None:
                self._executor.wake()
            if self._starting is not None:
                self._starting.abort_start()

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the end; says whether it came."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _serve(self) -> None:
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
                _LOGGER.exception("slot %d failed, and begins anew", self.number)
        if self.job is not None:  # it came in the moment in which the slot closed, or its executor failed
            if self.job.claim():  # nobody else has given it back meanwhile
                self._give_back(self.job)
            self.job = None
        self._enter(SlotState.CLOSED)

    def _serve_with_one_executor(self) -> None:
        """Start an executor, and work with it until it dies, is worn out, or the slot closes."""
        attempts, ready_at = 0, time.monotonic()
        try:
            with self._make_executor() as executor:
                tasks = self._start(executor)
                ready_at = time.monotonic()
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
        self.deaths = deaths_after(self.deaths, attempts=attempts, lived_seconds=time.monotonic() - ready_at)
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
        """Take jobs; whether the executor died of itself."""
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
        except Exception as exc:  # a slot must not die unseen, nor keep a task to itself
            _LOGGER.exception("slot %d failed at a task", self.number)
            return Died(f"the worker itself failed: {type(exc).__name__}: {text_of(exc)}")

    def _finish(self, executor: Executor, job: Job, outcome: AttemptEnd) -> Job | None:
        """See to what a job came to; returns the one to go on with, if there is one."""
        takes_next = isinstance(outcome, Finished) and not (
            self._closing.is_set() or self._seconds_until_chore() == 0 or self._is_worn_out(executor)
        )
        try:
            following = self._events.finish(self, executor, job, outcome, takes_next=takes_next)
        except Exception:
            _LOGGER.exception("slot %d failed at the end of a task", self.number)
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
        """Wait for a job, doing chores meanwhile; None: there will be none with this executor."""
        while executor.is_alive:
            chore = self._next_chore()
            if chore is not None:
                executor.chore(chore)
                self._next_chore_at = time.monotonic() + CHORE_PAUSE_SECONDS
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
        """The executor died idle: what was assigned in the same moment is run, and found not to have begun."""
        with self._lock:
            self._executor = None
            return self.job

    def _next_chore(self) -> Discard | Sweep | None:
        """What is due; the slot takes no job then until it is done."""
        with self._lock:
            if self._seconds_until_chore() != 0 or self.job is not None or self._closing.is_set():
                return None
            self.state, self.since = SlotState.BUSY, time.time()
            return self._chores.pop(0)

    def _seconds_until_chore(self) -> float | None:
        """None: none waits."""
        return max(0.0, self._next_chore_at - time.monotonic()) if self._chores else None

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
            self.state = state
            self.since = time.time()


PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Before the replacement of an executor that died, by how many died in a row; part of the published contract."""

STEADY_SECONDS = 60.0
"""An executor that lived so long, or ended an attempt, did not die of starting: the row begins anew."""


def pause_before(deaths: int) -> float:
    """Seconds until the next executor is started.

    Args:
        deaths: in a row; 0: the one before did not die.
    """
    return 0.0 if deaths <= 0 else PAUSES_SECONDS[min(deaths, len(PAUSES_SECONDS)) - 1]


def deaths_after(deaths: int, *, attempts: int, lived_seconds: float) -> int:
    """How many executors have died in a row, now that another has.

    Args:
        deaths: before it.
        attempts: that it ended by itself.
        lived_seconds: from its being ready.
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
    """Whether an executor is replaced although it is well.

    Args:
        attempts: that it has run.
        memory_bytes: that its process has now.
        is_spent: a body left what cannot be put back.
        max_attempts, max_memory_bytes: None: no bound.
    """
    return (
        is_spent
        or (max_attempts is not None and attempts >= max_attempts)
        or (max_memory_bytes is not None and memory_bytes >= max_memory_bytes)
    )
