"""Clocks that are wrong on purpose."""

from __future__ import annotations

from datetime import datetime, timedelta

from perago.ports import SystemClock


class LaterClock(SystemClock):
    """The time in a while, when what was left behind is old.

    Args:
        later: how much later.
    """

    def __init__(self, later: timedelta = timedelta(days=1)) -> None:
        self._later = later

    def now(self) -> datetime:
        return super().now() + self._later
