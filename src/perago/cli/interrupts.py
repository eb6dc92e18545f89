"""Ctrl-C and its like: the first cancels and cleans up, the second ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STDERR = 2


class Interrupts:
    """While it is entered, SIGINT, SIGTERM and SIGHUP cancel instead of ending the process.

    A signal that was ignored before (`nohup`) stays so. To be entered in the main thread.

    Args:
        cancel: called at the first signal, within its handler: it may set a flag, not more.
        at_once: raise KeyboardInterrupt at the first signal already.

    Attributes:
        count: signals that came.
    """

    def __init__(self, cancel: Callable[[], None], *, at_once: bool = False) -> None:
        self.count = 0
        self._cancel = cancel
        self._at_once = at_once
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._at_once or self.count > 1:
            raise KeyboardInterrupt
        self._cancel()
        with suppress(OSError):  # a terminal that has gone
            # Not through sys.stderr: the signal may have come in the middle of a write to it.
            os.write(
                _STDERR, b"\nCancelling: the body is told, and everything is cleaned up. Once more ends at once.\n"
            )
