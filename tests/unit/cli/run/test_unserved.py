"""Which tasks no worker asks for."""

from __future__ import annotations

import pytest

from perago.cli.run.unserved import SECONDS, Unserved, unserved_now, warning_for

QUEUE, GPU = ("clean", None), ("clean", "gpu")


@pytest.fixture
def polls():
    """When each queue was last polled."""
    return {}


@pytest.fixture
def unserved(polls):
    return Unserved(polls.get)


def test_a_queue_without_a_poll_is_told_once_after_a_while(unserved):
    assert unserved.look([QUEUE], 0.0) == []
    assert unserved.look([QUEUE], SECONDS - 0.1) == []
    assert unserved.look([QUEUE], SECONDS) == [QUEUE]
    assert unserved.look([QUEUE], 3 * SECONDS) == []


def test_a_poll_counts_only_if_it_is_new(unserved, polls):
    polls[QUEUE] = 5
    unserved.look([QUEUE], 0.0)
    polls[QUEUE] = 6
    assert unserved.look([QUEUE], SECONDS) == []
    assert unserved.look([QUEUE], 2 * SECONDS) == [QUEUE]


def test_each_domain_has_workers_of_its_own(unserved, polls):
    unserved.look([QUEUE, GPU], 0.0)
    polls[QUEUE] = 1
    assert unserved.look([QUEUE, GPU], SECONDS) == [GPU]
    assert "`perago start app --domain gpu`" in warning_for(GPU, "perago start app")


def test_before_a_retry_a_queue_that_is_polled_is_served(polls):
    times = iter(range(10))
    assert unserved_now(lambda queue: next(times) if queue == QUEUE else None, [QUEUE]) == []
    assert unserved_now(lambda queue: None, []) == []


def test_a_task_that_was_taken_meanwhile_begins_to_wait_anew(unserved):
    unserved.look([QUEUE], 0.0)
    unserved.look([], 1.0)
    assert unserved.look([QUEUE], SECONDS) == []
    assert unserved.look([QUEUE], 2 * SECONDS) == [QUEUE]
