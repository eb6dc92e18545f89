"""Take tasks from the engine, never more than there are free slots."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from perago.errors import EngineError
from perago.ports import Clock, HandedOut, SystemClock, WorkerEngine
from perago.worker.attempts.journal import Journal

TELL_SECONDS = 60.0
"""Minimum time between two log lines about an engine that does not answer."""

BUILTIN_SECONDS = 0.1
"""Minimum time between two polls for built-in tasks: each type costs a call. They are few, and take milliseconds."""

BUILTIN_PAUSES = 2
"""The same as a number of pauses. An idle worker, which pauses longest, asks for built-in tasks every other time."""

BUILTIN_AT_ONCE = 2
"""Types of built-in tasks in one poll. The others are polled for next time."""

BUILTIN_BACKLOG_SECONDS = 1.0
"""The same while slots take their next tasks with their reports, so that polls are for built-in tasks only."""

STALL_SECONDS = 60.0
"""A poll that takes this long is stuck: its own deadline is 10 s, and handing tasks to slots takes no time."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Pauses between two polls, in seconds.

    Attributes:
        after: pause for the given seconds since the last task came.
        after_failures: pause for the given number of failed polls in a row, and a random number from 0 to 1.
    """

    after: Callable[[float], float]
    after_failures: Callable[[int, float], float]


@dataclass(kw_only=True)
class Polling:
    """Polls the engine; each turn is one poll (see `supervisor.Loop`).

    Attributes:
        builtin_types: types that are polled less often.
        free: number of slots that can take a task now.
        take: hands a task to a slot, or gives it back. Its second argument: when the poll was sent, monotonic seconds.
        is_over: whether tasks of the current poll are to be given back.
        give_back: gives a task back.
        answered_at: when the engine last answered, monotonic seconds; None: not yet.
        is_starved: polling waits for a free slot.
    """

    engine: WorkerEngine
    task_types: Sequence[str]
    worker_id: str
    domain: str | None
    pace: Pace
    free: Callable[[], int]
    take: Callable[[HandedOut, float], None]
    give_back: Callable[[HandedOut], None]
    is_over: Callable[[], bool]
    journal: Journal
    builtin_types: Sequence[str] = ()
    answered_at: float | None = None
    is_starved: bool = False
    clock: Clock = field(default_factory=SystemClock)
    _busy_at: float = field(init=False)
    _is_backlogged: bool = False
    _builtin_at: float = float("-inf")
    _builtin_next: int = 0
    _failures: int = 0
    _told_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._busy_at = self.clock.monotonic()

    @property
    def answered_seconds(self) -> float | None:
        """Seconds since the engine last answered; None: not yet."""
        return None if self.answered_at is None else self.clock.monotonic() - self.answered_at

    @property
    def is_backlogged(self) -> bool:
        """Whether a slot may take its next task with a report: tasks are probably waiting, and the worker has one task
        type only. With several types, one would starve the others; so from time to time the answer is no.
        """
        return self._is_backlogged and not self._polls_builtin(BUILTIN_BACKLOG_SECONDS)

    def turn(self) -> float | None:
        """Poll once; returns the seconds until the next poll. None: no slot is free, wait for `nudge`."""
        self.is_starved = True  # set before looking: a slot that becomes free in between nudges
        free = self.free()
        if free == 0:
            return None
        self.is_starved = False
        asked = self.clock.monotonic()
        try:
            attempts = self.engine.poll(self._types(), free, self.worker_id, self.domain)
        except EngineError as exc:
            return self._failed(exc)
        self._answered()
        self._is_backlogged = len(attempts) == free and len(self.task_types) == 1
        for attempt in attempts:
            if self.is_over():
                self.give_back(attempt)
            else:
                self.take(attempt, asked)
        now = self.clock.monotonic()
        if attempts:
            self._busy_at = now
        if len(attempts) == free:
            return 0.0  # more may wait: poll again as soon as a slot is free
        return self.pace.after(now - self._busy_at)

    def has_taken(self, attempt: HandedOut | None) -> None:
        """Note what a slot got that asked for its next task with a report; None: no task."""
        if attempt is None:
            self._is_backlogged = False
        else:
            self._busy_at = self.clock.monotonic()

    def _types(self) -> Sequence[str]:
        """What to poll for now."""
        now = self.clock.monotonic()
        if not self._polls_builtin(max(BUILTIN_SECONDS, BUILTIN_PAUSES * self.pace.after(now - self._busy_at))):
            return self.task_types
        self._builtin_at = now
        first, count = self._builtin_next, len(self.builtin_types)
        self._builtin_next = (first + BUILTIN_AT_ONCE) % count
        some = [self.builtin_types[(first + index) % count] for index in range(min(BUILTIN_AT_ONCE, count))]
        return [*self.task_types, *some]

    def _polls_builtin(self, seconds: float) -> bool:
        return bool(self.builtin_types) and self.clock.monotonic() - self._builtin_at >= seconds

    def _failed(self, exc: EngineError) -> float:
        self._failures += 1
        if self.clock.monotonic() - self._told_at >= TELL_SECONDS:
            self._told_at = self.clock.monotonic()
            self.journal.tell(logging.WARNING, f"polling failed and is retried: {exc}", failures=self._failures)
        return self.pace.after_failures(self._failures, random.random())  # noqa: S311 - spreads load, guards nothing

    def _answered(self) -> None:
        self.answered_at = self.clock.monotonic()
        if self._failures:
            self.journal.tell(logging.INFO, f"the engine answers again after {self._failures} failed polls")
            self._failures = 0
            self._told_at = float("-inf")
