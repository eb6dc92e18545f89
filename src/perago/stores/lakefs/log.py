"""Who published what: the first-parent line of a branch, for people."""

from __future__ import annotations

from datetime import UTC, datetime

from perago.errors import RefNotFoundError
from perago.repositories import LogEntry
from perago.stores.lakefs.api import PAGE
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.commits import NOT_THERE
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.fence import is_action
from perago.stores.lakefs.message import stamp_of, subject_of
from perago.stores.lakefs.resolve import check_repository
from perago.stores.lakefs.together import each
from perago.stores.lakefs.values import Commit

DIFFS_AT_ONCE = 8
"""Commits that are compared with their parents at a time."""


async def log(client: LakeFSClient, repository: str, ref: str, limit: int) -> list[LogEntry]:
    """The commit `ref` and its first parents, newest first, at most `limit`: a comparison for each.

    Raises:
        RepositoryNotFoundError, RefNotFoundError: there is no such repository, or commit.
    """
    commits = await _first_parents(client, repository, ref, limit)
    return await each(commits, lambda commit: _entry(client, repository, commit), DIFFS_AT_ONCE)


async def _first_parents(client: LakeFSClient, repository: str, ref: str, limit: int) -> list[Commit]:
    found: list[Commit] = []
    try:
        async for page in client.log_commits(repository, ref, amount=min(limit, PAGE)):
            found += page[: limit - len(found)]
            if len(found) == limit:
                break
    except LakeFSError as exc:
        if exc.status not in NOT_THERE:
            raise
        await check_repository(client, repository)
        raise RefNotFoundError(
            f"repository {repository!r} has no commit {ref!r}. `perago log --repo lakefs://{repository} --branch "
            f"BRANCH` lists commits"
        ) from exc
    return found


async def _entry(client: LakeFSClient, repository: str, commit: Commit) -> LogEntry:
    parent = commit.parents[0] if commit.parents else None
    stamp = stamp_of(commit)
    added, modified, deleted = (0, 0, 0) if parent is None else await _counts(client, repository, parent, commit.id)
    return LogEntry(
        id=commit.id,
        parents=commit.parents,
        author=commit.committer,
        time=datetime.fromtimestamp(commit.creation_date, UTC),
        subject=subject_of(commit),
        stamp=stamp if stamp is not None and stamp.expected_head == parent else None,
        added=added,
        modified=modified,
        deleted=deleted,
    )


async def _counts(client: LakeFSClient, repository: str, left: str, right: str) -> tuple[int, int, int]:
    counts = {"added": 0, "changed": 0, "removed": 0}
    async for page in client.diff_refs(repository, left, right):
        for entry in page:
            if not is_action(entry.path):
                counts[entry.kind] = counts.get(entry.kind, 0) + 1
    return counts["added"], counts["changed"], counts["removed"]
