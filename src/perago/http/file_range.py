"""Bytes of an open file as the body of a request. The kernel sends them by itself where it can (`sendfile`)."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from perago.http.parallel import in_thread

PIECE_BYTES = 1024 * 1024
"""Size of a piece where the kernel cannot send the file: over TLS, and in chunks."""

FIRST_BYTES = 64 * 1024
"""Size of the first piece, which goes out with the head of the request."""


class FileIsShorterError(OSError):
    """The file ends before the part."""


class FileRange:
    """Bytes of an open file. They are read at their positions, so several parts can be sent at a time.

    Args:
        descriptor: open until the call has ended.
        part: range of bytes.
        chunked: do not tell the length: `Transfer-Encoding: chunked`.

    Attributes:
        error: why the file could not be read. The call then only has the fault of an aborted request.
    """

    def __init__(self, descriptor: int, part: range, *, chunked: bool = False) -> None:
        self.descriptor = descriptor
        self.part = part
        self.chunked = chunked
        self.error: OSError | None = None


class FilePayload(aiohttp.payload.Payload):
    """Sends a `FileRange`."""

    _default_content_type = "application/octet-stream"

    def __init__(self, body: FileRange) -> None:
        super().__init__(body)
        self._body = body
        self._size = None if body.chunked else len(body.part)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - aiohttp's interface
        raise TypeError("a file that is sent is not read into memory")

    async def write(self, writer: AbstractStreamWriter) -> None:
        stop = self._body.part.stop
        at = await self._write_piece(writer, self._body.part.start, FIRST_BYTES)
        transport = getattr(writer, "transport", None)
        if at < stop and not self._body.chunked and transport is not None:
            await writer.drain()
            at += await self._send(transport, at)
        while at < stop:
            at = await self._write_piece(writer, at, PIECE_BYTES)

    async def _write_piece(self, writer: AbstractStreamWriter, at: int, most: int) -> int:
        body = self._body
        try:
            piece = await in_thread(os.pread, body.descriptor, min(most, body.part.stop - at), at)
            if not piece and at < body.part.stop:
                raise FileIsShorterError
        except OSError as exc:
            body.error = exc
            raise
        await writer.write(piece)
        return at + len(piece)

    async def _send(self, transport: asyncio.Transport, at: int) -> int:
        """Let the kernel send the rest. Returns the number of bytes: fewer if the file is shorter, 0 if it cannot."""
        if transport.get_extra_info("sslcontext") is not None:
            return 0
        body = self._body
        try:
            with (
                suppress(asyncio.SendfileNotAvailableError, NotImplementedError),
                open(body.descriptor, "rb", buffering=0, closefd=False) as file,
            ):
                count = body.part.stop - at
                return await asyncio.get_running_loop().sendfile(transport, file, at, count, fallback=False)
        except OSError as exc:
            if exc.errno == errno.EIO:
                body.error = exc
            raise
        return 0
