"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

_START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """A `ports.Clock` that a test moves; `sleep` moves it at once. Safe to share between threads.

    Args:
        start: what it shows first, aware. Default: 2026-01-01 00:00 UTC.

    Raises:
        ValueError: `start` has no time zone.
    """

    def __init__(self, start: datetime = _START) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock's start has to name its time zone, as in datetime(2026, 1, 1, tzinfo=UTC)")
        self._lock = threading.Lock()
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0

    def now(self) -> datetime:
        """The present, aware, in UTC."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Seconds that passed since the clock was made; `set` does not count."""
        with self._lock:
            return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Let the seconds pass without waiting."""
        self.advance(max(seconds, 0.0))

    def advance(self, seconds: float) -> None:
        """Let the seconds pass.

        Raises:
            ValueError: they are negative; `set` turns a clock back.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back by {-seconds:g} s; set() turns the clock back")
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def set(self, now: datetime) -> None:
        """Set the date, forward or back, as a person or a time server does: no time passes by it."""
        with self._lock:
            self._now = now.astimezone(UTC)
