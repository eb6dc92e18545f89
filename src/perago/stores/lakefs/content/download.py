"""Downloading objects of a commit into files, in one piece or in parts, with a check of each checksum."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from yarl import URL

from perago.errors import StoreError
from perago.files.beneath import Beneath
from perago.http.answer import FaultKind
from perago.http.batches import Batches
from perago.http.pace import Pace
from perago.http.parallel import at_pace, in_parallel, in_thread, together
from perago.http.session import encoded
from perago.stores.lakefs.api.answers import DamagedObjectError, LakeFSError, ObjectStats
from perago.stores.lakefs.api.calls import PAGE, segment
from perago.stores.lakefs.content.transfer import (
    FRESH_SECONDS,
    SMALL_BYTES,
    ChecksumMatch,
    Keeping,
    Transfer,
    judge_file,
    judge_small,
    keeping,
    likely_parts,
    read_as_it_comes,
    retried,
    write_to_workspace,
)
from perago.values.names import show_name
from perago.workspace.cache import ObjectCache
from perago.workspace.digest import CHUNK_BYTES, MD5, MD5_OF_PARTS, SHA256, Md5OfParts, md5_of_md5s
from perago.workspace.new_files import open_new

DENSE = 0.1
"""Minimum share of a listing's objects for which presigned URLs are requested by page instead of one by one."""


class ReadSource(NamedTuple):
    """Where to read an object.

    Attributes:
        url: a credential, if it is the block store's.
        ours: whether it is the server's own URL.
    """

    url: URL
    ours: bool


class ReadSources:
    """Chooses the source of each wanted object.

    The block store may be unreachable from this host. After the first such fault, everything is read from the server.

    Args:
        commit_id: of the commit to read.
        wanted: the objects that will be requested, by name.
        total: number of objects in the whole listing.
    """

    def __init__(self, transfer: Transfer, commit_id: str, wanted: Sequence[ObjectStats], total: int) -> None:
        self._transfer = transfer
        self._ours = str(transfer.client.object_url(transfer.repository, commit_id, ""))
        self._commit_id = commit_id
        self._presigned = transfer.presigned
        self._by_page = len(wanted) >= DENSE * total
        self._before = {}
        if self._presigned and self._by_page:
            self._before = {stats.path: before.path for before, stats in itertools.pairwise(wanted)}
        self._urls: dict[str, URL] = {}
        self._asked_at = 0.0
        self._asking = asyncio.Lock()

    async def of(self, stats: ObjectStats, tries: int = 0) -> ReadSource:
        """The source of an object. A second try uses the server."""
        if self._presigned and tries == 0 and (self._by_page or stats.size > SMALL_BYTES):
            url = await self._presigned_url(stats)
            if url is not None:
                return ReadSource(url, ours=False)
        return ReadSource(encoded(self._ours + segment(stats.path)), ours=True)

    def give_up(self) -> None:
        """Stop using the block store and read everything from the server."""
        self._presigned = False

    async def _presigned_url(self, stats: ObjectStats) -> URL | None:
        transfer = self._transfer
        try:
            if not self._by_page:
                return await transfer.client.presigned_read_url(transfer.repository, self._commit_id, stats.path)
            async with self._asking:
                return await self._from_page(stats.path)
        except LakeFSError:
            self.give_up()
            return None

    async def _from_page(self, path: str) -> URL | None:
        now = time.monotonic()
        if path not in self._urls or now - self._asked_at > FRESH_SECONDS:
            transfer = self._transfer
            page, _ = await transfer.client.list_page(
                transfer.repository,
                self._commit_id,
                prefix="" if path in self._before else path,
                after=self._before.get(path, ""),
                amount=PAGE,
                presign=True,
            )
            self._asked_at = now
            self._urls = {
                stats.path: URL(stats.physical_address, encoded=True)
                for stats in page
                if stats.physical_address.startswith("http")  # not so if the key may not read the object
            }
        return self._urls.pop(path, None)


LARGE_AT_ONCE = 3
PARTS_AT_ONCE = 3
"""Large objects in parallel, and parts of each."""

PART_BYTES = 16 * 1024 * 1024
"""Bytes of a large object per request."""

MAX_PART_BYTES = 64 * 1024 * 1024
"""The same for an object that was uploaded in larger parts, so that each can be verified by itself."""

_LOGGER = logging.getLogger("perago.stores.lakefs")


@dataclass(frozen=True)
class Download:
    """Downloads objects of one commit into one directory.

    Attributes:
        target: its directories already exist.
        root: the part of the names before the path below the target.
        digests: gets the digest of each correct file by its path; see `workspace.digest`.
        done: called with the size of each correct file.
    """

    transfer: Transfer
    target: Beneath
    root: str
    sources: ReadSources
    digests: MutableMapping[str, str]
    done: Callable[[int], None]
    _doubted: dict[str, str] = field(default_factory=dict)
    _not_told: list[str] = field(default_factory=list)
    _files: Batches = field(default_factory=Batches)

    async def run(self, wanted: Sequence[ObjectStats]) -> None:
        """Fetch the objects.

        Raises:
            LakeFSError: the server refuses, or cannot be reached.
            DamagedObjectError: the content was wrong in every try.
            OSError: the disk refuses.
        """
        small = [stats for stats in wanted if stats.size <= SMALL_BYTES]
        large = [stats for stats in wanted if stats.size > SMALL_BYTES]
        try:
            await together(
                at_pace(small, self._fetch_small, Pace(self.transfer.connections), lambda stats: stats.size),
                in_parallel(large, self._fetch_large, min(LARGE_AT_ONCE, len(large))),
            )
        finally:
            await self._files.end()
        if self._not_told:
            _LOGGER.debug(
                "the checksums of %d objects are not the MD5 of their content, but may be those of parts or of a block "
                "store. Their sizes are right; the first is %s",
                len(self._not_told),
                show_name(self._not_told[0]),
            )

    # ---- small objects: in memory

    async def _fetch_small(self, stats: ObjectStats) -> None:
        content, md5 = (b"", _EMPTY_MD5) if stats.size == 0 else await self._small_content(stats)
        path, digest = stats.path[len(self.root) :], f"{MD5}:{md5}"
        await self._files.run(partial(self._write_small, stats, path, content, digest))
        self.digests[path] = digest
        self.done(stats.size)

    def _write_small(self, stats: ObjectStats, path: str, content: bytes, digest: str) -> None:
        """Write an object to its place, and to the cache."""
        descriptor = open_new(self.target, path, executable=stats.executable)
        try:
            write_to_workspace(self.transfer.cache, descriptor, content, 0)
        finally:
            os.close(descriptor)
        if self.transfer.cache is not None and stats.size:
            self.transfer.cache.add(self.transfer.key(stats), content, digest)

    async def _small_content(self, stats: ObjectStats) -> tuple[bytes, str]:
        async def attempt(tries: int) -> tuple[bytes, str]:
            source = await self.sources.of(stats, tries)
            content = await self._read(stats, source)
            if len(content) != stats.size:
                raise _wrong_size(stats, len(content))
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            self._check(stats, md5, judge_small(stats.checksum, md5))
            return content, md5

        return await retried(attempt, (DamagedObjectError,))

    async def _read(self, stats: ObjectStats, source: ReadSource) -> bytes:
        client = self.transfer.client
        if source.ours:
            return await client.read_object_at(source.url, stats.size)
        try:
            return await client.read_object_at(source.url, stats.size, ours=False)
        except LakeFSError as exc:
            self._judge_block_store(exc)
            source = await self.sources.of(stats, tries=1)
            return await client.read_object_at(source.url, stats.size)

    # ---- large objects: streamed

    async def _fetch_large(self, stats: ObjectStats) -> None:
        path = stats.path[len(self.root) :]
        descriptor = open_new(self.target, path, executable=stats.executable)
        try:
            with keeping(self.transfer, descriptor, stats.size) as content:
                target = _TargetFile(descriptor, content, self.transfer.cache)
                digest = await retried(lambda tries: self._large_content(stats, target, tries), (DamagedObjectError,))
                await content.keep(stats)
        finally:
            os.close(descriptor)
        self.digests[path] = digest
        self.done(stats.size)

    async def _large_content(self, stats: ObjectStats, target: _TargetFile, tries: int) -> str:
        """Fetch a large object's parts in parallel, and hash the contiguous beginning at the same time.

        If the object was uploaded in parts of a common size, each of these is hashed by itself while it arrives.

        Returns:
            the digest of the content.
        """
        source = await self.sources.of(stats, tries)
        uploaded = self._uploaded_parts(stats)
        step = PART_BYTES if uploaded is None else uploaded * max(1, PART_BYTES // uploaded)
        ranges = [range(first, min(first + step, stats.size)) for first in range(0, stats.size, step)]
        parts = [_Part(each, target, uploaded) for each in ranges]
        arrived = [asyncio.Event() for _ in parts]
        whole = hashlib.md5(usedforsecurity=False)
        readers: list[Callable[[bytes, int], None]] = []
        if uploaded is None:
            readers.append(lambda piece, _at: whole.update(piece))
        if target.content.is_under_way:
            readers.append(target.content.hash)
        hashing = (read_as_it_comes(target.descriptor, ranges, arrived, reader) for reader in readers)

        async def fetch(index: int) -> None:
            await self._fetch_part(stats, source, parts[index])
            arrived[index].set()

        await together(in_parallel(range(len(parts)), fetch, min(PARTS_AT_ONCE, len(parts))), *hashing)
        if (size := os.fstat(target.descriptor).st_size) != stats.size:
            raise _wrong_size(stats, size)
        if uploaded is None:
            digest = f"{MD5}:{whole.hexdigest()}"
        else:
            of_parts = md5_of_md5s([md5 for part in parts for md5 in part.md5s])
            digest = f"{MD5_OF_PARTS}/{uploaded}:{of_parts}"
            if target.content.is_under_way:  # its SHA-256 is there, and faster to compare with
                digest = f"{SHA256}:{target.content.sha256}"
            if of_parts == stats.checksum:
                return digest
        if self.transfer.checksums == "opaque":
            return digest
        if self._doubted.get(stats.path) == digest:  # damage in transit would not repeat exactly
            self._not_told.append(stats.path)
            return digest
        self._check(
            stats,
            digest,
            await in_thread(judge_file, stats.checksum, target.descriptor, stats.size, whole.hexdigest()),
        )
        return digest

    def _uploaded_parts(self, stats: ObjectStats) -> int | None:
        """Likely size of the parts that an object was uploaded in, if it is not too large to be fetched as one."""
        sizes = likely_parts(stats.checksum, stats.size) if self.transfer.checksums == "md5" else []
        return next((size for size in sizes if size <= MAX_PART_BYTES), None)

    async def _fetch_part(self, stats: ObjectStats, source: ReadSource, part: _Part) -> None:
        """Fetch one part. A retry continues where the last try ended."""

        async def attempt(tries: int) -> None:
            here = source if tries == 0 or source.ours else await self.sources.of(stats, tries)
            while part.at < part.stop:
                try:
                    await self._stream(stats, here, part)
                except (LakeFSError, DamagedObjectError) as exc:
                    if here.ours:
                        raise
                    if isinstance(exc, DamagedObjectError):
                        part.restart()
                    self._judge_block_store(exc)
                    here = await self.sources.of(stats, tries=1)

        await retried(attempt, (LakeFSError,))

    async def _stream(self, stats: ObjectStats, source: ReadSource, part: _Part) -> None:
        """Write the rest of a part as it arrives. After a fault, what has arrived is written.

        Raises:
            LakeFSError, DamagedObjectError
        """
        wanted, pieces, waiting = range(part.at, part.stop), list[bytes](), 0
        try:
            async with self.transfer.client.open_object(source.url, stats.size, wanted, ours=source.ours) as stream:
                async for piece in stream.chunks():
                    waiting += len(piece)
                    if part.at + waiting > part.stop:  # the bytes would overlap the next part, or exceed the end
                        raise _wrong_size(stats, stats.size + part.at + waiting - part.stop)
                    pieces.append(piece)
                    if waiting >= CHUNK_BYTES:
                        await in_thread(part.write, pieces)
                        pieces, waiting = [], 0
        except (LakeFSError, DamagedObjectError):
            part.write(pieces)
            raise
        await in_thread(part.write, pieces)
        if part.at != part.stop:
            raise _wrong_size(stats, stats.size - (part.stop - part.at))

    # ---- judging

    def _judge_block_store(self, error: StoreError) -> None:
        """Stop using a block store that cannot be reached."""
        if isinstance(error, LakeFSError) and error.fault in (FaultKind.UNREACHABLE, FaultKind.TLS):
            self.sources.give_up()

    def _check(self, stats: ObjectStats, digest: str, verdict: ChecksumMatch) -> None:
        """Refuse damaged content. Doubtful content is refused once, and accepted if it arrives unchanged again."""
        if self.transfer.checksums == "opaque" or verdict is ChecksumMatch.RIGHT:
            return
        if verdict is ChecksumMatch.OPAQUE:
            self._not_told.append(stats.path)
            return
        if verdict is ChecksumMatch.DOUBTFUL:
            self._doubted[stats.path] = digest
        raise DamagedObjectError(
            f"the content of {show_name(stats.path)} does not match its checksum {stats.checksum}; it was damaged in "
            f"transit or in the block store. Try again. If the block store's checksums are not the MD5 of the content "
            f"(for example S3 with KMS keys), set PERAGO_CHECKSUMS=opaque, or the store's option "
            f'checksums="opaque"'
        )


@dataclass(frozen=True)
class _TargetFile:
    """The file that a large object is written to, which also feeds the cache."""

    descriptor: int
    content: Keeping
    cache: ObjectCache | None

    def write(self, piece: bytes, at: int) -> int:
        """Write a piece. Returns the position after it."""
        end = write_to_workspace(self.cache, self.descriptor, piece, at)
        self.content.write(piece, at)
        return end


class _Part:
    """A part of a large object on its way to its file.

    Args:
        where: its bytes in the file.
        uploaded: bytes of the parts in which the object was uploaded, if known: each is hashed by itself.

    Attributes:
        at: position of the next byte.
    """

    def __init__(self, where: range, target: _TargetFile, uploaded: int | None) -> None:
        self._start = where.start
        self.stop = where.stop
        self._target = target
        self._uploaded = uploaded
        self.restart()

    def restart(self) -> None:
        """Forget what has arrived."""
        self.at = self._start
        self._hasher = None if self._uploaded is None else Md5OfParts(self._uploaded)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write and hash the next pieces."""
        for piece in pieces:
            if self._hasher is not None:
                self._hasher.update(piece)
            self.at = self._target.write(piece, self.at)

    @property
    def md5s(self) -> list[str]:
        """The MD5s of the uploaded parts in it, in hexadecimal, if they are hashed."""
        return [] if self._hasher is None else self._hasher.md5s


_EMPTY_MD5 = hashlib.md5(usedforsecurity=False).hexdigest()


def _wrong_size(stats: ObjectStats, size: int) -> DamagedObjectError:
    return DamagedObjectError(
        f"{show_name(stats.path)} arrived with {size} bytes, but the server lists {stats.size}; it was cut off in "
        f"transit or is damaged in the block store. Try again"
    )
