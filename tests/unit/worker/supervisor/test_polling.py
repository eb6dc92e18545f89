"""Polling on an engine in memory: how many, how often, and what becomes of what nobody can take."""

from __future__ import annotations

from perago.ports import SystemClock
from perago.testing.clock import ManualClock
from perago.worker.attempts.journal import Journal
from perago.worker.supervisor.polling import BUILTIN_BACKLOG_SECONDS, BUILTIN_SECONDS, Pace, Polling
from worker_engine import MemoryWorkerEngine


class Nowhere:
    def add(self, attempt, text):
        raise AssertionError("polling writes no task's log")


class Polled:
    """A polling with so many free slots; what it takes and gives back is kept."""

    def __init__(self, free, tasks=0, clock=None, after=lambda idle: 1.0 + idle):
        self.engine = MemoryWorkerEngine()
        for number in range(tasks):
            self.engine.tasks.schedule("task", {}, reference_task_name=f"step-{number}")
        self.free, self.is_over = free, False
        self.taken, self.given_back, self.asked = [], [], []
        self.polling = Polling(
            engine=self.engine,
            task_types=["task"],
            worker_id="w",
            domain=None,
            pace=Pace(after=after, after_failures=lambda failures, _jitter: 100.0 * failures),
            free=lambda: self.free,
            take=lambda attempt, asked: self.taken.append(attempt) or self.asked.append(asked),
            give_back=self.given_back.append,
            is_over=lambda: self.is_over,
            journal=Journal(Nowhere()),
            clock=clock or SystemClock(),
        )


def test_no_more_are_asked_for_than_there_are_free_slots():
    polled = Polled(free=2, tasks=5)
    assert polled.polling.turn() == 0.0  # more may wait
    assert len(polled.taken) == 2


def test_what_comes_is_as_old_as_the_question():
    clock = ManualClock()
    polled = Polled(free=2, tasks=2, clock=clock)
    began, poll = clock.monotonic(), polled.engine.poll

    def poll_slowly(*given):
        clock.advance(3.0)
        return poll(*given)

    polled.engine.poll = poll_slowly
    polled.polling.turn()
    assert polled.asked == [began, began]


def test_slots_may_ask_for_more_while_polls_come_back_full():
    polled = Polled(free=2, tasks=5)
    polled.polling.turn()
    assert polled.polling.is_backlogged
    polled.polling.has_taken(polled.engine.tasks.poll("task"))
    assert polled.polling.is_backlogged
    polled.polling.has_taken(None)
    assert not polled.polling.is_backlogged
    polled.free = 3
    polled.polling.turn()
    assert not polled.polling.is_backlogged


def test_a_busy_type_of_several_may_not_starve_the_others():
    polled = Polled(free=2, tasks=5)
    polled.polling.task_types = ["task", "other"]
    polled.polling.turn()
    assert len(polled.taken) == 2
    assert not polled.polling.is_backlogged


def test_without_a_free_slot_nothing_is_asked_for_until_one_is():
    polled = Polled(free=0, tasks=1)
    assert polled.polling.turn() is None
    assert polled.polling.is_starved
    assert polled.engine.polls == 0


def test_the_pace_is_that_of_the_time_since_the_last_task():
    polled = Polled(free=2, tasks=1)
    assert 1.0 <= polled.polling.turn() < 1.5
    assert len(polled.taken) == 1
    assert polled.polling.answered_seconds < 30


def test_failures_in_a_row_slow_it_down_until_the_engine_answers():
    polled = Polled(free=1)
    polled.engine.is_away = True
    assert [polled.polling.turn() for _ in range(3)] == [100.0, 200.0, 300.0]
    polled.engine.is_away = False
    polled.polling.turn()
    polled.engine.is_away = True
    assert polled.polling.turn() == 100.0


def test_what_a_poll_brings_when_it_is_over_is_given_back():
    polled = Polled(free=3, tasks=2)
    polled.is_over = True
    polled.polling.turn()
    assert polled.taken == []
    assert len(polled.given_back) == 2


def asked_for(polled):
    """The types of each poll from now on."""
    asked, poll = [], polled.engine.poll
    polled.engine.poll = lambda types, *rest: asked.append(list(types)) or poll(types, *rest)
    return asked


def test_tasks_of_perago_are_asked_for_more_seldom():
    clock = ManualClock()
    polled = Polled(free=1, clock=clock, after=lambda _idle: 0.025)
    polled.polling.builtin_types = ["perago.map"]
    asked = asked_for(polled)
    for _ in range(9):
        polled.polling.turn()
        clock.advance(BUILTIN_SECONDS * 0.26)
    assert asked == ([["task", "perago.map"]] + [["task"]] * 3) * 2 + [["task", "perago.map"]]


def test_an_idle_worker_asks_for_tasks_of_perago_every_other_time():
    clock = ManualClock()
    polled = Polled(free=1, clock=clock, after=lambda _idle: 0.25)
    polled.polling.builtin_types = ["perago.map"]
    asked = asked_for(polled)
    for _ in range(4):
        clock.advance(polled.polling.turn())
    assert asked == [["task", "perago.map"], ["task"]] * 2


def test_tasks_of_perago_are_asked_for_in_turn():
    clock = ManualClock()
    polled = Polled(free=1, clock=clock, after=lambda _idle: 0.025)
    polled.polling.builtin_types = ["perago.map", "perago.gather", "perago.begin", "perago.end"]
    asked = asked_for(polled)
    for _ in range(3):
        polled.polling.turn()
        clock.advance(BUILTIN_SECONDS)
    maps, runs = ["task", "perago.map", "perago.gather"], ["task", "perago.begin", "perago.end"]
    assert asked == [maps, runs, maps]


def test_a_backlog_of_another_type_leaves_them_a_turn_each_second():
    clock = ManualClock()
    polled = Polled(free=1, tasks=5, clock=clock, after=lambda _idle: 0.025)
    polled.polling.builtin_types = ["perago.map"]
    polled.polling.turn()
    assert polled.polling.is_backlogged
    clock.advance(BUILTIN_BACKLOG_SECONDS)
    assert not polled.polling.is_backlogged  # the slot reports, and a poll comes before its next task
    asked = asked_for(polled)
    polled.polling.turn()
    assert (asked, polled.polling.is_backlogged) == ([["task", "perago.map"]], True)
