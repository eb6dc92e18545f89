"""The system's clock, which stamps every change of a file: whether somebody has set it.

A file that was changed has a later ctime, and no program can set a ctime. That holds only while the clock runs forward.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

STEADY_NS = 1_000_000
"""1 ms. The clock and the time since boot run at one rate, whatever corrects it, so that their difference changes only
when the clock is set. Reading both takes less."""

_TRIES = 8
_FAR_SECONDS = 10 * 365 * 86400
_ABSOLUTE, _CANCEL_ON_SET = 1, 2  # TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET of timerfd_create(2)


class _TimerSpec(ctypes.Structure):
    """`struct itimerspec`."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class ClockWatch:
    """Tells whether the system's clock was set, by anybody, since the watch began. Linux only.

    A context manager that ends the watch. Where the system has no such watch, the clock counts as set.
    """

    def __init__(self) -> None:
        self._timer: int | None = None
        with suppress(OSError, AttributeError):
            self._timer = _timer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            os.close(timer)

    def was_set(self) -> bool:
        if self._timer is None:
            return True
        try:
            os.read(self._timer, 8)
        except OSError as exc:
            return exc.errno != errno.EAGAIN
        return True


def clock_offset_ns() -> int:
    """What the clock is ahead of the time since boot, sleep included. Changes only when the clock is set; see
    `STEADY_NS`.
    """
    best = None
    for _ in range(_TRIES):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now = time.clock_gettime_ns(time.CLOCK_REALTIME)
        took = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before
        if best is None or took < best[0]:
            best = (took, now - before)
        if took < STEADY_NS // 10:
            break
    return 0 if best is None else best[1]


def _timer() -> int:
    """A timer that is far from due, whose descriptor can be read when the clock is set."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer: int = libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    if timer < 0:
        raise OSError(ctypes.get_errno(), "no timer")
    due = _TimerSpec(0, 0, int(time.time()) + _FAR_SECONDS, 0)
    if libc.timerfd_settime(timer, _ABSOLUTE | _CANCEL_ON_SET, ctypes.byref(due), None) != 0:
        os.close(timer)
        raise OSError(ctypes.get_errno(), "no watch of the clock")
    return timer
