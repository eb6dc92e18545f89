"""A lakeFS commit in the making, on hidden branches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from perago.errors import StoreError
from perago.http.parallel import nothing
from perago.stores.lakefs.api.answers import Commit, LakeFSError, ObjectStats
from perago.stores.lakefs.api.client import LakeFSClient, both, each
from perago.stores.lakefs.api.commits import Commits
from perago.stores.lakefs.content.copying import Copying
from perago.stores.lakefs.content.transfer import Transfer
from perago.stores.lakefs.content.upload import Sent, Upload
from perago.stores.lakefs.publication.branches import STAGING_PREFIX, content_name
from perago.stores.lakefs.publication.fence import ACTIONS_PREFIX, FENCE_PATH, check_staged, holds_fence
from perago.values.models import Changes


class Entry(NamedTuple):
    """The content of a path, as compared in a merge. Checksums are the server's."""

    checksum: str
    size: int
    executable: bool

    @classmethod
    def of(cls, stats: ObjectStats) -> Entry:
        return cls(stats.checksum, stats.size, stats.executable)


Overlay = Mapping[str, Entry | None]
"""Path -> its current entry; None if it is deleted."""


class RestoreSource(NamedTuple):
    """The source of a copy: a commit's full id; `size` in bytes, for the deadline."""

    commit_id: str
    size: int


Restoration = dict[str, RestoreSource | None]
"""Path -> the source that restores it; None to delete the path."""


_FORBIDDEN = 403


class ProtectedBranchError(StoreError):
    """A branch protection rule matches Perago's staging branches. Nothing was published."""

    retry_can_help = False


async def explained(client: LakeFSClient, repository: str, branch: str, fault: LakeFSError) -> StoreError:
    """The error for a failed call on a staging branch: for the rule that forbids it, or the fault itself."""
    if fault.status != _FORBIDDEN:
        return fault
    try:
        patterns = await client.get_protected_branches(repository)
    except LakeFSError:
        return fault
    matching = [pattern for pattern in patterns if fnmatchcase(branch, pattern)]
    if not matching:
        return fault
    return ProtectedBranchError(
        f"repository {repository!r} protects branches that match {', '.join(map(repr, matching))}, which includes this "
        f"attempt's staging branch {branch!r}. Nothing was published. Narrow the rule so that it excludes names that "
        f"start with {STAGING_PREFIX!r}"
    )


_COMMIT_TRIES = 3
"""Tries of a commit or merge on a staging branch after unclear answers. Each time the branch shows the outcome."""


@dataclass(frozen=True, kw_only=True)
class CommitDraft:
    """The draft of a commit on a head. A context manager that removes everything if it fails.

    Attributes:
        transfer: moves content to the repository.
        branch: the staging branch's name, which is unused.
        head: the commit's parent.
        fence: content of the commit's action file.
        directory: location of the changed files; root: the part of their names before the path below it.
        changes: to put on the branch.
        done: called with the size of each uploaded file.
        is_ready: awaited beside the creation of the branch, before the first upload.
        before: what was uploaded of the same changes before.
        copy_ref: full id of a commit that has the changed files, in place of the directory.
        uploaded: the objects of the changes, by name.
    """

    transfer: Transfer
    commits: Commits
    branch: str
    head: Commit
    fence: bytes
    directory: Path
    root: str
    changes: Changes
    done: Callable[[int], None]
    is_ready: Callable[[], Awaitable[object]] = nothing
    before: Sent = field(default_factory=Sent)
    copy_ref: str | None = None
    uploaded: dict[str, ObjectStats] = field(default_factory=dict, init=False)
    _creating: list[asyncio.Future[None]] = field(default_factory=list, init=False)

    @property
    def client(self) -> LakeFSClient:
        return self.transfer.client

    @property
    def repository(self) -> str:
        return self.transfer.repository

    @property
    def beside(self) -> str:
        """A second branch, for content that is not prepared on the head."""
        return content_name(self.branch)

    # ---- content

    async def create(self, branch: str, source: str) -> None:
        """Create a branch. Shielded from cancellation: the server could still complete a cancelled request."""
        creating = asyncio.ensure_future(self.client.create_branch(self.repository, branch, source, hidden=True))
        self._creating.append(creating)
        await asyncio.shield(creating)

    async def fill(self, branch: str, source: str) -> Overlay:
        """Create a branch at a commit, and put the changes and the fence on it. Returns the changes."""
        preparing = both(self.create(branch, source), self.is_ready())
        has_fence, _ = await both(self.has_fence(await self.commits.get(self.repository, source)), preparing)
        uploaded, _ = await both(self._put_changes(branch), nothing() if has_fence else self.put_fence(branch))
        own: dict[str, Entry | None] = {self.root + path: None for path in self.changes.deleted}
        self.uploaded.update((self.root + path, stats) for path, stats in uploaded.items())
        own.update((name, Entry.of(stats)) for name, stats in self.uploaded.items())
        return own

    async def _put_changes(self, branch: str) -> dict[str, ObjectStats]:
        """Put the changes on a branch. Returns the object for each written path."""
        written, deleted = self.changes.written, self.changes.deleted
        upload = Upload(self.transfer, branch, self.directory, self.root, self.done, self.before)
        if self.copy_ref is None:
            return await upload.run(written, deleted)
        copying = Copying(self.transfer, branch, self.copy_ref, self.root, self.done)
        copied, _ = await both(copying.run(written), upload.run((), deleted))
        return copied

    async def put_back(self, restoration: Restoration) -> None:
        """Restore other commits' entries on the staging branch, and delete the paths that they do not have."""
        gone = [path for path, source in restoration.items() if source is None]
        kept = [(path, source) for path, source in restoration.items() if source is not None]
        remover = Upload(self.transfer, self.branch, self.directory, "", self.done)
        await both(each(kept, lambda item: self._copy(*item)), remover.run([], gone))

    async def _copy(self, path: str, source: RestoreSource) -> None:
        await self.client.copy_object(
            self.repository, self.branch, path, source_ref=source.commit_id, source=path, size=source.size
        )

    async def has_fence(self, commit: Commit) -> bool:
        """Whether a commit's action file is that of this publication."""
        return holds_fence(await self.commits.objects_below(self.repository, commit, ACTIONS_PREFIX), self.fence)

    async def put_fence(self, branch: str) -> None:
        await self.client.upload_object(self.repository, branch, FENCE_PATH, self.fence, size=len(self.fence))

    # ---- the commit

    async def commit(
        self, branch: str, parent: str, message: str, metadata: Mapping[str, str], source_metarange: str | None = None
    ) -> Commit:
        """Commit the changes on a staging branch, or the content of a meta range."""

        async def commit() -> Commit:
            return await self.client.commit(
                self.repository,
                branch,
                message,
                metadata,
                source_metarange=source_metarange,
                allow_empty=source_metarange is None,
            )

        return await self._first_on(parent, await self._settled(branch, parent, commit), metadata)

    async def add_fence(self, branch: str, tip: Commit, message: str) -> Commit:
        """Commit the fence on the tip of a staging branch."""
        await self.put_fence(branch)
        return await self.commit(branch, tip.id, message, {})

    async def merge(self, branch: str, parent: str, source: str) -> Commit:
        """Merge a commit into a staging branch. Where both changed a path, the branch keeps its own.

        Repeated, it makes another commit with the same content.
        """

        async def merge() -> Commit:
            options: dict[str, str | bool] = {"strategy": "dest-wins", "allow_empty": True}
            merged = await self.client.merge(
                self.repository, source, branch, message=f"Merge {source[:12]}", metadata={}, options=options
            )
            return await self.client.get_commit(self.repository, merged)

        return await self._settled(branch, parent, merge)

    async def _settled(self, branch: str, parent: str, make: Callable[[], Awaitable[Commit]]) -> Commit:
        """What `make` has made of a staging branch at `parent`.

        After an unclear answer, the branch shows the outcome, because nobody else writes there.
        """
        for tries in range(1, _COMMIT_TRIES + 1):
            try:
                return await make()
            except LakeFSError as exc:
                if not exc.is_unclear:
                    raise
                tip = await self.client.get_branch(self.repository, branch)
                if tip.commit_id != parent:
                    return await self.client.get_commit(self.repository, tip.commit_id)
                if tries == _COMMIT_TRIES:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _first_on(self, parent: str, made: Commit, metadata: Mapping[str, str]) -> Commit:
        """The commit directly on `parent`. If a proxy repeated the request, an empty commit is on top of it."""
        while made.parents[0] != parent:
            below = await self.client.get_commit(self.repository, made.parents[0])
            if dict(below.metadata) != dict(metadata) or below.meta_range_id != made.meta_range_id:
                raise StoreError(
                    f"somebody else writes to the staging branch {self.branch!r}. Nothing was published. Allow only "
                    f"Perago to write to branches that start with 'perago-'"
                )
            made = below
        return made

    async def check(self, staged: Commit) -> None:
        """Check that the publication is guarded and does not change the server's actions.

        Raises:
            PublishFenceError
        """
        await check_staged(self.commits, self.repository, staged, self.fence)

    # ---- the end

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """After a failure, remove the branches. The janitor removes what cannot be removed here."""
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
