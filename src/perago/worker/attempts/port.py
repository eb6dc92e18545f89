"""Port of an executor, which runs the jobs of a slot: how an attempt can end, and its questions to the engine.

`in_process` and `in_thread` implement it. Questions are retried while the engine is away, because a six-hour task must
not fail over a restart of the engine's server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from perago.errors import EngineError, PeragoError
from perago.ports import Clock, Engine, HandedOut
from perago.values.backoff import backoff
from perago.values.models import RuntimeTaskResult
from perago.values.redaction import mask_text
from perago.worker.attempts.job import Cause, Job
from perago.worker.executor.wire import Answer, Ask, DeclaredTask, Discard, Sweep, attempt_to_json, record_to_json
from perago.worker.process.messages import Failure, clean_text


@dataclass(frozen=True)
class Finished:
    """The attempt has a result."""

    result: RuntimeTaskResult


@dataclass(frozen=True)
class Died:
    """The executor's process ended before the attempt did.

    Attributes:
        reason: what happened, in words.
    """

    reason: str


@dataclass(frozen=True)
class NotBegun:
    """The executor died before it got the attempt."""


@dataclass(frozen=True)
class Ended:
    """The worker has ended the attempt.

    Attributes:
        was_signalled: a signal for the attempt may still be on its way to the executor.
    """

    cause: Cause
    was_signalled: bool = False


AttemptEnd = Finished | Died | NotBegun | Ended


class Executor(Protocol):
    """Runs the jobs of a slot, in its own process or in the slot's thread. Only the slot's thread may call it, except
    where a method says otherwise.

    Attributes:
        attempts: number of attempts that ended by themselves.
        memory_bytes: memory of the process after the last attempt; 0: not known.
        is_spent: a body has changed process state that cannot be restored.
    """

    attempts: int
    memory_bytes: int
    is_spent: bool

    @property
    def is_alive(self) -> bool: ...

    def start(self) -> list[DeclaredTask]:
        """Load the modules; returns their tasks. Raises PeragoError if that fails."""
        ...

    def abort_start(self) -> None:
        """Make a running `start` fail. For any thread."""
        ...

    def wake(self) -> None:
        """Make `wait` return. For any thread."""
        ...

    def wait(self, seconds: float | None) -> None:
        """Wait until the executor dies or `wake` is called, at most that long; None: no limit."""
        ...

    def run(self, job: Job) -> AttemptEnd: ...

    def look(self, job: Job) -> RuntimeTaskResult | None: ...

    def chore(self, order: Discard | Sweep) -> None: ...

    def death(self) -> str: ...


T = TypeVar("T")

PATIENCE_SECONDS = 600.0
"""How long an engine may be away before the attempt fails: as long as a usual response timeout."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


def pause_before_asking_again(failures: int) -> float:
    """Seconds to wait after this many unanswered questions in a row."""
    return backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, failures - 1)


@dataclass
class Question:
    """A question of an attempt to the engine.

    Attributes:
        due: when to ask it next, monotonic seconds.
    """

    ask: Ask
    clock: Clock
    due: float = 0.0
    failures: int = 0
    asked: float = field(init=False)

    def __post_init__(self) -> None:
        self.asked = self.clock.monotonic()

    def put(self, engine: Engine, attempt: HandedOut, *, patient: bool) -> Answer | None:
        """Ask the engine. Returns None if it did not answer: ask again when due.

        Args:
            patient: whether the question may be asked again. If not, a failure is the answer.
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
        return record_to_json(engine.load_record(attempt, self.ask.paths))


def ask_patiently(ask: Callable[[], T], is_over: Callable[[], bool], wait: Callable[[float], None]) -> T:
    """Ask an engine until it answers, for `PATIENCE_SECONDS` at most.

    Args:
        is_over: whether to stop waiting for the answer.
        wait: waits that many seconds, or less.

    Raises:
        EngineError: the engine did not answer in time, or a retry cannot help.
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
