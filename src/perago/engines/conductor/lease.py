"""Keeping an execution's lease: a heartbeat at a third of the response timeout, and never one during a report.

The server writes a task's row without a lock. A heartbeat in flight when COMPLETED is posted can set the task back to
IN_PROGRESS: 64 of 150 with three in flight, 1 of 60 with one, none of 60 after stopping and joining it. Therefore only
one heartbeat is in flight, and `stop` waits for it instead of aborting it, because an aborted one may still arrive. A
heartbeat that still waits for a connection or a token is dropped at once.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from perago.errors import EngineError, TaskNotFoundError
from perago.http.sync import Flight

FRACTION = 3
"""Heartbeats per response timeout: two may fail before the lease is lost."""

SHORTEST_INTERVAL_SECONDS = 0.25
DEFAULT_INTERVAL_SECONDS = 60.0
"""Interval for a task without a known response timeout."""

CALL_SECONDS = 10.0
"""Deadline of one heartbeat once it has a connection, even if the interval is shorter: an aborted one may still arrive
during a report. `stop` waits no longer than this."""

_STOP_SECONDS = 2.0 + CALL_SECONDS
"""Deadline for stopping a lease: that of the heartbeat in flight, and a little more."""

RETRY_FRACTION = 4
"""A failed heartbeat is sent again after this fraction of the interval."""


def heartbeat_interval(response_timeout_seconds: float) -> float:
    """Seconds between two heartbeats. A timeout of 0 means that it is unknown."""
    if response_timeout_seconds <= 0:
        return DEFAULT_INTERVAL_SECONDS
    return max(SHORTEST_INTERVAL_SECONDS, response_timeout_seconds / FRACTION)


def pause_before_heartbeat(interval: float, silent_seconds: float, failures: int) -> float:
    """Seconds until the next heartbeat, counted from when the last one was sent. A slow server must not stretch the
    interval.

    Args:
        silent_seconds: since the last successful heartbeat was sent.
        failures: consecutive failures.
    """
    if failures:
        return interval / RETRY_FRACTION
    return max(0.0, interval - silent_seconds)


class _LetGoError(Exception):
    """The lease was let go before a heartbeat was sent."""


class FirstHeartbeats:
    """Starts each lease's thread when its first heartbeat is due. Most tasks end before that and need none.

    One thread waits for all leases of an engine. It begins with the first lease and ends with `close`.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[ConductorLease, float] = {}
        self._wakes_at = math.inf
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def add(self, lease: ConductorLease, seconds: float) -> None:
        """Start a lease's thread after `seconds`, unless the lease is removed first.

        Raises:
            RuntimeError: this process cannot start a thread.
        """
        with self._changed:
            due = self._due[lease] = time.monotonic() + seconds
            if self._thread is None:
                thread = threading.Thread(target=self._wait, name="perago-leases", daemon=True)
                thread.start()
                self._thread = thread
            elif due < self._wakes_at:
                self._changed.notify_all()

    def remove(self, lease: ConductorLease) -> None:
        with self._changed:
            self._due.pop(lease, None)

    def close(self) -> None:
        """Start nothing more and end the thread. May be called twice."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _wait(self) -> None:
        while True:
            with self._changed:
                if self._is_closed:
                    return
                now = time.monotonic()
                due = [lease for lease, at in self._due.items() if at <= now]
                for lease in due:
                    del self._due[lease]
                self._wakes_at = min(self._due.values(), default=math.inf)
                if not due:
                    self._changed.wait(min(self._wakes_at - now, threading.TIMEOUT_MAX))
            for lease in due:
                with suppress(RuntimeError):  # no thread can be started: the lease will be late and is then replaced
                    lease.beat()


class ConductorLease:
    """The lease of one execution, kept by heartbeats from its own thread. Members may be used by any thread.

    Args:
        send: sends a heartbeat; gets the deadline in seconds and the request's `flight`.
        interval: seconds between two heartbeats.
        first: starts the thread when the first heartbeat is due.
        at_once: the first one is due now, because earlier ones are missing. Default: after the interval, because the
            poll started the lease.
    """

    def __init__(
        self,
        send: Callable[[float, Flight], None],
        interval: float,
        first: FirstHeartbeats,
        *,
        at_once: bool = False,
    ) -> None:
        self._first = first
        self._is_at_once = at_once
        self._send = send
        self._interval = interval
        self._changed = threading.Condition()
        self._is_let_go = self._in_flight = self._is_gone = False
        self._last = time.monotonic() - (interval if at_once else 0.0)
        self._failures = 0
        self._thread = threading.Thread(target=self._beat, name="perago-lease", daemon=True)

    def start(self) -> None:
        """Start the heartbeats.

        Raises:
            EngineError: no thread can be started.
        """
        try:
            if self._is_at_once:
                self.beat()
            else:
                self._first.add(self, self._interval)
        except RuntimeError as exc:
            raise EngineError("heartbeats cannot be started, because this process cannot start a thread") from exc

    def beat(self) -> None:
        """Send heartbeats from now on, unless the lease is over.

        Raises:
            RuntimeError: this process cannot start a thread.
        """
        with self._changed:
            if not self._is_over:
                self._thread.start()

    @property
    def is_late(self) -> bool:
        """Whether two heartbeats are missing, and missing the third will lose the lease; or heartbeats have ended."""
        return self._is_let_go or time.monotonic() - self._last > self._interval * (FRACTION - 1)

    @property
    def failures(self) -> int:
        """Consecutive failed heartbeats."""
        return self._failures

    @property
    def is_retrying(self) -> bool:
        """Whether the last heartbeat failed and will be sent again soon."""
        return self._failures > 0 and not self._is_over

    @property
    def is_stopped(self) -> bool:
        """Whether heartbeats have ended and none is in flight."""
        with self._changed:
            return self._is_over and not self._in_flight

    def let_go(self) -> None:
        """Send no more heartbeats. Returns at once, even if one is still in flight."""
        self._first.remove(self)
        with self._changed:
            self._is_let_go = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Send no more heartbeats, and wait for the one in flight or its deadline. May be called twice.

        A heartbeat that still waits for a connection or a token is dropped.
        """
        self.let_go()
        with self._changed:
            self._changed.wait_for(lambda: not self._in_flight, _STOP_SECONDS)

    def end(self) -> None:
        """Let go and join the thread. Call it when the thread's calls end soon."""
        self.let_go()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)

    @property
    def _is_over(self) -> bool:
        return self._is_let_go or self._is_gone

    def _beat(self) -> None:
        while not self._is_over:
            with self._changed:
                self._changed.wait_for(lambda: self._is_let_go, self._pause())
            self._send_one()

    def _send_one(self) -> None:
        sent = time.monotonic()
        try:
            self._send(CALL_SECONDS, self._flight)
        except _LetGoError:
            return
        except TaskNotFoundError:
            self._is_gone = True
        except EngineError:
            self._failures += 1
        except RuntimeError:  # the engine was closed
            self.let_go()
        else:
            self._last = sent
            self._failures = 0

    def _pause(self) -> float:
        return pause_before_heartbeat(self._interval, time.monotonic() - self._last, self._failures)

    @contextmanager
    def _flight(self) -> Iterator[None]:
        with self._changed:
            if self._is_let_go:
                raise _LetGoError
            self._in_flight = True
        try:
            yield
        finally:
            with self._changed:
                self._in_flight = False
                self._changed.notify_all()
