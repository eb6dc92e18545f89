"""What a body may change of the process that it runs in, and the next one must not find changed."""

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
_SIGNALS = sorted(int(number) for number in signal.valid_signals() if number < 32)  # without those for real time
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


class ProcessState:
    """The state of this process as it is now, to be put back after each body."""

    def __init__(self) -> None:
        self._children = frozenset(children())
        self._handlers = _handlers()
        self._dispositions = _dispositions()
        self._mask = os.umask(0o077)
        os.umask(self._mask)
        self._limits = _limits()
        self._cwd = os.getcwd()  # noqa: PTH109 - goes back to chdir as it is
        self._environment = _environment()
        self._path = list(sys.path)
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._start_method = multiprocessing.get_start_method(allow_none=True)

    def put_back(self) -> list[str]:
        """Put it back; returns what cannot be put back, in words."""
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
        if not self._put_back_handlers():
            left.append("a handler of a signal")
        if not self._put_back_limits():
            left.append("a lower limit of the system")
        if not self._put_back_directory():
            left.append("no working directory")
        if end_children(self._children | _resource_tracker()):
            left.append("processes running")  # they are ended, but modules may think that they have them
        return left

    def _put_back_handlers(self) -> bool:
        for number, handler in _handlers().items():
            before = self._handlers[number]
            if handler is not before:
                if handler is None or before is None:  # set by a library in C
                    return False
                signal.signal(number, before)
        return _dispositions() == self._dispositions

    def _put_back_limits(self) -> bool:
        for limit, now in _limits().items():
            if now != self._limits[limit]:
                with suppress(OSError, ValueError):
                    resource.setrlimit(limit, self._limits[limit])
        return _limits() == self._limits

    def _put_back_directory(self) -> bool:
        try:
            os.chdir(self._cwd)
        except OSError:
            return False
        return True


Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


def _handlers() -> dict[int, Handler]:
    """The handler of each signal; None: it was not set by Python."""
    return {number: signal.getsignal(number) for number in _SIGNALS}


def _dispositions() -> bytes:
    """Which signals are blocked, ignored and caught, also where it was not Python that saw to it."""
    if sys.platform != "linux":
        return b""
    status = Path("/proc/self/status").read_bytes()
    begin = status.index(b"SigBlk:")
    return status[begin : status.index(b"\n", status.index(b"SigCgt:"))]


def _limits() -> dict[int, tuple[int, int]]:
    return {limit: resource.getrlimit(limit) for limit in _LIMITS}


def _environment() -> dict[bytes, bytes]:
    """What the process's environment is now, as bytes: nothing is decoded to see that nothing has changed."""
    # Python keeps a plain dictionary below: to copy that takes a fortieth of the time. Without it the rest is as good.
    return {**getattr(os.environb, "_data", os.environb)}


def _resource_tracker() -> set[int]:
    """The process that multiprocessing starts once, and keeps for as long as this one: no body leaves it."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    pid = getattr(getattr(module, "_resource_tracker", None), "_pid", None)
    return {pid} if isinstance(pid, int) else set()
