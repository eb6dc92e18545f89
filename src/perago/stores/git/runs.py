"""Branches of transactional runs."""

from __future__ import annotations

from contextlib import suppress

from perago.errors import HeadMovedError, StoreError
from perago.stores.git.history import first_parents, stamp_of
from perago.stores.git.refs import References
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
