"""The fence by hand: whether a branch has it, whether the server heeds it, and putting it there.

Each publication brings the fence along by itself; by hand it is done before the first one, by who may look into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perago.errors import BranchNotFoundError, FenceUnavailableError, HeadMovedError
from perago.stores.lakefs.by_hand import FENCE_ALONE, ByHand
from perago.stores.lakefs.fence import EXACT_FENCE, FENCE_PATH, holds_fence
from perago.stores.lakefs.resolve import check_repository

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
