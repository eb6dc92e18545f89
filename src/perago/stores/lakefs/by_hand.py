"""What people's commands write: staged beside the branch, and merged into it by the fenced swap of publications."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from perago.errors import StoreError
from perago.models import WorkspaceInput
from perago.ports import Clock
from perago.stores.lakefs.branches import import_name
from perago.stores.lakefs.canary import Canary
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.commits import Commits
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.fence import EXPECTED_PARENT, FENCE_PATH, fence_content, holds_fence
from perago.stores.lakefs.protection import explained
from perago.stores.lakefs.publish import Publishing
from perago.stores.lakefs.values import Commit


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """How a command writes to one repository."""

    client: LakeFSClient
    commits: Commits
    publishing: Publishing
    canary: Canary
    clock: Clock
    repository: str

    @asynccontextmanager
    async def staged(self, base: str, message: str, fill: Callable[[str], Awaitable[object]]) -> AsyncIterator[Commit]:
        """A commit on top of `base`, with the fence in it, for as long as the block runs.

        Args:
            base: full id of a commit.
            fill: puts the changes on the branch that it is given.
        """
        token = secrets.token_hex(8)
        branch = import_name(self.clock.now(), token)
        await self.client.create_branch(self.repository, branch, base, hidden=True)
        try:
            await fill(branch)
            await self._put_fence(branch, base, fence_content(self.publishing.mode, token))
            made = await self.client.commit(self.repository, branch, message, {}, allow_empty=True)
            yield self.commits.remember(self.repository, made)
        except LakeFSError as exc:
            raise await explained(self.client, self.repository, branch, exc) from exc
        finally:
            with suppress(StoreError):  # the janitor sees to it
                await self.client.delete_branch(self.repository, branch)

    async def swap(self, branch: str, staged: Commit) -> str:
        """Move a branch from the staged commit's parent to its content; returns the full id of the merge.

        Raises:
            HeadMovedError: the branch moved meanwhile; nothing was written.
            FenceUnavailableError, PublishVetoedError, DirtyBranchError: as publications.
        """
        if self.publishing.mode == "exact":
            await self.canary.check(self.repository, staged)
        head = staged.parents[0]
        target = WorkspaceInput(repository=self.repository, branch=branch, refType="commit", ref=head)
        return (await self.publishing.swap(staged, target, {EXPECTED_PARENT: head})).id

    async def _put_fence(self, branch: str, base: str, content: bytes) -> None:
        present = await self.client.find_object(self.repository, base, FENCE_PATH)
        if present is None or not holds_fence({FENCE_PATH: present}, content):
            await self.client.upload_object(self.repository, branch, FENCE_PATH, content, size=len(content))
