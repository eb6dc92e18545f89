"""Sending one file straight to the block store, by presigned URLs: whole, or in parts.

An upload in parts ends with a call to the server; only then does the object exist. A part that fails is sent again,
with a new URL. If the upload fails, or is cancelled, it is aborted, so that its parts take no space. The parts of a
process that is killed stay until the block store removes incomplete uploads by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from yarl import URL

from perago.errors import PeragoError, StoreError, WorkspaceContentError
from perago.files.storage import storage_error
from perago.http.answer import Answer
from perago.http.faults import FaultKind, HttpFault
from perago.http.parallel import in_parallel, in_thread, together
from perago.http.session import Request
from perago.stores.lakefs.api.answers import (
    DamagedObjectError,
    LakeFSAccessError,
    LakeFSError,
    MultipartUpload,
    ObjectStats,
    refused,
    unanswered,
)
from perago.stores.lakefs.api.objects import transfer_seconds
from perago.stores.lakefs.content.transfer import (
    FRESH_SECONDS,
    Keeping,
    Transfer,
    is_md5,
    is_multipart,
    md5_of_md5s,
    read_as_it_comes,
    retried,
)
from perago.values.names import show_name

PIECE_BYTES = 1024 * 1024
"""Size of a read; two pieces of a file or part are in memory at a time."""


class OpenFile(NamedTuple):
    """A file to send.

    Attributes:
        descriptor: open until the end.
        path: for messages.
        size: bytes that it must have.
        executable: by its owner.
        content: copy for the cache; it gets each piece.
    """

    descriptor: int
    path: str
    size: int
    executable: bool
    content: Keeping


class FileBody:
    """Sends a part of an open file, or all of it, once.

    Args:
        part: range of bytes.
        take: gets each piece and its position; called in a thread.

    Attributes:
        error: why the file could not be sent; the HTTP client only sees an aborted request.
    """

    def __init__(self, file: OpenFile, part: range, take: Callable[[bytes, int], None]) -> None:
        self.error: PeragoError | None = None
        self._file = file
        self._part = part
        self._take = take
        self._hasher = hashlib.md5(usedforsecurity=False)
        self._reading: asyncio.Task[bytes] | None = None
        self._passing: list[asyncio.Task[None]] = []

    @property
    def size(self) -> int:
        return len(self._part)

    @property
    def md5(self) -> str:
        """MD5 of the sent bytes, in hexadecimal; complete once all are sent."""
        return self._hasher.hexdigest()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content, in pieces.

        Raises:
            WorkspaceContentError: the file has become shorter.
            WorkspaceStorageError: the file cannot be read.
        """
        at = self._part.start
        self._reading = asyncio.create_task(in_thread(self._read, at))
        while piece := await self._next():
            await self._passed()
            self._passing = [
                asyncio.create_task(in_thread(self._hasher.update, piece)),
                asyncio.create_task(in_thread(self._take, piece, at)),
            ]
            at += len(piece)
            self._reading = asyncio.create_task(in_thread(self._read, at))
            yield piece
        await self._passed()
        if at != self._part.stop:
            self.error = WorkspaceContentError(
                f"{self._file.path} changed while it was being staged. End every thread and process that writes files "
                f"before the task returns"
            )
            raise self.error

    async def close(self) -> None:
        """Wait until no thread reads the file or uses its content."""
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
            self.error = storage_error(exc, "cannot read file", self._file.path)
            raise self.error from exc

    async def _passed(self) -> None:
        """Wait until the previous piece is hashed and copied. Sending continues in parallel."""
        passing, self._passing = self._passing, []
        for task in passing:
            await task

    def _read(self, at: int) -> bytes:
        return os.pread(self._file.descriptor, min(PIECE_BYTES, self._part.stop - at), at)


# ---- in one piece


async def send_whole(transfer: Transfer, branch: str, name: str, file: OpenFile) -> ObjectStats:
    """Upload a file to a branch without moving its content through the server.

    Raises:
        LakeFSError: the server or the block store refuses, or cannot be reached.
        DamagedObjectError: the block store received different content.
    """
    client, repository = transfer.client, transfer.repository
    location = await client.get_physical_address(repository, branch, name)
    if location.presigned_url is None:
        raise StoreError(f"the server gives no upload URL for {show_name(name)}; set the store's option presign=False")
    body = FileBody(file, range(file.size), file.content.take)
    await _put(transfer, location.presigned_url, name, body)
    stats = ObjectStats(name, location.physical_address, body.md5, body.size, file.executable)
    await client.link_physical_address(repository, branch, location, stats)
    return stats


async def _put(transfer: Transfer, presigned: str, name: str, body: FileBody) -> tuple[str, bool]:
    """Send a body. Returns its ETag, and whether that is the MD5 that was sent.

    Raises:
        LakeFSError, DamagedObjectError: as `send_whole`.
        PeragoError: the file cannot be read.
    """
    url = URL(presigned, encoded=True)
    where = f"the block store at {url.host}"
    headers = {"Content-Length": str(body.size)}
    if transfer.server.blockstore == "azure":
        headers["x-ms-blob-type"] = "BlockBlob"
    request = Request("PUT", url, headers, body.chunks(), authorized=False)
    try:
        answer = await transfer.client.session.call(request, timeout=transfer_seconds(body.size))
    except HttpFault as fault:
        if body.error is not None:
            raise body.error from None  # the cause of the aborted request
        raise unanswered("upload", where, fault) from fault
    finally:
        await body.close()
    if answer.status not in (200, 201):
        raise refused("upload", where, answer)
    return _checked(answer, name, body.md5)


_KEYED = ("x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-customer-algorithm")
"""If an answer has one of these headers, S3's ETag is not an MD5."""


def _checked(answer: Answer, name: str, md5: str) -> tuple[str, bool]:
    etag = answer.headers.get("ETag", "").strip('"')
    if not is_md5(etag) or _is_keyed(answer.headers) or etag == md5:
        return etag, etag == md5
    raise DamagedObjectError(
        f"the block store received {show_name(name)} with checksum {etag}, but its MD5 is {md5}; it was damaged in "
        f"transit. Try again"
    )


def _is_keyed(headers: Mapping[str, str]) -> bool:
    return any(header in headers for header in _KEYED)


# ---- in parts

PART_MIB = (16, 32, 64, 128, 256, 512)
"""Sizes of parts, the smallest that suffices first. Downloads know them, too (`transfer.PART_SIZES_MIB`)."""

MAX_PARTS = 10_000
"""S3's maximum."""

PARTS_AT_ONCE = 4
"""Parts of a file in parallel."""

ABORT_SECONDS = 4.0
"""Time for the call that drops a failed upload; a cancelled call has 5 s for all (`http.loop.CANCEL_SECONDS`)."""


def parts_of(size: int) -> list[range]:
    """The parts of a file: the last one is what remains.

    Raises:
        StoreError: it is larger than S3's maximum for an object.
    """
    for mib in PART_MIB:
        part = mib << 20
        if size <= part * MAX_PARTS:
            return [range(first, min(first + part, size)) for first in range(0, size, part)]
    raise StoreError(f"a file of {size} bytes is larger than an object can be. Write several smaller files")


async def send_in_parts(transfer: Transfer, branch: str, name: str, file: OpenFile) -> ObjectStats:
    """Upload a file to a branch in parts, without moving its content through the server.

    Raises:
        LakeFSError: the server or the block store refuses, or cannot be reached.
        DamagedObjectError: the block store received different content.
    """
    parts = parts_of(file.size)
    upload = await transfer.client.create_multipart(transfer.repository, branch, name, len(parts))
    sending = _Parts(transfer, branch, name, file, parts, upload)
    try:
        return await sending.run()
    except BaseException:
        with suppress(PeragoError):
            await transfer.client.abort_multipart(transfer.repository, branch, name, upload, timeout=ABORT_SECONDS)
        raise


@dataclass
class _Parts:
    """An upload in parts that has begun."""

    transfer: Transfer
    branch: str
    name: str
    file: OpenFile
    parts: list[range]
    upload: MultipartUpload
    _etags: dict[int, str] = field(default_factory=dict)
    _md5s: dict[int, str] = field(default_factory=dict)
    _begun: float = field(default_factory=time.monotonic)

    async def run(self) -> ObjectStats:
        sent = [asyncio.Event() for _ in self.parts]

        async def send(index: int) -> None:
            await self._send(index)
            sent[index].set()

        file = self.file
        hashing = (
            [read_as_it_comes(file.descriptor, self.parts, sent, file.content.hash)]
            if file.content.is_under_way
            else []
        )
        width = min(PARTS_AT_ONCE, len(self.parts))
        await together(in_parallel(range(len(self.parts)), send, width), *hashing)
        return self._checked(await self._complete())

    # ---- one part

    async def _send(self, index: int) -> None:
        async def attempt(tries: int) -> None:
            try:
                await self._put(index, await self._url(index, is_new=tries > 0))
            except LakeFSAccessError:  # as for a URL that has expired
                await self._put(index, await self._url(index, is_new=True))
            except LakeFSError as exc:
                if not self._etags and exc.fault in (FaultKind.UNREACHABLE, FaultKind.TLS):
                    raise _OutOfReachError(exc) from exc
                raise

        try:
            await retried(attempt, (LakeFSError, DamagedObjectError))
        except _OutOfReachError as exc:
            raise exc.error from None

    async def _put(self, index: int, url: str) -> None:
        body = FileBody(self.file, self.parts[index], self.file.content.write)
        self._etags[index], is_md5_of_it = await _put(self.transfer, url, self.name, body)
        if is_md5_of_it:
            self._md5s[index] = body.md5

    async def _url(self, index: int, *, is_new: bool) -> str:
        """A part's URL: that of the beginning while it is valid, else a new one."""
        if not is_new and index < len(self.upload.urls) and time.monotonic() - self._begun < FRESH_SECONDS:
            return self.upload.urls[index]
        transfer = self.transfer
        return await transfer.client.multipart_url(transfer.repository, self.branch, self.name, self.upload, index + 1)

    # ---- the whole

    async def _complete(self) -> ObjectStats:
        """Complete the upload. If the answer is unclear, the branch tells whether the server did."""
        transfer, file = self.transfer, self.file
        try:
            return await transfer.client.complete_multipart(
                transfer.repository,
                self.branch,
                self.name,
                self.upload,
                [self._etags[index] for index in range(len(self.parts))],
                size=file.size,
                executable=file.executable,
            )
        except LakeFSError as exc:
            if not exc.is_unclear:
                raise
            found = await transfer.client.find_object(transfer.repository, self.branch, self.name)
            if found is None or found.physical_address != self.upload.physical_address:
                raise
            return found

    def _checked(self, stats: ObjectStats) -> ObjectStats:
        """Refuse an object that is not the file: by its size, and by its ETag if those of all parts are MD5s."""
        md5s = [self._md5s[index] for index in range(len(self.parts)) if index in self._md5s]
        expected = md5_of_md5s(md5s) if len(md5s) == len(self.parts) else stats.checksum
        if stats.size == self.file.size and (stats.checksum == expected or not is_multipart(stats.checksum)):
            return stats._replace(path=self.name, executable=self.file.executable)
        raise DamagedObjectError(
            f"the block store made {stats.size} bytes with checksum {stats.checksum} of the parts of "
            f"{show_name(self.name)}, but {self.file.size} bytes with checksum {expected} were sent. Try again"
        )


class _OutOfReachError(Exception):
    """The block store cannot be reached from here, so there is no point in trying again."""

    def __init__(self, error: LakeFSError) -> None:
        super().__init__(str(error))
        self.error = error
