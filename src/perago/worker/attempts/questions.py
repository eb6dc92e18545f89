"""An executor's questions to the engine: asked again while the engine is away, for a six-hour task must not fail over a
restart of its server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from perago.errors import EngineError, PeragoError
from perago.ports import Clock, Engine, HandedOut
from perago.values.redaction import mask_text
from perago.worker.executor.wire import Answer, Ask, attempt_to_json, record_to_json
from perago.worker.process.messages import Failure, clean_text

T = TypeVar("T")

PATIENCE_SECONDS = 600.0
"""How long an engine may be away before the attempt fails over it: as long as a response timeout usually is."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


def pause_before_asking_again(failures: int) -> float:
    """Seconds to wait after so many questions in a row that were not answered."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1))


@dataclass
class Question:
    """One question on its way.

    Attributes:
        due: when it is asked next, monotonic seconds.
    """

    ask: Ask
    clock: Clock
    due: float = 0.0
    failures: int = 0
    asked: float = field(init=False)

    def __post_init__(self) -> None:
        self.asked = self.clock.monotonic()

    def put(self, engine: Engine, attempt: HandedOut, *, patient: bool) -> Answer | None:
        """Ask the engine; None: it gave no answer, and is to be asked again when due.

        Args:
            patient: whether it may be asked again.
        """
        try:
            return Answer(number=self.ask.number, value=self._value(engine, attempt))
        except EngineError as exc:
            now = self.clock.monotonic()
            if not (patient and exc.retry_can_help and now - self.asked < PATIENCE_SECONDS):
                return Answer(number=self.ask.number, failure=_failure(exc))
            self.failures += 1
            self.due = now + pause_before_asking_again(self.failures)
            return None

    def _value(self, engine: Engine, attempt: HandedOut) -> dict[str, Any]:
        if self.ask.what == "current":
            return attempt_to_json(engine.load_current_attempt(attempt), with_input=False)
        return record_to_json(engine.load_record(attempt))


def ask_patiently(ask: Callable[[], T], is_over: Callable[[], bool], wait: Callable[[float], None]) -> T:
    """Ask an engine until it answers, for a while.

    Args:
        is_over: whether the answer is worth waiting for no longer.
        wait: waits so many seconds, or less.

    Raises:
        EngineError: it did not answer, or another question would not be answered either.
    """
    asked, failures = time.monotonic(), 0
    while True:
        try:
            return ask()
        except EngineError as exc:
            if not exc.retry_can_help or is_over() or time.monotonic() - asked >= PATIENCE_SECONDS:
                raise
        failures += 1
        wait(pause_before_asking_again(failures))


def _failure(exc: PeragoError) -> Failure:
    name = next(cls.__name__ for cls in type(exc).__mro__ if cls.__module__ == "perago.errors")
    return Failure(error=name, reason=clean_text(mask_text(str(exc))))
