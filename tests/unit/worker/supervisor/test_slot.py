"""A slot: no task that it was given is lost, and chores keep no task waiting."""

from __future__ import annotations

import threading

import pytest

from perago.errors import TaskExecutionError
from perago.testing.contract.bench import engine_task
from perago.worker.attempts.job import Cause, Job
from perago.worker.attempts.port import Ended
from perago.worker.executor.wire import Sweep
from perago.worker.supervisor import slot
from perago.worker.supervisor.slot import Slot, SlotState, Wear
from waiting import wait_for

LONG = 20.0
LET = 1_000


class Executor:
    """An executor that does nothing, and records what it is told to do. A test can have it do something while it waits,
    and can hold up its jobs and chores.
    """

    attempts, memory_bytes, is_spent, is_alive = 0, 0, False, True

    def __init__(self):
        self.ran = []
        self.did = []
        self.let_run, self.let_do = threading.Semaphore(LET), threading.Semaphore(LET)
        self.while_it_waits = None
        self._awake = threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self):
        return []

    def abort_start(self):
        pass

    def wake(self):
        self._awake.set()

    def wait(self, seconds):
        self._awake.wait(LONG if seconds is None else seconds)
        self._awake.clear()
        if self.while_it_waits is not None:
            self.while_it_waits()

    def run(self, job):
        self.ran.append(job)
        assert self.let_run.acquire(timeout=LONG)
        return Ended(Cause.CANCELLED)

    def chore(self, order):
        self.did.append(order)
        assert self.let_do.acquire(timeout=LONG)


class Events:
    """Writes down what was given back, and how often the slot was free; may fail at the first."""

    def __init__(self):
        self.free = 0
        self.given_back = []
        self.fault = None

    def is_ready(self, slot, tasks):
        pass

    def has_failed(self, slot, error, reason):
        pass

    def finish(self, slot, executor, job, outcome, *, takes_next):
        return None

    def give_back(self, job):
        self.given_back.append(job)
        if self.fault is not None:
            raise self.fault

    def is_free(self, slot):
        self.free += 1


class Scene:
    """A slot that is free."""

    def __init__(self):
        self.executor, self.events = Executor(), Events()
        self.moment = Moment()
        self.slot = Slot(1, lambda: self.executor, self.events, Wear(), closing=self.moment)
        self.thread = threading.Thread(target=self.slot.serve, daemon=True)
        self.job = Job(engine_task(task_id="t"))
        self.was_assigned = False

    def __enter__(self):
        self.thread.start()
        self.until(lambda: self.slot.is_free)
        return self

    def __exit__(self, *_):
        self.slot.close()
        self.ends()

    def ends(self):
        """Wait for the end of the slot."""
        self.thread.join(LONG)
        assert not self.thread.is_alive()

    def blocks(self, *chores):
        """Have it begin with the first of some chores, none of which ends before it is let."""
        self.executor.let_do = threading.Semaphore(0)
        for chore in chores:
            self.slot.add_chore(chore)
        self.until(lambda: self.executor.did)

    def assign_and_close(self):
        self.was_assigned = self.slot.assign(self.job)
        self.slot.close()

    def fails_in_the_moment(self, fault):
        """Have the executor fail just when a job is assigned and the slot closes."""

        def happens():
            self.assign_and_close()
            raise fault

        self.executor.while_it_waits = happens
        self.executor.wake()

    def until(self, holds):
        wait_for(holds)


class Moment(threading.Event):
    """Of closing: something happens just before the slot looks whether it closes."""

    happens = None

    def is_set(self):
        if self.happens is not None:
            happens, self.happens = self.happens, None
            happens()
        return super().is_set()


def test_a_job_that_comes_just_before_the_slot_closes_is_run_or_given_back():
    with Scene() as scene:
        scene.moment.happens = scene.assign_and_close
        scene.executor.wake()
        scene.ends()
        assert scene.was_assigned
        assert scene.executor.ran + scene.events.given_back == [scene.job]
        assert scene.slot.job is None


FAULTS = [TaskExecutionError("the executor sent what is no message"), ConnectionResetError("reset")]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_job_is_given_back_whose_executor_fails_before_it_begins_in_a_slot_that_closes(fault):
    with Scene() as scene:
        scene.fails_in_the_moment(fault)
        scene.ends()
        assert scene.was_assigned
        assert scene.events.given_back == [scene.job]
        assert scene.slot.job is None


def test_a_slot_closes_also_when_a_job_cannot_be_given_back():
    with Scene() as scene:
        scene.events.fault = OSError("the disk is full")
        scene.fails_in_the_moment(FAULTS[0])
        scene.ends()
        assert scene.events.given_back == [scene.job]
        assert scene.slot.state is SlotState.CLOSED


# ---------------------------------------------------------------- chores


def sweeps(*names):
    return [Sweep(repository=name, older_than_seconds=60.0, runs_older_than_seconds=60.0) for name in names]


def test_a_slot_at_a_chore_takes_no_job_and_says_when_it_is_free_again():
    with Scene() as scene:
        scene.blocks(*sweeps("a"))
        assert not scene.slot.is_free
        assert not scene.slot.assign(scene.job)
        before = scene.events.free
        scene.executor.let_do.release()
        scene.until(lambda: scene.slot.is_free)
        scene.until(lambda: scene.events.free == before + 1)
        assert scene.slot.assign(scene.job)
        scene.until(lambda: scene.executor.ran == [scene.job])


def test_between_two_chores_a_slot_takes_a_job(monkeypatch):
    monkeypatch.setattr(slot, "CHORE_PAUSE_SECONDS", LONG)
    with Scene() as scene:
        scene.blocks(*sweeps("a", "b", "c"))
        scene.executor.let_do.release()
        scene.until(lambda: scene.slot.is_free)
        assert scene.slot.assign(scene.job)
        scene.until(lambda: scene.executor.ran == [scene.job])
        assert scene.executor.did == sweeps("a")


def test_a_slot_without_a_job_does_one_chore_after_the_other(monkeypatch):
    monkeypatch.setattr(slot, "CHORE_PAUSE_SECONDS", 0.05)
    with Scene() as scene:
        for chore in sweeps("a", "b", "c"):
            scene.slot.add_chore(chore)
        scene.until(lambda: scene.executor.did == sweeps("a", "b", "c"))


def test_a_slot_that_closes_ends_the_chore_under_way_and_begins_no_other(monkeypatch):
    monkeypatch.setattr(slot, "CHORE_PAUSE_SECONDS", 0.0)
    with Scene() as scene:
        scene.blocks(*sweeps("a", "b", "c"))
        scene.slot.close()
        scene.executor.let_do.release(LET)
        scene.ends()
        assert scene.executor.did == sweeps("a")


def test_a_chore_that_waits_already_is_not_added_again(monkeypatch):
    monkeypatch.setattr(slot, "CHORE_PAUSE_SECONDS", 0.0)
    with Scene() as scene:
        scene.executor.let_run = threading.Semaphore(0)
        assert scene.slot.assign(scene.job)
        scene.until(lambda: scene.executor.ran)
        for _ in range(24):  # a day of work, with a look each hour
            for chore in sweeps("a", "b"):
                scene.slot.add_chore(chore)
        scene.executor.let_run.release()
        scene.until(lambda: scene.slot.is_free)
        assert scene.executor.did == sweeps("a", "b")
