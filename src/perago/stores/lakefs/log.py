"""The first-parent line of a branch, for people: who published what."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

from perago.errors import RefNotFoundError
from perago.ports import LogEntry, commit_time
from perago.stores.lakefs.api.answers import Commit, LakeFSError, uri
from perago.stores.lakefs.api.client import LakeFSClient, each
from perago.stores.lakefs.api.commits import NOT_THERE, check_repository
from perago.stores.lakefs.publication.fence import is_action
from perago.stores.lakefs.publication.history import stamp_of, subject_of
from perago.values.models import Changes

AT_ONCE = 16
"""Commits read in parallel. Each takes one more call, for its changes."""


async def log(client: LakeFSClient, repository: str, ref: str, limit: int) -> AsyncIterator[list[LogEntry]]:
    """The commit `ref` and its first parents, newest first, at most `limit`, in batches.

    Raises:
        RepositoryNotFoundError, RefNotFoundError: there is no such repository or commit.
    """
    left = limit
    pages = client.log_commits(repository, ref, amount=min(limit, AT_ONCE))
    try:
        async for page in pages:
            commits = page[:left]
            left -= len(commits)
            yield await each(commits, lambda commit: _entry(client, repository, commit), AT_ONCE)
            if left <= 0:
                return
    except LakeFSError as exc:
        if exc.status not in NOT_THERE:
            raise
        await check_repository(client, repository)
        raise RefNotFoundError(
            f"repository {repository!r} has no commit {ref!r}. `perago log --repo {uri(repository)} --branch "
            f"BRANCH` lists commits"
        ) from exc


async def changes(client: LakeFSClient, repository: str, before: str, after: str) -> Changes:
    """The names that differ from one commit to another.

    Raises:
        RepositoryNotFoundError, RefNotFoundError: there is no such repository or commit.
    """
    names: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
    try:
        async for page in client.diff_refs(repository, before, after):
            for entry in page:
                if not is_action(entry.path):
                    names[entry.kind].append(entry.path)
    except LakeFSError as exc:
        if exc.status not in NOT_THERE:
            raise
        await check_repository(client, repository)
        raise RefNotFoundError(f"repository {repository!r} has no commit {before!r}, or no {after!r}") from exc
    added, modified, deleted = (tuple(sorted(found)) for found in names.values())
    return Changes(added=added, modified=modified, deleted=deleted)


async def _entry(client: LakeFSClient, repository: str, commit: Commit) -> LogEntry:
    parent = commit.parents[0] if commit.parents else None
    stamp = stamp_of(commit)
    counts: Counter[str] = Counter()
    if parent is not None:
        async for page in client.diff_refs(repository, parent, commit.id):
            counts.update(entry.kind for entry in page if not is_action(entry.path))
    return LogEntry(
        id=commit.id,
        parents=commit.parents,
        author=commit.committer,
        time=commit_time(commit.creation_date),
        subject=subject_of(commit),
        stamp=stamp if stamp is not None and stamp.expected_head == parent else None,
        added=counts["added"],
        modified=counts["changed"],
        deleted=counts["removed"],
    )
