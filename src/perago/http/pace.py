"""How many calls to make at a time: a decision from what the answers show, without I/O and without a clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

NEARBY = 24
"""Parallel calls that keep a server busy if the network takes no time; the fastest for reads, on two cores."""

TOLERANCE = 2.0
"""Factor by which a call may exceed the shortest time before the limit falls: a busy machine is not a queue."""


class Pace:
    """Finds how many calls to make at a time ("gradient", as in TCP Vegas and Netflix' concurrency limits).

    The shortest time seen is that of a call without a queue. The longer calls take on average, the longer is the queue,
    at the server or in this process. After each round of `limit` answers, the limit falls by the factor by which they
    exceeded the tolerance, and grows by the `nearby` calls that may always wait. Over a long link no call waits at
    first, so the limit grows by `nearby` in each round. A refusal halves it. The outcomes of calls that were under way
    then are ignored, and the limit grows again slowly.

    Args:
        nearby: calls that may wait, and the limit to begin with.

    Attributes:
        limit: calls to make at a time, from 1 to `at_most`.
    """

    def __init__(self, at_most: int, nearby: int = NEARBY) -> None:
        self.limit = min(nearby, at_most)
        self.at_most = at_most
        self._nearby = nearby
        self._queue = nearby
        self._shortest = float("inf")
        self._begin_round(0)

    def answered(self, seconds: float) -> None:
        """Take note of an answer: the seconds from sending to its end."""
        self._shortest = min(self._shortest, seconds)
        if self._is_from_before():
            return
        self._answers += 1
        self._seconds += seconds
        if self._answers >= self.limit:
            self._queue = min(self._queue + 1, self._nearby)
            gradient = min(TOLERANCE * self._shortest * self._answers / max(self._seconds, 1e-9), 1.0)
            self.limit = min(round(self.limit * gradient) + self._queue, self.at_most)
            self._begin_round(0)

    def refused(self) -> None:
        """Take note that the server had no room, or no time: 429, 5xx, no answer."""
        if not self._is_from_before():
            under_way = self.limit - 1
            self.limit, self._queue = max(self.limit // 2, 1), 0
            self._begin_round(under_way)

    def _begin_round(self, before: int) -> None:
        self._before = before
        self._answers = 0
        self._seconds = 0.0

    def _is_from_before(self) -> bool:
        """Whether the call was sent before the limit was halved, so that its outcome says nothing about the new one."""
        self._before -= 1
        return self._before >= 0


_pace: ContextVar[Pace | None] = ContextVar("pace", default=None)


def present_pace() -> Pace | None:
    """The pace that calls made in this context report to."""
    return _pace.get()


@contextmanager
def setting(pace: Pace) -> Iterator[None]:
    """Make calls in this context report to this pace."""
    token = _pace.set(pace)
    try:
        yield
    finally:
        _pace.reset(token)
