"""Calls in the caller's own thread, over kept connections: a third of what a hop to an event loop and back costs.

For small calls of many threads to one server. There is no proxy here, and no streaming: that is `session`'s.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import weakref
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

from yarl import URL

from perago.http.connection import Connection, Origin
from perago.http.forks import tell_forks
from perago.http.retry import RetryPolicy
from perago.http.session import Answer, Request, call_repeatedly, trusting

T = TypeVar("T")

KEPT_SECONDS = 15.0
"""A connection that was idle for longer is not used again: servers close them, some after 20 s."""


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits for an event loop, as those over a `DirectSession`, in this thread."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    raise RuntimeError("it waits for an event loop")


class DirectSession:
    """A bounded pool of kept connections, for any number of threads. Its coroutines are for `run_now`.

    Args:
        ca_file: certificates that a server's may be signed with, besides those that the system knows.
        connections: at most; further calls wait for their turn.
        policy: of retries.
        user_agent: who we say we are.

    Raises:
        OSError: the file cannot be read, or holds no certificates.
    """

    def __init__(
        self,
        *,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 16,
        policy: RetryPolicy | None = None,
        user_agent: str = "perago",
    ) -> None:
        self._ca_file = ca_file
        self._tls = None if ca_file is None else trusting(ca_file)
        self._connections = connections
        self._policy = policy or RetryPolicy()
        self._common = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._begin()
        self._closed = False
        tell_forks(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(self._connections)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._end = weakref.finalize(self, _close_all, self._idle)

    async def call(self, request: Request, *, timeout: float) -> Answer:
        """Send a request, and read the answer; again where that is safe and may help.

        Args:
            timeout: seconds for all tries together, from when it is this call's turn.

        Raises:
            HttpFault: there is no whole answer.
            RuntimeError: the session was closed.
        """
        with self._turns:
            return await call_repeatedly(self._once, request, timeout=timeout, policy=self._policy, sleep=_sleep)

    async def close(self) -> None:
        """Close all connections, those of calls under way too. Twice is fine."""
        with self._lock:
            self._closed = True
            self._end()
            for connection in self._busy:  # within the lock: none of them is closed, and its descriptor another's
                connection.cut()

    def leave_to_parent(self) -> None:
        """See `forks.Forked`. To close a copy of a socket does nothing to the parent's."""
        self._end.detach()
        self._begin()

    async def _once(self, request: Request, timeout: float) -> Answer:
        deadline = time.monotonic() + timeout
        connection = self._connected(request.url, deadline)
        keep = False
        try:
            answer, keep = connection.exchange(request, self._common, deadline)
        finally:
            self._give_back(connection, keep=keep)
        return answer

    def _connected(self, url: URL, deadline: float) -> Connection:
        origin = (url.scheme, url.raw_host or "", url.port or 80)
        connection = self._kept(origin)
        if connection is None:
            connection = Connection(origin, self._context(url), deadline)
        with self._lock:
            if not self._closed:
                self._busy.add(connection)
                return connection
        connection.close()
        raise RuntimeError("the session is closed")

    def _kept(self, origin: Origin) -> Connection | None:
        """One that is idle and still stands; those that do not are closed."""
        while True:
            with self._lock:
                found = next((one for one in reversed(self._idle) if one.origin == origin), None)
                if found is None:
                    return None
                self._idle.remove(found)
            if found.idle_seconds <= KEPT_SECONDS and found.stands():
                return found
            found.close()

    def _give_back(self, connection: Connection, *, keep: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if keep and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _context(self, url: URL) -> ssl.SSLContext | None:
        if url.scheme != "https":
            return None
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


class ThreadLock:
    """A lock between threads in the shape of an event loop's, for what runs by `run_now`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()


async def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _close_all(connections: list[Connection]) -> None:
    while connections:
        connections.pop().close()
