"""Removing staging branches: those of ended attempts, and those that killed attempts left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from perago.errors import StoreError
from perago.ports import AttemptLiveness, Clock
from perago.stores.lakefs.api.answers import LakeFSError
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.publication.branches import STAGING_PREFIX, StagingBranch, parse_staging
from perago.stores.lakefs.publication.history import staged_stamp_of
from perago.values.history import Stamp
from perago.values.models import StagedWorkspace

_GONE = 404


@dataclass(frozen=True)
class Orphan:
    """A staging branch that is no longer needed.

    Attributes:
        why: the end of a sentence.
    """

    branch: StagingBranch
    why: str
    age_seconds: float


@dataclass(frozen=True)
class Janitor:
    """Finds and removes the orphans of one repository.

    Attributes:
        older_than_seconds: longer than any attempt takes from staging to publishing. An attempt whose branch is removed
            fails and publishes nothing.
        liveness_of: the engine's answer about an attempt. Branches of live attempts are kept, however old.
    """

    client: LakeFSClient
    clock: Clock
    repository: str
    older_than_seconds: float
    liveness_of: AttemptLiveness = lambda _: "unknown"

    async def orphans(self) -> AsyncIterator[Orphan]:
        """The branches that may be removed. Changes nothing."""
        pages = self.client.list_branches(self.repository, prefix=STAGING_PREFIX, show_hidden=True)
        async for page in pages:
            for found in page:
                branch = parse_staging(found.id)
                if branch is not None and (orphan := await self._judge(branch, found.commit_id)) is not None:
                    yield orphan

    async def remove(self, branch: StagingBranch) -> bool:
        """Check again, and remove the branch. Returns False if it is still needed."""
        found = await self.client.find_branch(self.repository, branch.name)
        if found is None:
            return True
        if await self._judge(branch, found.commit_id) is None:
            return False
        await self.client.delete_branch(self.repository, branch.name)
        return True

    async def sweep(self) -> tuple[str, ...]:
        """Remove all orphans. Returns their names. A failed removal does not stop the others."""
        removed, faults = [], []
        for orphan in [orphan async for orphan in self.orphans()]:
            try:
                if await self.remove(orphan.branch):
                    removed.append(orphan.branch.name)
            except LakeFSError as exc:
                faults.append(exc)
        if faults:
            raise faults[0]
        return tuple(removed)

    async def _judge(self, branch: StagingBranch, commit_id: str) -> Orphan | None:
        age = (self.clock.now() - branch.made_at).total_seconds()
        stamp = await self._stamp_on(commit_id)
        liveness = "unknown" if stamp is None else self.liveness_of(stamp)
        if liveness == "dead" and stamp is not None:
            return Orphan(branch, f"its attempt, of workflow {stamp.workflow_instance_id}, has ended", age)
        if liveness == "unknown" and age > self.older_than_seconds:
            return Orphan(branch, "its attempt is unknown, and it is old", age)
        return None

    async def _stamp_on(self, commit_id: str) -> Stamp | None:
        try:
            return staged_stamp_of(await self.client.get_commit(self.repository, commit_id))
        except LakeFSError as exc:
            if exc.status == _GONE:
                return None
            raise


async def cleanup_staging(client: LakeFSClient, staged: StagedWorkspace) -> None:
    """Remove a staging branch. A missing one is fine. See `ports.CleanupStaging`.

    Raises:
        StoreError: it is not a staging branch of Perago's.
    """
    if parse_staging(staged.branch) is None:
        raise StoreError(f"{staged.branch!r} is not a staging branch of Perago's, and was not removed")
    await client.delete_branch(staged.repository, staged.branch)
