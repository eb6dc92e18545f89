"""Whether somebody sets the clock: by the kernel's word, and by the time since boot."""

from __future__ import annotations

import errno
import os
import sys
import time

import pytest

from perago.workspace.warm import clock
from perago.workspace.warm.clock import STEADY_NS, ClockWatch, clock_offset_ns

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that its clock was set")


def test_a_clock_that_nobody_sets():
    with ClockWatch() as watch:
        assert not watch.was_set()
        assert not watch.was_set()


@pytest.mark.skipif(
    "PERAGO_TEST_SETS_CLOCK" not in os.environ, reason="sets the host's clock; PERAGO_TEST_SETS_CLOCK=1 runs it"
)
def test_a_clock_that_is_set_to_what_it_shows():
    """Even where nobody could see it by the time."""
    with ClockWatch() as watch:
        time.clock_settime_ns(time.CLOCK_REALTIME, time.clock_gettime_ns(time.CLOCK_REALTIME))
        assert watch.was_set()


def test_the_kernel_says_so_by_an_error(monkeypatch):
    def read(_timer, _size):
        raise OSError(errno.ECANCELED, "the clock was set")

    with ClockWatch() as watch:
        monkeypatch.setattr(os, "read", read)
        assert watch.was_set()


def test_without_a_watch_the_clock_counts_as_set(monkeypatch):
    def none():
        raise OSError(1, "no timer")

    monkeypatch.setattr(clock, "_timer", none)
    with ClockWatch() as watch:
        assert watch.was_set()


def test_the_offset_is_steady():
    assert abs(clock_offset_ns() - clock_offset_ns()) < STEADY_NS
