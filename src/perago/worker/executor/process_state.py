"""State of a process that a body may change, restored for the next body."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from perago.worker.process.reaper import children, end_children

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = sorted(int(number) for number in signal.valid_signals() if number < 32)  # without real-time signals
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


class ProcessState:
    """The present state of this process, to restore after each body."""

    def __init__(self) -> None:
        self._children = frozenset(children())
        self._handlers = _handlers()
        self._dispositions = _dispositions()
        self._mask = os.umask(0o077)
        os.umask(self._mask)
        self._limits = _limits()
        self._cwd = os.getcwd()  # noqa: PTH109 - passed to chdir
        self._environment = _environment()
        self._path = list(sys.path)
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._start_method = multiprocessing.get_start_method(allow_none=True)

    def restore(self) -> list[str]:
        """Restore it; returns what cannot be restored, in words."""
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        os.umask(self._mask)
        sys.path[:] = self._path
        sys.stdin, sys.stdout, sys.stderr = self._streams
        if _environment() != self._environment:
            os.environ.clear()
            os.environb.update(self._environment)
            time.tzset()
        if multiprocessing.get_start_method(allow_none=True) != self._start_method:
            multiprocessing.set_start_method(self._start_method, force=True)
        left = []
        if not self._restore_handlers():
            left.append("a signal handler")
        if not self._restore_limits():
            left.append("a lower resource limit")
        if not self._restore_directory():
            left.append("no working directory")
        if end_children(self._children | _resource_tracker()):
            left.append("running processes")  # they are killed, but modules may still expect them
        return left

    def _restore_handlers(self) -> bool:
        for number, handler in _handlers().items():
            before = self._handlers[number]
            if handler is not before:
                if handler is None or before is None:  # set by a C library
                    return False
                signal.signal(number, before)
        return _dispositions() == self._dispositions

    def _restore_limits(self) -> bool:
        for limit, now in _limits().items():
            if now != self._limits[limit]:
                with suppress(OSError, ValueError):
                    resource.setrlimit(limit, self._limits[limit])
        return _limits() == self._limits

    def _restore_directory(self) -> bool:
        try:
            os.chdir(self._cwd)
        except OSError:
            return False
        return True


Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


def _handlers() -> dict[int, Handler]:
    """The handler of each signal; None if Python did not set it."""
    return {number: signal.getsignal(number) for number in _SIGNALS}


def _dispositions() -> bytes:
    """Blocked, ignored and caught signals, including those set outside of Python."""
    if sys.platform != "linux":
        return b""
    status = Path("/proc/self/status").read_bytes()
    begin = status.index(b"SigBlk:")
    return status[begin : status.index(b"\n", status.index(b"SigCgt:"))]


def _limits() -> dict[int, tuple[int, int]]:
    return {limit: resource.getrlimit(limit) for limit in _LIMITS}


def _environment() -> dict[bytes, bytes]:
    """The present environment as bytes: a comparison needs no decoding."""
    # Python keeps a plain dictionary below, whose copy takes a fortieth of the time.
    return {**getattr(os.environb, "_data", os.environb)}


def _resource_tracker() -> set[int]:
    """The resource tracker, which multiprocessing starts once and keeps. It is not a leftover of a body."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    pid = getattr(getattr(module, "_resource_tracker", None), "_pid", None)
    return {pid} if isinstance(pid, int) else set()
