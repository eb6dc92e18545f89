"""A link of a given round trip time to a server on loopback: a TCP proxy that delays the bytes of both directions.

It runs in a process of its own, so that it takes no time from the measured program. It does not know HTTP, but an
HTTP/1.1 client sends nothing more before it has the answer, so each connection shows which call was under way when.

usage: python -m servers.link PORT SECONDS, which forwards to the port and ends with its standard input
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

WAITING_BYTES = 16 * 1024 * 1024
"""Bytes under way in one direction of a connection; the sender of more has to wait."""

CLOSE_SECONDS = 10.0


class Call(NamedTuple):
    """A call as the client saw it: its first line, and seconds of the link's clock.

    Attributes:
        ended: when the last byte of the answer arrived.
        opened: it was the first of its connection, and so waited for one more round trip.
        size: bytes of the call and its answer.
    """

    line: str
    began: float
    ended: float
    opened: bool
    size: int = 0


def in_sequence(calls: Iterable[Call]) -> list[Call]:
    """The longest chain of calls of which each began after the one before had ended."""
    chain: list[Call] = []
    for call in sorted(calls, key=lambda call: call.ended):
        if not chain or call.began >= chain[-1].ended:
            chain.append(call)
    return chain


class Link:
    """Forwards connections to a server. A context manager.

    Args:
        server_url: such as http://127.0.0.1:8000.
        round_trip_seconds: of the link; a new connection takes one more.

    Attributes:
        url: for clients.
    """

    def __init__(self, server_url: str, round_trip_seconds: float) -> None:
        port = urlsplit(server_url).port
        assert port is not None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "servers.link", str(port), str(round_trip_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        self.url = f"http://127.0.0.1:{json.loads(self._line())}"

    def calls(self) -> list[Call]:
        """The calls that were answered since the last time this was asked."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return [Call(*each) for each in json.loads(self._line())]

    def close(self) -> None:
        """Close all connections and end the process."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(CLOSE_SECONDS)

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the link ended"
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()


# ---- in the link's process


class _Side(asyncio.Protocol):
    """One end of a connection. What arrives here leaves the other end later, in order; None stands for the end."""

    def __init__(self, delay: float, other: _Side | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._delay = delay
        self._other = other
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > WAITING_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._take(None)

    def send(self, data: bytes | None) -> None:
        """Let bytes out at this end."""
        if self._transport is None or self._transport.is_closing():
            return
        if data is None:
            self._transport.close()
        else:
            self._transport.write(data)

    def _take(self, data: bytes | None) -> None:
        self._waiting.append((max(self._loop.time() + self._delay, self._not_before), data))
        if self._timer is None:
            self._deliver()

    def _deliver(self) -> None:
        self._timer = None
        while self._other is not None and self._waiting and self._waiting[0][0] <= self._loop.time():
            _, data = self._waiting.popleft()
            self._bytes -= len(data or b"")
            self._other.send(data)
        if self._other is not None and self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self._deliver)
        if self._bytes <= WAITING_BYTES and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


class _Client(_Side):
    """The client's end. Its first bytes also wait for the round trip that opens a connection."""

    def __init__(self, delay: float, port: int, calls: list[Call]) -> None:
        super().__init__(delay, None)
        self._port = port
        self._calls = calls
        self._not_before = self._loop.time() + 3 * delay
        self._asked: tuple[str, float] | None = None
        self._answered_at: float | None = None
        self._is_first = True
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = self._loop.create_task(self._connect())

    def data_received(self, data: bytes) -> None:
        if self._asked is None or self._answered_at is not None:
            self.note()
            self._asked = data.partition(b"\r\n")[0].decode("latin-1"), self._loop.time()
        self._size += len(data)
        super().data_received(data)

    def send(self, data: bytes | None) -> None:
        super().send(data)
        if data is not None:
            self._answered_at = self._loop.time()
            self._size += len(data)

    def note(self) -> None:
        """Record the call before, if it was answered."""
        if self._asked is not None and self._answered_at is not None:
            self._calls.append(Call(*self._asked, self._answered_at, self._is_first, self._size))
            self._asked, self._answered_at, self._is_first, self._size = None, None, False, 0

    async def _connect(self) -> None:
        try:
            _, server = await self._loop.create_connection(lambda: _Side(self._delay, self), "127.0.0.1", self._port)
        except OSError:
            self.send(None)
        else:
            self._other = server
            if self._timer is None:
                self._deliver()


class _Link:
    """All connections of a link.

    Args:
        delay: seconds of one direction.
    """

    def __init__(self, port: int, delay: float) -> None:
        self._port = port
        self._delay = delay
        self._calls: list[Call] = []
        self._clients: list[_Client] = []

    async def serve(self) -> None:
        """Print the port, then answer each line of input with the calls since the last one."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accept, "127.0.0.1", 0, backlog=1024)
        print(json.dumps(server.sockets[0].getsockname()[1]), flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            for client in self._clients:
                client.note()
            told, self._calls[:] = list(self._calls), []
            print(json.dumps(told), flush=True)
        server.close()

    def _accept(self) -> _Client:
        client = _Client(self._delay, self._port, self._calls)
        self._clients.append(client)
        return client


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_Link(int(sys.argv[1]), float(sys.argv[2]) / 2).serve())
