"""The commits of a branch and what each changed: from the index of history, or from the store where that lacks it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from perago.errors import RuntimeConfigError, StoreError, WorkspaceStorageError
from perago.index.history import HistoryIndex
from perago.index.tables import CommitChanges
from perago.ports import CommitEntry, Repository, ReusableStore
from perago.running.cache import results_of
from perago.running.repos.address import head_of
from perago.stores.provider import RepositoryAddress

_CHUNKS = (20, 100, 500)
"""Commits that are read at once: few at first, for most questions end soon. The last number is used again."""


@dataclass(frozen=True)
class Step:
    """A commit of a branch, and what it changed since its first parent."""

    entry: CommitEntry
    changes: CommitChanges


class Past:
    """The history of a repository. Make it by `open_past`.

    Every method raises `StoreError` if the repository cannot be read.
    """

    def __init__(self, repository: Repository, store: ReusableStore, index: HistoryIndex, address: RepositoryAddress):
        self.repository = repository
        self.address = address
        self._store = store
        self._index = index

    def head(self, branch: str) -> str:
        """Full id of the head of a branch.

        Raises:
            BranchNotFoundError: it does not exist.
        """
        return head_of(self.repository, branch, self.address)

    def resolve(self, ref: str) -> str:
        """Full id of a commit that a branch, a tag, or the beginning of an id names.

        Raises:
            RefNotFoundError: no commit, or more than one, has this name.
        """
        return self.repository.resolve(ref)

    def entry(self, commit_id: str) -> CommitEntry | None:
        """A commit by its full id; None if no branch has it, and none had it when the index was refreshed."""
        return self._index.commit(commit_id)

    def newest_of_run(self, run: str) -> CommitEntry | None:
        """The newest commit of a run, by its id."""
        return self._index.newest_of_run(run)

    def earlier_of_task(self, entry: CommitEntry, *, limit: int) -> list[CommitEntry]:
        """The newest older commits of the task of a commit that have a key, on any branch, newest first.

        Raises:
            WorkspaceStorageError: the index cannot be read.
        """
        return [] if entry.stamp is None else self._index.of_task(entry.stamp.task, limit=limit, before=entry.id)

    def line(self, start: str) -> Iterator[CommitEntry]:
        """A commit and its first parents, newest first."""
        at: str | None = start
        for number in count():
            size = _CHUNKS[min(number, len(_CHUNKS) - 1)]
            entries = [] if at is None else self._index.line(at, limit=size)
            yield from entries
            if len(entries) < size:
                return
            at = next(iter(entries[-1].parents), None)

    def line_to(self, start: str, end: str, *, nearest: int | None = None) -> list[CommitEntry]:
        """The commits of the line from `start` to `end`, newest first; empty if it does not lead there.

        Args:
            nearest: only so many of them, the last ones. Default: all.
        """
        return self._index.line_to(start, end, nearest=nearest)

    def steps(self, start: str) -> Iterator[Step]:
        """As `line`, with what each changed."""
        waiting: list[CommitEntry] = []
        chunks = iter(_CHUNKS)
        size = next(chunks)
        for entry in self.line(start):
            waiting.append(entry)
            if len(waiting) == size:
                yield from self.stepped(waiting)
                waiting, size = [], next(chunks, _CHUNKS[-1])
        yield from self.stepped(waiting)

    def stepped(self, entries: Sequence[CommitEntry]) -> list[Step]:
        """Commits with what they changed."""
        known = self._index.changes(entry.id for entry in entries)
        missing = [entry for entry in entries if entry.id not in known]
        if missing:
            found = map(CommitChanges.of, self._store.changes_of(self.address.name, missing))
            new = dict(zip((entry.id for entry in missing), found, strict=True))
            self._index.keep_changes(new)
            known |= new
        return [Step(entry, known[entry.id]) for entry in entries]

    def whole(self, step: Step) -> CommitChanges:
        """All that a commit changed, also where the index keeps only a part."""
        if step.changes.is_whole:
            return step.changes
        [found] = self._store.changes_of(self.address.name, [step.entry])
        return CommitChanges.of(found)


@contextmanager
def open_past(address: RepositoryAddress) -> Iterator[Past]:
    """The history of a repository, as of now.

    Raises:
        RepositoryNotFoundError, StoreError: it cannot be read.
    """
    with address.open() as repository, _indexed(address) as index:
        if not isinstance(repository, ReusableStore):
            raise StoreError(f"the history of {address.argument} cannot be read as a whole; use `perago log` alone")
        index.refresh(partial(repository.commits_since, address.name))
        yield Past(repository, repository, index, address)


@contextmanager
def _indexed(address: RepositoryAddress) -> Iterator[HistoryIndex]:
    """The index of a repository; one for this question only if the user's cannot be used."""
    results = results_of(address)
    if results is not None:
        with results.open(address.name) as index:
            try:
                index.commit("")
            except (WorkspaceStorageError, RuntimeConfigError):
                results = None
            else:
                yield index
                return
    with (
        tempfile.TemporaryDirectory(prefix="perago-index-") as directory,
        HistoryIndex(Path(directory, "index.sqlite")) as index,
    ):
        yield index
