"""A proxy on loopback in front of an HTTP/1.1 server, which applies faults by rules and counts them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections import Counter, deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from servers.faults import Fault, Rule
from servers.http_messages import LINE_LIMIT, ConnectionEndedError, Message, whole
from servers.passage import Exchange, HangUpError, Passage, Upstream

SMALL_BODY = 1024 * 1024
"""Bodies of requests up to this size are read before the rules are applied, so that rules can match them."""
LOG_LENGTH = 100_000
CLOSE_SECONDS = 2.0
START_SECONDS = 10.0


@dataclass(frozen=True)
class Seen:
    """A request, and the status that the client got, or None."""

    method: str
    target: str
    fault: Fault | None
    status: int | None


class FaultProxy:
    """Forwards requests, except those that a rule takes. A context manager; runs in a thread of its own.

    Args:
        server_url: target of requests, such as http://127.0.0.1:8000.
        tls: use TLS with clients, but not with the server.

    Attributes:
        url: URL for clients.
    """

    def __init__(self, server_url: str, *, tls: ssl.SSLContext | None = None) -> None:
        address = urlsplit(server_url)
        assert address.scheme == "http"
        assert address.hostname is not None
        self._server = (address.hostname, address.port or 80)
        self._tls = tls
        self._rules: list[Rule] = []
        self._seen: deque[Seen] = deque(maxlen=LOG_LENGTH)
        self._seen_lock = threading.Lock()
        self._clients: set[asyncio.Task[None]] = set()
        started: threading.Event = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name="fault-proxy")
        self._thread.start()
        assert started.wait(START_SECONDS), "the proxy did not start"
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._port}"

    # ---- for tests

    @property
    def clients(self) -> int:
        """Connections that are open."""
        return len(self._clients)

    def add(self, rule: Rule) -> Rule:
        """Add a rule. The first rule that takes a request applies."""
        self._rules = [*self._rules, rule]
        return rule

    def remove(self, rule: Rule) -> None:
        """Remove a rule."""
        self._rules = [other for other in self._rules if other is not rule]

    def clear(self) -> None:
        """Remove all rules."""
        self._rules = []

    def seen(self) -> list[Seen]:
        """The finished requests, with or without an answer, in that order."""
        with self._seen_lock:
            return list(self._seen)

    def fired(self) -> Counter[str]:
        """Number of faults that took effect, by kind."""
        return Counter(type(seen.fault).__name__ for seen in self.seen() if seen.fault is not None)

    def close(self) -> None:
        """Close all connections and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    # ---- connections

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=LINE_LIMIT, ssl=self._tls)
        self._port: int = server.sockets[0].getsockname()[1]
        started.set()
        await self._closing.wait()
        server.close()
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._client(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = Upstream(self._server)
        try:
            while await self._exchange(reader, writer, upstream):
                continue
        except HangUpError as hang_up:
            if hang_up.reset:
                _reset_at_close(writer)
        except (ConnectionEndedError, OSError):
            pass  # one side has closed: close the other one, too
        finally:
            upstream.close()
            await _close(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: Upstream) -> bool:
        """One request and its answer; returns False if the connection must be closed."""
        request = await Message.read(reader)
        if request is None:
            return False
        method, target, _ = request.start.split(" ", 2)
        if request.header("Expect"):
            request.replace_header("Expect", None)
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange = Exchange(method, target, request, self._rule_for(method, target, await _read_small_body(request)))
        passage = Passage(exchange, reader, writer, upstream, self._record)
        try:
            return await passage.run()
        finally:
            if exchange.status is None:
                self._record(exchange)

    def _record(self, exchange: Exchange) -> None:
        fault = exchange.rule.fault if exchange.rule is not None else None
        with self._seen_lock:
            self._seen.append(Seen(exchange.method, exchange.target, fault, exchange.status))

    def _rule_for(self, method: str, target: str, body: bytes) -> Rule | None:
        taken = None
        for rule in self._rules:
            if rule.takes(method, target, body, taken=taken is not None):
                taken = rule
        return taken


async def _read_small_body(request: Message) -> bytes:
    """The body if it is known to be small. The request keeps it."""
    length = request.header("Content-Length")
    if request.chunked or not length or int(length) > SMALL_BODY:
        return b""
    body = await whole(request.body)
    request.with_whole_body(body)
    return body


def _reset_at_close(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), CLOSE_SECONDS)
    except (OSError, TimeoutError, asyncio.CancelledError):
        writer.transport.abort()  # the client has closed, or reads no more
