"""The commits of a branch and what each changed: from the index of history, or from the store where that lacks it."""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, islice, takewhile
from pathlib import Path

from perago.errors import RuntimeConfigError, StoreError, WorkspaceStorageError
from perago.index.history import HistoryIndex
from perago.index.standing import Standing
from perago.index.tables import CommitChanges
from perago.ports import CommitEntry, Repository, ReusableStore
from perago.running.cache import results_of
from perago.running.history import published_run
from perago.running.repos.address import head_of
from perago.stores.provider import RepositoryAddress

_CHUNKS = (20, 100, 500)
"""Commits that are read at once: few at first, for most questions end soon. The last number is used again."""

MAX_WITHIN = 1_000
"""Commits of a transactional run that are looked at, the newest ones."""

_FIRST_IN_TIME = 4
"""Commits whose changes are read at first if there is a limit of time; then twice as many each time, as far as there is
time for them. lakeFS takes a tenth of a second for one if there are 100,000 files."""


@dataclass(frozen=True)
class Step:
    """A commit of a branch, and what it changed since its first parent: of all names, or of those that begin alike."""

    entry: CommitEntry
    changes: CommitChanges


class Past:
    """The history of a repository. Make it by `open_past`.

    Every method raises `StoreError` if the repository cannot be read.

    Args:
        seconds: for reading what commits changed that the index does not know. Default: no limit.

    Attributes:
        unread: commits that were asked about, and for which there was not enough time.
    """

    def __init__(
        self,
        repository: Repository,
        store: ReusableStore,
        index: HistoryIndex,
        address: RepositoryAddress,
        seconds: float | None = None,
    ) -> None:
        self.repository = repository
        self.address = address
        self.unread: list[CommitEntry] = []
        self._store = store
        self._index = index
        self._seconds = seconds

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
        return next(iter(self.of_run(run, limit=1)), None)

    def of_run(self, run: str, *, limit: int) -> list[CommitEntry]:
        """The newest commits of a run, by its id, on any branch, newest first."""
        return self._index.of_run(run, limit=limit)

    def earlier_of_task(self, entry: CommitEntry, *, limit: int) -> list[CommitEntry]:
        """The newest older commits of the task of a commit that have a key, on any branch, newest first.

        Raises:
            WorkspaceStorageError: the index cannot be read.
        """
        return [] if entry.stamp is None else self._index.of_task(entry.stamp.task, limit=limit, before=entry.id)

    def standing(self, commit_id: str) -> Standing | None:
        """Whether the result of a commit may be used again; None if the index does not have it."""
        return self._index.standing(commit_id)

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

    def by_tasks(self, entry: CommitEntry) -> Iterator[CommitEntry]:
        """The commits of tasks that a commit stands for: itself, or, if it publishes a transactional run as a whole,
        what the tasks of the run published, newest first, those of a run within it last. None for a person's commit."""
        met, waiting = set[str](), deque([entry])
        while waiting:
            at = waiting.popleft()
            whole = None if at.stamp is None else published_run(at.stamp)
            if whole is not None:
                publications = (made for made in self.line(whole.ref) if not _is_seal(made))
                for made in islice(publications, min(max(whole.commits, 0), MAX_WITHIN)):
                    if made.id not in met:
                        met.add(made.id)
                        waiting.append(made)
            elif at.stamp is not None and not at.stamp.is_by_command:
                yield at

    def line_to(self, start: str, end: str, *, nearest: int | None = None) -> list[CommitEntry]:
        """The commits of the line from `start` to `end`, newest first; empty if it does not lead there.

        Args:
            nearest: only so many of them, the last ones. Default: all.
        """
        return self._index.line_to(start, end, nearest=nearest)

    def steps(self, start: str, *, limit: int | None = None, prefix: str = "") -> Iterator[Step]:
        """As `line`, with what each changed. Ends before the first of those that are `unread`.

        Args:
            limit: only so many of them. Default: all.
            prefix: only changes of names that begin with it have to be there. The index keeps none that were read so.
        """
        waiting: list[CommitEntry] = []
        chunks = iter(_CHUNKS)
        size = next(chunks)
        for entry in islice(self.line(start), limit):
            waiting.append(entry)
            if len(waiting) == size:
                found = self.stepped_in_time(waiting, prefix)
                yield from found
                if len(found) < size:
                    return
                waiting, size = [], next(chunks, _CHUNKS[-1])
        yield from self.stepped_in_time(waiting, prefix)

    def stepped(self, entries: Sequence[CommitEntry], prefix: str = "") -> list[Step]:
        """Commits with what they changed, whatever time it takes. `prefix`: see `steps`."""
        known = self._index.changes(entry.id for entry in entries)
        known |= self._read([entry for entry in entries if entry.id not in known], prefix)
        return [Step(entry, known[entry.id]) for entry in entries]

    def stepped_in_time(self, entries: Sequence[CommitEntry], prefix: str = "") -> list[Step]:
        """As `stepped`, but only those before the first that is `unread`."""
        if self._seconds is None:
            return self.stepped(entries, prefix)
        known = self._index.changes(entry.id for entry in entries)
        missing, size = [entry for entry in entries if entry.id not in known], _FIRST_IN_TIME
        while missing and size > 0 and self._seconds > 0:
            began = time.monotonic()
            known |= self._read(missing[:size], prefix)
            took = max(time.monotonic() - began, 1e-6)
            self._seconds -= took
            missing, size = missing[size:], min(2 * size, int(size * self._seconds / took))
        self.unread += missing
        return [Step(entry, known[entry.id]) for entry in takewhile(lambda entry: entry.id in known, entries)]

    def _read(self, entries: Sequence[CommitEntry], prefix: str) -> dict[str, CommitChanges]:
        """What commits changed, from the store. The index keeps what is not of a prefix alone."""
        if not entries:
            return {}
        found = map(CommitChanges.of, self._store.changes_of(self.address.name, entries, prefix))
        new = dict(zip((entry.id for entry in entries), found, strict=True))
        if not prefix:
            self._index.keep_changes(new)
        return new

    def whole(self, step: Step, prefix: str = "") -> CommitChanges:
        """All that a commit changed, also where the index keeps only a part. `prefix`: see `steps`."""
        if step.changes.is_whole:
            return step.changes
        [found] = self._store.changes_of(self.address.name, [step.entry], prefix)
        return CommitChanges.of(found)


def _is_seal(entry: CommitEntry) -> bool:
    return entry.stamp is not None and entry.stamp.completes is not None


@contextmanager
def open_past(address: RepositoryAddress, *, seconds: float | None = None) -> Iterator[Past]:
    """The history of a repository, as of now.

    Args:
        seconds: see `Past`.

    Raises:
        RepositoryNotFoundError, StoreError: it cannot be read.
    """
    with address.open() as repository, _indexed(address) as index:
        if not isinstance(repository, ReusableStore):
            raise StoreError(
                f"the history of {address.argument} cannot be read as a whole; use `perago log` without filters"
            )
        index.refresh(partial(repository.commits_since, address.name))
        yield Past(repository, repository, index, address, seconds)


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
