"""What a slot runs its jobs in; `executor_process` and `executor_thread` are the two kinds."""

from __future__ import annotations

from typing import Protocol

from perago.models import RuntimeTaskResult
from perago.worker.executor_messages import DeclaredTask, Discard, Sweep
from perago.worker.job import Job, Outcome


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

    def run(self, job: Job) -> Outcome: ...

    def look(self, job: Job) -> RuntimeTaskResult | None: ...

    def chore(self, order: Discard | Sweep) -> None: ...

    def death(self) -> str: ...
