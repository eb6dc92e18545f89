"""Loops: turns at the pace that the work asks for, and none that dies unseen."""

from __future__ import annotations

import logging
import threading

import pytest

from perago.worker.supervisor import supervisor
from perago.worker.supervisor.supervisor import Loop
from servers.machine import slowness


@pytest.fixture
def run():
    """Runs loops, and ends them."""
    running = []

    def start(work):
        loop = Loop("test", work)
        loop.start()
        running.append(loop)
        return loop

    yield start
    for loop in running:
        assert loop.stop(10)


def test_turns_follow_each_other_until_it_is_stopped(run):
    turns = threading.Semaphore(0)
    run(lambda: turns.release() or 0.001)
    for _ in range(3):
        assert turns.acquire(timeout=10 * slowness())


def test_a_loop_that_waits_for_a_nudge_goes_on_with_it(run):
    turns = threading.Semaphore(0)
    loop = run(lambda: turns.release())
    assert turns.acquire(timeout=10 * slowness())
    assert not turns.acquire(timeout=0.1)
    loop.nudge()
    assert turns.acquire(timeout=10 * slowness())


def test_a_pause_beyond_what_threads_can_wait_ends_no_loop(run):
    turns = threading.Semaphore(0)
    loop = run(lambda: turns.release() or 2 * threading.TIMEOUT_MAX)
    assert turns.acquire(timeout=10 * slowness())
    assert not turns.acquire(timeout=0.1)
    loop.nudge()
    assert turns.acquire(timeout=10 * slowness())


def test_work_that_raises_is_logged_and_done_again(run, caplog, monkeypatch):
    monkeypatch.setattr(supervisor, "FAULT_PAUSE_SECONDS", 0.01)
    outcomes = iter([ValueError("no such thing"), None])
    done = threading.Event()

    def work():
        outcome = next(outcomes, None)
        if outcome is not None:
            raise outcome
        done.set()

    with caplog.at_level(logging.ERROR, "perago.worker"):
        run(work)
        assert done.wait(10 * slowness())
    assert "no such thing" in caplog.text


def test_a_turn_that_takes_long_shows_and_can_be_left_behind():
    entered, leave = threading.Event(), threading.Event()

    def work():
        entered.set()
        leave.wait(10 * slowness())

    loop = Loop("test", work)
    loop.start()
    assert entered.wait(10 * slowness())
    assert loop.turn_seconds() > 0
    assert not loop.stop(0)
    leave.set()
    assert loop.stop(10)
    assert loop.turn_seconds() == 0


def test_one_that_was_never_started_stops_at_once():
    assert Loop("test", lambda: None).stop()
