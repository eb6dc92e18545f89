"""Large content into the host's cache while it passes, and what a full disk takes back from there."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from perago.http.parallel import in_thread
from perago.stores.lakefs.transfer import Transfer
from perago.stores.lakefs.values import ObjectStats
from perago.workspace.cache import EntryCopy, ObjectCache
from perago.workspace.digest import SHA256
from perago.workspace.new_files import write_all_at

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
