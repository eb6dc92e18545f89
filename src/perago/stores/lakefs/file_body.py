"""A file as the body of a request: read in threads, a piece ahead of what is sent, and hashed beside it."""

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
        self._passing: list[asyncio.Task[None]] = []

    @property
    def md5(self) -> str:
        """Of what was sent, in hexadecimal; right once all of it was."""
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
            await self._passed()
            self._passing = [
                asyncio.create_task(in_thread(self._hasher.update, piece)),
                asyncio.create_task(in_thread(self._content.take, piece, at)),
            ]
            at += len(piece)
            self._reading = asyncio.create_task(in_thread(self._read, at))
            yield piece
        await self._passed()
        if at != self.size:
            self.error = WorkspaceContentError(
                f"{self._path} changed while it was being staged. End every thread and process that writes files "
                f"before the task returns"
            )
            raise self.error

    async def close(self) -> None:
        """Wait until nothing reads the file any more, or does anything with its content."""
        tasks = [*self._passing, *([] if self._reading is None else [self._reading])]
        self._passing, self._reading = [], None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _next(self) -> bytes:
        assert self._reading is not None
        try:
            return await self._reading
        except OSError as exc:
            self.error = storage_error(exc, "cannot read file", self._path)
            raise self.error from exc

    async def _passed(self) -> None:
        """Wait for what is done with the piece before, which the server need not wait for."""
        passing, self._passing = self._passing, []
        for task in passing:
            await task

    def _read(self, at: int) -> bytes:
        """The piece there; one byte more than the size tells that the file has grown."""
        return os.pread(self._descriptor, min(PIECE_BYTES, self.size + 1 - at), at)
