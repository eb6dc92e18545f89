"""How a worker ends: it is waited for as long as it may take, and no longer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from perago.worker.attempts.job import Cause
from perago.worker.supervisor.shutdown import serve_until_stopped
from servers.machine import slowness

BOUND = 200
"""Turns after which a test that waits for ever fails."""


class Signals:
    """Signals that come at given turns of whoever waits."""

    def __init__(self, *turns):
        self.count = 0
        self._turns = list(turns)
        self._turn = 0

    def wait(self, _seconds=None):
        self._turn += 1
        assert self._turn < BOUND, "it waits for ever"
        self.count += self._turns.count(self._turn)


class Worker:
    """A worker whose slots have ended after so many looks, and whose calls after so many further ones."""

    def __init__(self, signals, slots, calls):
        self._signals, self._slots, self._calls = signals, slots, calls
        self.told = []

    @property
    def is_through(self):
        self._slots -= 1
        return self._slots < 0

    def drain(self):
        self.told.append("drain")

    def end(self, cause):
        if self.told[-1] != cause:
            self.told.append(cause)

    def abandon(self):
        self.told.append("abandon")

    def close(self, seconds=None):
        assert seconds is not None, "without a bound no signal is heeded"
        self._signals.wait()
        self._calls -= 1
        return self._calls < 0


NEVER = BOUND + 1


@pytest.mark.parametrize(
    ("turns", "slots", "calls", "in_good_order", "told"),
    [
        ([1], 0, 0, True, ["drain"]),
        ([1], 3, 3, True, ["drain"]),
        ([1, 3], NEVER, 0, False, ["drain", Cause.AT_ONCE]),
        ([1, 3], NEVER, NEVER, False, ["drain", Cause.AT_ONCE, "abandon"]),
        ([1, 3], 0, NEVER, False, ["drain"]),  # the slots have ended, and a call of the engine has not
    ],
)
def test_a_second_signal_ends_every_wait(turns, slots, calls, in_good_order, told):
    signals = Signals(*turns)
    worker = Worker(signals, slots, calls)
    assert serve_until_stopped(worker, signals, None) is in_good_order
    assert worker.told == told


ELSEWHERE = """
import signal, threading, types
from perago.worker.supervisor.shutdown import StopSignals, serve_until_stopped
worker = types.SimpleNamespace(is_through=True, drain=lambda: print("drain"), close=lambda seconds: True)
def send():
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # the system may give a signal to any thread
with StopSignals() as signals:
    threading.Timer(0.3, send).start()
    print(serve_until_stopped(worker, signals, None))
"""


def test_a_signal_that_does_not_wake_the_waiting_thread_is_not_lost():
    """As one that comes between the last look for signals and the wait, which load makes likely."""
    command = [sys.executable, "-c", ELSEWHERE]
    ended = subprocess.run(command, capture_output=True, timeout=60 * slowness(), check=True, text=True)
    assert ended.stdout == "drain\nTrue\n"


def test_calls_have_no_more_time_than_attempts(monkeypatch):
    monkeypatch.setattr("perago.worker.supervisor.shutdown.THREADS_SECONDS", 0.0)
    signals = Signals(1)
    assert not serve_until_stopped(Worker(signals, 0, NEVER), signals, 0.0)


TOLD = """
import os, signal
from perago.worker.supervisor.shutdown import StopSignals
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with StopSignals() as signals:
    for number in {within}:
        os.kill(os.getpid(), number)
    count = signals.count
os.kill(os.getpid(), signal.SIGTERM)
print(count)
"""


@pytest.mark.parametrize(
    ("within", "told", "code"),
    [("[]", "", -15), ("[15]", "1\n", 0), ("[15, 2]", "2\n", 0), ("[1]", "", -15)],
    ids=["none", "one", "two", "one that is ignored"],
)
def test_a_signal_that_comes_when_all_has_ended_after_one_changes_nothing(within, told, code):
    program = [sys.executable, "-c", TOLD.format(within=within)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.returncode) == (told, code)
