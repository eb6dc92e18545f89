"""How much the cache may still take, counted without looking at every entry.

A file holds the sum of what all processes took, changed under a lock. Room is taken *before* an entry is written, and
in portions: one visit of the file serves many small entries, and a process that is killed leaves the sum too high,
never too low. When the sum comes near the bound, entries are counted in earnest, and those that were not used for the
longest time go, in a thread behind the attempt, which never waits for it: what finds no room meanwhile is not kept.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from perago.files.storage import OWNER_ONLY
from perago.workspace.cache.entries import TRAILER_BYTES, remove_file

EVICT_FROM = 0.9
"""Share of the bound at which eviction begins."""
EVICT_TO = 0.8
"""Share of the bound that is left when it ends: each walk over all entries makes room for many."""
TAKE_TO = 0.95
"""Share of the bound beyond which no room is given: evictions cannot count what was taken and is not on disk yet."""
FREE_SHARE = 0.05
"""Share of its file system that the cache leaves free for others."""

_BLOCK_BYTES = 4096
_PORTIONS = 1024
"""Into how many portions the bound is divided: what each process may have taken in advance."""
_SUM_DIGITS = 20


@dataclass(frozen=True)
class Usage:
    """What is in the cache.

    Attributes:
        entries: how many objects.
        bytes: that they take on the disk, in whole blocks.
    """

    entries: int
    bytes: int


def charge(size: int) -> int:
    """The bytes on the disk of an entry whose content has this size."""
    return -(-(size + TRAILER_BYTES) // _BLOCK_BYTES) * _BLOCK_BYTES


class Room:
    """The bytes that this process may still put into the cache.

    Args:
        directory: the cache's, in which it keeps its files.
        entries, partial: directories of the entries, and of what will be some.
        max_bytes: what all entries may take together.
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
        """Take the room for an entry; False: there is none now.

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
        """An entry, or the place for one, is free again."""
        with self._lock:
            self._left += charge(size)

    def close(self) -> None:
        """Give back what was taken in advance, and wait for the eviction, if there is one."""
        with self._lock:
            left, self._left = self._left, 0
            evicting, self._evicting = self._evicting, None
        if evicting is not None:
            evicting.join()
        if left:
            with suppress(OSError), self._open_sum() as total:
                total.add(-left)

    def count(self) -> Usage:
        """Look at every entry."""
        sizes = [size for _, size, _ in walk(self._entries)]
        return Usage(len(sizes), sum(sizes))

    def evict(self, to_bytes: int, *, freeing: int = 0, waits: bool = False) -> Usage:
        """Remove the entries that were not used for the longest time until the others take at most `to_bytes`.

        Args:
            freeing: bytes that have to go, however few there are.
            waits: for another process that is at it; otherwise that one's work will do.

        Returns what went.
        """
        with self._only_one(waits=waits) as alone:
            if not alone:
                return Usage(0, 0)
            with self._open_sum() as total:
                before = total.read()
            coming = sum(size for _, size, _ in walk(self._partial))
            counted, gone = evict_oldest(self._entries, to_bytes, freeing)
            with self._open_sum() as total:  # others may have taken room since: they changed the sum by as much
                total.add(coming + counted - before - gone.bytes)
            return gone

    def _reserve(self, wanted: int) -> int:
        """Add to the sum of all processes; 0 where that would pass the bound."""
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
        """How many bytes too few are free on the file system."""
        disk = os.statvfs(self._directory)
        return int(disk.f_blocks * disk.f_frsize * FREE_SHARE) + wanted - disk.f_bavail * disk.f_frsize

    def _evict_behind(self, freeing: int) -> None:
        if self._evicting is not None and self._evicting.is_alive():
            return
        self._evicting = threading.Thread(target=self._try_to_evict, args=(freeing,), name="evict-cache", daemon=True)
        self._evicting.start()

    def _try_to_evict(self, freeing: int) -> None:
        with suppress(OSError):  # then there is no room, and nothing more is kept
            self.evict(int(self._max * EVICT_TO), freeing=freeing)

    @contextmanager
    def _open_sum(self) -> Iterator[_Sum]:
        descriptor = os.open(
            self._directory / "usage", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, OWNER_ONLY
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for a few system calls at a time
            yield _Sum(descriptor, self._entries)
        finally:
            _let_go(descriptor)

    @contextmanager
    def _only_one(self, *, waits: bool) -> Iterator[bool]:
        path = self._directory / "evicting"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, OWNER_ONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            _let_go(descriptor)


class _Sum:
    """The sum, while its file is locked."""

    def __init__(self, descriptor: int, entries: Path) -> None:
        self._descriptor = descriptor
        self._entries = entries

    def read(self) -> int:
        """The sum; where there is none that can be read, the entries are counted."""
        text = os.pread(self._descriptor, _SUM_DIGITS, 0)
        if len(text) == _SUM_DIGITS and text.isdigit():
            return int(text)
        return sum(size for _, size, _ in walk(self._entries))

    def add(self, change: int) -> None:
        os.pwrite(self._descriptor, b"%020d" % max(self.read() + change, 0), 0)


def _let_go(descriptor: int) -> None:
    """Unlock a file and close it: closing alone would leave the lock with a child that a body forked meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def walk(entries: Path) -> Iterator[tuple[int, int, str]]:
    """Each entry: when it was last used, in seconds since the epoch; its bytes on the disk; its path."""
    for shard in _scan(entries):
        for entry in _scan(shard.path):
            with suppress(OSError):  # another process removed it
                stat = entry.stat(follow_symlinks=False)
                yield int(stat.st_mtime), charge(stat.st_size - TRAILER_BYTES), entry.path


def evict_oldest(entries: Path, to_bytes: int, freeing: int = 0) -> tuple[int, Usage]:
    """Remove the entries that were last used first; returns the bytes that there were, and what went.

    At most `to_bytes` stay, and at least `freeing` bytes go, if there are as many: by what is counted here, because the
    sum of all processes may be too high.

    Entries of one second are of one age. Two walks, so that memory holds seconds and not entries.
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
    """The second up to which entries have to go."""
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
