"""Reporting a task's result and taking the next task in the same call: while many wait, that spares a poll for each."""

from __future__ import annotations

from perago.models import Attempt, RuntimeTaskResult
from perago.ports import Clock, HandedOut, SystemClock, WorkerEngine
from perago.record import InstanceRecord


class TakesNext:
    """The engine for the report of one attempt.

    Attributes:
        taken: the task that came along; None: none did. Whoever made this runs it or gives it back.
        asked: when it was asked for, monotonic seconds.
    """

    def __init__(self, engine: WorkerEngine, reported: HandedOut, clock: Clock | None = None) -> None:
        self.taken: HandedOut | None = None
        self.asked = 0.0
        self._engine = engine
        self._clock = clock or SystemClock()
        self._reported = reported

    def load_current_attempt(self, attempt: Attempt, /) -> Attempt:
        return self._engine.load_current_attempt(attempt)

    def load_record(self, attempt: Attempt, /) -> InstanceRecord:
        return self._engine.load_record(attempt)

    def report_result(self, attempt: Attempt, result: RuntimeTaskResult, /) -> None:
        """Report; a result that did not stick is reported again without taking a second task along."""
        if self.taken is None:
            self.asked = self._clock.monotonic()
            self.taken = self._engine.report_and_take(self._reported, result)
        else:
            self._engine.report_result(attempt, result)
