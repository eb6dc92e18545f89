"""A file as the body of a request: read in threads, a piece ahead of what is sent, and hashed on the way."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

from perago.errors import PeragoError, WorkspaceContentError
from perago.http.parallel import in_thread
from perago.stores.lakefs.keeping import Keeping
from perago.workspace.storage import storage_error

PIECE_BYTES = 1024 * 1024
"""Read at once; two pieces are in memory."""


class FileBody:
    """Sends an open file once.

    Args:
        descriptor: of the file; the caller closes it, after `close`.
        path: for messages.
        size: bytes; the file must have neither fewer nor more.
        content: gets each piece as well.

    Attributes:
        error: why the file could not be sent; the HTTP client only knows that the request broke off.
    """

    def __init__(self, descriptor: int, path: str, size: int, content: Keeping) -> None:
        self.size = size
        self.error: PeragoError | None = None
        self._descriptor = descriptor
        self._path = path
        self._content = content
        self._hasher = hashlib.md5(usedforsecurity=False)
        self._reading: asyncio.Task[bytes] | None = None

    @property
    def md5(self) -> str:
        """Of what was sent so far, in hexadecimal."""
        return self._hasher.hexdigest()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content, in pieces.

        Raises:
            WorkspaceContentError: the file has another size.
            WorkspaceStorageError: the disk cannot read it.
        """
        at = 0
        self._reading = asyncio.create_task(in_thread(self._read, at))
        while piece := await self._next():
            at += len(piece)
            self._reading = asyncio.create_task(in_thread(self._read, at))
            yield piece
        if at != self.size:
            self.error = WorkspaceContentError(
                f"{self._path} changed while it was being staged. End every thread and process that writes files "
                f"before the task returns"
            )
            raise self.error

    async def close(self) -> None:
        """Wait until nothing reads the file any more."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])

    async def _next(self) -> bytes:
        assert self._reading is not None
        try:
            return await self._reading
        except OSError as exc:
            self.error = storage_error(exc, "cannot read file", self._path)
            raise self.error from exc

    def _read(self, at: int) -> bytes:
        """The piece there, hashed; one byte more than the size tells that the file has grown."""
        piece = os.pread(self._descriptor, min(PIECE_BYTES, self.size + 1 - at), at)
        self._hasher.update(piece)
        self._content.hash(piece, at)
        self._content.write(piece, at)
        return piece
