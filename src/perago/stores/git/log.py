"""The first-parent line of a branch, for people: who published what."""

from __future__ import annotations

from collections.abc import Iterator

import pygit2

from perago.ports import LogEntry, commit_time
from perago.stores.git.history import author_of, first_parents, parent_of, stamp_of, subject_of
from perago.stores.git.objects import ObjectReader
from perago.stores.git.repository import BareRepository
from perago.stores.git.trees import compare
from perago.values.models import Changes


def log(repository: BareRepository, ref: str, limit: int) -> Iterator[LogEntry]:
    """The commit `ref` and its first parents, newest first, at most `limit`.

    Raises:
        RefNotFoundError: `ref` is not a full commit id, or there is no such commit.
    """
    head = str(repository.input_commit(ref).id)
    reader = ObjectReader(repository)
    for commit in first_parents(repository, head, limit):
        yield _entry(repository, reader, commit)


def changes(repository: BareRepository, before: str, after: str) -> Changes:
    """The names that differ from one commit to another.

    Raises:
        RefNotFoundError: there is no such commit.
    """
    old, new = (str(repository.input_commit(ref).tree_id) for ref in (before, after))
    found = compare(ObjectReader(repository), old, new)
    return Changes(
        added=tuple(sorted(name for name, change in found.items() if change.before is None)),
        modified=tuple(sorted(name for name, change in found.items() if change.before and change.after)),
        deleted=tuple(sorted(name for name, change in found.items() if change.after is None)),
    )


def _entry(repository: BareRepository, reader: ObjectReader, commit: pygit2.Commit) -> LogEntry:
    parent = parent_of(commit)
    before = str(repository.commit(parent).tree_id) if parent is not None else None
    stamp = stamp_of(commit)
    added, modified, deleted = _counts(reader, before, str(commit.tree_id))
    return LogEntry(
        id=str(commit.id),
        parents=tuple(map(str, commit.parent_ids)),
        author=author_of(commit),
        time=commit_time(commit.commit_time),
        subject=subject_of(commit),
        stamp=stamp if stamp is not None and stamp.expected_head == parent else None,
        added=added,
        modified=modified,
        deleted=deleted,
    )


def _counts(reader: ObjectReader, before: str | None, after: str) -> tuple[int, int, int]:
    changes = compare(reader, before, after).values()
    added = sum(change.before is None for change in changes)
    deleted = sum(change.after is None for change in changes)
    return added, len(changes) - added - deleted, deleted
