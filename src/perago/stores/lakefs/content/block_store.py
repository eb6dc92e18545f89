"""Sending one file straight to the block store, by presigned URLs: whole, or in parts.

An upload in parts ends with a call to the server; only then does the object exist. A part that fails is sent again,
with a new URL. If the upload fails, or is cancelled, it is aborted, so that its parts take no space. A part that
arrives after that, and those of a process that is killed, stay until the block store removes incomplete uploads by
itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from yarl import URL

from perago.errors import PeragoError, StoreError, WorkspaceContentError
from perago.files.storage import storage_error
from perago.http.answer import Answer, FaultKind, HttpFault
from perago.http.file_range import FileIsShorterError, FileRange
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
    read_as_it_comes,
    read_range,
    retried,
)
from perago.values.names import show_name
from perago.workspace.digest import md5_of_md5s

T = TypeVar("T")


class OpenFile(NamedTuple):
    """A file to send.

    Attributes:
        descriptor: open until the end.
        path: for messages.
        size: bytes that it must have.
        executable: by its owner.
        content: copy for the cache.
    """

    descriptor: int
    path: str
    size: int
    executable: bool
    content: Keeping


Take = Callable[[bytes, int], None]
"""Gets a piece of a file and its position."""

STEP_BYTES = 16 * 1024 * 1024
"""Bytes that are hashed without a look at whether the upload is cancelled."""


async def md5_of_part(file: OpenFile, part: range, take: Take) -> str:
    """The MD5 of a part of a file, in hexadecimal. `take` also gets its pieces, in order.

    Raises:
        WorkspaceContentError: the file has become shorter.
        WorkspaceStorageError: it cannot be read.
    """
    hasher = hashlib.md5(usedforsecurity=False)
    try:
        for first in range(part.start, part.stop, STEP_BYTES):
            step = range(first, min(first + STEP_BYTES, part.stop))
            await in_thread(_pass, file.descriptor, step, (lambda piece, _at: hasher.update(piece), take))
    except OSError as exc:
        raise unreadable(file, exc) from exc
    return hasher.hexdigest()


async def sent_and_hashed(file: OpenFile, body: FileRange, sending: Awaitable[T]) -> tuple[T, str]:
    """Wait until a whole file is sent. At the same time hash it, and copy it for the cache.

    Returns:
        the answer, and the MD5 in hexadecimal.

    Raises:
        LakeFSError: of sending; unless the file could not be read.
        WorkspaceContentError, WorkspaceStorageError: as `md5_of_part`.
    """
    hashing = asyncio.create_task(md5_of_part(file, body.part, file.content.take))
    try:
        answer = await sending
    except BaseException as exc:
        hashing.cancel()
        await asyncio.gather(hashing, return_exceptions=True)
        if body.error is not None and isinstance(exc, LakeFSError):
            raise unreadable(file, body.error) from None  # the cause of the aborted request
        raise
    return answer, await hashing


def unreadable(file: OpenFile, error: OSError) -> PeragoError:
    """The error for a file that cannot be read to its end."""
    if not isinstance(error, FileIsShorterError):
        return storage_error(error, "cannot read file", file.path)
    return WorkspaceContentError(
        f"{file.path} changed while it was being staged. End every thread and process that writes files before the "
        f"task returns"
    )


def _pass(descriptor: int, part: range, takers: Iterable[Take]) -> None:
    at = part.start
    for piece in read_range(descriptor, part.start, part.stop):
        for take in takers:
            take(piece, at)
        at += len(piece)
    if at != part.stop:
        raise FileIsShorterError


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
    body = FileRange(file.descriptor, range(file.size))
    answer, md5 = await sent_and_hashed(file, body, _put(transfer, location.presigned_url, body))
    _check(answer, name, md5)
    stats = ObjectStats(name, location.physical_address, md5, file.size, file.executable)
    await client.link_physical_address(repository, branch, location, stats)
    return stats


async def _put(transfer: Transfer, presigned: str, body: FileRange) -> Answer:
    url = URL(presigned, encoded=True)
    where = f"the block store at {url.host}"
    headers = {"x-ms-blob-type": "BlockBlob"} if transfer.server.blockstore == "azure" else {}
    request = Request("PUT", url, headers, body, authorized=False)
    try:
        answer = await transfer.client.session.call(request, timeout=transfer_seconds(len(body.part)))
    except HttpFault as fault:
        raise unanswered("upload", where, fault) from fault
    if answer.status not in (200, 201):
        raise refused("upload", where, answer)
    return answer


_KEYED = ("x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-customer-algorithm")
"""If an answer has one of these headers, S3's ETag is not an MD5."""


def _check(answer: Answer, name: str, md5: str) -> str:
    """The ETag of an upload.

    Raises:
        DamagedObjectError: it is the MD5 of other content.
    """
    etag = answer.headers.get("ETag", "").strip('"')
    if not is_md5(etag) or etag == md5 or any(header in answer.headers for header in _KEYED):
        return etag
    raise DamagedObjectError(
        f"the block store received {show_name(name)} with checksum {etag}, but its MD5 is {md5}; it was damaged in "
        f"transit. Try again"
    )


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
        """Hash a part, so that it is in memory, and send it."""
        file, body = self.file, FileRange(self.file.descriptor, self.parts[index])
        md5 = await md5_of_part(file, body.part, file.content.write)
        try:
            answer = await _put(self.transfer, url, body)
        except LakeFSError:
            if body.error is not None:
                raise unreadable(file, body.error) from None
            raise
        self._etags[index] = _check(answer, self.name, md5)
        self._md5s[index] = md5

    async def _url(self, index: int, *, is_new: bool) -> str:
        """A part's URL: that of the beginning while it is valid, else a new one."""
        if not is_new and index < len(self.upload.urls) and time.monotonic() - self._begun < FRESH_SECONDS:
            return self.upload.urls[index]
        transfer = self.transfer
        return await transfer.client.multipart_url(transfer.repository, self.branch, self.name, self.upload, index + 1)

    # ---- the whole

    async def _complete(self) -> ObjectStats:
        """Complete the upload. If that fails, look at the branch for what the server did.

        An answer may have been lost, and a repeated call (aiohttp repeats a PUT once) finds no upload any more.
        """
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
        except LakeFSError:
            found = await transfer.client.find_object(transfer.repository, self.branch, self.name)
            if found is None or found.physical_address != self.upload.physical_address:
                raise
            return found

    def _checked(self, stats: ObjectStats) -> ObjectStats:
        """Refuse an object that is not the file: by its size, and by its ETag if those of all parts are MD5s."""
        numbers = range(len(self.parts))
        expected = stats.checksum
        if self._etags == self._md5s:
            expected = md5_of_md5s([self._md5s[number] for number in numbers])
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
