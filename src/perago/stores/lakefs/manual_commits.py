"""Commits of people's commands: staged on a hidden branch, merged by the fenced swap, without a stamp.

Examples are an import, and the fence that is put on a branch before its first publication.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from perago.errors import FenceUnavailableError, HeadMovedError, StoreError
from perago.stores.lakefs.api.answers import Commit
from perago.stores.lakefs.connection import StoreConnection
from perago.stores.lakefs.publication.branches import import_name
from perago.stores.lakefs.publication.draft import CommitDraft
from perago.stores.lakefs.publication.fence import EXACT_FENCE, EXPECTED_PARENT, FENCE_PATH, fence_content, holds_fence
from perago.stores.provider import FenceFile, FenceReport
from perago.values.models import Changes, WorkspaceInput


@dataclass(frozen=True, kw_only=True)
class Edit:
    """The changes of a manual commit.

    Attributes:
        directory: location of the written files; root: the part of their names before the path below it.
        done: called with the size of each uploaded file.
    """

    directory: Path = Path()
    root: str = ""
    changes: Changes = field(default_factory=Changes)
    done: Callable[[int], None] = lambda _: None


FENCE_ALONE = Edit()
"""No changes, apart from the fence, which every draft adds."""


@dataclass(frozen=True)
class ManualCommits:
    """Makes a command's commits in one repository."""

    connection: StoreConnection
    repository: str

    @asynccontextmanager
    async def staged(self, head: str, message: str, edit: Edit) -> AsyncIterator[Commit]:
        """Commit on top of a full commit id, with the fence. The staging branch exists until the block ends."""
        connection, token = self.connection, secrets.token_hex(8)
        draft = CommitDraft(
            transfer=await connection.transfer(self.repository),
            commits=connection.commits,
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
        with suppress(StoreError):  # the janitor removes it later
            await connection.client.delete_branch(self.repository, draft.branch)

    async def swap(self, branch: str, staged: Commit) -> str:
        """Move a branch from the staged commit's parent to its content. Returns the full id of the merge.

        Raises:
            HeadMovedError: the branch has another head; nothing was written.
            FenceUnavailableError, PublishVetoedError, DirtyBranchError: as for publications.
        """
        await self.connection.check_fence(self.repository, staged.id)
        head = staged.parents[0]
        target = WorkspaceInput(repository=self.repository, branch=branch, refType="commit", ref=head)
        return (await self.connection.mover.move(target, staged, {EXPECTED_PARENT: head})).id


_SWAPS = 16
"""Tries of an installation if the branch moves."""


async def check_fence(manual: ManualCommits, branch: str) -> FenceReport:
    """Check a branch's action file, and by a merge on a scratch branch whether the server enforces it.

    Raises:
        RepositoryNotFoundError, BranchNotFoundError: there is no such repository or branch.
    """
    head = await manual.connection.commits.head_of(manual.repository, branch)
    file = await _file(manual, head)
    async with manual.staged(head, "Perago's look at the fence", FENCE_ALONE) as staged:
        try:
            await manual.connection.check_fence(manual.repository, staged.id)
        except FenceUnavailableError as exc:
            return FenceReport(head, file, is_heeded=False, why=str(exc))
    return FenceReport(head, file, is_heeded=True)


async def install_fence(manual: ManualCommits, branch: str) -> str | None:
    """Commit the action file to a branch. Returns the new head, or None if the branch already had it.

    Raises:
        HeadMovedError: the branch moved during each try.
        Otherwise as `check_fence` and `ManualCommits.swap`.
    """
    for _ in range(_SWAPS):
        head = await manual.connection.commits.head_of(manual.repository, branch)
        if await _file(manual, head) == "present":
            return None
        async with manual.staged(head, "Put the publish fence here", FENCE_ALONE) as staged:
            try:
                return await manual.swap(branch, staged)
            except HeadMovedError:
                continue
    raise HeadMovedError(f"branch {branch!r} moved during each of {_SWAPS} tries; the fence is not there. Try again")


async def _file(manual: ManualCommits, commit: str) -> FenceFile:
    found = await manual.connection.client.find_object(manual.repository, commit, FENCE_PATH)
    if found is None:
        return "missing"
    return "present" if holds_fence({FENCE_PATH: found}, EXACT_FENCE) else "different"
