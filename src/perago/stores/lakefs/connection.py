"""The shared state of everything that uses one server: the client, its thread, and facts about the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from perago.http.loop import LoopThread
from perago.ports import Clock, Observer, Phase
from perago.stores.lakefs.api.answers import ServerFacts
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.api.commits import Commits
from perago.stores.lakefs.content.kept_listings import KeptListings
from perago.stores.lakefs.content.transfer import ChecksumRule, Transfer
from perago.stores.lakefs.publication.fence import Canary
from perago.stores.lakefs.publication.publish import Mover
from perago.values.models import TaskExecution
from perago.workspace.cache import ObjectCache
from perago.workspace.progress import TransferProgress

T = TypeVar("T")


class StoreConnection:
    """A client, and the thread that makes its calls. Any number of threads may use it.

    Args:
        client: not shared with others.
        mover: moves branches.
        cache: of the host; None for no cache.
        observer: gets the progress events.
        checksums, presign: see `transfer.Transfer`.
    """

    def __init__(
        self,
        client: LakeFSClient,
        mover: Mover,
        *,
        cache: ObjectCache | None,
        observer: Observer,
        clock: Clock,
        checksums: ChecksumRule = "md5",
        presign: bool = True,
    ) -> None:
        self.client = client
        self.mover = mover
        self.clock = clock
        self.observer = observer
        self._cache = cache
        self._listings = KeptListings(cache) if cache is not None and cache.max_bytes else None
        self.checksums: ChecksumRule = checksums
        self._presign = presign
        self._canary = Canary(client, clock) if mover.mode == "exact" else None
        self._loop = LoopThread("perago-lakefs", client.close)
        self._server: ServerFacts | None = None

    @property
    def commits(self) -> Commits:
        return self.mover.commits

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end. An interrupt cancels it."""
        return self._loop.run(coroutine)

    def drained(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items of an asynchronous iterator, each fetched on demand."""

        async def following() -> tuple[T] | None:
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return None

        while (item := self.run(following())) is not None:
            yield item[0]

    async def transfer(self, repository: str) -> Transfer:
        """A repository's transfer. Asks the server for its abilities once."""
        if self._server is None:
            self._server = await self.client.get_config()
        return Transfer(
            self.client,
            self._loop,
            repository,
            self._server,
            self._cache,
            self.checksums,
            self._presign,
            self._listings,
        )

    def progress(self, phase: Phase, total_files: int = 0, execution: TaskExecution | None = None) -> TransferProgress:
        return TransferProgress(self.observer, self.clock, phase, total_files=total_files, execution=execution)

    async def check_fence(self, repository: str, staged_commit: str) -> None:
        """Verify once per repository that the server enforces the fence; skipped if the mode is not "exact".

        Raises:
            FenceUnavailableError
        """
        if self._canary is not None:
            await self._canary.check(repository, await self.commits.get(repository, staged_commit))

    def close(self) -> None:
        """Close all connections and end the thread. May be called twice."""
        self._loop.close()
