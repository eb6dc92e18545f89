"""The engine's task log: in order, together, bounded."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from perago.errors import EngineError
from perago.worker.supervisor.task_log import MAX_ENTRY_CHARACTERS, MAX_PENDING_CHARACTERS, MAX_PENDING_TASKS, TaskLog
from servers.machine import slowness


@dataclass(frozen=True)
class Handed:
    task_id: str


class Receiver:
    """Takes entries when the gate is open."""

    def __init__(self):
        self.entries = []
        self.gate = threading.Event()
        self.is_away = False

    def __call__(self, attempt, text):
        self.gate.wait(10 * slowness())
        if self.is_away:
            raise EngineError("away")
        self.entries.append((attempt.task_id, text))


def test_lines_of_a_task_that_wait_are_sent_as_one_entry_in_their_order():
    receiver = Receiver()
    log = TaskLog(receiver)
    log.add(Handed("first"), "it is on its way")
    for number in range(5):
        log.add(Handed("a"), f"a {number}")
        log.add(Handed("b"), f"b {number}")
    receiver.gate.set()
    log.close()
    assert ("a", "a 0\na 1\na 2\na 3\na 4") in receiver.entries
    assert ("b", "b 0\nb 1\nb 2\nb 3\nb 4") in receiver.entries
    assert len(receiver.entries) == 3


def test_more_than_may_wait_is_left_out_and_that_is_told():
    receiver = Receiver()
    log = TaskLog(receiver)
    line = "x" * 1024
    for _ in range(2 * MAX_PENDING_CHARACTERS // len(line)):
        log.add(Handed("a"), line)
    receiver.gate.set()
    log.close()
    text = "\n".join(entry for _, entry in receiver.entries)
    on_its_way = MAX_ENTRY_CHARACTERS // len(line)  # the thread may have taken an entry before the rest came
    assert text.count(line) <= MAX_PENDING_CHARACTERS // len(line) + on_its_way + 1
    assert "lines left out" in text
    assert all(len(entry) <= MAX_ENTRY_CHARACTERS + 100 for _, entry in receiver.entries)


@pytest.mark.parametrize("length", [1, 1024])
def test_of_more_tasks_than_may_wait_no_entry_is_made_and_how_many_lines_that_cost_is_told(caplog, length):
    receiver = Receiver()
    log = TaskLog(receiver)
    tasks = 5 * MAX_PENDING_TASKS
    for number in range(tasks):
        log.add(Handed(f"t{number}"), "x" * length)
    receiver.gate.set()
    log.close()
    at_once = min(MAX_PENDING_TASKS, MAX_PENDING_CHARACTERS // length)
    assert at_once <= len(receiver.entries) <= at_once + 1  # the thread may have taken one before the rest came
    assert all(text == "x" * length for _, text in receiver.entries)
    told = [record.args[0] for record in caplog.records if "left out" in record.getMessage()]
    assert len(told) <= 2
    assert sum(told) == tasks - len(receiver.entries)


def test_an_engine_that_is_away_costs_the_lines_only():
    receiver = Receiver()
    receiver.is_away = True
    receiver.gate.set()
    log = TaskLog(receiver)
    log.add(Handed("a"), "lost")
    log.close()
    assert receiver.entries == []


def test_a_fault_in_sending_is_logged_and_ends_nothing(caplog):
    sent = threading.Event()

    def send(attempt, _text):
        if attempt.task_id == "a":
            raise ValueError("no such thing")
        sent.set()

    log = TaskLog(send)
    log.add(Handed("a"), "lost")
    log.add(Handed("b"), "told")
    assert sent.wait(10 * slowness())
    log.close()
    assert "no such thing" in caplog.text


def test_an_engine_that_does_not_answer_holds_up_no_end():
    receiver = Receiver()
    log = TaskLog(receiver)
    log.add(Handed("a"), "on its way")
    assert log.close(0.05) is False
    receiver.gate.set()
    assert log.close() is True
    assert receiver.entries == [("a", "on its way")]
