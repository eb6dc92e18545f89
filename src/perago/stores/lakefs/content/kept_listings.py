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
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

from perago.http.parallel import in_thread
from perago.stores.lakefs.api.answers import ObjectStats
from perago.stores.lakefs.api.calls import PAGE
from perago.workspace.cache import ObjectCache, cache_key
from perago.workspace.columns import decode, encode, text_column, texts_of
from perago.workspace.digest import SHA256, digest_bytes

T = TypeVar("T")

FORMAT = "perago-listing-1"

KEPT = 4
"""Listings of one selection on the disk: those of a few commits in a row, for attempts that began with an older one. A
further one removes the oldest."""

SHARE = 64
"""A listing of more than the cache's limit divided by this is not kept. With the default of 10 GiB these are 160 MiB,
some 3 million objects. So the listings of one selection displace 1/16 of the objects at most."""

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
    """Objects of a commit in byte order of their names, as columns.

    Attributes:
        calls: that listing them takes, one after the other; for a listing that was made of another one an estimate.
    """

    calls: int
    names: Sequence[str]
    addresses: Sequence[str]
    checksums: Sequence[str]
    sizes: array[int]
    executable: bytes

    @classmethod
    def of(cls, files: Sequence[ObjectStats], calls: int) -> Listing:
        return cls(
            calls,
            [stats.path for stats in files],
            [stats.physical_address for stats in files],
            [stats.checksum for stats in files],
            array("Q", [stats.size for stats in files]),
            bytes(stats.executable for stats in files),
        )

    def files(self) -> tuple[ObjectStats, ...]:
        columns = (self.names, self.addresses, self.checksums, self.sizes, map(bool, self.executable))
        return tuple(map(ObjectStats, *columns))

    def find(self, name: str) -> ObjectStats | None:
        at = bisect_left(self.names, name)
        if at == len(self.names) or self.names[at] != name:
            return None
        return ObjectStats(name, self.addresses[at], self.checksums[at], self.sizes[at], bool(self.executable[at]))

    def changed(self, changes: Mapping[str, ObjectStats | None]) -> Listing:
        """This listing with other objects at some names; None for no object."""
        edits: list[_Edit] = []
        for name in sorted(changes):
            at = bisect_left(self.names, name)
            end = at + (at < len(self.names) and self.names[at] == name)
            edits.append(_Edit(at, end, changes[name]))
        new = [edit.stats for edit in edits if edit.stats is not None]
        names = _edited(self.names, edits, [stats.path for stats in new])
        return Listing(
            max(self.calls, len(names) // PAGE + 1),
            names,
            _edited(self.addresses, edits, [stats.physical_address for stats in new]),
            _edited(self.checksums, edits, [stats.checksum for stats in new]),
            array("Q", _edited(self.sizes, edits, [stats.size for stats in new])),
            bytes(_edited(self.executable, edits, [stats.executable for stats in new])),
        )

    def encode(self) -> bytes:
        """A file's content: half as long as the columns.

        Raises:
            ValueError: names are not in order, or not readable, so that the server could mean others.
        """
        if not all(map(operator.lt, self.names, islice(self.names, 1, None))):
            raise ValueError("names are not in order")
        if any(UNREADABLE in name for name in self.names):
            raise ValueError("a name is not UTF-8")
        columns = [
            text_column(self.names),
            text_column(self.addresses),
            text_column(self.checksums),
            self.sizes.tobytes(),
            self.executable,
        ]
        compressor = zlib.compressobj(level=1)
        pieces = [compressor.compress(piece) for piece in encode(FORMAT, (self.calls, len(self.names)), columns)]
        return b"".join([*pieces, compressor.flush()])

    @classmethod
    def decode(cls, data: bytes) -> Listing:
        """What `encode` made.

        Raises:
            ValueError, TypeError, OverflowError, RecursionError: it is damaged, or has another format.
        """
        try:
            file = io.BytesIO(zlib.decompress(data))
        except zlib.error as exc:
            raise ValueError(str(exc)) from exc
        (calls, count), (names, addresses, checksums, sizes, executable) = decode(FORMAT, file)
        numbers = array("Q", sizes)
        if not len(numbers) == len(executable) == count:
            raise ValueError("columns differ in length")
        return cls(
            calls,
            texts_of(names, count),
            texts_of(addresses, count),
            texts_of(checksums, count),
            numbers,
            executable,
        )


class _Edit(NamedTuple):
    """`stats`, if not None, in place of the positions from `start` to `end`."""

    start: int
    end: int
    stats: ObjectStats | None


def _edited(column: Sequence[T], edits: Sequence[_Edit], new: Sequence[T]) -> list[T]:
    made: list[T] = []
    at, values = 0, iter(new)
    for edit in edits:
        made += column[at : edit.start]
        if edit.stats is not None:
            made.append(next(values))
        at = edit.end
    made += column[at:]
    return made


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
            return Listing.decode(data)
        except (ValueError, TypeError, OverflowError, RecursionError):
            self._cache.remove(key.entry)
            return None

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
        try:
            data = listing.encode()
        except ValueError:  # see `Listing.encode`
            return
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
            make: None for nothing to keep.
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
        with suppress(OSError):
            listing = make()
            if listing is not None:
                self.keep(key, listing)

    def _bases(self, key: ListingKey) -> list[Base]:
        data = self._cache.read(key.selection)
        try:
            return [] if data is None else [Base(str(commit), int(calls)) for commit, calls in json.loads(data)]
        except (ValueError, TypeError, RecursionError):
            return []
