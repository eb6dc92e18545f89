"""Keeping an execution's lease: a heartbeat at a third of the response timeout, and never one beside a report.

The server writes a task's row without a lock. A heartbeat that is in flight when COMPLETED is posted can put the task
back to IN_PROGRESS: 64 of 150 with three in flight, 1 of 60 with one, none of 60 when it was stopped and joined first.
So there is one heartbeat at a time, and `stop` waits for the one in flight instead of cutting it: what is cut may still
arrive. One that still waits for its turn among the calls, or for a token, is given up at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from perago.errors import EngineError, TaskNotFoundError
from perago.http.session import Flight

FRACTION = 3
"""Heartbeats within one response timeout: two may fail before the lease is lost."""

SHORTEST_INTERVAL_SECONDS = 0.25
DEFAULT_INTERVAL_SECONDS = 60.0
"""For a task whose response timeout is not said."""

CALL_SECONDS = 10.0
"""Deadline of one heartbeat from its turn on, however short its interval: one that is given up may still arrive, and
then beside a report. `stop` waits no longer than that."""

RETRY_FRACTION = 4
"""A heartbeat that failed is sent again after this part of the interval."""


def heartbeat_interval(response_timeout_seconds: float) -> float:
    """Seconds between two heartbeats; a timeout of 0 is none that was said."""
    if response_timeout_seconds <= 0:
        return DEFAULT_INTERVAL_SECONDS
    return max(SHORTEST_INTERVAL_SECONDS, response_timeout_seconds / FRACTION)


def pause_before_heartbeat(interval: float, silent_seconds: float, failures: int) -> float:
    """Seconds until the next heartbeat: from the last one that was sent, not from its answer, as a slow server must not
    stretch the interval.

    Args:
        silent_seconds: since the last one that the server answered was sent.
        failures: in a row.
    """
    if failures:
        return interval / RETRY_FRACTION
    return max(0.0, interval - silent_seconds)


class Heartbeat:
    """The heartbeat of one execution, within an event loop.

    Args:
        send: sends one; is given the deadline in seconds, and the request's `flight`.
        interval: seconds between two.
        at_once: the first one is due now, as where others were missing. Default: after the interval, as the poll began
            the lease.
    """

    def __init__(
        self, send: Callable[[float, Flight], Awaitable[None]], interval: float, *, at_once: bool = False
    ) -> None:
        self._send = send
        self._interval = interval
        self._stopping = self._in_flight = False
        self._task: asyncio.Task[None] | None = None
        self._last = time.monotonic() - (interval if at_once else 0.0)
        self._failures = 0
        self._gone = False

    @property
    def silent_seconds(self) -> float:
        """Since the last heartbeat that the server answered was sent; before that, since the lease began or, where one
        was due at once, an interval more. May be read from any thread.
        """
        return time.monotonic() - self._last

    @property
    def is_late(self) -> bool:
        """Whether two heartbeats are missing: the third one loses the lease; or there will be none. For any thread."""
        return self._stopping or self.silent_seconds > self._interval * (FRACTION - 1)

    @property
    def is_retrying(self) -> bool:
        """Whether the last one failed, and is sent again soon. May be read from any thread."""
        return self._failures > 0 and not self._stopping and not self.is_stopped

    @property
    def is_gone(self) -> bool:
        """Whether the server does not know the task any more. May be read from any thread."""
        return self._gone

    @property
    def failures(self) -> int:
        """Heartbeats in a row that failed. May be read from any thread."""
        return self._failures

    @property
    def is_stopped(self) -> bool:
        """Whether there are no more heartbeats, and none is in flight. May be read from any thread."""
        return self._task is not None and self._task.done()

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._beat())

    def let_go(self) -> None:
        """No more heartbeats; does not wait for the one in flight."""
        self._stopping = True
        if self._task is not None and not self._in_flight:
            self._task.cancel()

    async def stop(self) -> None:
        """No more heartbeats; returns when the one in flight has its answer. Twice is fine."""
        self.let_go()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _beat(self) -> None:
        while not self._gone and not self._stopping:
            await asyncio.sleep(self._pause())
            await self._send_one()

    async def _send_one(self) -> None:
        sent = time.monotonic()
        try:
            await self._send(CALL_SECONDS, self._flight)
        except TaskNotFoundError:
            self._gone = True
        except EngineError:
            self._failures += 1
        else:
            self._last = sent
            self._failures = 0

    def _pause(self) -> float:
        return pause_before_heartbeat(self._interval, self.silent_seconds, self._failures)

    @contextmanager
    def _flight(self) -> Iterator[None]:
        if self._stopping:  # it was let go while the server refused the token, and would be sent once more
            raise asyncio.CancelledError
        self._in_flight = True
        try:
            yield
        finally:
            self._in_flight = False
            if self._stopping and self._task is not None:
                self._task.cancel()  # what it would do yet is to fetch another token, for a heartbeat that is not sent
