"""Branches of transactional runs: creating them, and finding those that are no longer needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from perago.errors import HeadMovedError, StoreError
from perago.ports import commit_time
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
    head: str
    age_seconds: float


def old_runs(references: References, older_than_seconds: float) -> Iterator[OldRun]:
    """The branches of runs that are older than this. One whose head is damaged has no age and is left to people."""
    now = references.clock.now()
    for branch, head in references.run_branches():
        with suppress(StoreError):
            age = run_branch_age(branch, commit_time(references.repository.commit(head).commit_time), now)
            if age is not None and age > older_than_seconds:
                yield OldRun(branch, head, age)
