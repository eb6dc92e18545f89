"""HTTP/1.1 messages on asyncio streams, as far as a proxy on loopback needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

PIECE = 64 * 1024
LINE_LIMIT = 128 * 1024
"""Maximum length of a line of a head, which may hold object names and stamps."""


class ConnectionEndedError(Exception):
    """The peer closed the connection within a message, or sent something other than HTTP."""


@dataclass
class Message:
    """The head of a request or an answer, and the body as it arrives.

    Attributes:
        start: first line, without its end.
        headers: names and values, in order, as sent.
        body: pieces of the body, without framing.
        bodiless: whether there is no body, whatever the headers say.
    """

    start: str
    headers: list[tuple[str, str]]
    body: AsyncIterator[bytes]
    bodiless: bool = False

    @classmethod
    async def read(cls, stream: asyncio.StreamReader, *, answer_to: str | None = None) -> Self | None:
        """The next message; None if the peer closes the connection properly.

        Args:
            answer_to: the request's method if this is an answer; determines whether it has a body.
        """
        start = await _line(stream)
        if start is None:
            return None
        headers = []
        while line := await _line(stream):
            name, _, value = line.partition(":")
            headers.append((name, value.strip()))
        message = cls(start, headers, nothing())
        status = start.split()[1] if answer_to is not None else ""
        message.bodiless = answer_to == "HEAD" or status in ("204", "304") or status.startswith("1")
        if not message.bodiless:
            message.body = message._read_body(stream, until_close=answer_to is not None)
        return message

    def header(self, name: str) -> str:
        """A header's value, "" if there is none."""
        return next((value for given, value in self.headers if given.lower() == name.lower()), "")

    def replace_header(self, name: str, value: str | None) -> None:
        """Set or remove a header."""
        self.headers = [pair for pair in self.headers if pair[0].lower() != name.lower()]
        if value is not None:
            self.headers.append((name, value))

    @property
    def chunked(self) -> bool:
        return "chunked" in self.header("Transfer-Encoding").lower()

    @property
    def ends_connection(self) -> bool:
        framed = self.bodiless or self.chunked or bool(self.header("Content-Length"))
        return self.header("Connection").lower() == "close" or (self.start.startswith("HTTP/") and not framed)

    def head(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def framed(self, piece: bytes) -> bytes:
        """A piece of the body with its framing."""
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self.chunked else piece

    @property
    def end(self) -> bytes:
        """The framing after the last piece."""
        return b"0\r\n\r\n" if self.chunked and not self.bodiless else b""

    def with_whole_body(self, body: bytes) -> None:
        """Replace the body by a complete one."""
        self.replace_header("Transfer-Encoding", None)
        self.replace_header("Content-Length", str(len(body)))
        self.body = _one(body)

    def _read_body(self, stream: asyncio.StreamReader, *, until_close: bool) -> AsyncIterator[bytes]:
        if self.chunked:
            return _read_chunks(stream)
        if length := self.header("Content-Length"):
            return _read_length(stream, int(length))
        return _read_all(stream) if until_close else nothing()


async def whole(body: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in body])


async def pass_over(body: AsyncIterator[bytes]) -> None:
    """Read and discard it."""
    async for _ in body:
        continue


async def _line(stream: asyncio.StreamReader) -> str | None:
    try:
        line = await stream.readuntil(b"\r\n")
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise ConnectionEndedError("within a line") from exc
        return None
    except asyncio.LimitOverrunError as exc:
        raise ConnectionEndedError(f"a line of more than {LINE_LIMIT} bytes") from exc
    return line[:-2].decode("latin-1")


async def _read_length(stream: asyncio.StreamReader, length: int) -> AsyncIterator[bytes]:
    while length:
        piece = await stream.read(min(length, PIECE))
        if not piece:
            raise ConnectionEndedError(f"{length} bytes of the body are missing")
        length -= len(piece)
        yield piece


async def _read_chunks(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await _line(stream) or "0").split(";")[0], 16):
        async for piece in _read_length(stream, size):
            yield piece
        await _line(stream)
    while await _line(stream):
        continue  # trailers


async def _read_all(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await stream.read(PIECE):
        yield piece


async def nothing() -> AsyncIterator[bytes]:
    """A body without bytes."""
    return
    yield


async def _one(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body
