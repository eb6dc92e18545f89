"""Ctrl-C and its like: the first cancels and cleans up, the second ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STDERR = 2


class Interrupts:
    """While it is entered, SIGINT, SIGTERM and SIGHUP cancel instead of ending the process.

    A signal that was ignored before (`nohup`) stays so. To be entered in the main thread.

    Args:
        cancel: called at the first signal, within its handler: it may set a flag, not more.

    Attributes:
        count: signals that came.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.count = 0
        self._cancel = cancel
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
        if self.count > 1:
            raise KeyboardInterrupt
        # Not through sys.stderr: the handler may have come in the middle of a write to it.
        os.write(_STDERR, b"\ncancelling; the body is told, and everything is cleaned up. Again: at once\n")
        self._cancel()
