"""What uploads and downloads share: sizes, retries, checksums, and copies of content for the cache.

The checksum of an object uploaded in one piece is the MD5 of its content. An object uploaded in parts has the MD5 of
its parts' MD5s: with a hyphen and their number if they went straight to the block store, without if they went through
the S3 gateway. Only the content can tell these apart, and only if the part size is common.
An object that a client uploaded to the block store has that store's checksum. On S3 with KMS keys, these are 32
hexadecimal digits that are not an MD5.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import hashlib
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from perago.errors import required
from perago.http.answer import HttpFault
from perago.http.loop import LoopThread
from perago.http.parallel import in_thread
from perago.http.retry import RetryPolicy, retry_delay
from perago.stores.lakefs.api.answers import DamagedObjectError, LakeFSError, ObjectStats, ServerFacts
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.content.kept_listings import KeptListings
from perago.workspace.cache import EntryCopy, ObjectCache, cache_key
from perago.workspace.digest import CHUNK_BYTES, SHA256, Md5OfParts
from perago.workspace.new_files import write_all_at

_MIB = 1024 * 1024
PART_SIZES_MIB = (8, 5, 16, 10, 64, 100, 128, 50, 32, 15, 20, 25, 6, 7, 12, 256, 512)
"""Part sizes of common clients, most common first: 8 of AWS' tools and boto3, 5 of the S3 minimum, rclone and the Go
SDK, 16 of MinIO, 10 of lakectl and Arrow, 64 to 128 of Hadoop, 50 of s5cmd."""

SMALLEST_PART_BYTES = 5 * _MIB
"""S3's minimum size of a part, except the last one."""

FRESH_SECONDS = 300.0
"""Lifetime of a presigned URL here: a third of lakeFS' default validity of 15 minutes."""

_MD5 = re.compile(r"[0-9a-f]{32}")
_MULTIPART = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,4})")


class ChecksumMatch(enum.Enum):
    """Result of comparing a checksum with content."""

    RIGHT = "it is the MD5 of the content, or of its parts' MD5s"
    OPAQUE = "it does not look like an MD5"
    DOUBTFUL = "it belongs to other content, or to parts of an unknown size"
    WRONG = "it belongs to other content, or looks like an MD5 and is none"


def is_md5(checksum: str) -> bool:
    """Whether a checksum looks like an MD5."""
    return _MD5.fullmatch(checksum) is not None


def is_multipart(checksum: str) -> bool:
    """Whether a checksum looks like that of an upload in parts, with their number."""
    return _MULTIPART.fullmatch(checksum) is not None


def judge_small(checksum: str, md5: str) -> ChecksumMatch:
    """Judge content that is too small for several parts, by its MD5."""
    if not is_md5(checksum):
        return ChecksumMatch.OPAQUE
    return ChecksumMatch.RIGHT if checksum in (md5, _md5_of_one_part(md5)) else ChecksumMatch.WRONG


def judge_file(checksum: str, descriptor: int, size: int, md5: str) -> ChecksumMatch:
    """Judge the content of an open file with a known MD5. Reads the file again only if that differs.

    Raises:
        OSError: the file cannot be read.
    """
    if is_multipart(checksum):
        return judge_parts(checksum, descriptor, size)
    known = judge_small(checksum, md5)
    if known is not ChecksumMatch.WRONG or size < SMALLEST_PART_BYTES:
        return known
    for part in PART_SIZES_MIB:
        if part * _MIB < size and checksum == _md5_of_parts(descriptor, size, part * _MIB).partition("-")[0]:
            return ChecksumMatch.RIGHT
    return ChecksumMatch.DOUBTFUL


def likely_parts(checksum: str, size: int) -> list[int]:
    """Common sizes of parts, in bytes, that an upload with this checksum may have had, by the number of parts."""
    told = _MULTIPART.fullmatch(checksum)
    return [part * _MIB for part in PART_SIZES_MIB if told and -(-size // (part * _MIB)) == int(told[1])]


def judge_parts(checksum: str, descriptor: int, size: int) -> ChecksumMatch:
    """Judge the content of an open file by a checksum of parts.

    Raises:
        OSError: the file cannot be read.
    """
    sizes = likely_parts(checksum, size)
    if not sizes:
        return ChecksumMatch.OPAQUE
    right = any(checksum == _md5_of_parts(descriptor, size, part) for part in sizes)
    return ChecksumMatch.RIGHT if right else ChecksumMatch.DOUBTFUL


def _md5_of_one_part(md5: str) -> str:
    return hashlib.md5(bytes.fromhex(md5), usedforsecurity=False).hexdigest()


def _md5_of_parts(descriptor: int, size: int, part: int) -> str:
    hasher = Md5OfParts(part)
    for piece in read_range(descriptor, 0, size):
        hasher.update(piece)
    return hasher.hexdigest()


def read_range(descriptor: int, first: int, end: int) -> Iterator[bytes]:
    """A file's bytes from `first` up to, but not including, `end`, in chunks."""
    while first < end and (piece := os.pread(descriptor, min(CHUNK_BYTES, end - first), first)):
        yield piece
        first += len(piece)


async def read_as_it_comes(
    descriptor: int, parts: Iterable[range], arrived: Iterable[asyncio.Event], take: Callable[[bytes, int], None]
) -> None:
    """Read a file from its beginning, each part after its event. `take` gets each piece and its position."""
    for part, event in zip(parts, arrived, strict=True):
        await event.wait()
        await in_thread(_read, descriptor, part, take)


def _read(descriptor: int, part: range, take: Callable[[bytes, int], None]) -> None:
    at = part.start
    for piece in read_range(descriptor, part.start, part.stop):
        take(piece, at)
        at += len(piece)


SMALL_BYTES = 512 * 1024
"""Content up to this size is moved in one piece, in memory; larger content is streamed."""

LOCAL = "local"
"""The type of a block store on the server's own disk."""

ChecksumRule = Literal["md5", "opaque"]
"""Whether a checksum of 32 hexadecimal digits is an MD5, or is opaque: made by the block store in its own way."""


@dataclass(frozen=True)
class Transfer:
    """The means to move one repository's content.

    Attributes:
        loop: runs the client's calls.
        server: the server's facts.
        cache: of the host; None if there is none.
        checksums: how to interpret checksums.
        presign: whether to use the block store's URLs if the server gives them.
        listings: that the host keeps; None if it keeps none.
    """

    client: LakeFSClient
    loop: LoopThread
    repository: str
    server: ServerFacts
    cache: ObjectCache | None = None
    checksums: ChecksumRule = "md5"
    presign: bool = True
    listings: KeptListings | None = None

    @property
    def presigned(self) -> bool:
        return self.presign and self.server.presigned

    @property
    def connections(self) -> int:
        """Maximum of calls at a time."""
        return self.client.session.connections

    def key(self, stats: ObjectStats) -> str:
        """The cache key of an object's content. It contains the address, which is new for every upload."""
        return cache_key(self.client.root, stats.physical_address, stats.checksum, stats.size)


T = TypeVar("T")

POLICY = RetryPolicy()


async def retried(
    operation: Callable[[int], Awaitable[T]],
    on: tuple[type[LakeFSError | DamagedObjectError], ...],
    policy: RetryPolicy = POLICY,
) -> T:
    """Retry an idempotent operation until it succeeds or a retry cannot help.

    Args:
        operation: called with the number of previous tries.
        on: the errors to retry after.
    """
    tries, failing_since = 0, None
    while True:
        try:
            return await operation(tries)
        except on as exc:
            tries += 1
            now = time.monotonic()
            failing_since = now if failing_since is None else failing_since
            delay = _delay(exc, tries, policy, now - failing_since)
            if delay is None:
                raise
        await asyncio.sleep(delay)


def _delay(
    error: LakeFSError | DamagedObjectError, tries: int, policy: RetryPolicy, failing_seconds: float
) -> float | None:
    outcome: HttpFault | int
    if isinstance(error, DamagedObjectError):
        outcome, retry_after = 503, None  # it may have been damaged in transit
    elif error.status is not None:
        outcome, retry_after = error.status, error.retry_after
    else:
        fault = required(error.fault, "an error without a status has a fault")
        outcome, retry_after = HttpFault(fault, error.message), None
    return retry_delay(
        policy,
        tries=tries,
        idempotent=True,
        outcome=outcome,
        retry_after=retry_after,
        jitter=random.random(),  # noqa: S311 - spreads load, not for security
        away_seconds=None if isinstance(error, DamagedObjectError) else failing_seconds,
    )


_FULL = (errno.ENOSPC, errno.EDQUOT)


class Keeping:
    """Copies one object's content into the cache while it is moved. Does nothing without a cache or without space.

    An entry is verified by SHA-256 on each use, which takes less than half the time of MD5. No method raises.
    """

    def __init__(self, transfer: Transfer, copy: EntryCopy | None) -> None:
        self._transfer = transfer
        self._copy = copy
        self._hasher = hashlib.sha256()

    @property
    def is_under_way(self) -> bool:
        """Whether a copy is still being made."""
        return self._copy is not None

    @property
    def sha256(self) -> str:
        """SHA-256 of what was hashed, in hexadecimal."""
        return self._hasher.hexdigest()

    def write(self, piece: bytes, at: int) -> None:
        """See `EntryCopy.write`."""
        if self._copy is not None:
            self._copy.write(piece, at)

    def hash(self, piece: bytes, at: int) -> None:
        """Hash the next piece, which begins at `at`. Position 0 restarts the hash."""
        if self._copy is None:
            return
        if at == 0:
            self._hasher = hashlib.sha256()
        self._hasher.update(piece)

    def take(self, piece: bytes, at: int) -> None:
        """Hash and write the next piece."""
        self.hash(piece, at)
        self.write(piece, at)

    async def keep(self, stats: ObjectStats) -> None:
        """Complete the entry: all of the content was written and hashed, and belongs to this object."""
        copy, self._copy = self._copy, None
        if copy is not None and self._transfer.cache is not None:
            digest = f"{SHA256}:{self.sha256}"
            await in_thread(self._transfer.cache.end, copy, self._transfer.key(stats), digest)

    def abandon(self) -> None:
        """Discard a copy that is not complete."""
        copy, self._copy = self._copy, None
        if copy is not None and self._transfer.cache is not None:
            self._transfer.cache.end(copy)


@contextmanager
def keeping(transfer: Transfer, source: int, size: int) -> Iterator[Keeping]:
    """Copy an object's content to the cache while it is written to, or read from, an open file.

    Args:
        source: the file's descriptor, open until the end; size: bytes of the content.
    """
    content = Keeping(transfer, transfer.cache.begin(source, size) if transfer.cache is not None else None)
    try:
        yield content
    finally:
        content.abandon()


def write_to_workspace(cache: ObjectCache | None, descriptor: int, piece: bytes, at: int) -> int:
    """Write a piece of a file. If the disk is full, an unfinished cache copy gives up its space first.

    Returns:
        the position after the piece.

    Raises:
        OSError: the disk refuses.
    """
    try:
        return write_all_at(descriptor, piece, at)
    except OSError as exc:
        if exc.errno not in _FULL or cache is None or not cache.give_way():
            raise
        return write_all_at(descriptor, piece, at)
