"""Listings of commits that this host has published or laid out, kept beside the objects in its cache.

A commit never changes its content, so that its listing stays right. A listing is an entry of the object cache: that
cache limits the bytes, removes what was not used for the longest time, and finds damage. A second, small entry names
the newest commits with the same selection.
"""

from __future__ import annotations

import asyncio
import io
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from perago.http.parallel import in_thread
from perago.stores.lakefs.api.answers import ObjectStats
from perago.stores.lakefs.api.calls import PAGE
from perago.workspace.cache import ObjectCache, cache_key
from perago.workspace.digest import SHA256, digest_bytes

FORMAT = "perago-listing-1"

KEPT = 4
"""Listings of one selection on the disk: those of a few commits in a row, for attempts that began with an older one. A
further one removes the oldest."""

SHARE = 64
"""A listing of more than the cache's limit divided by this is not kept. With the default of 10 GiB these are 160 MiB,
some million objects. So the listings of one selection displace 1/16 of the objects at most."""

SMALL_KEPT = 8
"""Listings of a single call that a store remembers, in memory only: up to 1,000 objects each. On the disk they would
save nothing, because the call runs beside the check of the input. Publications need them: what the first task of a
pipeline publishes is made of the small listing of its input."""

_WAITING = 4
"""Listings to be kept that may wait at a time. They hold memory; further ones are not kept."""

UNREADABLE = "\ufffd"
"""In place of what is not UTF-8 in a name: two names can look the same, and no call can name such an object."""


class ListingKey(NamedTuple):
    """What a listing lists.

    Attributes:
        server: its URL.
        commit_id: full id.
        root, include, exclude: of a `WorkspaceSpec`.
    """

    server: str
    repository: str
    commit_id: str
    root: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]

    @property
    def entry(self) -> str:
        """The key in the object cache."""
        return cache_key(FORMAT, json.dumps(self))

    @property
    def selection(self) -> str:
        """The key of what is known of all commits with this selection."""
        return self._replace(commit_id="").entry


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects of a commit in byte order of their names. A third as large as the objects.

    Attributes:
        calls: that listing them takes, one after the other; for a listing that was made of another one an estimate.
        data: a file's content: the calls on a line, then a record for each object (`_record`). Not packed: that would
            take more time than all the rest, and few listings stay until they are written to the disk.
    """

    calls: int
    data: bytes

    @classmethod
    def of(cls, files: Sequence[ObjectStats], calls: int) -> Listing:
        """The listing of some objects, in order.

        Raises:
            ValueError: names are not in order, or not readable, so that the server could mean others.
        """
        names = [stats.path for stats in files]
        if not all(map(operator.lt, names, islice(names, 1, None))):
            raise ValueError("names are not in order")
        made = io.BytesIO()
        made.write(_head(calls))
        made.writelines(map(_record, files))
        return cls(calls, made.getvalue())

    @classmethod
    def read(cls, data: bytes) -> Listing:
        """That of a file's content.

        Raises:
            ValueError: it is something else.
        """
        start = data.index(b"\n") + 1
        calls = int(data[:start])
        if data[:start] != _head(calls) or (len(data) > start and not data.endswith(_END)):
            raise ValueError("it does not begin or end as a listing")
        return cls(calls, data)

    def files(self) -> tuple[ObjectStats, ...]:
        """The objects.

        Raises:
            ValueError: the records are not what `of` made.
        """
        found: list[ObjectStats] = []
        start = self._start
        while start < len(self.data):
            end = self.data.find(_END, start + _PIECE_BYTES) + 1 or len(self.data)
            found += _objects(self.data[start:end])
            start = end
        return tuple(found)

    def find(self, name: str) -> ObjectStats | None:
        start, end = self._place(name.encode(), self._start)
        return None if start == end else next(_objects(self.data[start:end]))

    def changed(self, changes: Mapping[str, ObjectStats | None]) -> Listing:
        """This listing with other objects at some names; None for no object.

        Raises:
            ValueError: as `of`.
        """
        edits: list[tuple[int, int, bytes]] = []
        at, count = self._start, self.data.count(_END)
        for name in sorted(changes):
            start, at = self._place(name.encode(), at)
            stats = changes[name]
            edits.append((start, at, b"" if stats is None else _record(stats)))
            count += (stats is not None) - (start < at)
        calls = max(self.calls, count // PAGE + 1)
        made, before, at = io.BytesIO(), memoryview(self.data), self._start
        made.write(_head(calls))
        for start, end, record in edits:
            made.write(before[at:start])
            made.write(record)
            at = end
        made.write(before[at:])
        return Listing(calls, made.getvalue())

    @property
    def _start(self) -> int:
        return len(_head(self.calls))

    def _place(self, name: bytes, low: int) -> tuple[int, int]:
        """Where the record with this name begins and ends, from `low` on: an empty place if there is none."""
        data, high = self.data, len(self.data)
        while low < high:
            start = data.rfind(_END, low, (low + high) // 2) + 1 or low
            end = data.index(_END, start) + 1
            found = data[start : data.index(_SEPARATOR, start)]
            if found == name:
                return start, end
            if found < name:
                low = end
            else:
                high = start
        return low, low


_SEPARATOR, _END = b"\0", b"\xff"
_FIELDS = 5
_PIECE_BYTES = 256 * 1024
"""Bytes of records that are taken apart at a time."""


def _head(calls: int) -> bytes:
    return b"%d\n" % calls


def _record(stats: ObjectStats) -> bytes:
    """An object as text: its fields with NULs between them, and a byte at the end that no UTF-8 contains.

    Raises:
        ValueError: a field contains a NUL, or the name is not readable.
    """
    text = f"{stats.path}\0{stats.physical_address}\0{stats.checksum}\0{stats.size}\0{int(stats.executable)}"
    if text.count("\0") != _FIELDS - 1 or UNREADABLE in stats.path:
        raise ValueError("an object's name cannot be kept")
    return text.encode() + _END


def _objects(records: bytes) -> Iterator[ObjectStats]:
    """The objects of some records.

    Raises:
        ValueError: they are something else.
    """
    *fields, _ = records.replace(_END, _SEPARATOR).decode().split("\0")
    columns = (fields[number::_FIELDS] for number in range(_FIELDS))
    for name, address, checksum, size, executable in zip(*columns, strict=True):
        yield ObjectStats(name, address, checksum, int(size), executable == "1")


class Base(NamedTuple):
    """A commit whose listing is kept, and the calls that this listing takes."""

    commit_id: str
    calls: int


class KeptListings:
    """The listings that this host keeps. Errors of the disk, and damage, are misses. Nothing raises.

    Args:
        cache: has the large ones.
    """

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache
        self._small: dict[ListingKey, Listing] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self._waiting: dict[ListingKey, asyncio.Task[None]] = {}

    def find(self, key: ListingKey) -> Listing | None:
        """The listing. Reads the disk."""
        small = self._small.get(key)
        if small is not None:
            return small
        data = self._cache.read(key.entry)
        if data is None:
            return None
        try:
            return Listing.read(data)
        except ValueError:
            self.forget(key)
            return None

    def forget(self, key: ListingKey) -> None:
        """Remove a listing that cannot be read."""
        self._cache.remove(key.entry)

    def base(self, key: ListingKey) -> Base | None:
        """The commit whose listing was kept last for the same selection. Reads the disk."""
        known = self._bases(key)
        return known[0] if known else None

    def keep(self, key: ListingKey, listing: Listing) -> None:
        """Keep a listing. Writes to the disk."""
        if listing.calls == 1:
            self._small[key] = listing
            while len(self._small) > SMALL_KEPT:
                del self._small[next(iter(self._small))]
            return
        data = listing.data
        if len(data) > self._cache.max_bytes // SHARE:
            return
        if not self._cache.add(key.entry, data, digest_bytes(data, SHA256)):
            return
        others = [base for base in self._bases(key) if base.commit_id != key.commit_id]
        known = json.dumps([Base(key.commit_id, listing.calls), *others[: KEPT - 1]]).encode()
        self._cache.replace(key.selection, known, digest_bytes(known, SHA256))
        for base in others[KEPT - 1 :]:
            self._cache.remove(key._replace(commit_id=base.commit_id).entry)

    def begin_keeping(self, key: ListingKey, make: Callable[[], Listing | None]) -> None:
        """Make and keep a listing in a thread, after those that are already under way. Call it on the event loop.

        Closing the store waits for one that is being kept, and drops those that wait.

        Args:
            make: None, or a ValueError, for nothing to keep.
        """
        waiting = self._under_way()
        if key not in waiting and len(waiting) < _WAITING:
            keeping = waiting[key] = asyncio.ensure_future(self._keep_in_turn(key, make))
            keeping.add_done_callback(lambda _: waiting.pop(key, None))

    async def settled(self, key: ListingKey | None = None) -> None:
        """Wait until this listing is no longer being kept; by default until none is."""
        while waiting := [task for of, task in self._under_way().items() if key in (of, None)]:
            await asyncio.wait(waiting)

    def _under_way(self) -> dict[ListingKey, asyncio.Task[None]]:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # the first one, or that of a fork
            self._loop, self._turn, self._waiting = loop, asyncio.Lock(), {}
        return self._waiting

    async def _keep_in_turn(self, key: ListingKey, make: Callable[[], Listing | None]) -> None:
        async with self._turn:
            await in_thread(self._make_and_keep, key, make)

    def _make_and_keep(self, key: ListingKey, make: Callable[[], Listing | None]) -> None:
        with suppress(OSError, ValueError):  # see `Listing.of`
            listing = make()
            if listing is not None:
                self.keep(key, listing)

    def _bases(self, key: ListingKey) -> list[Base]:
        data = self._cache.read(key.selection)
        try:
            return [] if data is None else [Base(str(commit), int(calls)) for commit, calls in json.loads(data)]
        except (ValueError, TypeError, RecursionError):
            return []
