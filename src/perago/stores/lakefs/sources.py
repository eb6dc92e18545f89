"""Where an object's bytes are read: from the server, or from the block store itself where that may be."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

from yarl import URL

from perago.http.session import encoded
from perago.stores.lakefs.api import PAGE, segment
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.transfer import SMALL_BYTES, Transfer
from perago.stores.lakefs.values import ObjectStats

DENSE = 0.1
"""Share of a listing's objects from which on presigned URLs are asked for by the page, not one by one."""

FRESH_SECONDS = 300.0
"""How long a presigned URL is used: a third of the 15 minutes that lakeFS makes them valid for by default."""


class Source(NamedTuple):
    """Where bytes are read.

    Attributes:
        url: of a block store it is a credential.
        ours: it is the server's own.
    """

    url: URL
    ours: bool


class Sources:
    """Gives each of the wanted objects its source.

    The block store may be out of reach from here, whatever the server says: after the first such fault everything
    comes from the server.

    Args:
        commit_id: that is read.
        wanted: the objects that will be asked for, by name.
        total: objects of the whole listing.
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

    async def of(self, stats: ObjectStats, tries: int = 0) -> Source:
        """The source of an object; a second try is made at the server."""
        if self._presigned and tries == 0 and (self._by_page or stats.size > SMALL_BYTES):
            url = await self._presigned_url(stats)
            if url is not None:
                return Source(url, ours=False)
        return Source(encoded(self._ours + segment(stats.path)), ours=True)

    def give_up(self) -> None:
        """The block store cannot be reached: read everything from the server."""
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
                if stats.physical_address.startswith("http")  # not where the key may not read the object
            }
        return self._urls.pop(path, None)
