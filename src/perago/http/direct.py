"""Calls in the caller's own thread, over kept connections: a third of what a hop to an event loop and back costs.

For small calls of many threads to one server. There is no proxy here, and no streaming: that is `session`'s.
"""

from __future__ import annotations

import functools
import os
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from yarl import URL

from perago.http.faults import FaultKind, HttpFault
from perago.http.forks import tell_forks
from perago.http.reading import CutError, Incoming, read_answer
from perago.http.retry import RetryPolicy
from perago.http.session import (
    MAX_ANSWER_BYTES,
    Answer,
    Request,
    call_repeatedly,
    trusting,
)
from perago.http.translation import CONNECT_SECONDS, fault_of_tls

T = TypeVar("T")

KEPT_SECONDS = 15.0
"""A connection that was idle for longer is not used again: servers close them, some after 20 s."""

_CHUNK = 64 * 1024

Origin = tuple[str, str, int]


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
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
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
            busy = list(self._busy)
        self._end()
        for connection in busy:
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

    def _connected(self, url: URL, deadline: float) -> _Connection:
        origin = (url.scheme, url.raw_host or "", url.port or 80)
        connection = self._kept(origin)
        if connection is None:
            connection = _Connection(origin, self._context(url), deadline)
        with self._lock:
            if not self._closed:
                self._busy.add(connection)
                return connection
        connection.close()
        raise RuntimeError("the session is closed")

    def _kept(self, origin: Origin) -> _Connection | None:
        """One that is idle and still stands; those that do not are closed."""
        while True:
            with self._lock:
                found = next((one for one in reversed(self._idle) if one.origin == origin), None)
                if found is None:
                    return None
                self._idle.remove(found)
            if found.stands():
                return found
            found.close()

    def _give_back(self, connection: _Connection, *, keep: bool) -> None:
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


class _Connection:
    """A connection to a server, for one call after the other.

    Raises:
        HttpFault: there is none.
    """

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, deadline: float) -> None:
        self.origin = origin
        self._used = 0.0
        _, host, port = origin
        seconds = min(CONNECT_SECONDS, _left(deadline))
        try:
            self._socket = socket.create_connection((host, port), seconds)
        except OSError as exc:
            raise HttpFault(FaultKind.UNREACHABLE, f"no connection: {_reason(exc)}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None:
            return
        try:
            self._socket = tls.wrap_socket(self._socket, server_hostname=host)
        except OSError as exc:
            self._socket.close()
            raise fault_of_tls(exc) from None

    def stands(self) -> bool:
        """Whether it can be used again: it is young, and the server has not closed it."""
        if time.monotonic() - self._used > KEPT_SECONDS:
            return False
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return not poller.poll(0)  # nothing was asked for: what can be read now is its end

    def exchange(self, request: Request, common: Mapping[str, str], deadline: float) -> tuple[Answer, bool]:
        """Send a request and read the answer; says whether the connection can be used again.

        Raises:
            HttpFault: there is no whole answer.
        """
        incoming = Incoming(lambda: self._received(deadline))
        try:
            self._socket.settimeout(_left(deadline))
            self._socket.sendall(_written(request, common))
            head, body = read_answer(incoming, request.method, MAX_ANSWER_BYTES)
        except TimeoutError:
            raise HttpFault(FaultKind.TIMEOUT, "no whole answer in time") from None
        except (OSError, CutError):
            raise HttpFault(FaultKind.CUT, "the connection was cut before the whole answer came") from None
        except ValueError as exc:
            raise HttpFault(FaultKind.MALFORMED, f"the answer is not HTTP as expected: {exc}") from None
        if len(body) > MAX_ANSWER_BYTES:
            fault = f"the answer has more than {MAX_ANSWER_BYTES} bytes, which is the limit"
            raise HttpFault(FaultKind.MALFORMED, fault)
        self._used = time.monotonic()
        return Answer(head.status, head.headers, body), head.keeps and incoming.is_empty

    def _received(self, deadline: float) -> bytes:
        self._socket.settimeout(_left(deadline))
        return self._socket.recv(_CHUNK)

    def cut(self) -> None:
        """End the call under way, from another thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


def _written(request: Request, common: Mapping[str, str]) -> bytes:
    """A request as it is sent.

    Raises:
        ValueError: a header holds what would end it.
    """
    url, body = request.url, request.body or b""
    if not isinstance(body, bytes):
        raise TypeError("a body in pieces is for `session`")
    first = _line(f"{request.method} {url.raw_path_qs} HTTP/1.1")
    headers = _headers(url.authority, tuple(common.items()), tuple(request.headers.items()))
    length = "" if request.body is None else f"Content-Length: {len(body)}\r\n"
    return f"{first}{headers}{length}\r\n".encode("latin-1") + body


@functools.lru_cache(maxsize=64)  # calls differ in their first line
def _headers(host: str, common: tuple[tuple[str, str], ...], own: tuple[tuple[str, str], ...]) -> str:
    headers = {"Host": host, **dict(common), **dict(own)}
    return "".join(_line(f"{name}: {value}") for name, value in headers.items())


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a header holds a control character")
    return f"{text}\r\n"


async def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"none in {CONNECT_SECONDS:g} s"
    if isinstance(error, socket.gaierror):
        return "the host's name is not known"
    return os.strerror(error.errno) if error.errno is not None else type(error).__name__


def _close_all(connections: list[_Connection]) -> None:
    while connections:
        connections.pop().close()
