"""What moving content takes, up or down: sizes, retries, and the copy that large content leaves in the host's cache."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from perago.http.faults import HttpFault
from perago.http.loop import LoopThread
from perago.http.parallel import in_thread
from perago.http.retry import RetryPolicy, retry_delay
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.api.failure import DamagedObjectError, LakeFSError
from perago.stores.lakefs.api.values import ObjectStats, ServerFacts
from perago.workspace.cache import EntryCopy, ObjectCache, cache_key
from perago.workspace.digest import SHA256
from perago.workspace.new_files import write_all_at

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
