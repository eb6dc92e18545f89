"""The cache's size accounting, which avoids counting all entries.

A file contains the sum reserved by all processes, changed under a lock. Room is reserved *before* an entry is written,
in portions: one access to the file serves many small entries. A process that is killed leaves the sum too high, never
too low. Near the limit, a background thread counts the entries and removes those not used for the longest time. The
attempt never waits for it; entries without room are not stored.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from perago.files.lock import lock, try_lock, unlock_and_close
from perago.files.storage import OWNER_ONLY
from perago.workspace.cache.entries import TRAILER_BYTES, remove_file

EVICT_FROM = 0.9
"""Share of the limit at which eviction starts."""
EVICT_TO = 0.8
"""Share of the limit at which eviction ends, so that each walk over all entries makes room for many."""
TAKE_TO = 0.95
"""Share of the limit above which no room is given, because eviction cannot count reserved but unwritten entries."""
FREE_SHARE = 0.05
"""Share of the file system that the cache leaves free."""

_BLOCK_BYTES = 4096
_PORTIONS = 1024
"""The limit divided by this is the portion that a process reserves in advance."""
_SUM_DIGITS = 20


@dataclass(frozen=True)
class Usage:
    """The content of the cache.

    Attributes:
        entries: number of objects.
        bytes: their size on the disk, in whole blocks.
    """

    entries: int
    bytes: int


def charge(size: int) -> int:
    """Bytes on the disk of an entry whose content has this size."""
    return -(-(size + TRAILER_BYTES) // _BLOCK_BYTES) * _BLOCK_BYTES


class Room:
    """This process's reserved room in the cache.

    The limit can be exceeded by what is being written while an eviction counts, until the next eviction.

    Args:
        directory: of the cache, for its files.
        entries, partial: directories of the entries and of unfinished ones.
        max_bytes: limit for all entries.
    """

    def __init__(self, directory: Path, entries: Path, partial: Path, max_bytes: int) -> None:
        self._directory = directory
        self._entries = entries
        self._partial = partial
        self._max = max_bytes
        self._left = 0
        self._lock = threading.Lock()
        self._evicting: threading.Thread | None = None

    def take(self, size: int) -> bool:
        """Reserve the room for an entry. Returns False if there is none now.

        Raises:
            OSError: the cache's directory cannot be used.
        """
        wanted = charge(size)
        with self._lock:
            if wanted > self._left:
                portion = max(wanted - self._left, self._max // _PORTIONS)
                self._left += self._reserve(portion) or self._reserve(wanted - self._left)
            if wanted > self._left:
                return False
            self._left -= wanted
            return True

    def give_back(self, size: int) -> None:
        """Release the room of an entry."""
        with self._lock:
            self._left += charge(size)

    def close(self) -> None:
        """Release unused room, and wait for a running eviction."""
        with self._lock:
            left, self._left = self._left, 0
            evicting, self._evicting = self._evicting, None
        if evicting is not None:
            evicting.join()
        if left:
            with suppress(OSError), self._open_sum() as total:
                total.add(-left)

    def count(self) -> Usage:
        """Count all entries."""
        sizes = [size for _, size, _ in walk(self._entries)]
        return Usage(len(sizes), sum(sizes))

    def evict(self, to_bytes: int, *, freeing: int = 0, waits: bool = False) -> Usage:
        """Remove the entries not used for the longest time, until the others take at most `to_bytes`.

        Args:
            freeing: minimum number of bytes to remove.
            waits: wait for an eviction by another process; otherwise leave the work to it.

        Returns what was removed.
        """
        with self._only_one(waits=waits) as alone:
            if not alone:
                return Usage(0, 0)
            with self._open_sum() as total:
                before = total.read()
            coming = sum(size for _, size, _ in walk(self._partial))
            counted, gone = evict_oldest(self._entries, to_bytes, freeing)
            with self._open_sum() as total:  # in between, others may have changed the sum by what they reserved
                total.add(coming + counted - before - gone.bytes)
            return gone

    def _reserve(self, wanted: int) -> int:
        """Add to the sum of all processes. Returns 0 if that would exceed the limit."""
        with self._open_sum() as total:
            used = total.read()
            short = self._shortage(wanted)
            if used + wanted > self._max * EVICT_FROM or short > 0:
                self._evict_behind(max(short, 0))
            if used + wanted > self._max * TAKE_TO or short > 0:
                return 0
            total.add(wanted)
            return wanted

    def _shortage(self, wanted: int) -> int:
        """Bytes that the file system has too little."""
        disk = os.statvfs(self._directory)
        return int(disk.f_blocks * disk.f_frsize * FREE_SHARE) + wanted - disk.f_bavail * disk.f_frsize

    def _evict_behind(self, freeing: int) -> None:
        if self._evicting is not None and self._evicting.is_alive():
            return
        self._evicting = threading.Thread(target=self._try_to_evict, args=(freeing,), name="evict-cache", daemon=True)
        self._evicting.start()

    def _try_to_evict(self, freeing: int) -> None:
        with suppress(OSError):  # then there is no room, and nothing more is stored
            self.evict(int(self._max * EVICT_TO), freeing=freeing)

    @contextmanager
    def _open_sum(self) -> Iterator[_Sum]:
        descriptor = os.open(
            self._directory / "usage", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, OWNER_ONLY
        )
        try:
            lock(descriptor)
            yield _Sum(descriptor, self._entries)
        finally:
            unlock_and_close(descriptor)

    @contextmanager
    def _only_one(self, *, waits: bool) -> Iterator[bool]:
        path = self._directory / "evicting"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, OWNER_ONLY)
        try:
            if waits:
                lock(descriptor)
            yield waits or try_lock(descriptor)
        finally:
            unlock_and_close(descriptor)


class _Sum:
    """The sum, while its file is locked."""

    def __init__(self, descriptor: int, entries: Path) -> None:
        self._descriptor = descriptor
        self._entries = entries

    def read(self) -> int:
        """The sum. If it is missing or unreadable, the entries are counted."""
        text = os.pread(self._descriptor, _SUM_DIGITS, 0)
        if len(text) == _SUM_DIGITS and text.isdigit():
            return int(text)
        return sum(size for _, size, _ in walk(self._entries))

    def add(self, change: int) -> None:
        os.pwrite(self._descriptor, b"%020d" % max(self.read() + change, 0), 0)


def walk(entries: Path) -> Iterator[tuple[int, int, str]]:
    """Each entry: time of last use in seconds since the epoch, bytes on the disk, path."""
    for shard in _scan(entries):
        for entry in _scan(shard.path):
            with suppress(OSError):  # another process removed it
                stat = entry.stat(follow_symlinks=False)
                yield int(stat.st_mtime), charge(stat.st_size - TRAILER_BYTES), entry.path


def evict_oldest(entries: Path, to_bytes: int, freeing: int = 0) -> tuple[int, Usage]:
    """Remove the least recently used entries. Returns the bytes before, and what was removed.

    At most `to_bytes` remain, and at least `freeing` bytes are removed if there are as many. Both refer to the bytes
    counted here, because the sum of all processes may be too high.

    Entries of the same second have the same age. Two walks are made, so that memory holds seconds and not entries.
    """
    by_second: dict[int, int] = {}
    for used, size, _ in walk(entries):
        by_second[used] = by_second.get(used, 0) + size
    counted = sum(by_second.values())
    excess = min(max(counted - to_bytes, freeing), counted)
    if excess <= 0:
        return counted, Usage(0, 0)
    last = _last_second(by_second, excess)
    removed, freed = 0, 0
    before_last = sum(size for second, size in by_second.items() if second < last)
    from_last = excess - before_last
    for used, size, path in walk(entries):
        if used > last or (used == last and from_last <= 0):
            continue
        if used == last:
            from_last -= size
        if remove_file(path):
            removed, freed = removed + 1, freed + size
    return counted, Usage(removed, freed)


def _last_second(by_second: dict[int, int], excess: int) -> int:
    """The second up to which entries must be removed, oldest first, to free `excess` bytes."""
    for second in sorted(by_second):
        excess -= by_second[second]
        if excess <= 0:
            return second
    return max(by_second)


def _scan(directory: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return list(found)
    except OSError:
        return []
