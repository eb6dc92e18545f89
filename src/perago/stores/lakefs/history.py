"""What lies between an input and the head of its branch; and whether a staged commit was published there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise

from perago.history import CommitFacts, History
from perago.models import WorkspaceInput
from perago.plans import MAX_HISTORY, input_not_on_branch
from perago.stores.lakefs.api import PAGE
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.commits import Commits, full_id
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.message import is_empty, stamp_of, subject_of
from perago.stores.lakefs.values import Commit


async def read_history(client: LakeFSClient, commits: Commits, workspace_input: WorkspaceInput) -> History:
    """Read the head, then the first-parent line from it down to the input. See `ports.ReadHistory`.

    The server gives the head and up to 1,000 commits in one call. Whether there is such a branch is asked besides, the
    first time: to the log, a tag or a commit would do as well.
    """
    base = full_id(workspace_input)
    try:
        await commits.check_branch(workspace_input)
        line = [commit async for commit in first_parents(client, workspace_input, base, MAX_HISTORY + 1)]
    except LakeFSError as exc:
        raise await commits.explained(exc, workspace_input) from exc
    for commit in reversed(line):  # the newest last: they are what staging asks for
        commits.remember(workspace_input.repository, commit)
    if line[-1].id != base:
        raise input_not_on_branch(workspace_input.branch, base, line[0].id)
    return History(line[0].id, base, tuple(_facts(commit, parent) for commit, parent in pairwise(line)))


async def first_parents(
    client: LakeFSClient, workspace_input: WorkspaceInput, stop_at: str, limit: int, amount: int = PAGE
) -> AsyncIterator[Commit]:
    """Commits from the branch's head down its first parents to `stop_at`, which comes last, at most `limit`."""
    count = 0
    pages = client.log_commits(
        workspace_input.repository, workspace_input.branch, stop_at=stop_at, amount=min(amount, limit)
    )
    async for page in pages:
        for commit in page:
            yield commit
            count += 1
            if commit.id == stop_at or count == limit:
                return


@dataclass(frozen=True)
class Publication:
    """What the target says of a staged commit.

    Attributes:
        head: full id of the commit that the target points at.
        commit: the one that published the staged commit; None: there is none.
    """

    head: str
    commit: Commit | None


async def find_publication(
    client: LakeFSClient, workspace_input: WorkspaceInput, staged: Commit, amount: int = PAGE
) -> Publication:
    """Look on the target, from its head down to what the staged commit stands on, for the merge of that commit.

    A staged commit is one execution's, and its merge has it as second parent: this finds the execution's publication,
    whatever became of the answer. Other executions' publications have other staged commits.

    Raises:
        LakeFSError: nobody answered.
    """
    head = ""
    stop_at = staged.parents[0]
    async for commit in first_parents(client, workspace_input, stop_at, MAX_HISTORY, amount):
        head = head or commit.id
        if staged.id in commit.parents[1:]:
            return Publication(head, commit)
    return Publication(head, None)


def _facts(commit: Commit, parent: Commit) -> CommitFacts:
    return CommitFacts(
        id=commit.id,
        parent=parent.id,
        stamp=stamp_of(commit),
        empty=is_empty(commit, parent),
        author=commit.committer,
        subject=subject_of(commit),
    )
