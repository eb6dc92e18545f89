"""The pace of polling, and whose turn it is."""

from collections import Counter

import pytest

from perago.engines.conductor.poll import (
    BUSY_SECONDS,
    LONGEST_FAILURE_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    SHORTEST_PAUSE_SECONDS,
    Turns,
    pause_after,
    pause_after_failures,
)


def test_for_ten_seconds_after_a_task_polls_come_every_25_ms():
    assert {pause_after(idle) for idle in (0, 0.5, 5, 9.99, 10)} == {0.025}
    assert (SHORTEST_PAUSE_SECONDS, BUSY_SECONDS) == (0.025, 10)


def test_then_they_come_less_often_up_to_four_a_second():
    pauses = [pause_after(idle) for idle in range(600)]
    assert pauses == sorted(pauses)
    assert pause_after(11) > 0.025
    assert pause_after(86_400) == LONGEST_PAUSE_SECONDS == 0.25


@pytest.mark.parametrize("jitter", [0, 0.5, 1])
def test_a_server_that_is_away_is_asked_less_and_less(jitter):
    pauses = [pause_after_failures(failures, jitter) for failures in range(1, 2_000)]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= LONGEST_FAILURE_PAUSE_SECONDS
    assert pauses[0] >= SHORTEST_PAUSE_SECONDS


def test_workers_that_lost_a_server_do_not_come_back_in_step():
    assert pause_after_failures(9, 0.0) < pause_after_failures(9, 1.0)


def test_each_task_type_is_first_in_turn():
    turns, types = Turns(), ["a", "b", "c"]
    orders = [turns.order(types) for _ in range(30)]
    assert Counter(order[0] for order in orders) == {"a": 10, "b": 10, "c": 10}
    assert all(sorted(order) == types for order in orders)


def test_no_types_have_no_turn():
    assert Turns().order([]) == []
