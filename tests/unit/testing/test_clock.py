"""A clock that a test moves."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from perago.testing import ManualClock


def test_it_stands_still_until_it_is_moved():
    clock = ManualClock()
    assert clock.now() == clock.now() == datetime(2026, 1, 1, tzinfo=UTC)
    assert clock.monotonic() == 0.0


def test_sleep_and_advance_let_time_pass_at_once():
    clock = ManualClock(datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    clock.sleep(1.5)
    clock.advance(0.5)
    clock.sleep(-3)
    assert clock.now() == datetime(2026, 5, 1, 10, 0, 2, tzinfo=UTC)
    assert clock.monotonic() == 2.0


def test_setting_the_date_lets_no_time_pass():
    clock = ManualClock()
    clock.set(datetime(2025, 1, 1, tzinfo=UTC))
    assert clock.now().year == 2025
    assert clock.monotonic() == 0.0


def test_what_no_clock_does_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test
    with pytest.raises(ValueError, match="turns the clock back"):
        ManualClock().advance(-1)
