"""A connection pool for calls and streams, used within one event loop."""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import math
import os
import socket
import ssl
import sys
import time
import weakref
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from perago.http.answer import MAX_ANSWER_BYTES, Answer, FaultKind, HttpFault
from perago.http.connecting import CONNECT_SECONDS, Proxy, fault_of_tls, proxy_for, trusting
from perago.http.file_range import FilePayload, FileRange
from perago.http.forks import keep, tell_forks
from perago.http.pace import present_pace
from perago.http.retry import PASSING_STATUSES, RetryPolicy, Tries, answer_of

_UNAUTHORIZED = 401

STALL_SECONDS = 60.0
"""Limit for a wait without any byte, whatever the deadline of the call."""

UNSENT_SECONDS = 300.0
"""Time without acknowledgment after which the system ends a connection (Linux). asyncio would otherwise wait forever
for a stalled server to take the bytes of an abandoned call."""

LET_GO_SECONDS = 1.0
"""Time for sockets to close after their shutdown; it takes two rounds of the loop."""

READ_BYTES = 512 * 1024
"""Bytes of an answer that wait to be taken before reading pauses; each pause costs two calls of the system."""

LARGE_BODY_BYTES = 256 * 1024

Body = bytes | FileRange


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    url: complete and encoded.
    body: None for no body. A request with bytes of a file is not retried here.
    idempotent: repeating it does no harm.
    authorized: send the server's credentials. Never for another server.
    """

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    idempotent: bool = True
    authorized: bool = True


class Stream:
    """An answer whose body has not been read yet."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces, as they arrive.

        Raises:
            HttpFault: it is incomplete, or does not arrive.
        """
        with translated():
            async for chunk in self._response.content.iter_any():
                yield chunk

    async def read(self, limit: int = MAX_ANSWER_BYTES) -> bytes:
        """The whole body.

        Raises:
            HttpFault: it is longer than `limit`, or incomplete.
        """
        with translated():
            return await _read(self._response, limit)


class Authorization(Protocol):
    """A credential that can change while a session is open. No call of it may take long."""

    def header(self) -> str:
        """The value of the Authorization header."""

    def renew(self) -> str:
        """The value after the server has refused the current one; the same value if there is no newer one."""


class HttpSession:
    """A limited pool of connections.

    Args:
        authorization: value of the header for the server, or where to get it; None for no header. A call that is
            refused with 401 is repeated once if there is a newer value: the server has not carried it out.
        ca_file: certificates to trust, in addition to the system's.
        connections: maximum, to all servers together.
        user_agent: value of the User-Agent header.

    Attributes:
        connections: as given.
    """

    def __init__(
        self,
        *,
        authorization: str | Authorization | None,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 256,
        user_agent: str = "perago",
    ) -> None:
        self._tls: ssl.SSLContext | bool = True if ca_file is None else trusting(ca_file)
        # Turns are taken in order. aiohttp's own limit is not fair: a waiting call can be overtaken forever.
        self.connections = connections
        self._turns = asyncio.Semaphore(connections)
        self._policy = RetryPolicy()
        common = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        ours = {**common, "Authorization": authorization} if isinstance(authorization, str) else common
        self._open_headers = CIMultiDict(common)  # aiohttp would convert a dictionary for each request
        self._our_headers = CIMultiDict(ours)
        self._proxies: dict[_Origin, Proxy | None] = {}
        self._known: set[_Origin] = set()
        self._client: aiohttp.ClientSession | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._authorization = None if isinstance(authorization, str) else authorization
        self._credential: str | None = None

    async def call(self, request: Request, *, timeout: float) -> Answer:
        """Send a request and read the answer into memory. Retries if that is safe and can help.

        Args:
            timeout: seconds for all tries together, after the wait for a connection.

        Raises:
            HttpFault: there is no complete answer.
        """
        async with self._turns:
            tries = Tries(self._policy, idempotent=request.idempotent, deadline=time.monotonic() + timeout)
            while True:
                outcome = await self._outcome(request, tries.deadline - time.monotonic())
                # Not for another server: what a block store does not give or take, the server itself can.
                is_known = request.authorized and _origin(request.url) in self._known
                pause = tries.pause_after(outcome, is_known=is_known)
                if pause is None or not isinstance(request.body, bytes | None):
                    return answer_of(outcome)
                await asyncio.sleep(pause)

    @asynccontextmanager
    async def stream(self, request: Request, *, timeout: float) -> AsyncIterator[Stream]:
        """Send a request once, and yield the answer before its body is read.

        Args:
            timeout: seconds until the end of the body, after the wait for a connection.

        Raises:
            HttpFault: there is no answer.
        """
        stalled = aiohttp.ClientTimeout(
            total=timeout, sock_connect=CONNECT_SECONDS, sock_read=min(STALL_SECONDS, timeout)
        )
        async with self._turns:
            with translated():
                response = await self._send(request, stalled)
                if self._may_repeat(request, response):
                    response.release()
                    response = await self._send(request, stalled)
            try:
                yield Stream(response)
            finally:
                response.release()  # closes the connection if the body was not read completely

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
            await _let_go(self._sockets)

    def leave_to_parent(self) -> None:
        """See `forks.Forked`."""
        if self._client is not None:
            keep(self._client)
        self._client = None
        for inherited in list(self._sockets):
            inherited.close()  # only this process's copy, so that nothing can affect the parent's
        self._sockets = weakref.WeakSet()
        self._turns = asyncio.Semaphore(self.connections)  # calls of the parent do not release their turns here

    async def _outcome(self, request: Request, timeout: float) -> Answer | HttpFault:
        pace, began = present_pace(), time.monotonic()
        try:
            answer = await self._once(request, timeout)
        except HttpFault as fault:
            if pace is not None:
                pace.refused()
            return fault
        if pace is not None:
            if answer.status in PASSING_STATUSES:
                pace.refused()
            else:
                pace.answered(time.monotonic() - began)
        if answer.status not in PASSING_STATUSES:
            self._known.add(_origin(request.url))
        return answer

    async def _once(self, request: Request, timeout: float) -> Answer:
        with translated():
            deadline = _deadline(timeout if timeout < 30 else math.ceil(timeout))
            response = await self._send(request, deadline)
            if self._may_repeat(request, response):
                response.release()
                response = await self._send(request, deadline)
            try:
                body = await _read(response, MAX_ANSWER_BYTES)
            finally:
                response.release()
        return Answer(response.status, response.headers, body)

    def _authorize(self, credential: str) -> None:
        if credential != self._credential:
            self._credential = credential
            self._our_headers = CIMultiDict({**self._open_headers, "Authorization": credential})

    def _may_repeat(self, request: Request, response: aiohttp.ClientResponse) -> bool:
        """Whether the server has refused a credential, and there is a newer one.

        Raises:
            HttpFault: the same, but the body has been sent and cannot be sent again here.
        """
        if response.status != _UNAUTHORIZED or not request.authorized or self._authorization is None:
            return False
        refused = response.request_info.headers.get("Authorization")
        if self._authorization.header() == refused:
            self._authorization.renew()
        if self._authorization.header() == refused:
            return False
        if not isinstance(request.body, bytes | None):
            response.release()
            raise HttpFault(FaultKind.CUT, "the server no longer accepts a credential, which has been renewed since")
        return True

    async def _send(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        url = request.url
        if request.authorized and self._authorization is not None:
            self._authorize(self._authorization.header())
        headers: Mapping[str, str] = self._our_headers if request.authorized else self._open_headers
        proxy = self._proxy_of(url)
        tunnel: dict[str, Any] = {}
        if proxy is not None:
            tunnel = {"proxy": proxy.url, "proxy_headers": proxy.headers}
            if url.scheme == "http":
                headers = {**headers, **proxy.headers}
        if request.headers:
            headers = {**headers, **request.headers}
        return await self._opened().request(
            request.method,
            url,
            data=_whole_or_streamed(request.body),
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
            **tunnel,
        )

    def _proxy_of(self, url: URL) -> Proxy | None:
        """Looked up once per server. aiohttp's own way reads the whole environment for each request."""
        key = _origin(url)
        if key not in self._proxies:
            try:
                self._proxies[key] = proxy_for(f"{url.scheme}://{url.raw_authority}")
            except ValueError as exc:
                raise HttpFault(FaultKind.UNREACHABLE, str(exc)) from None
        return self._proxies[key]

    def _opened(self) -> aiohttp.ClientSession:
        if self._client is None:
            tell_forks(self)
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=self._tls,
                keepalive_timeout=15.0,
                socket_factory=self._new_socket,
            )
            self._client = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=READ_BYTES,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._client

    def _new_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        if sys.platform == "linux":
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * UNSENT_SECONDS))
        self._sockets.add(made)
        return made


_Origin = tuple[str, str | None, int | None]


def _origin(url: URL) -> _Origin:
    """Scheme, host and port."""
    return url.scheme, url.raw_host, url.port


async def _let_go(sockets: Iterable[socket.socket]) -> None:
    """Force-close sockets with unsent data. asyncio would wait forever for the other side to take it."""
    left = [each for each in sockets if each.fileno() >= 0]
    for each in left:
        with suppress(OSError):  # already closed by the other side
            each.shutdown(socket.SHUT_RDWR)
    deadline = time.monotonic() + LET_GO_SECONDS
    while any(each.fileno() >= 0 for each in left) and time.monotonic() < deadline:
        await asyncio.sleep(0.001)


@functools.lru_cache(maxsize=256)
def _deadline(seconds: float) -> aiohttp.ClientTimeout:
    """Timeout of a whole call. Long ones are rounded up, so that many small calls share one object."""
    return aiohttp.ClientTimeout(total=max(seconds, 0.001), sock_connect=CONNECT_SECONDS)


def _whole_or_streamed(body: Body | None) -> Any:
    """Large bodies are written in pieces, so that the loop can serve other calls."""
    if isinstance(body, FileRange):
        return FilePayload(body)
    return io.BytesIO(body) if isinstance(body, bytes) and len(body) > LARGE_BODY_BYTES else body


def encoded(url: str) -> URL:
    """A URL that is already percent-encoded, unchanged."""
    return URL(url, encoded=True)


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    length = response.content_length
    if length is not None and length > limit:
        raise HttpFault(FaultKind.MALFORMED, f"the answer has {length} bytes, above the limit of {limit}")
    if length is not None:
        return await response.read()
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            raise HttpFault(FaultKind.MALFORMED, f"the answer exceeds the limit of {limit} bytes")
    return b"".join(parts)


# ---------------------------------------------------------------- faults
# The texts of exceptions of aiohttp can contain presigned URLs, which are credentials.


class translated:  # noqa: N801 - reads as a statement; a class, because a generator makes each small call slower
    """A `with` block that converts exceptions of aiohttp and the system to `HttpFault`."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, aiohttp.ClientError | TimeoutError | OSError | ValueError):
            raise _fault_of(error) from None


_TLS = (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError)
_UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_CUT = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError, ConnectionError)


def _fault_of(error: Exception) -> HttpFault:
    if isinstance(error, _TLS):
        return fault_of_tls(error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return HttpFault(FaultKind.UNREACHABLE, f"the proxy answered {error.status}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return HttpFault(FaultKind.UNREACHABLE, f"the proxy cannot be reached: {_reason(error)}")
    if isinstance(error, _UNREACHABLE):
        return HttpFault(FaultKind.UNREACHABLE, f"no connection: {_reason(error)}")
    if isinstance(error, TimeoutError):
        return HttpFault(FaultKind.TIMEOUT, "no complete answer in time")
    if isinstance(error, _CUT):
        return HttpFault(FaultKind.CUT, "the connection was closed before the answer was complete")
    return HttpFault(FaultKind.MALFORMED, f"the answer is not valid HTTP ({type(error).__name__})")


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if isinstance(error, TimeoutError):
        return f"timeout after {CONNECT_SECONDS:g} s"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "unknown host name"
    return os.strerror(number) if isinstance(number, int) and number in errno.errorcode else type(error).__name__
