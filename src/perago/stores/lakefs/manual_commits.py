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
from perago.stores.lakefs.api.answers import Commit
from perago.stores.lakefs.connection import StoreConnection
from perago.stores.lakefs.publication.branches import import_name
from perago.stores.lakefs.publication.fence import EXACT_FENCE, EXPECTED_PARENT, FENCE_PATH, fence_content, holds_fence
from perago.stores.lakefs.publication.stage import CommitDraft
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
class ManualCommits:
    """How a command writes to one repository."""

    connection: StoreConnection
    repository: str

    @asynccontextmanager
    async def staged(self, head: str, message: str, edit: Edit) -> AsyncIterator[Commit]:
        """A commit on top of a full commit id, with the fence in it; its branch is there as long as the block runs."""
        connection, token = self.connection, secrets.token_hex(8)
        draft = CommitDraft(
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


async def check_fence(manual: ManualCommits, branch: str) -> FenceReport:
    """Look at a branch's action file, and whether the server runs such: by a merge on scratch branches.

    Raises:
        RepositoryNotFoundError, BranchNotFoundError: there is no such repository, or branch.
    """
    head = await _head(manual, branch)
    file = await _file(manual, head)
    async with manual.staged(head, "Perago's look at the fence", FENCE_ALONE) as staged:
        try:
            await manual.connection.check_fence(manual.repository, staged.id)
        except FenceUnavailableError as exc:
            return FenceReport(head, file, is_heeded=False, why=str(exc))
    return FenceReport(head, file, is_heeded=True)


async def install_fence(manual: ManualCommits, branch: str) -> str | None:
    """Put the action file on a branch, in a commit of its own; returns the new head, None: it was there.

    Raises:
        HeadMovedError: the branch moved again and again.
        Otherwise as `check_fence` and `ManualCommits.swap`.
    """
    for _ in range(_SWAPS):
        head = await _head(manual, branch)
        if await _file(manual, head) == "present":
            return None
        async with manual.staged(head, "Put the publish fence here", FENCE_ALONE) as staged:
            try:
                return await manual.swap(branch, staged)
            except HeadMovedError:
                continue
    raise HeadMovedError(f"branch {branch!r} moved {_SWAPS} times meanwhile; the fence is not there. Try again")


async def _head(manual: ManualCommits, branch: str) -> str:
    found = await manual.connection.client.find_branch(manual.repository, branch)
    if found is None:
        await check_repository(manual.connection.client, manual.repository)
        raise BranchNotFoundError(f"repository {manual.repository!r} has no branch {branch!r}. Check the name")
    return found.commit_id


async def _file(manual: ManualCommits, commit: str) -> FenceFile:
    found = await manual.connection.client.find_object(manual.repository, commit, FENCE_PATH)
    if found is None:
        return "missing"
    return "present" if holds_fence({FENCE_PATH: found}, EXACT_FENCE) else "different"
