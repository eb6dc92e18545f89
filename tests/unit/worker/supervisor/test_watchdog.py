"""The watch: what it does about leases, and that it waits for none."""

from __future__ import annotations

import logging
import sys
import time

import pytest

from perago.errors import EngineError
from perago.testing.clock import ManualClock
from perago.testing.contract.bench import engine_task
from perago.worker.attempts.job import Cause, Job
from perago.worker.attempts.journal import Journal
from perago.worker.supervisor.watchdog import WATCH_SECONDS, Watchdog
from worker_engine import MemoryWorkerEngine


class InFlight:
    """A lease with a heartbeat that has no answer yet."""

    def __init__(self, *, is_late, is_retrying=False):
        self.is_late, self.is_retrying = is_late, is_retrying
        self.is_stopped = self.is_let_go = False

    def let_go(self):
        self.is_let_go = self.is_late = True

    def stop(self):
        raise AssertionError("it would wait for the answer")

    def answer(self):
        self.is_stopped = self.is_let_go


class Nowhere:
    def add(self, attempt, text):
        raise AssertionError("the watch writes no task's log")


class Watched:
    """A watch over one job whose heartbeats are due."""

    def __init__(self, lease=None):
        clock = ManualClock()
        self.engine = MemoryWorkerEngine()
        self.job = Job(engine_task("t", response_timeout_seconds=60), clock)
        self.job.lease = lease
        self.looks_for_cancelled = 0
        clock.advance(60.0)
        self.turn = Watchdog(
            self.engine,
            Journal(Nowhere()),
            jobs=lambda: [self.job],
            poll_seconds=float,
            poll_stall_seconds=60.0,
            renew_polling=str,
            look_for_cancelled=self.look_for_cancelled,
            tell_status=lambda: None,
        ).turn

    def look_for_cancelled(self):
        self.looks_for_cancelled += 1

    @property
    def leases(self):
        return self.engine.leases.get("t", [])


def test_a_lease_is_taken_up_when_it_is_due_and_once():
    watched = Watched()
    assert [watched.turn(), watched.turn()] == [WATCH_SECONDS] * 2
    assert watched.leases == [watched.job.lease]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a clock that counts suspended time")
def test_after_the_machine_was_suspended_executions_are_looked_at(monkeypatch, caplog):
    watched = Watched()
    watched.turn()
    assert watched.looks_for_cancelled == 0
    read = time.clock_gettime
    monkeypatch.setattr(
        time, "clock_gettime", lambda clock: read(clock) + (3600 if clock == time.CLOCK_BOOTTIME else 0)
    )
    watched.turn()
    watched.turn()
    assert watched.looks_for_cancelled == 1
    assert "the worker was paused for 3600 s" in caplog.text


def test_a_late_lease_is_replaced_as_soon_as_no_heartbeat_is_in_flight():
    late = InFlight(is_late=True)
    watched = Watched(late)
    watched.turn()
    assert late.is_let_go
    assert (watched.job.lease, watched.leases) == (late, [])
    late.answer()
    watched.turn()
    assert watched.leases == [watched.job.lease]
    assert watched.job.lease.began_at_once


def test_a_lease_whose_heartbeats_fail_tries_again_by_itself_and_that_is_told_once(caplog):
    """Another one could do no more, and would begin later."""
    caplog.set_level(logging.WARNING)
    lease = InFlight(is_late=True, is_retrying=True)
    watched = Watched(lease)
    watched.turn()
    watched.turn()
    assert (watched.job.lease, lease.is_let_go, watched.leases) == (lease, False, [])
    assert [record.message for record in caplog.records] == [
        "the engine does not accept heartbeats. They are retried; the lease is lost if this goes on"
    ]
    lease.is_late = False
    watched.turn()
    lease.is_late = True
    watched.turn()
    assert len(caplog.records) == 2  # it had come back, and is away again


def test_one_whose_heartbeat_is_answered_after_all_is_replaced_too():
    """It was let go: there are no more of them."""
    late = InFlight(is_late=True)
    watched = Watched(late)
    watched.turn()
    late.answer()
    watched.turn()
    assert watched.job.lease is not late


def test_a_lease_in_good_order_is_left_alone():
    lease = InFlight(is_late=False)
    watched = Watched(lease)
    watched.turn()
    assert watched.job.lease is lease
    assert not lease.is_let_go


def test_an_execution_that_another_has_taken_over_is_kept_from_nobody():
    lease = InFlight(is_late=False)
    watched = Watched(lease)
    watched.job.end(Cause.CANCELLED)
    assert lease.is_let_go
    lease.answer()
    watched.turn()
    assert watched.leases == []


def test_nor_is_one_whose_lease_was_taken_up_in_that_moment():
    watched = Watched()
    watched.job.end(Cause.CANCELLED)
    lease = watched.job.lease = InFlight(is_late=False)
    watched.turn()
    assert lease.is_let_go
    assert watched.leases == []


def test_nor_is_one_that_its_worker_then_ends_at_once():
    lease = InFlight(is_late=False)
    watched = Watched(lease)
    watched.job.end(Cause.CANCELLED)
    watched.job.end(Cause.AT_ONCE)
    lease.answer()
    watched.turn()
    assert watched.leases == []
    assert watched.job.is_void


def test_a_lease_that_is_just_stopped_holds_nobody_up():
    watched = Watched()
    watched.job.stop_lease()
    with watched.job.lease_lock:  # as while a heartbeat in flight is waited for
        watched.turn()
        watched.job.hold_anew(watched.engine, InFlight(is_late=True))
    assert watched.leases == []


def test_an_attempt_that_ends_with_its_worker_keeps_its_lease_until_it_is_given_back():
    lease = InFlight(is_late=False)
    watched = Watched(lease)
    watched.job.end(Cause.SHUTDOWN)
    watched.turn()
    assert not lease.is_let_go


@pytest.mark.parametrize("cause", [None, Cause.CANCELLED])
def test_a_late_lease_is_not_held_anew_beside_a_report(cause):
    late = InFlight(is_late=True)
    watched = Watched()
    watched.job.stop_lease()
    if cause is not None:
        watched.job.end(cause)
    watched.job.hold_anew(watched.engine, late)
    watched.turn()
    assert watched.leases == []


def test_an_engine_that_cannot_hold_is_asked_again(caplog):
    caplog.set_level(logging.WARNING)
    watched = Watched()
    hold = watched.engine.hold

    def fail(attempt, *, at_once=False):
        watched.engine.hold = hold
        raise EngineError("the thread that sends them stands still")

    watched.engine.hold = fail
    watched.turn()
    assert "stands still" in caplog.text
    watched.turn()
    assert watched.leases == [watched.job.lease]


def test_the_lease_after_one_that_could_not_be_held_anew_begins_at_once_too():
    late = InFlight(is_late=True)
    watched = Watched(late)
    hold = watched.engine.hold

    def fail(attempt, *, at_once=False):
        watched.engine.hold = hold
        raise EngineError("the thread that sends them stands still")

    watched.turn()
    late.answer()
    watched.engine.hold = fail
    watched.turn()
    assert watched.leases == []
    watched.turn()
    assert [lease.began_at_once for lease in watched.leases] == [True]


@pytest.mark.parametrize(("seconds", "at_once"), [(2.0, False), (12.0, True)])
def test_a_lease_that_is_taken_up_long_after_it_was_due_begins_at_once(seconds, at_once):
    """As after a stop of the process: the response timeout is 60 s, and a heartbeat is due after one."""
    clock, engine = ManualClock(), MemoryWorkerEngine()
    job = Job(engine_task("t", response_timeout_seconds=60), clock)
    clock.advance(seconds)
    job.hold(engine)
    assert [lease.began_at_once for lease in engine.leases["t"]] == [at_once]
