from __future__ import annotations

import threading
import time

import pytest

from perago.errors import TaskCancelledError, TaskTimeoutError
from servers.machine import slowness

GRACE = 0.3


@pytest.fixture
def cancel_once_running(bodies):
    """An event that is set when the body tells that it is running."""
    event = threading.Event()
    bodies.cancelled_at = []

    def cancel(*_):
        bodies.cancelled_at.append(time.time())
        event.set()

    bodies.on_progress = cancel
    return event


def test_a_body_learns_within_a_fifth_of_a_second_that_it_is_cancelled(bodies, cancel_once_running, tmp_path):
    noticed = tmp_path / "noticed"
    with pytest.raises(TaskCancelledError, match="heed"):
        bodies.run("heed", {"text": str(noticed)}, cancelled=cancel_once_running, grace_seconds=30)
    assert float(noticed.read_text()) - bodies.cancelled_at[0] < 0.2


def test_cancellation_may_be_asked_of_any_callable(bodies, cancel_once_running, tmp_path):
    with pytest.raises(TaskCancelledError):
        bodies.run("heed", {"text": str(tmp_path / "noticed")}, cancelled=lambda: cancel_once_running.is_set())


def test_a_body_that_does_not_heed_cancellation_gets_sigterm_and_may_clean_up(bodies, cancel_once_running, tmp_path):
    trace = tmp_path / "trace"
    started = time.monotonic()
    with pytest.raises(TaskCancelledError):
        bodies.run("heed_sigterm", {"text": str(trace)}, cancelled=cancel_once_running, grace_seconds=GRACE)
    assert trace.read_text() == "cleaned up"
    assert time.monotonic() - started < 10 * slowness()


@pytest.mark.parametrize("body", ["ignore_everything", "hold_the_lock"])
def test_a_body_that_heeds_nothing_is_killed(bodies, cancel_once_running, is_alive, body):
    with pytest.raises(TaskCancelledError):
        bodies.run(body, cancelled=cancel_once_running, grace_seconds=GRACE)
    assert time.time() - bodies.cancelled_at[0] < 2 * GRACE + 2
    assert not is_alive(int(bodies.progress[0][2]))


@pytest.mark.parametrize("body", ["spin", "hold_the_lock"])
def test_a_body_that_takes_too_long_is_ended(bodies, body):
    started = time.monotonic()
    with pytest.raises(TaskTimeoutError, match=r"longer than 1\.5 s"):
        bodies.run(body, timeout_seconds=1.5, grace_seconds=GRACE)
    assert time.monotonic() - started < (1.5 + 2 * GRACE + 2) * slowness()


def test_a_body_in_time_is_left_alone(bodies):
    assert bodies.run("return_text", {"text": "done"}, timeout_seconds=60) == {"value": "done"}


def test_without_grace_a_body_is_ended_at_once(bodies, cancel_once_running):
    with pytest.raises(TaskCancelledError):
        bodies.run("ignore_everything", cancelled=cancel_once_running, grace_seconds=0)
    assert time.time() - bodies.cancelled_at[0] < 2


def test_a_call_that_is_cancelled_before_it_starts_ends_soon(bodies):
    with pytest.raises(TaskCancelledError):
        bodies.run("ignore_everything", cancelled=lambda: True, grace_seconds=GRACE)
