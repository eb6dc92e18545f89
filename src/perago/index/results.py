"""The earlier results of a repository, as this host's index knows them. See `ports.EarlierResults`."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

from perago.errors import RuntimeConfigError
from perago.files.lock import FileLock
from perago.files.private_directory import make_private
from perago.index.history import HistoryIndex, index_path
from perago.index.standing import Standing
from perago.ports import Clock, CommitEntry, EarlierResult, ReusableStore, SystemClock
from perago.values.history import Stamp

MAX_LOOKED_AT = 20
"""Newest results with a key that are looked at. Others have the same key, so they rarely differ in what matters."""

MAX_COMPARED = 200
"""Newest results of a task that a miss is compared with, to say what has changed."""

WAIT_SECONDS = 3_600.0
"""Longest wait for a process that computes the same result. Then both compute it, and the first to publish wins."""

_NOT_USED = (Standing.REVERTED, Standing.DISTRUSTED)
_LOCKS = "computing-"
"""Begin of the names of lock files, one for each result that is being computed."""

_POLL_SECONDS = 0.05
_KEY_DIGITS = 32


@dataclass(frozen=True)
class IndexedResults:
    """`EarlierResults` of the repositories of one store, with an index of each in a directory.

    Attributes:
        directory: created for this user only.
        place: the server, or the repository on disk.
        is_server: whether the place has several repositories.
        tell: gets a line if an index was damaged.
        refreshes: whether new commits are looked for.
    """

    directory: Path
    place: str
    is_server: bool
    tell: Callable[[str], None] = lambda _line: None
    clock: Clock = field(default_factory=SystemClock, compare=False)
    refreshes: bool = True

    def as_known(self) -> IndexedResults:
        """The same results, without looking for new commits."""
        return replace(self, refreshes=False)

    def open(self, repository: str) -> HistoryIndex:
        """The index of a repository."""
        return HistoryIndex(index_path(self.directory, *self._names(repository)), tell=self.tell)

    def _names(self, repository: str) -> tuple[str, str]:
        """What tells a repository from others on this host."""
        return (self.place, repository) if self.is_server else (os.path.realpath(self.place), "")

    def with_key(self, store: ReusableStore, repository: str, key: str, /) -> list[EarlierResult]:
        """See `EarlierResults`."""
        with self.open(repository) as index:
            if self.refreshes:
                index.refresh(partial(store.commits_since, repository))
            found = (_result(index, entry) for entry in index.with_key(key, limit=MAX_COMPARED))
            return list(islice((each for each in found if each is not None), MAX_LOOKED_AT))

    def of_task(self, repository: str, task: str, /) -> list[CommitEntry]:
        """See `EarlierResults`."""
        with self.open(repository) as index:
            return index.of_task(task, limit=MAX_COMPARED)

    def standing(self, repository: str, commit: str, /) -> Standing | None:
        """See `EarlierResults`."""
        with self.open(repository) as index:
            entry = index.commit(commit)
            behind = () if entry is None or entry.stamp is None else _behind(index, entry.stamp)
            own, *others = [index.standing(each) for each in (commit, *behind)]
        return next((each for each in others if each in _NOT_USED), None) if own is Standing.EFFECTIVE else own

    @contextmanager
    def computing(self, repository: str, key: str, is_cancelled: Callable[[], bool], /) -> Iterator[bool]:
        """See `EarlierResults`."""
        name = hashlib.sha256("\0".join((*self._names(repository), key)).encode()).hexdigest()[:_KEY_DIGITS]
        path, deadline = self.directory / f"{_LOCKS}{name}", self.clock.monotonic() + WAIT_SECONDS
        held, has_waited = None, False
        with suppress(OSError, RuntimeConfigError):
            make_private(self.directory, "the directory of history indexes")
            while (held := _acquired(path)) is None:
                has_waited = True
                if self.clock.monotonic() > deadline or is_cancelled():
                    break
                self.clock.sleep(_POLL_SECONDS)
        try:
            yield has_waited
        finally:
            if held is not None:
                with suppress(OSError):
                    path.unlink()
                held.release()
                _remove_left(self.directory)


def _remove_left(directory: Path) -> None:
    """Remove lock files of processes that were killed while they computed. One that is held stays."""
    for path in directory.glob(f"{_LOCKS}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > WAIT_SECONDS and (left := _acquired(path)) is not None:
                path.unlink()
                left.release()


def _acquired(path: Path) -> FileLock | None:
    try:
        return FileLock.try_acquire(path)
    except FileNotFoundError:  # its holder has just removed it
        return None


def _behind(index: HistoryIndex, stamp: Stamp) -> list[str]:
    """The commits that a result comes from, and those that publish its run: reverting a transactional run also reverts
    its tasks' results."""
    ends = index.ends_of_run(stamp.logical_task[0])
    return [each for each in (stamp.cached_from, _adopted(stamp), *ends) if each is not None]


def _adopted(stamp: Stamp) -> str | None:
    return None if stamp.completes == stamp.input_ref else stamp.completes


def _result(index: HistoryIndex, entry: CommitEntry) -> EarlierResult | None:
    """What a commit has for its key; None if it may not be used because of the commit that its result comes from."""
    stamp = entry.stamp
    if stamp is None:
        return None
    if any(index.standing(each) in _NOT_USED for each in _behind(index, stamp)):
        return None
    origin = stamp.cached_from or _adopted(stamp) or entry.id
    source = entry if origin == entry.id else index.commit(origin)
    return EarlierResult(
        commit=entry.id,
        outputs=stamp.completes or entry.id,
        origin=origin,
        made=None if source is None else source.time,
        stamp=stamp,
    )


def earlier_results(
    state_directory: Path | None, place: str, *, is_server: bool, tell: Callable[[str], None] = lambda _line: None
) -> IndexedResults | None:
    """Those of a store, by the indexes in the user's state directory; None if the user has no such directory."""
    if state_directory is None:
        return None
    return IndexedResults(state_directory / "index", place, is_server, tell)
