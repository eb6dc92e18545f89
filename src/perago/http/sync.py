"""Calls to one server in the caller's thread, over urllib3's connection pool.

urllib3 has a timeout for each wait on a socket. This module keeps a deadline for the whole call: each wait gets the
remaining time. Two things are not covered: the system's name lookup, and the third and further addresses of a host if
the first two do not answer. A request whose deadline has passed is not sent.
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

from perago.http.answer import MAX_ANSWER_BYTES, Answer, FaultKind, HttpFault
from perago.http.connecting import CONNECT_SECONDS, fault_of_tls, proxy_for, trusting
from perago.http.forks import keep, tell_forks
from perago.http.retry import RetryPolicy, Tries, answer_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Flight = Callable[[], AbstractContextManager[object]]

KEPT_SECONDS = 15.0
"""A connection that was idle for longer is not reused: servers close idle ones, some after 20 s."""

_CHUNK = 64 * 1024
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_ENDED_BY_SERVER = (ssl.SSLEOFError, ssl.SSLZeroReturnError)  # during the handshake: a server is starting or stopping
_REFUSED_TUNNEL = "Tunnel connection failed: "  # from `http.client`; the proxy's status follows


class SyncSession:
    """A limited pool of connections to one server, for any number of threads.

    Args:
        server_url: scheme, host and port; the rest is ignored.
        ca_file: certificates to trust, in addition to the system's.
        connections: maximum; further calls wait for their turn.
        policy: of retries.
        user_agent: value of the User-Agent header.

    Raises:
        OSError: the file cannot be read, or contains no certificates.
        ValueError: the environment's proxy for the server is not a proxy URL.
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
        """Send a request and read the answer. Retries if that is safe and can help.

        Args:
            target: encoded path and query.
            timeout: seconds for all tries together, after the wait for a connection.
            idempotent: repeating it does no harm. Other calls are retried only if nothing was sent.
            flight: makes a context for each try, from before sending to the answer. In between, the server may have the
                request. If entering it raises, the call ends and nothing is sent.

        Raises:
            HttpFault: there is no complete answer.
            RuntimeError: the session is closed.
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
        """Close all connections, including those of calls in progress. May be called twice."""
        self._is_closed = True
        self._ending.set()
        self._pool.close()
        with self._lock:
            opened = list(self._sockets)
        for each in opened:
            with suppress(OSError):  # `SSLSocket.shutdown` would remove TLS from a running call
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    def leave_to_parent(self) -> None:
        """See `forks.Forked`."""
        keep(self._pool)  # another thread may have held its lock
        for inherited in list(self._sockets):
            inherited.close()  # only this process's copy
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
                timeout=Timeout(connect=min(CONNECT_SECONDS, left) / 2, read=left),  # time for two addresses
                preload_content=False,
                decode_content=False,
            )
            answer = Answer(response.status, response.headers, _body_of(response))
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            raise self._fault_of(error, deadline) from None
        if self._is_closed:
            raise _cut()  # an answer without a length would look complete
        return answer

    def _connected(self, opened: socket.socket) -> None:
        with self._lock:
            self._sockets.add(opened)
        if self._is_closed:
            raise RuntimeError("the session is closed")

    def _fault_of(self, error: Exception, deadline: float) -> HttpFault:
        """The fault for an error after the connection was made."""
        if self._is_closed:
            return _cut()
        if isinstance(error, ReadTimeoutError) or time.monotonic() >= deadline:
            return HttpFault(FaultKind.TIMEOUT, "no complete answer in time")
        cause = error.args[1] if len(error.args) > 1 else None
        if isinstance(error, ValueError) and not isinstance(error, HTTPError):
            return HttpFault(FaultKind.MALFORMED, "the request cannot be sent: a header contains invalid characters")
        if isinstance(cause, HTTPException) and not isinstance(cause, RemoteDisconnected | IncompleteRead):
            detail = f"the answer is not valid HTTP ({type(cause).__name__})"
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
                fault = f"the answer exceeds the limit of {MAX_ANSWER_BYTES} bytes"
                raise HttpFault(FaultKind.MALFORMED, fault)
    finally:
        response.release_conn()
    return b"".join(parts)


def _cut() -> HttpFault:
    return HttpFault(FaultKind.CUT, "the connection was closed before the answer was complete")


def _too_late() -> HttpFault:
    return HttpFault(FaultKind.UNREACHABLE, "nothing was sent, because the time for an answer was over")


# ---- connections: urllib3's, with the deadline of the current call


class _Call(threading.local):
    """The current call of a thread.

    Attributes:
        deadline: of the call, monotonic seconds.
        connected: called with each new connection's socket.
    """

    deadline = math.inf
    connected: Callable[[socket.socket], None]


_call = _Call()


class _Deadline(socket.socket):
    """A socket that waits no longer than the current call's deadline."""

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(_left())
        return super().recv_into(buffer, nbytes or 0, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        self.settimeout(_left())
        super().sendall(data, flags)


class _TlsSocket(_Deadline, ssl.SSLSocket):
    """The same with TLS."""


def _left() -> float:
    left = _call.deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Connection(HTTPConnection):
    """A connection that explains why it could not be made, and is not reused after a long idle time."""

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
        """Send head and body together. urllib3 would send them separately, and wake the server twice."""
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
        return "unknown host name"
    if isinstance(error, ssl.SSLError):
        return "the server closed it during the TLS handshake"
    number = getattr(error.__cause__ or error, "errno", None)
    if isinstance(number, int):
        return os.strerror(number)
    return "timeout" if isinstance(error, ConnectTimeoutError | TimeoutError) else type(error).__name__
