"""The heartbeat: one at a time, and none after `stop` has returned."""

import threading
import time

import pytest

from perago.engines.conductor.lease import (
    DEFAULT_INTERVAL_SECONDS,
    SHORTEST_INTERVAL_SECONDS,
    ConductorLease,
    FirstHeartbeats,
    heartbeat_interval,
)
from perago.errors import EngineError, TaskNotFoundError
from servers.machine import slowness
from waiting import wait_for

INTERVAL = 0.02


class Server:
    """Takes heartbeats; each takes as long as it is told."""

    def __init__(self, seconds=0.0, error=None):
        self.seconds = seconds
        self.error = error
        self.begun = []
        self.deadlines = set()
        self.answered = []
        self.at_once = 0
        self.most_at_once = 0

    def send(self, deadline, flight):
        self.deadlines.add(deadline)
        with flight():
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.begun.append(time.monotonic())
            time.sleep(self.seconds)
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        self.answered.append(time.monotonic())


@pytest.fixture
def hold():
    leases = []

    first = FirstHeartbeats()

    def hold_lease(send, interval=INTERVAL, **options):
        leases.append(ConductorLease(send, interval, first, **options))
        leases[-1].start()
        return leases[-1]

    yield hold_lease
    first.close()
    for lease in leases:
        lease.end()


def test_it_beats_until_it_is_stopped(hold):
    server = Server()
    lease = hold(server.send)
    wait_for(lambda: len(server.answered) >= 5)
    assert not lease.is_stopped
    lease.stop()
    assert lease.is_stopped
    count = len(server.begun)
    time.sleep(3 * INTERVAL)
    assert len(server.begun) == count
    assert server.begun[4] - server.begun[0] >= 3 * INTERVAL


def test_stopping_waits_for_the_one_in_flight_and_does_not_cut_it(hold):
    server = Server(seconds=0.2)
    lease = hold(server.send)
    wait_for(lambda: server.at_once)
    lease.let_go()
    assert not lease.is_stopped
    lease.stop()
    assert (server.at_once, len(server.begun)) == (0, 1)
    lease.stop()


def test_stopping_between_two_takes_no_time(hold):
    lease = hold(Server().send, 1_000)
    began = time.monotonic()
    lease.stop()
    lease.end()
    assert time.monotonic() - began < 5 * slowness()


def test_stopping_waits_no_longer_than_one_may_take(hold, monkeypatch):
    monkeypatch.setattr("perago.engines.conductor.lease._STOP_SECONDS", 0.1)
    server = Server(seconds=1.0)
    lease = hold(server.send)
    wait_for(lambda: server.at_once)
    lease.stop()
    assert not lease.is_stopped
    wait_for(lambda: lease.is_stopped)


def test_a_slow_server_gets_ten_seconds_however_short_the_interval(hold):
    """A heartbeat that is given up may still arrive, and then beside the report."""
    server = Server()
    hold(server.send)
    wait_for(lambda: server.answered)
    assert server.deadlines == {10}


def test_a_slow_server_never_has_two_at_once(hold):
    server = Server(seconds=3 * INTERVAL)
    hold(server.send)
    wait_for(lambda: len(server.answered) >= 4)
    assert server.most_at_once == 1


def test_one_that_fails_is_sent_again_soon_and_the_lease_is_late_when_none_arrives(hold):
    server = Server(error=EngineError("away"))
    lease = hold(server.send, 8 * INTERVAL)
    assert not lease.is_late
    wait_for(lambda: lease.is_late)
    assert lease.failures >= 2
    server.error = None
    wait_for(lambda: server.answered)
    wait_for(lambda: not lease.is_late)
    assert lease.failures == 0


def test_while_heartbeats_fail_it_says_that_it_tries_again(hold):
    server = Server(error=EngineError("away"))
    lease = hold(server.send, 4 * INTERVAL)
    assert not lease.is_retrying
    wait_for(lambda: lease.is_retrying)
    server.error = None
    wait_for(lambda: not lease.is_retrying)
    server.error = EngineError("away")
    wait_for(lambda: lease.is_retrying)
    lease.stop()
    assert not lease.is_retrying


def test_one_that_takes_the_place_of_another_begins_at_once(hold):
    server = Server()
    lease = hold(server.send, 1_000, at_once=True)
    assert not lease.is_late
    wait_for(lambda: server.answered)
    lease.stop()
    assert len(server.begun) == 1


def test_a_task_that_is_gone_needs_no_more(hold):
    server = Server(error=TaskNotFoundError("gone"))
    lease = hold(server.send)
    wait_for(lambda: lease.is_stopped)
    time.sleep(3 * INTERVAL)
    assert len(server.begun) == 1
    assert lease.is_stopped


def test_leases_that_end_before_their_first_heartbeat_share_one_thread(hold):
    hold(Server().send, 1_000)
    threads = threading.active_count()
    leases = [hold(Server().send, 1_000 - number) for number in range(20)]
    assert threading.active_count() == threads
    server = Server()
    for lease in leases:
        lease.stop()
        assert lease.is_stopped
    later = hold(server.send)
    wait_for(lambda: len(server.answered) >= 2)
    later.stop()


def test_one_that_cannot_begin_is_an_error(monkeypatch):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(EngineError, match="cannot start a thread"):
        ConductorLease(Server().send, INTERVAL, FirstHeartbeats()).start()


@pytest.mark.parametrize(("timeout", "interval"), [(600, 200), (60, 20), (3, 1), (1, 1 / 3), (0.1, 0.25), (0, 60)])
def test_it_beats_at_a_third_of_the_response_timeout(timeout, interval):
    assert heartbeat_interval(timeout) == pytest.approx(interval)
    assert (SHORTEST_INTERVAL_SECONDS, DEFAULT_INTERVAL_SECONDS) == (0.25, 60)
