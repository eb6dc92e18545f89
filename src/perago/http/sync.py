"""Calls to one server in the caller's own thread, over urllib3's pool of kept connections.

urllib3 has a timeout for each wait on a socket. The deadline of a whole call is kept here: each wait gets what is left
of it. Two things it does not bound: the system's lookup of a host's name, and a third address of a host of which the
first two do not answer. A request whose deadline has passed meanwhile is not sent.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NameResolutionError,
    ReadTimeoutError,
)

from perago.http.answer import MAX_ANSWER_BYTES, Answer
from perago.http.connecting import CONNECT_SECONDS, fault_of_tls, trusting
from perago.http.faults import FaultKind, HttpFault
from perago.http.forks import keep, tell_forks
from perago.http.proxies import proxy_for
from perago.http.retry import RetryPolicy, Tries, answer_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Flight = Callable[[], AbstractContextManager[object]]

KEPT_SECONDS = 15.0
"""A connection whose last request is older is not used again: servers close those that are idle, some after 20 s."""

_CHUNK = 64 * 1024
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_ENDED_BY_SERVER = (ssl.SSLEOFError, ssl.SSLZeroReturnError)  # during the handshake: a server that starts or ends
_REFUSED_TUNNEL = "Tunnel connection failed: "  # of `http.client`; the proxy's status follows


class SyncSession:
    """A bounded pool of kept connections to one server, for any number of threads.

    Args:
        server_url: scheme, host and port; the rest is ignored.
        ca_file: certificates that the server's may be signed with, besides those that the system knows.
        connections: at most; further calls wait for their turn.
        policy: of retries.
        user_agent: who we say we are.

    Raises:
        OSError: the file cannot be read, or holds no certificates.
        ValueError: the environment's proxy for the server is no URL of one.
    """

    def __init__(
        self,
        server_url: str,
        *,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 16,
        policy: RetryPolicy | None = None,
        user_agent: str = "perago",
    ) -> None:
        parts = urlsplit(server_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._proxy = proxy_for(server_url)
        self._is_forwarded = self._proxy is not None and parts.scheme == "http"
        self._tls: ssl.SSLContext | None = None
        if ca_file is not None or parts.scheme == "https" or (self._proxy and self._proxy.url.startswith("https:")):
            self._tls = trusting(ca_file)
            self._tls.sslsocket_class = _TlsSocket
        self._connections = connections
        self._policy = policy or RetryPolicy()
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._is_closed = False
        self._begin()
        tell_forks(self)

    def _begin(self) -> None:
        self._ending = threading.Event()
        self._turns = threading.Semaphore(self._connections)
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._pool = self._new_pool()

    def _new_pool(self) -> HTTPConnectionPool:
        proxy = self._proxy
        options: dict[str, Any] = {"maxsize": self._connections, "ssl_context": self._tls}
        if proxy is None:
            manager = PoolManager(**options)
        else:
            manager = ProxyManager(proxy.url, proxy_headers=proxy.headers, proxy_ssl_context=self._tls, **options)
        pool = manager.connection_from_url(self._origin)
        pool.ConnectionCls = _TlsConnection if pool.scheme == "https" else _Connection
        return pool

    def call(
        self,
        method: str,
        target: str,
        *,
        timeout: float,
        idempotent: bool,
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes | None = None,
        flight: Flight = nullcontext,
    ) -> Answer:
        """Send a request, and read the answer; again where that is safe and may help.

        Args:
            target: path and query, encoded already.
            timeout: seconds for all tries together, from when it is this call's turn.
            idempotent: doing it twice is as good as once. What is not is tried again only where nothing was sent.
            flight: makes what is entered for each try, from its turn to its answer: meanwhile the server may have got
                the request. What entering raises ends the call, and nothing is sent.

        Raises:
            HttpFault: there is no whole answer.
            RuntimeError: the session was closed.
        """
        with self._turns:
            tries = Tries(self._policy, idempotent=idempotent, deadline=time.monotonic() + timeout)
            while True:
                outcome: Answer | HttpFault
                try:
                    with flight():
                        outcome = self._once(method, target, {**self._headers, **headers}, body, tries.deadline)
                except HttpFault as fault:
                    outcome = fault
                pause = tries.pause_after(outcome)
                if pause is None:
                    return answer_of(outcome)
                self._ending.wait(pause)

    def close(self) -> None:
        """Close all connections, and cut those of calls under way. Twice is fine."""
        self._is_closed = True
        self._ending.set()
        self._pool.close()
        with self._lock:
            opened = list(self._sockets)
        for each in opened:
            with suppress(OSError):  # not `SSLSocket.shutdown`: it takes TLS away from the call, which goes on without
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    def leave_to_parent(self) -> None:
        """See `forks.Forked`."""
        keep(self._pool)  # another thread may have held its lock
        for inherited in list(self._sockets):
            inherited.close()  # this copy only
        self._begin()

    def _once(self, method: str, target: str, headers: dict[str, str], body: bytes | None, deadline: float) -> Answer:
        if self._is_closed:
            raise RuntimeError("the session is closed")
        left = deadline - time.monotonic()
        if left <= 0:
            raise _too_late()
        _call.deadline, _call.connected = deadline, self._connected
        try:
            response = self._pool.urlopen(
                method,
                f"{self._origin}{target}" if self._is_forwarded else target,
                body,
                headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=Timeout(connect=min(CONNECT_SECONDS, left) / 2, read=left),  # two addresses have their time
                preload_content=False,
                decode_content=False,
            )
            answer = Answer(response.status, response.headers, _body_of(response))
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            raise self._fault_of(error, deadline) from None
        if self._is_closed:
            raise _cut()  # an answer without a length would seem to be whole
        return answer

    def _connected(self, opened: socket.socket) -> None:
        with self._lock:
            self._sockets.add(opened)
        if self._is_closed:
            raise RuntimeError("the session is closed")

    def _fault_of(self, error: Exception, deadline: float) -> HttpFault:
        """What happened after there was a connection."""
        if self._is_closed:
            return _cut()
        if isinstance(error, ReadTimeoutError) or time.monotonic() >= deadline:
            return HttpFault(FaultKind.TIMEOUT, "no whole answer in time")
        cause = error.args[1] if len(error.args) > 1 else None
        if isinstance(error, ValueError) and not isinstance(error, HTTPError):
            return HttpFault(FaultKind.MALFORMED, "the request cannot be sent: a header holds what HTTP does not allow")
        if isinstance(cause, HTTPException) and not isinstance(cause, RemoteDisconnected | IncompleteRead):
            detail = f"the answer is not HTTP as expected ({type(cause).__name__})"
            return HttpFault(FaultKind.MALFORMED, detail)
        return _cut()


def _body_of(response: BaseHTTPResponse) -> bytes:
    parts, size = [], 0
    try:
        while chunk := response.read(_CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                response.close()
                fault = f"the answer has more than {MAX_ANSWER_BYTES} bytes, which is the limit"
                raise HttpFault(FaultKind.MALFORMED, fault)
    finally:
        response.release_conn()
    return b"".join(parts)


def _cut() -> HttpFault:
    return HttpFault(FaultKind.CUT, "the connection was cut before the whole answer came")


def _too_late() -> HttpFault:
    return HttpFault(FaultKind.UNREACHABLE, "nothing was sent, as the time for an answer was over")


# ---- connections: urllib3's, which keep the deadline of the call that uses them


class _Call(threading.local):
    """The call that a thread makes.

    Attributes:
        deadline: of the call, monotonic seconds.
        connected: is told of each new connection's socket.
    """

    deadline = math.inf
    connected: Callable[[socket.socket], None]


_call = _Call()


class _Deadline(socket.socket):
    """Waits no longer than the call of its thread may."""

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(_left())
        return super().recv_into(buffer, nbytes or 0, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        self.settimeout(_left())
        super().sendall(data, flags)


class _TlsSocket(_Deadline, ssl.SSLSocket):
    """The same through TLS."""


def _left() -> float:
    left = _call.deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Connection(HTTPConnection):
    """A connection that says what kept it from being made, and is not used again when it was idle for long."""

    _used = -math.inf
    _gathered: list[bytes] | None = None

    def connect(self) -> None:
        try:
            super().connect()
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            raise self._fault_of(error) from None
        if type(self.sock) is socket.socket:
            self.sock = _Deadline(fileno=self.sock.detach())
        if time.monotonic() >= _call.deadline:
            raise _too_late()
        _call.connected(self.sock)

    def request(self, *args: Any, **options: Any) -> None:
        """Head and body go together: urllib3 would send, and wake the server, twice."""
        self._used = time.monotonic()
        parts: list[bytes] = []
        self._gathered = parts
        try:
            super().request(*args, **options)
        finally:
            self._gathered = None
        self.send(b"".join(parts))

    def send(self, data: Any) -> None:
        if self._gathered is None:
            super().send(data)
        else:
            self._gathered.append(data)

    @property
    def is_connected(self) -> bool:
        return time.monotonic() - self._used <= KEPT_SECONDS and super().is_connected

    def _fault_of(self, error: Exception) -> HttpFault:
        if isinstance(error, ssl.SSLError) and not isinstance(error, _ENDED_BY_SERVER):
            return fault_of_tls(error)
        if str(error).startswith(_REFUSED_TUNNEL):
            status = str(error).removeprefix(_REFUSED_TUNNEL).split()[0]
            return HttpFault(FaultKind.UNREACHABLE, f"the proxy answered {status}")
        is_at_proxy = self.proxy is not None and not self.has_connected_to_proxy
        what = "the proxy cannot be reached" if is_at_proxy else "no connection"
        return HttpFault(FaultKind.UNREACHABLE, f"{what}: {_reason(error)}")


class _TlsConnection(_Connection, HTTPSConnection):
    """The same with TLS."""


def _reason(error: Exception) -> str:
    if isinstance(error, NameResolutionError | LocationParseError | UnicodeError):
        return "the host's name is not known"
    if isinstance(error, ssl.SSLError):
        return "the server ended it while TLS began"
    number = getattr(error.__cause__ or error, "errno", None)
    if isinstance(number, int):
        return os.strerror(number)
    return "none in time" if isinstance(error, ConnectTimeoutError | TimeoutError) else type(error).__name__
