"""Removing branches: staging branches of ended and of killed attempts, and those of old transactional runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from perago.errors import StoreError
from perago.ports import AttemptLiveness, Clock, RunAgeLimit, commit_time
from perago.stores.lakefs.api.answers import Branch, Commit, LakeFSError
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.publication.branches import STAGING_PREFIX, parse_staging
from perago.stores.lakefs.publication.history import staged_stamp_of
from perago.values.findings import OLD_RUN, Kind
from perago.values.models import StagedWorkspace, run_branch_age, run_branch_time

_GONE = 404


@dataclass(frozen=True)
class Orphan:
    """A branch that is no longer needed.

    Attributes:
        branch: its name.
        kind: of the finding; why: its reason.
    """

    branch: str
    kind: Kind
    why: str
    age_seconds: float


@dataclass(frozen=True)
class Janitor:
    """Finds and removes the orphans of one repository.

    Attributes:
        older_than_seconds: longer than any attempt takes from staging to publishing. An attempt whose branch is removed
            fails and publishes nothing.
        run_age_limit: age from which the branch of a run is removed; see `run_branch_age`.
        liveness_of: the engine's answer about an attempt. Branches of live attempts are kept, however old.
    """

    client: LakeFSClient
    clock: Clock
    repository: str
    older_than_seconds: float
    run_age_limit: RunAgeLimit
    liveness_of: AttemptLiveness = lambda _: "unknown"

    async def orphans(self) -> AsyncIterator[Orphan]:
        """The branches that may be removed. Changes nothing."""
        pages = self.client.list_branches(self.repository, prefix=STAGING_PREFIX, show_hidden=True)
        async for page in pages:
            for found in page:
                if (orphan := await self._judge(found)) is not None:
                    yield orphan

    async def remove(self, branch: str) -> bool:
        """Check again, and remove the branch. Returns False if it is still needed."""
        found = await self.client.find_branch(self.repository, branch)
        if found is None:
            return True
        if await self._judge(found) is None:
            return False
        await self.client.delete_branch(self.repository, branch)
        return True

    async def sweep(self) -> tuple[str, ...]:
        """Remove all orphans. Returns their names. A failed removal does not stop the others."""
        removed, faults = [], []
        for orphan in [orphan async for orphan in self.orphans()]:
            try:
                if await self.remove(orphan.branch):
                    removed.append(orphan.branch)
            except LakeFSError as exc:
                faults.append(exc)
        if faults:
            raise faults[0]
        return tuple(removed)

    async def _judge(self, branch: Branch) -> Orphan | None:
        staging = parse_staging(branch.id)
        if staging is not None:
            return await self._judge_staging(branch, staging.made_at)
        begun = run_branch_time(branch.id)
        return None if begun is None else await self._judge_run(branch, begun)

    async def _judge_staging(self, branch: Branch, made_at: datetime) -> Orphan | None:
        age = self._age(made_at)
        commit = await self._find_commit(branch.commit_id)
        stamp = None if commit is None else staged_stamp_of(commit)
        liveness = "unknown" if stamp is None else self.liveness_of(stamp)
        if liveness == "dead" and stamp is not None:
            why = f"its attempt, of workflow {stamp.workflow_instance_id}, has ended"
            return Orphan(branch.id, Kind.STAGED_COMMIT, why, age)
        if liveness == "unknown" and age > self.older_than_seconds:
            return Orphan(branch.id, Kind.STAGED_COMMIT, "its attempt is unknown, and it is old", age)
        return None

    async def _judge_run(self, branch: Branch, begun: datetime) -> Orphan | None:
        """By age, because tasks of a run may follow when the newest attempt on its branch has ended."""
        limit = self.run_age_limit(branch.id)
        if self._age(begun) <= limit:
            return None
        commit = await self._find_commit(branch.commit_id)
        last = begun if commit is None else commit_time(commit.creation_date)
        age = run_branch_age(branch.id, last, self.clock.now())
        return None if age is None or age <= limit else Orphan(branch.id, Kind.RUN_BRANCH, OLD_RUN, age)

    def _age(self, made_at: datetime) -> float:
        return (self.clock.now() - made_at).total_seconds()

    async def _find_commit(self, commit_id: str) -> Commit | None:
        try:
            return await self.client.get_commit(self.repository, commit_id)
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
