"""Polls that do not come back, and an engine whose answers are old: what a worker does, and what it says of itself."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from perago.ports import SystemClock
from perago.values.record import TryStatus
from perago.worker.supervisor import health, supervisor
from waiting import wait_for
from worker_engine import MemoryWorkerEngine


class StuckOnce(MemoryWorkerEngine):
    """An engine whose first poll that brings a task does not return until it is let."""

    def __init__(self):
        super().__init__()
        self.is_stuck, self.released = threading.Event(), threading.Event()

    def poll(self, *arguments):
        found = super().poll(*arguments)
        if found and not self.is_stuck.is_set():
            self.is_stuck.set()
            self.released.wait(30)
        return found


def test_a_poll_that_is_stuck_is_replaced_and_what_it_brings_late_is_given_back(supervise, monkeypatch):
    monkeypatch.setattr(supervisor, "STALL_SECONDS", 0.5)  # a minute
    engine = StuckOnce()
    with supervise(engine=engine) as worker:
        stranded = worker.schedule("light.echo", {"text": "late"})
        wait_for(engine.is_stuck.is_set, "the poll to be stuck")
        assert worker.completed(worker.schedule("light.echo", {"text": "meanwhile"}))["text"] == "meanwhile"
        assert worker.tries(stranded)[-1].status is TryStatus.IN_PROGRESS
        engine.released.set()
        assert worker.completed(stranded)["text"] == "late"
        assert engine.given_back == [worker.tries(stranded)[-1].task_id]


class Fast(SystemClock):
    """An hour fast, as a clock was that has been set back since."""

    def now(self):
        return super().now() + timedelta(hours=1)


def test_an_engine_that_is_away_is_noticed_after_the_clock_was_set_back(supervise, monkeypatch):
    monkeypatch.setattr(health, "ENGINE_SECONDS", 0.5)  # a minute
    with supervise(mode="thread") as worker:
        worker.supervisor.dispatcher.polling.clock = Fast()
        polls = worker.engine.polls
        wait_for(lambda: worker.engine.polls > polls + 1, "an answer by that clock")
        worker.engine.is_away = True
        wait_for(lambda: not worker.supervisor.health().is_ready, "it to be noticed")
        (check,) = (check for check in worker.supervisor.health().ready if not check.ok)
        assert check.name == "engine"
        worker.engine.is_away = False


class Stuck(MemoryWorkerEngine):
    """An engine whose polls do not return until they are let, one for each `let`."""

    def __init__(self):
        super().__init__()
        self.let, self.asked = threading.Semaphore(0), threading.Semaphore(0)

    def poll(self, *arguments):
        self.asked.release()
        self.let.acquire(timeout=60)
        return super().poll(*arguments)


@pytest.fixture
def stuck():
    engine = Stuck()
    yield engine
    engine.let.release(1_000)


def poll_threads():
    return [thread for thread in threading.enumerate() if thread.name == "perago-poll"]


def test_a_poll_that_is_stuck_after_another_one_is_not_replaced_and_the_worker_does_not_live(
    supervise, monkeypatch, caplog, stuck
):
    monkeypatch.setattr(supervisor, "STALL_SECONDS", 0.2)  # a minute
    monkeypatch.setattr(health, "POLL_STALL_SECONDS", 2.5)  # two
    before = set(poll_threads())
    with supervise(engine=stuck, mode="thread") as worker:
        wait_for(lambda: not worker.supervisor.health().is_live, "it not to live")
        assert len(set(poll_threads()) - before) == 2
        told = [record.getMessage() for record in caplog.records if "a poll has taken" in record.getMessage()]
        assert [text.partition("; ")[2] for text in told] == [
            "polling starts again",
            "another poll is stuck already: restart this worker",
        ]
        stuck.let.release(2)
        wait_for(lambda: worker.supervisor.health().is_live, "it to live again")
        stuck.let.release(1_000)


def test_draining_waits_for_no_poll_that_is_stuck(supervise, monkeypatch, stuck):
    with supervise(engine=stuck, mode="thread") as worker:
        wait_for(lambda: stuck.asked.acquire(blocking=False), "the poll")
        worker.supervisor.drain()
        wait_for(lambda: {slot.state for slot in worker.supervisor.status().slots} == {"closed"}, "the slots' end")
        assert not worker.supervisor.is_through
        assert not worker.supervisor.close(0.1)  # it may still bring a task, which is given back
        monkeypatch.setattr(supervisor, "STALL_SECONDS", 0.2)  # a minute
        wait_for(lambda: worker.supervisor.is_through, "the end")
        assert worker.supervisor.close()
