"""What this process has changed for itself, and forks of it must not inherit: they are programs of a body's own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_undo: list[Callable[[], None]] = []
_masks: dict[int, set[int | signal.Signals]] = {}


def undo_in_forks(undo: Callable[[], None]) -> None:
    """Call a function first in each fork of this process, from now on until `keep_in_forks`."""
    _undo.append(undo)


def keep_in_forks(undo: Callable[[], None]) -> None:
    """End what `undo_in_forks` began."""
    _undo.remove(undo)


class OwnHandlers:
    """Signal handlers of this process. Its forks have those that were there before.

    A signal that was ignored before (`nohup`) stays ignored. Use it in the main thread.
    """

    def __init__(self, take: Handler, signals: Iterable[signal.Signals]) -> None:
        self._take = take
        self._signals = tuple(signals)
        self._before: Mapping[signal.Signals, Any] = {}

    def install(self) -> None:
        undo_in_forks(self._be_plain)
        before = {number: signal.getsignal(number) for number in self._signals}
        self._before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._take)

    def remove(self, *, ignore: bool = False) -> None:
        """Restore the handlers that were there before, or ignore the signals."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if ignore else handler)
        keep_in_forks(self._be_plain)

    def _be_plain(self) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._take:  # not one that the body has set
                signal.signal(number, handler)


def _block() -> None:
    """Block signals while forking: a fork would give one to a handler that is not its own."""
    if _undo:
        _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _unblock() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start_plain() -> None:
    while _undo:
        _undo.pop()()
    _unblock()
    _masks.clear()


os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_start_plain)
