"""One commit in the making, on hidden branches of its own: content put on a copy of a commit, and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from perago.errors import StoreError
from perago.models import Changes
from perago.stores.lakefs.branches import content_name
from perago.stores.lakefs.changes import Entry, Overlay, Restoration, Source
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.fence import ACTIONS_PREFIX, FENCE_PATH, check_actions, holds_fence
from perago.stores.lakefs.protection import explained
from perago.stores.lakefs.together import both, each
from perago.stores.lakefs.transfer import Transfer
from perago.stores.lakefs.upload import Upload
from perago.stores.lakefs.values import Commit, ObjectStats

Actions = dict[str, ObjectStats]

_COMMIT_TRIES = 3
"""Of a commit on a branch of our own whose answer was unclear: each time the branch tells whether it is there."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A commit on a head, as long as it is not done: a context, which leaves nothing behind where it fails.

    Attributes:
        transfer: how content gets to the repository.
        branch: the staging branch's name, which is free.
        head: what the commit is to stand on.
        fence: content of the action file that the commit is to hold.
        directory: where changed files lie; root: what their names have before the path below it.
        changes: what is to be put on the branch.
        done: called with the size of each file that is uploaded.
    """

    transfer: Transfer
    branch: str
    head: Commit
    fence: bytes
    directory: Path
    root: str
    changes: Changes
    done: Callable[[int], None]
    _listed: dict[str, asyncio.Future[Actions]] = field(default_factory=dict, init=False)
    _creating: list[asyncio.Future[None]] = field(default_factory=list, init=False)

    @property
    def client(self) -> LakeFSClient:
        return self.transfer.client

    @property
    def repository(self) -> str:
        return self.transfer.repository

    @property
    def beside(self) -> str:
        """A second branch, for content that does not come about on the head."""
        return content_name(self.branch)

    # ---- content

    async def create(self, branch: str, source: str) -> None:
        """Make a branch. Nothing cuts this short: a request under way would make it after all, and behind our back."""
        creating = asyncio.ensure_future(self.client.create_branch(self.repository, branch, source, hidden=True))
        self._creating.append(creating)
        await asyncio.shield(creating)

    async def fill(self, branch: str, source: str) -> Overlay:
        """Make a branch at a commit, and put the changes and the fence on it; returns the changes."""
        actions, _ = await both(self._actions(source), self.create(branch, source))
        upload = Upload(self.transfer, branch, self.directory, self.root, self.done)
        uploaded, _ = await both(
            upload.run(self.changes.written, self.changes.deleted), self._put_fence(branch, actions)
        )
        own: dict[str, Entry | None] = {self.root + path: None for path in self.changes.deleted}
        own.update((self.root + path, Entry.of(stats)) for path, stats in uploaded.items())
        return own

    async def put_back(self, restoration: Restoration) -> None:
        """Put on the staging branch what other commits had, and remove what they had not."""
        gone = [path for path, source in restoration.items() if source is None]
        kept = [(path, source) for path, source in restoration.items() if source is not None]
        remover = Upload(self.transfer, self.branch, self.directory, "", self.done)
        await both(each(kept, lambda item: self._copy(*item)), remover.run([], gone))

    async def _copy(self, path: str, source: Source) -> None:
        await self.client.copy_object(
            self.repository, self.branch, path, source_ref=source.commit_id, source=path, size=source.size
        )

    async def _put_fence(self, branch: str, actions: Mapping[str, ObjectStats]) -> None:
        if not holds_fence(actions, self.fence):
            await self.client.upload_object(self.repository, branch, FENCE_PATH, self.fence, size=len(self.fence))

    # ---- the commit

    async def commit(
        self, branch: str, parent: str, message: str, metadata: Mapping[str, str], source_metarange: str | None = None
    ) -> Commit:
        """Commit what is on a branch of ours, or the content of a meta range.

        An unclear answer is settled by looking at the branch, where nobody else writes.
        """
        for tries in range(1, _COMMIT_TRIES + 1):
            try:
                made = await self.client.commit(
                    self.repository,
                    branch,
                    message,
                    metadata,
                    source_metarange=source_metarange,
                    allow_empty=source_metarange is None,
                )
            except LakeFSError as exc:
                if not exc.is_unclear:
                    raise
                tip = await self.client.get_branch(self.repository, branch)
                if tip.commit_id == parent:
                    if tries == _COMMIT_TRIES:
                        raise
                    continue
                made = await self.client.get_commit(self.repository, tip.commit_id)
            return await self._first_on(parent, made, metadata)
        raise AssertionError("the last try returns or raises")

    async def _first_on(self, parent: str, made: Commit, metadata: Mapping[str, str]) -> Commit:
        """The commit that stands on `parent`: a request that was repeated on its way made an empty one on top of it."""
        while made.parents[0] != parent:
            below = await self.client.get_commit(self.repository, made.parents[0])
            if dict(below.metadata) != dict(metadata) or below.meta_range_id != made.meta_range_id:
                raise StoreError(
                    f"somebody else writes to the staging branch {self.branch!r}. Nothing was published. Keep "
                    f"everything but Perago off branches that begin with 'perago-'"
                )
            made = below
        return made

    async def check(self, staged: Commit) -> None:
        """See to it that publishing it is guarded, and changes nothing that the server runs.

        Raises:
            PublishFenceError
        """
        at_head, at_staged = await both(self._actions(self.head.id), self._actions(staged.id))
        check_actions(at_head, at_staged, self.fence)

    # ---- the end

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """After a failure, remove what there is of it, what cannot be removed being left to the janitor."""
        if exc is None:
            return
        await asyncio.gather(*self._creating, return_exceptions=True)
        for name in (self.branch, self.beside):
            with suppress(StoreError):
                await self.client.delete_branch(self.repository, name)
        if isinstance(exc, LakeFSError):
            told = await explained(self.client, self.repository, self.branch, exc)
            if told is not exc:
                raise told from exc

    def _actions(self, ref: str) -> asyncio.Future[Actions]:
        """The server's actions in a commit, listed once."""
        if ref not in self._listed:
            self._listed[ref] = asyncio.ensure_future(self._list_actions(ref))
        return self._listed[ref]

    async def _list_actions(self, ref: str) -> Actions:
        found: Actions = {}
        async for page in self.client.list_objects(self.repository, ref, prefix=ACTIONS_PREFIX):
            found.update((stats.path, stats) for stats in page)
        return found
