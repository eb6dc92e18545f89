"""What lies between an input and the head of its branch."""

from __future__ import annotations

from collections.abc import Iterator

import pygit2

from perago.history import CommitFacts, History
from perago.models import WorkspaceInput
from perago.plans import MAX_HISTORY, input_not_on_branch
from perago.stores.git.message import author_of, stamp_of, subject_of
from perago.stores.git.repository import Repository


def read_history(repository: Repository, workspace_input: WorkspaceInput) -> History:
    """Read the head, then the first-parent line from it down to the input. See `ports.ReadHistory`."""
    base = str(repository.input_commit(workspace_input.ref).id)
    head = repository.branch_head(workspace_input.branch)
    commits: list[CommitFacts] = []
    for commit in first_parents(repository, head, MAX_HISTORY + 1):
        if str(commit.id) == base:
            return History(head, base, tuple(commits))
        commits.append(_facts(repository, commit))
    raise input_not_on_branch(workspace_input.branch, base, head)


def first_parents(repository: Repository, head: str, limit: int) -> Iterator[pygit2.Commit]:
    """Commits from a head down its first parents, at most `limit` of them."""
    next_id: str | None = head
    for _ in range(limit):
        if next_id is None:
            return
        commit = repository.commit(next_id)
        yield commit
        next_id = parent_of(commit)


def parent_of(commit: pygit2.Commit) -> str | None:
    """Full id of the first parent; None on a root."""
    parents = commit.parent_ids
    return str(parents[0]) if parents else None


def _facts(repository: Repository, commit: pygit2.Commit) -> CommitFacts:
    parent = parent_of(commit)
    return CommitFacts(
        id=str(commit.id),
        parent=parent or "",
        stamp=stamp_of(commit),
        empty=parent is not None and repository.commit(parent).tree_id == commit.tree_id,
        author=author_of(commit),
        subject=subject_of(commit),
    )
