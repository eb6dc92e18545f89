"""Telling why a staging branch may not be written: a protection rule that matches it."""

from __future__ import annotations

from fnmatch import fnmatchcase

from perago.errors import StoreError
from perago.stores.lakefs.branches import STAGING_PREFIX
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.failure import LakeFSError

_FORBIDDEN = 403


class ProtectedBranchError(StoreError):
    """A branch protection rule matches Perago's staging branches. Nothing was published."""

    retry_can_help = False


async def explained(client: LakeFSClient, repository: str, branch: str, fault: LakeFSError) -> StoreError:
    """The error for a call on a staging branch: the rule that forbids it, or the fault itself."""
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
        f"repository {repository!r} protects branches that match {', '.join(map(repr, matching))}, and so the branch "
        f"{branch!r} on which this attempt stages. Nothing was published. Narrow the rule, so that it leaves out names "
        f"that begin with {STAGING_PREFIX!r}"
    )
