"""One connection to a server, for one call after the other, in whatever thread makes the call.

Its socket is never waited for by Python itself: that costs two more calls of the system for each send and each receive,
and each of them lets other threads in between.
"""

from __future__ import annotations

import functools
import os
import select
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress

from perago.http.faults import FaultKind, HttpFault
from perago.http.lookup import LOOKUPS
from perago.http.reading import CutError, Incoming, read_answer
from perago.http.session import MAX_ANSWER_BYTES, Answer, Request
from perago.http.translation import CONNECT_SECONDS, fault_of_tls

_CHUNK = 64 * 1024

_ENDED_BY_SERVER = (ssl.SSLEOFError, ssl.SSLZeroReturnError)  # in mid-handshake: one that starts or ends does that

Origin = tuple[str, str, int]
"""Scheme, host and port."""


class Connection:
    """A connection, with TLS or without. For one thread at a time, but for `cut`.

    Args:
        tls: None: without.
        deadline: for it to stand, monotonic seconds.

    Raises:
        HttpFault: there is none.
    """

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, deadline: float) -> None:
        self.origin = origin
        self._used = 0.0
        self._is_cut = False
        self._socket = _connected(origin, tls, deadline)
        self._socket.setblocking(False)
        self._poller = select.poll()
        self._poller.register(self._socket, select.POLLIN)

    @property
    def idle_seconds(self) -> float:
        """Since its last answer."""
        return time.monotonic() - self._used

    def stands(self) -> bool:
        """Whether the server has not closed it."""
        self._poller.modify(self._socket, select.POLLIN)
        return not self._poller.poll(0)  # nothing was asked for: what can be read now is its end

    def exchange(self, request: Request, common: Mapping[str, str], deadline: float) -> tuple[Answer, bool]:
        """Send a request and read the answer; says whether the connection can be used again.

        Raises:
            HttpFault: there is no whole answer.
        """
        incoming = Incoming(lambda: self._received(deadline))
        try:
            self._send(_written(request, common), deadline)
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

    def cut(self) -> None:
        """End the call under way, from another thread."""
        self._is_cut = True
        with suppress(OSError):  # not `SSLSocket.shutdown`: it takes TLS away from the call, which goes on without
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _send(self, data: bytes, deadline: float) -> None:
        if time.monotonic() >= deadline:
            raise HttpFault(FaultKind.UNREACHABLE, "nothing was sent, as the time for an answer was over")
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT, deadline)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)

    def _received(self, deadline: float) -> bytes:
        """The next bytes, at least one; none: it has ended."""
        awaited = 0 if self._holds_some() else select.POLLIN
        while True:
            if awaited:
                self._wait(awaited, deadline)
            try:
                data = self._socket.recv(_CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError):
                awaited = select.POLLIN
            except ssl.SSLWantWriteError:
                awaited = select.POLLOUT
            else:
                if not data and self._is_cut:
                    raise CutError  # an answer without a length would seem to be whole
                return data

    def _holds_some(self) -> bool:
        """Whether TLS has taken more from the socket than anyone has read: waiting for the socket would be in vain."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _wait(self, event: int, deadline: float) -> None:
        self._poller.modify(self._socket, event)
        if not self._poller.poll(_left(deadline) * 1000):
            raise TimeoutError


def _connected(origin: Origin, tls: ssl.SSLContext | None, deadline: float) -> socket.socket:
    _, host, port = origin
    deadline = min(deadline, time.monotonic() + CONNECT_SECONDS)
    try:
        reached = _reached(host, port, deadline)
    except (OSError, UnicodeError) as exc:
        raise HttpFault(FaultKind.UNREACHABLE, f"no connection: {_reason(exc)}") from None
    try:
        reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None:
            return reached
        reached.settimeout(_left(deadline))
        return tls.wrap_socket(reached, server_hostname=host)
    except OSError as exc:
        reached.close()
        if isinstance(exc, ssl.SSLError) and not isinstance(exc, _ENDED_BY_SERVER):
            raise fault_of_tls(exc) from None
        raise HttpFault(FaultKind.UNREACHABLE, f"no connection: {_reason(exc)}") from None


def _reached(host: str, port: int, deadline: float) -> socket.socket:
    """A connection to the first of a host's addresses that takes one; all of them together have until the deadline.

    Each has its share of what is left: one that swallows what is sent to it, as of a network without a way out, leaves
    the others theirs.
    """
    fault: OSError = ConnectionError()
    addresses = LOOKUPS.addresses_of(host, port, _left(deadline))
    for number, (family, kind, protocol, address) in enumerate(addresses):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(_left(deadline) / (len(addresses) - number))
            opened.connect(address)
        except OSError as exc:
            opened.close()
            fault = exc
        else:
            return opened
    raise fault


def _written(request: Request, common: Mapping[str, str]) -> bytes:
    """A request as it is sent.

    Raises:
        ValueError: a header holds what would end it.
    """
    url, body = request.url, request.body or b""
    if not isinstance(body, bytes):
        raise TypeError("a body in pieces is for `session`")
    first = _line(f"{request.method} {url.raw_path_qs} HTTP/1.1")
    headers = _headers(url.raw_authority, tuple(common.items()), tuple(request.headers.items()))
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


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, TimeoutError):
        return "none in time"
    if isinstance(error, socket.gaierror | UnicodeError):
        return "the host's name is not known"
    if isinstance(error, ssl.SSLError):
        return "the server ended it while TLS began"
    return os.strerror(error.errno) if error.errno is not None else type(error).__name__
