"""What moving content takes, up or down: sizes, retries, checksums, and the copy of large content for the cache.

A checksum is the content's MD5 where the object came in one piece. An object that came in parts, through the S3
gateway, has the MD5 of its parts' MD5s. Only the content tells the two apart, where the parts have a size that clients
use. An object that a client put into the block store itself has what that store gave: on S3 with keys of KMS, 32
hexadecimal digits that are no MD5.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import hashlib
import os
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from perago.http.faults import HttpFault
from perago.http.loop import LoopThread
from perago.http.parallel import in_thread
from perago.http.retry import RetryPolicy, retry_delay
from perago.stores.lakefs.api.answers import DamagedObjectError, LakeFSError, ObjectStats, ServerFacts
from perago.stores.lakefs.api.client import LakeFSClient
from perago.workspace.cache import EntryCopy, ObjectCache, cache_key
from perago.workspace.digest import CHUNK_BYTES, SHA256
from perago.workspace.new_files import write_all_at

_MIB = 1024 * 1024
PART_SIZES_MIB = (8, 5, 16, 10, 64, 100, 128, 50, 32, 15, 20, 25, 6, 7, 12, 256, 512)
"""Sizes in which clients upload parts, the commonest first: 8 of AWS' tools and boto3, 5 of the S3 minimum, rclone and
the Go SDK, 16 of MinIO, 10 of lakectl and Arrow, 64 to 128 of Hadoop, 50 of s5cmd."""

SMALLEST_PART_BYTES = 5 * _MIB
"""S3 takes none that is smaller, the last one aside."""

_MD5 = re.compile(r"[0-9a-f]{32}")


class ChecksumMatch(enum.Enum):
    """What a checksum says of content."""

    RIGHT = "it is the content's MD5, or that of its parts' MD5s"
    OPAQUE = "it is no MD5"
    DOUBTFUL = "it is another content's, or that of parts of a size that is not known"
    WRONG = "it is another content's, or no MD5 although it looks like one"


def is_md5(checksum: str) -> bool:
    """Whether it looks like an MD5."""
    return _MD5.fullmatch(checksum) is not None


def judge_small(checksum: str, md5: str) -> ChecksumMatch:
    """Judge content too small for several parts, by its MD5."""
    if not is_md5(checksum):
        return ChecksumMatch.OPAQUE
    return ChecksumMatch.RIGHT if checksum in (md5, _md5_of_one_part(md5)) else ChecksumMatch.WRONG


def judge_file(checksum: str, descriptor: int, size: int, md5: str) -> ChecksumMatch:
    """Judge the content of an open file, whose MD5 is known. Reads it again only where that is another one.

    Raises:
        OSError: it cannot be read.
    """
    known = judge_small(checksum, md5)
    if known is not ChecksumMatch.WRONG or size < SMALLEST_PART_BYTES:
        return known
    for part in PART_SIZES_MIB:
        if part * _MIB < size and checksum == _md5_of_parts(descriptor, size, part * _MIB):
            return ChecksumMatch.RIGHT
    return ChecksumMatch.DOUBTFUL


def _md5_of_one_part(md5: str) -> str:
    return hashlib.md5(bytes.fromhex(md5), usedforsecurity=False).hexdigest()


def _md5_of_parts(descriptor: int, size: int, part: int) -> str:
    whole = hashlib.md5(usedforsecurity=False)
    for first in range(0, size, part):
        whole.update(md5_of_range(descriptor, first, min(first + part, size)).digest())
    return whole.hexdigest()


def md5_of_range(descriptor: int, first: int, end: int) -> hashlib._Hash:
    """The MD5 of a file's bytes from `first` up to `end`, that one left out."""
    hasher = hashlib.md5(usedforsecurity=False)
    for piece in read_range(descriptor, first, end):
        hasher.update(piece)
    return hasher


def read_range(descriptor: int, first: int, end: int) -> Iterator[bytes]:
    """A file's bytes from `first` up to `end`, that one left out, a chunk at a time."""
    while first < end and (piece := os.pread(descriptor, min(CHUNK_BYTES, end - first), first)):
        yield piece
        first += len(piece)


SMALL_BYTES = 512 * 1024
"""Content up to this size is moved in one piece, in memory; what is larger is streamed."""

LOCAL = "local"
"""A block store on the server's own disk."""

ChecksumRule = Literal["md5", "opaque"]
"""Whether a checksum of 32 hexadecimal digits is taken for an MD5, or for something that only the block store knows."""


@dataclass(frozen=True)
class Transfer:
    """One repository's content on its way.

    Attributes:
        loop: on which the client is used.
        server: what it says of itself.
        cache: of the host; None: there is none.
        checksums: how checksums are taken.
        presign: whether URLs of the block store are used where the server gives them.
    """

    client: LakeFSClient
    loop: LoopThread
    repository: str
    server: ServerFacts
    cache: ObjectCache | None = None
    checksums: ChecksumRule = "md5"
    presign: bool = True

    @property
    def presigned(self) -> bool:
        return self.presign and self.server.presigned

    def key(self, stats: ObjectStats) -> str:
        """What the cache knows an object's content by: an address that is new for every upload."""
        return cache_key(self.client.root, stats.physical_address, stats.checksum, stats.size)


T = TypeVar("T")

POLICY = RetryPolicy()


async def retried(
    operation: Callable[[int], Awaitable[T]],
    on: tuple[type[LakeFSError | DamagedObjectError], ...],
    policy: RetryPolicy = POLICY,
) -> T:
    """Do what may be done twice, until it succeeds or another try cannot help.

    Args:
        operation: is given the number of tries before this one.
        on: the errors after which it may be tried again.
    """
    tries = 0
    while True:
        try:
            return await operation(tries)
        except on as exc:
            tries += 1
            delay = _delay(exc, tries, policy)
            if delay is None:
                raise
        await asyncio.sleep(delay)


def _delay(error: LakeFSError | DamagedObjectError, tries: int, policy: RetryPolicy) -> float | None:
    outcome: HttpFault | int
    if isinstance(error, DamagedObjectError):
        outcome, retry_after = 503, None  # it may have been damaged on the way
    elif error.status is not None:
        outcome, retry_after = error.status, error.retry_after
    else:
        assert error.fault is not None
        outcome, retry_after = HttpFault(error.fault, error.message), None
    return retry_delay(
        policy,
        tries=tries,
        idempotent=True,
        outcome=outcome,
        retry_after=retry_after,
        jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
    )


_FULL = (errno.ENOSPC, errno.EDQUOT)


class Keeping:
    """One object's content on its way into the cache; where there is none, or no room, nothing is done.

    The entry is checked by SHA-256 whenever it is used, which processors do in less than half the time of MD5.
    Nothing here fails.
    """

    def __init__(self, transfer: Transfer, copy: EntryCopy | None) -> None:
        self._transfer = transfer
        self._copy = copy
        self._hasher = hashlib.sha256()

    @property
    def is_under_way(self) -> bool:
        """Whether it may come to something."""
        return self._copy is not None

    def write(self, piece: bytes, at: int) -> None:
        """See `EntryCopy.write`."""
        if self._copy is not None:
            self._copy.write(piece, at)

    def hash(self, piece: bytes, at: int) -> None:
        """Each piece in order, and where it begins; from 0 on again if it all comes once more."""
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
        """All of it was written and hashed, and it is the content of this object."""
        copy, self._copy = self._copy, None
        if copy is not None and self._transfer.cache is not None:
            digest = f"{SHA256}:{self._hasher.hexdigest()}"
            await in_thread(self._transfer.cache.end, copy, self._transfer.key(stats), digest)

    def abandon(self) -> None:
        """Nothing is kept that was not yet."""
        copy, self._copy = self._copy, None
        if copy is not None and self._transfer.cache is not None:
            self._transfer.cache.end(copy)


@contextmanager
def keeping(transfer: Transfer, source: int, size: int) -> Iterator[Keeping]:
    """Keep an object's content while it is written to an open file, or read from it.

    Args:
        source: the file's descriptor, open until the end; size: bytes of the content.
    """
    content = Keeping(transfer, transfer.cache.begin(source, size) if transfer.cache is not None else None)
    try:
        yield content
    finally:
        content.abandon()


def write_to_workspace(cache: ObjectCache | None, descriptor: int, piece: bytes, at: int) -> int:
    """Write a piece of a file; where the disk is full, what is on its way into the cache makes room.

    Returns:
        where it ended.

    Raises:
        OSError: the disk refuses.
    """
    try:
        return write_all_at(descriptor, piece, at)
    except OSError as exc:
        if exc.errno not in _FULL or cache is None or not cache.give_way():
            raise
        return write_all_at(descriptor, piece, at)
