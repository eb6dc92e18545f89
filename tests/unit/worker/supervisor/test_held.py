"""What a killed worker held is given back by the next one: once its processes are gone, and no result of it waits."""

from __future__ import annotations

import logging

import pytest

from perago.testing import ManualClock
from perago.testing.contract.bench import engine_task
from perago.values.models import AttemptIdentity, RuntimeTaskResult
from perago.values.record import TryStatus
from perago.worker.attempts.journal import Journal
from perago.worker.supervisor.delivery import Delivery, KeptResult, ResultSpool
from perago.worker.supervisor.held import DYING_SECONDS, HELD_FILE, RECORD_BYTES, HeldTasks, Inheritance
from perago.workspace.directory import AttemptDirectory
from worker_engine import MemoryWorkerEngine

DONE = RuntimeTaskResult("COMPLETED", {"result": {}})


def ids(held):
    return sorted(attempt.task_id for attempt in held.inherited)


def test_what_is_held_is_known_after_a_kill_and_what_was_released_is_not(tmp_path):
    held = HeldTasks(tmp_path)
    for number in range(6):
        held.add(engine_task(task_id=f"t{number}"))
    for number in (1, 4):
        held.release(engine_task(task_id=f"t{number}"))
    held.add(engine_task(task_id="t6"))
    assert held.inherited == []
    assert ids(HeldTasks(tmp_path)) == ["t0", "t2", "t3", "t5", "t6"]
    assert (tmp_path / HELD_FILE).stat().st_mode & 0o777 == 0o600


def test_places_are_used_again_so_that_the_file_stays_as_small_as_the_most_that_was_held_at_once(tmp_path):
    held = HeldTasks(tmp_path)
    for number in range(100):
        held.add(engine_task(task_id=f"t{number}"))
        held = HeldTasks(tmp_path) if number % 10 == 0 else held
        held.release(engine_task(task_id=f"t{number}"))
    assert (tmp_path / HELD_FILE).stat().st_size <= 2 * RECORD_BYTES
    assert ids(HeldTasks(tmp_path)) == []


def test_a_worker_that_is_killed_again_leaves_what_it_inherited_too(tmp_path):
    HeldTasks(tmp_path).add(engine_task(task_id="first"))
    HeldTasks(tmp_path).add(engine_task(task_id="second"))
    held = HeldTasks(tmp_path)
    assert ids(held) == ["first", "second"]
    held.release(held.inherited[0])
    assert ids(held) == ids(HeldTasks(tmp_path)) == ["second"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 5000, b"[" * RECORD_BYTES, b"{" + b" " * 9000])
def test_what_is_no_record_is_passed_over(tmp_path, content):
    (tmp_path / HELD_FILE).write_bytes(content.ljust(2 * RECORD_BYTES))
    held = HeldTasks(tmp_path)
    assert held.inherited == []
    held.add(engine_task(task_id="t"))
    assert ids(HeldTasks(tmp_path)) == ["t"]


def test_a_disk_that_refuses_and_a_name_that_is_too_long_cost_nothing_but_the_record(tmp_path):
    held = HeldTasks(tmp_path / "not there")
    held.add(engine_task(task_id="t"))
    held.release(engine_task(task_id="t"))
    held = HeldTasks(tmp_path)
    held.add(engine_task(task_id="t" * RECORD_BYTES))
    held.add(engine_task(task_id="t"))
    assert ids(HeldTasks(tmp_path)) == ["t"]


class Predecessor:
    """A worker that held tasks and was killed, and the one that comes after it."""

    def __init__(self, root):
        self.root = root
        self.engine = MemoryWorkerEngine()
        self.clock = ManualClock()
        self.spool = ResultSpool(root / "supervisor" / "undelivered")
        (root / "supervisor").mkdir(parents=True)

    def takes(self, name):
        self.engine.tasks.schedule(name, {"params": {}})
        (attempt,) = self.engine.poll([name], 1, "w")
        HeldTasks(self.root / "supervisor").add(attempt)
        return attempt

    def successor(self):
        held = HeldTasks(self.root / "supervisor")
        delivery = Delivery(self.engine, self.spool)
        journal = Journal(None)
        return Inheritance(
            engine=self.engine, held=held, delivery=delivery, root=self.root, journal=journal, clock=self.clock
        )

    def status(self, attempt):
        return self.engine.tasks.attempt(attempt.task_id).status

    def directory_of(self, attempt):
        """The directory of an attempt whose process lives: this one."""
        return AttemptDirectory.create(self.root, AttemptIdentity.of(attempt), "e1", "w", self.clock)


@pytest.fixture
def worker(tmp_path):
    return Predecessor(tmp_path / "root")


def test_what_a_killed_worker_held_is_given_back_at_once_and_never_again(worker):
    taken = [worker.takes(name) for name in ("a", "b")]
    assert worker.successor().turn() is None
    assert [worker.status(attempt) for attempt in taken] == [TryStatus.SCHEDULED] * 2
    for name in ("a", "b"):
        worker.engine.poll([name], 1, "other")
    assert worker.successor().turn() is None
    assert [worker.status(attempt) for attempt in taken] == [TryStatus.IN_PROGRESS] * 2
    assert worker.engine.given_back == [attempt.task_id for attempt in taken]


def test_what_another_execution_has_by_now_is_left_alone(worker):
    attempt = worker.takes("a")
    worker.engine.tasks.requeue(attempt.task_id)
    worker.engine.poll(["a"], 1, "other")
    assert worker.successor().turn() is None
    assert worker.engine.given_back == []
    assert worker.successor().held.inherited == []


def test_what_is_not_there_any_more_is_forgotten(worker):
    worker.takes("a")
    worker.engine.tasks.terminate()
    worker.engine.tasks.restart()
    assert worker.successor().turn() is None
    assert worker.successor().held.inherited == []


def test_what_has_a_result_that_waits_is_not_given_back(worker):
    attempt = worker.takes("a")
    worker.spool.keep(KeptResult.of(attempt, DONE, worker.clock.now()))
    successor = worker.successor()
    assert successor.turn() is None
    assert worker.engine.given_back == []
    successor.delivery.deliver_kept()
    assert worker.status(attempt) == TryStatus.COMPLETED


def test_while_the_engine_is_away_it_is_tried_again_and_told_once(worker, caplog):
    caplog.set_level(logging.INFO)
    attempt = worker.takes("a")
    worker.engine.is_away = True
    successor = worker.successor()
    pauses = [successor.turn() for _ in range(6)]
    assert pauses == sorted(pauses)
    assert None not in pauses
    worker.engine.is_away = False
    assert successor.turn() is None
    assert worker.engine.given_back == [attempt.task_id]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "cannot be given back now; this is retried: the engine is away" in told[0]


def test_a_task_whose_process_lives_is_given_back_when_that_is_gone(worker):
    attempt, other = worker.takes("a"), worker.takes("b")
    directory = worker.directory_of(attempt)
    successor = worker.successor()
    assert successor.turn() is not None
    assert worker.engine.given_back == [other.task_id]
    directory.remove()
    assert successor.turn() is None
    assert worker.engine.given_back == [other.task_id, attempt.task_id]


def test_a_task_whose_process_does_not_end_is_left_to_its_lease(worker, caplog):
    caplog.set_level(logging.INFO)
    worker.directory_of(worker.takes("a"))
    successor = worker.successor()
    assert successor.turn() is not None
    worker.clock.advance(DYING_SECONDS)
    assert successor.turn() is None
    assert worker.engine.given_back == []
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "Its lease has to run out" in record.getMessage()
    assert worker.successor().turn() is None
