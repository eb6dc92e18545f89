"""The heartbeat: one at a time, and none after `stop` has returned."""

import asyncio
import time

import pytest

from perago.engines.conductor.lease import (
    DEFAULT_INTERVAL_SECONDS,
    SHORTEST_INTERVAL_SECONDS,
    Heartbeat,
    heartbeat_interval,
)
from perago.errors import EngineError, TaskNotFoundError
from servers.machine import slowness

INTERVAL = 0.02


class Server:
    """Takes heartbeats; each takes as long as it is told."""

    def __init__(self, seconds=0.0, error=None):
        self.seconds = seconds
        self.error = error
        self.begun = []
        self.answered = []
        self.at_once = 0
        self.most_at_once = 0

    async def send(self, deadline, flight):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.begun.append(time.monotonic())
        try:
            with flight():
                await asyncio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            self.answered.append(time.monotonic())
        finally:
            self.at_once -= 1


async def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario, 30))


def test_it_beats_until_it_is_stopped():
    async def scenario():
        server = Server()
        heartbeat = Heartbeat(server.send, INTERVAL)
        await heartbeat.start()
        await until(lambda: len(server.answered) >= 5)
        await heartbeat.stop()
        count = len(server.begun)
        await asyncio.sleep(3 * INTERVAL)
        assert len(server.begun) == count
        assert server.begun[4] - server.begun[0] >= 3 * INTERVAL

    run(scenario())


def test_stopping_waits_for_the_one_in_flight_and_does_not_cut_it():
    async def scenario():
        server = Server(seconds=0.2)
        heartbeat = Heartbeat(server.send, INTERVAL)
        await heartbeat.start()
        await until(lambda: server.at_once)
        await heartbeat.stop()
        assert (server.at_once, len(server.answered)) == (0, 1)
        await heartbeat.stop()

    run(scenario())


def test_stopping_between_two_takes_no_time():
    async def scenario():
        heartbeat = Heartbeat(Server().send, 1_000)
        await heartbeat.start()
        began = time.monotonic()
        await heartbeat.stop()
        assert time.monotonic() - began < 5 * slowness()

    run(scenario())


def test_a_slow_server_gets_ten_seconds_however_short_the_interval():
    """A heartbeat that is given up may still arrive, and then beside the report."""

    async def scenario():
        deadlines = []

        async def send(deadline, flight):
            deadlines.append(deadline)

        heartbeat = Heartbeat(send, INTERVAL)
        await heartbeat.start()
        await until(lambda: deadlines)
        await heartbeat.stop()
        assert set(deadlines) == {10}

    run(scenario())


def test_a_slow_server_never_has_two_at_once():
    async def scenario():
        server = Server(seconds=3 * INTERVAL)
        heartbeat = Heartbeat(server.send, INTERVAL)
        await heartbeat.start()
        await until(lambda: len(server.answered) >= 4)
        await heartbeat.stop()
        assert server.most_at_once == 1

    run(scenario())


def test_one_that_fails_is_sent_again_soon_and_the_lease_is_late_when_none_arrives():
    async def scenario():
        server = Server(error=EngineError("away"))
        heartbeat = Heartbeat(server.send, 4 * INTERVAL)
        await heartbeat.start()
        assert not heartbeat.is_late
        await until(lambda: heartbeat.is_late)
        assert heartbeat.failures == len(server.begun) >= 2
        server.error = None
        await until(lambda: server.answered)
        await until(lambda: not heartbeat.is_late)
        assert heartbeat.failures == 0
        await heartbeat.stop()

    run(scenario())


def test_while_heartbeats_fail_it_says_that_it_tries_again():
    async def scenario():
        server = Server(error=EngineError("away"))
        heartbeat = Heartbeat(server.send, 4 * INTERVAL)
        await heartbeat.start()
        assert not heartbeat.is_retrying
        await until(lambda: heartbeat.is_retrying)
        server.error = None
        await until(lambda: not heartbeat.is_retrying)
        server.error = EngineError("away")
        await until(lambda: heartbeat.is_retrying)
        await heartbeat.stop()
        assert not heartbeat.is_retrying

    run(scenario())


def test_one_that_takes_the_place_of_another_begins_at_once():
    async def scenario():
        server = Server()
        heartbeat = Heartbeat(server.send, 1_000, at_once=True)
        await heartbeat.start()
        assert not heartbeat.is_late
        await until(lambda: server.answered)
        await heartbeat.stop()
        assert len(server.begun) == 1

    run(scenario())


def test_a_task_that_is_gone_needs_no_more():
    async def scenario():
        server = Server(error=TaskNotFoundError("gone"))
        heartbeat = Heartbeat(server.send, INTERVAL)
        await heartbeat.start()
        await until(lambda: heartbeat.is_gone)
        await asyncio.sleep(3 * INTERVAL)
        assert len(server.begun) == 1
        await heartbeat.stop()

    run(scenario())


def test_a_loop_that_stalls_makes_the_lease_late():
    async def scenario():
        heartbeat = Heartbeat(Server().send, INTERVAL)
        await heartbeat.start()
        time.sleep(5 * INTERVAL)
        assert heartbeat.is_late
        await until(lambda: not heartbeat.is_late)
        await heartbeat.stop()

    run(scenario())


@pytest.mark.parametrize(("timeout", "interval"), [(600, 200), (60, 20), (3, 1), (1, 1 / 3), (0.1, 0.25), (0, 60)])
def test_it_beats_at_a_third_of_the_response_timeout(timeout, interval):
    assert heartbeat_interval(timeout) == pytest.approx(interval)
    assert (SHORTEST_INTERVAL_SECONDS, DEFAULT_INTERVAL_SECONDS) == (0.25, 60)
