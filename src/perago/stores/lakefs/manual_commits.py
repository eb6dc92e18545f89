"""Commits that people's commands make: staged beside the branch, merged by the fenced swap, without a stamp.

An import is one; so is the fence that is put on a branch before its first publication.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perago.errors import BranchNotFoundError, FenceUnavailableError, HeadMovedError, StoreError
from perago.stores.lakefs.api.values import Commit
from perago.stores.lakefs.connection import Connection
from perago.stores.lakefs.publication.branches import import_name
from perago.stores.lakefs.publication.draft import Draft
from perago.stores.lakefs.publication.fence import EXACT_FENCE, EXPECTED_PARENT, FENCE_PATH, fence_content, holds_fence
from perago.stores.lakefs.resolve import check_repository
from perago.values.models import Changes, WorkspaceInput


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


FenceFile = Literal["present", "missing", "different"]
"""Of a branch's action file: "different" is one that is not, or not only, this version's."""

_SWAPS = 16
"""Times that an installation begins again because the branch moved under it."""


@dataclass(frozen=True)
class FenceReport:
    """What was found of the fence.

    Attributes:
        head: full id of the commit that the branch points at.
        file: of the action file on it.
        is_heeded: the server refused a merge that the fence forbids, on a scratch branch.
        why: why it is not heeded, and what to do; None: it is.
    """

    head: str
    file: FenceFile
    is_heeded: bool
    why: str | None = None


async def check_fence(by_hand: ByHand, branch: str) -> FenceReport:
    """Look at a branch's action file, and whether the server runs such: by a merge on scratch branches.

    Raises:
        RepositoryNotFoundError, BranchNotFoundError: there is no such repository, or branch.
    """
    head = await _head(by_hand, branch)
    file = await _file(by_hand, head)
    async with by_hand.staged(head, "Perago's look at the fence", FENCE_ALONE) as staged:
        try:
            await by_hand.connection.check_fence(by_hand.repository, staged.id)
        except FenceUnavailableError as exc:
            return FenceReport(head, file, is_heeded=False, why=str(exc))
    return FenceReport(head, file, is_heeded=True)


async def install_fence(by_hand: ByHand, branch: str) -> str | None:
    """Put the action file on a branch, in a commit of its own; returns the new head, None: it was there.

    Raises:
        HeadMovedError: the branch moved again and again.
        Otherwise as `check_fence` and `ByHand.swap`.
    """
    for _ in range(_SWAPS):
        head = await _head(by_hand, branch)
        if await _file(by_hand, head) == "present":
            return None
        async with by_hand.staged(head, "Put the publish fence here", FENCE_ALONE) as staged:
            try:
                return await by_hand.swap(branch, staged)
            except HeadMovedError:
                continue
    raise HeadMovedError(f"branch {branch!r} moved {_SWAPS} times meanwhile; the fence is not there. Try again")


async def _head(by_hand: ByHand, branch: str) -> str:
    found = await by_hand.connection.client.find_branch(by_hand.repository, branch)
    if found is None:
        await check_repository(by_hand.connection.client, by_hand.repository)
        raise BranchNotFoundError(f"repository {by_hand.repository!r} has no branch {branch!r}. Check the name")
    return found.commit_id


async def _file(by_hand: ByHand, commit: str) -> FenceFile:
    found = await by_hand.connection.client.find_object(by_hand.repository, commit, FENCE_PATH)
    if found is None:
        return "missing"
    return "present" if holds_fence({FENCE_PATH: found}, EXACT_FENCE) else "different"
