"""The port of an executor, which runs a slot's jobs, and the ways an attempt in it can end.

`in_process` and `in_thread` are its two implementations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from perago.values.models import RuntimeTaskResult
from perago.worker.attempts.job import Cause, Job
from perago.worker.executor.wire import DeclaredTask, Discard, Sweep


@dataclass(frozen=True)
class Finished:
    """The attempt has a result."""

    result: RuntimeTaskResult


@dataclass(frozen=True)
class Died:
    """The executor's process ended before the attempt did.

    Attributes:
        reason: what happened, for people.
    """

    reason: str


@dataclass(frozen=True)
class NotBegun:
    """The executor was gone before it got the attempt."""


@dataclass(frozen=True)
class Ended:
    """The attempt was ended from here.

    Attributes:
        was_signalled: a signal for it may still be on its way to its executor.
    """

    cause: Cause
    was_signalled: bool = False


AttemptEnd = Finished | Died | NotBegun | Ended


class Executor(Protocol):
    """What runs a slot's jobs: a process of its own, or the slot's thread. What is not said to be for
    other threads is for that one.

    Attributes:
        attempts: that it has ended by itself.
        memory_bytes: of its process, after the last one; 0: not known.
        is_spent: a body left what cannot be put back.
    """

    attempts: int
    memory_bytes: int
    is_spent: bool

    @property
    def is_alive(self) -> bool: ...

    def start(self) -> list[DeclaredTask]:
        """Load the modules; raises PeragoError where that fails."""
        ...

    def abort_start(self) -> None:
        """Let `start` fail, if it is under way; for other threads."""
        ...

    def wake(self) -> None:
        """Let `wait` return; for other threads."""
        ...

    def wait(self, seconds: float | None) -> None:
        """Wait until it dies, or somebody calls `wake`, at most that long; None: no bound."""
        ...

    def run(self, job: Job) -> AttemptEnd: ...

    def look(self, job: Job) -> RuntimeTaskResult | None: ...

    def chore(self, order: Discard | Sweep) -> None: ...

    def death(self) -> str: ...
