"""Says in the history that a result is not to be used again, so that every host sees it."""

from __future__ import annotations

from perago.errors import TaskInputError
from perago.running.by_hand import ByHand, commit_by_hand, stamp_by_hand
from perago.stores.provider import RepositoryAddress
from perago.values.history import Seal

TASK = "perago.distrust"
"""The task in the stamp of such a commit."""


def distrust(address: RepositoryAddress, branch: str, commit: str, reason: str, *, undo: bool = False) -> str:
    """Commit a seal that says so to a branch. Changes no data.

    Args:
        commit: a publication of a task with a cache, or the commit that its result was taken from.
        undo: trust it again.

    Returns:
        the full id of the seal.

    Raises:
        BranchNotFoundError, RefNotFoundError: it does not exist.
        TaskInputError: no task made the commit.
        HeadMovedError: others moved the branch at each try.
    """
    with address.open() as repository:
        named = repository.resolve(commit)
        made = next(repository.log(named, 1)).stamp
        if made is None:
            raise TaskInputError(
                f"commit {named[:12]} was not made by a task, so it has no result to distrust. `perago log` shows "
                f"which task made which commit"
            )
        adopted = None if made.completes == made.input_ref else made.completes
        origin = made.cached_from or adopted or named
        return commit_by_hand(
            repository, address, branch, lambda head: seal_of_distrust(branch, head, origin, reason, undo=undo)
        )


def seal_of_distrust(branch: str, head: str, commit: str, reason: str, *, undo: bool = False) -> ByHand:
    """The seal that says so of the result of a commit."""
    distrusts, trusts = (None, commit) if undo else (commit, None)
    stamp = stamp_by_hand(TASK, branch, head, {"reason": reason}, distrusts=distrusts, trusts=trusts)
    return ByHand(stamp=stamp, plan=Seal(head, completes=commit))
