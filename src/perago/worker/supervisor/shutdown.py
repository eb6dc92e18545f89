"""Shut a worker down: the first signal drains it, the second one ends it at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol, Self

from perago.worker.attempts.job import Cause
from perago.worker.process.forks import OwnHandlers

AT_ONCE_SECONDS = 3.0
"""Time limit for an end "at once": kill the executors and give their tasks back."""

THREADS_SECONDS = 10.0
"""Extra time after the deadline for bodies in threads, which cannot be killed. After it the process exits."""

LOOK_SECONDS = 0.1

SIGNAL_SECONDS = 0.5
"""Longest wait for a signal at a time: one that comes just before the wait, or to another thread, does not end it."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """Context manager that counts SIGTERM, SIGINT and SIGHUP. Enter it in the main thread.

    If a signal has come, all of them are ignored after the exit: the process is ending, and a late signal must not
    change its exit code. See `OwnHandlers` for ignored signals and forks.
    """

    def __init__(self) -> None:
        self.count = 0
        self._came = threading.Event()
        self._handlers = OwnHandlers(self._take, _SIGNALS)

    def __enter__(self) -> Self:
        self._handlers.install()
        return self

    def __exit__(self, *_: object) -> None:
        self._handlers.remove(ignore=self.count > 0)

    def wait(self, seconds: float) -> None:
        """Wait for a signal, at most that long."""
        self._came.wait(seconds)
        self._came.clear()

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self._came.set()


class Drainable(Protocol):
    """A worker that can be shut down; see `supervisor.Supervisor`."""

    @property
    def is_through(self) -> bool: ...
    def drain(self) -> None: ...
    def end(self, cause: Cause) -> None: ...
    def abandon(self) -> None: ...
    def close(self, seconds: float | None = None) -> bool: ...


def cause_to_end(signals: int, drained_seconds: float, force_kill_after: float | None) -> Cause | None:
    """Why current attempts are to be ended now. Returns None while they may go on.

    Args:
        signals: number of signals so far.
        drained_seconds: since the first signal.
        force_kill_after: seconds after which attempts are ended; None: never.
    """
    if signals > 1:
        return Cause.AT_ONCE
    if force_kill_after is not None and drained_seconds >= force_kill_after:
        return Cause.SHUTDOWN
    return None


def serve_until_stopped(worker: Drainable, signals: StopSignals, force_kill_after: float | None) -> bool:
    """Let a worker run until a signal comes, then shut it down. Returns whether everything ended in good order.

    Args:
        force_kill_after: see `cause_to_end`.
    """
    while signals.count == 0:
        signals.wait(SIGNAL_SECONDS)
    began = time.monotonic()
    patience = None if force_kill_after is None else force_kill_after + THREADS_SECONDS
    worker.drain()
    while not worker.is_through:
        elapsed = time.monotonic() - began
        cause = cause_to_end(signals.count, elapsed, force_kill_after)
        if cause is not None:
            worker.end(cause)
        if cause is Cause.AT_ONCE:
            break
        if patience is not None and elapsed >= patience:
            break
        signals.wait(LOOK_SECONDS)
    else:
        return _closed(worker, lambda: cause_to_end(signals.count, time.monotonic() - began, patience) is None)
    ended = worker.close(AT_ONCE_SECONDS)
    if not ended:
        worker.abandon()
    return False


def _closed(worker: Drainable, may_go_on: Callable[[], bool]) -> bool:
    """Wait for the last calls after all slots have closed. Returns whether they have ended.

    Results that are not delivered by then stay in the spool for the next worker.
    """
    while not worker.close(LOOK_SECONDS):
        if not may_go_on():
            return False
    return True
