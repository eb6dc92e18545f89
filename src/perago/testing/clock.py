"""A clock that only a test moves."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

_START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """`ports.Clock` that a test moves. `sleep` advances it without waiting. Thread-safe.

    Args:
        start: initial time, with a time zone. Default: 2026-01-01 00:00 UTC.

    Raises:
        ValueError: `start` has no time zone.
    """

    def __init__(self, start: datetime = _START) -> None:
        if start.tzinfo is None:
            raise ValueError("the start of a clock needs a time zone, as in datetime(2026, 1, 1, tzinfo=UTC)")
        self._lock = threading.Lock()
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0

    def now(self) -> datetime:
        """The present time in UTC, with time zone."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Seconds passed since the clock was created, not affected by `set`."""
        with self._lock:
            return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Advance the clock without waiting."""
        self.advance(max(seconds, 0.0))

    def advance(self, seconds: float) -> None:
        """Advance the clock.

        Raises:
            ValueError: `seconds` is negative; use `set` to turn the clock back.
        """
        if seconds < 0:
            raise ValueError(f"cannot advance by {seconds:g} s; set() turns the clock back")
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def set(self, now: datetime) -> None:
        """Set the wall clock forward or back, as a time server does. Monotonic time is unchanged."""
        with self._lock:
            self._now = now.astimezone(UTC)
