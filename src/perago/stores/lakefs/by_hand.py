"""What people's commands write: staged beside the branch, and merged into it by the fenced swap of publications."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from perago.errors import StoreError
from perago.models import Changes, WorkspaceInput
from perago.stores.lakefs.branches import import_name
from perago.stores.lakefs.connection import Connection
from perago.stores.lakefs.draft import Draft
from perago.stores.lakefs.fence import EXPECTED_PARENT, fence_content
from perago.stores.lakefs.values import Commit


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What is to be written.

    Attributes:
        directory: where the written files lie; root: what their names have before the path below it.
        done: called with the size of each file that is uploaded.
    """

    directory: Path = Path()
    root: str = ""
    changes: Changes = field(default_factory=Changes)
    done: Callable[[int], None] = lambda _: None


FENCE_ALONE = Edit()
"""Nothing, but that a fence comes along by itself."""


@dataclass(frozen=True)
class ByHand:
    """How a command writes to one repository."""

    connection: Connection
    repository: str

    @asynccontextmanager
    async def staged(self, head: str, message: str, edit: Edit) -> AsyncIterator[Commit]:
        """A commit on top of a full commit id, with the fence in it; its branch is there as long as the block runs."""
        connection, token = self.connection, secrets.token_hex(8)
        draft = Draft(
            transfer=await connection.transfer(self.repository),
            branch=import_name(connection.clock.now(), token),
            head=await connection.commits.get(self.repository, head),
            fence=fence_content(connection.mover.mode, token),
            directory=edit.directory,
            root=edit.root,
            changes=edit.changes,
            done=edit.done,
        )
        async with draft:
            await draft.fill(draft.branch, head)
            staged = await draft.commit(draft.branch, head, message.strip(), {})
            await draft.check(staged)
            yield connection.commits.remember(self.repository, staged)
        with suppress(StoreError):  # the janitor sees to it
            await connection.client.delete_branch(self.repository, draft.branch)

    async def swap(self, branch: str, staged: Commit) -> str:
        """Move a branch from the staged commit's parent to its content; returns the full id of the merge.

        Raises:
            HeadMovedError: the branch moved meanwhile; nothing was written.
            FenceUnavailableError, PublishVetoedError, DirtyBranchError: as publications.
        """
        await self.connection.check_fence(self.repository, staged.id)
        head = staged.parents[0]
        target = WorkspaceInput(repository=self.repository, branch=branch, refType="commit", ref=head)
        return (await self.connection.mover.move(target, staged, {EXPECTED_PARENT: head})).id
