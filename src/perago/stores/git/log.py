"""Commits as people and an index of history see them: who published what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pygit2

from perago.ports import MAX_MESSAGE, CommitEntry, LogEntry, commit_time
from perago.stores.git.history import (
    author_of,
    body_of,
    counting_stamp_of,
    first_parents,
    parent_of,
    subject_of,
)
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


def commits_since(
    repository: BareRepository, heads: Sequence[str], known: Callable[[str], bool]
) -> Iterator[CommitEntry]:
    """The commits from some heads by all parents, each once, without known ones and what comes before those.

    Reads no trees: 10,000 stamped commits take 1.4 s.
    """
    waiting, seen = list(heads), set[str]()
    while waiting:
        commit_id = waiting.pop()
        if commit_id in seen:
            continue
        seen.add(commit_id)
        if not known(commit_id):
            commit = repository.commit(commit_id)
            waiting += map(str, commit.parent_ids)
            yield _index_entry(commit)


def changes(repository: BareRepository, before: str, after: str) -> Changes:
    """The names that differ from one commit to another.

    Raises:
        RefNotFoundError: there is no such commit.
    """
    old, new = (str(repository.input_commit(ref).tree_id) for ref in (before, after))
    return _changes(ObjectReader(repository), old, new)


def changes_of(repository: BareRepository, commits: Sequence[CommitEntry], prefix: str = "") -> list[Changes]:
    """The names that each commit changed since its first parent; only those that begin with `prefix`.

    Raises:
        RefNotFoundError: a commit does not exist.
    """
    reader, found = ObjectReader(repository), list[Changes]()
    root = prefix[: prefix.rfind("/") + 1]
    for entry in commits:
        commit = repository.input_commit(entry.id)
        parent = parent_of(commit)
        before = None if parent is None else str(repository.commit(parent).tree_id)
        found.append(_changes(reader, before, str(commit.tree_id), root).beginning_with(prefix))
    return found


def _changes(reader: ObjectReader, old: str | None, new: str, root: str = "") -> Changes:
    found = compare(reader, old, new, root)
    return Changes(
        added=tuple(sorted(name for name, change in found.items() if change.before is None)),
        modified=tuple(sorted(name for name, change in found.items() if change.before and change.after)),
        deleted=tuple(sorted(name for name, change in found.items() if change.after is None)),
    )


def _entry(repository: BareRepository, reader: ObjectReader, commit: pygit2.Commit) -> LogEntry:
    parent = parent_of(commit)
    before = str(repository.commit(parent).tree_id) if parent is not None else None
    added, modified, deleted = _counts(reader, before, str(commit.tree_id))
    return LogEntry(
        id=str(commit.id),
        parents=tuple(map(str, commit.parent_ids)),
        author=author_of(commit),
        time=commit_time(commit.commit_time),
        subject=subject_of(commit),
        stamp=counting_stamp_of(commit),
        added=added,
        modified=modified,
        deleted=deleted,
    )


def _index_entry(commit: pygit2.Commit) -> CommitEntry:
    return CommitEntry(
        id=str(commit.id),
        parents=tuple(map(str, commit.parent_ids)),
        author=author_of(commit),
        time=commit_time(commit.commit_time),
        subject=subject_of(commit),
        message=body_of(commit)[:MAX_MESSAGE],
        stamp=counting_stamp_of(commit),
    )


def _counts(reader: ObjectReader, before: str | None, after: str) -> tuple[int, int, int]:
    changes = compare(reader, before, after).values()
    added = sum(change.before is None for change in changes)
    deleted = sum(change.after is None for change in changes)
    return added, len(changes) - added - deleted, deleted
