"""Branches of transactional runs: creating them, and finding those that are no longer needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from perago.errors import HeadMovedError, StoreError
from perago.ports import RunAgeLimit, commit_time
from perago.stores.git.history import first_parents, stamp_of
from perago.stores.git.refs import References
from perago.values.models import run_branch_age
from perago.values.plans import MAX_HISTORY


def create_run_branch(references: References, branch: str, source: str) -> str:
    """Create the branch of a run, unless it exists. See `ports.TransactionalStore.create_run_branch`."""
    repository = references.repository
    commit_id = repository.named_commit(source)
    with suppress(HeadMovedError):  # another delivery of the run's first task has created it
        references.create_branch(branch, commit_id)
    for commit in first_parents(repository, repository.branch_head(branch), MAX_HISTORY + 1):
        stamp = stamp_of(commit)
        if stamp is None or stamp.branch != branch:
            return str(commit.id)
    raise StoreError(
        f"the last {MAX_HISTORY} commits of branch {branch!r} are all of its run, which cannot be published. Run the "
        f"workflow again with fewer tasks"
    )


class OldRun(NamedTuple):
    """The branch of a run that has not been used for long."""

    branch: str
    age_seconds: float


@dataclass(frozen=True)
class OldRuns:
    """The branches of runs that may be removed.

    Attributes:
        age_limit: of each branch; see `run_branch_age`.
    """

    references: References
    age_limit: RunAgeLimit

    def __iter__(self) -> Iterator[OldRun]:
        for branch, head in self.references.run_branches():
            run = self.judge(branch, head)
            if run is not None:
                yield run

    def judge(self, branch: str, head: str) -> OldRun | None:
        """None if the branch is needed. One whose head is damaged is left to people."""
        try:
            commit = self.references.repository.commit(head)
        except StoreError:
            return None
        age = run_branch_age(branch, commit_time(commit.commit_time), self.references.clock.now())
        return None if age is None or age <= self.age_limit(branch) else OldRun(branch, age)

    def remove(self, branch: str) -> bool:
        """Judge again, and remove the branch. Returns False if it is needed."""
        head = self.references.repository.find_branch_head(branch)
        return head is None or (self.judge(branch, head) is not None and self.references.drop_branch(branch, head))
