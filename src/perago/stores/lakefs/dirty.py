"""Uncommitted changes on a target, onto which lakeFS merges nothing."""

from __future__ import annotations

import asyncio

from perago.errors import DirtyBranchError
from perago.models import WorkspaceInput
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.hints import uri

_PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds between looks: whoever is about to commit has done it by then."""


async def is_dirty(client: LakeFSClient, target: WorkspaceInput) -> bool:
    """Whether something lies on the branch that is not committed."""
    async for page in client.diff_branch(target.repository, target.branch, amount=1):
        return bool(page)
    return False


async def check_clean(client: LakeFSClient, target: WorkspaceInput) -> None:
    """See to it that the branch can be published to, before anything is uploaded for it.

    Raises:
        DirtyBranchError: it holds uncommitted changes, and keeps them. What cannot be told is left to the merge.
    """
    for pause in (*_PAUSES, None):
        try:
            if not await is_dirty(client, target):
                return
        except LakeFSError:
            return
        if pause is not None:
            await asyncio.sleep(pause)
    raise dirty(target)


def dirty(target: WorkspaceInput) -> DirtyBranchError:
    """The error for a branch that stays dirty."""
    return DirtyBranchError(
        f"branch {target.branch!r} holds uncommitted changes, onto which lakeFS does not publish. Nothing was "
        f"published. Commit them, or drop them with `lakectl branch reset "
        f"{uri(target.repository, target.branch)}`; then run the task again"
    )
