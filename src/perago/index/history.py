"""Questions about the history of a repository, answered from its index on this host."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Self, TypeVar

from perago.index.adding import CommitsSince, add_new
from perago.index.database import SUFFIX, Database, transaction
from perago.index.standing import Standing, standing_of
from perago.index.tables import (
    END_TASK,
    VERSION,
    CommitChanges,
    DamagedIndexError,
    clean,
    read,
    read_changes,
    text_in,
    write_changes,
)
from perago.ports import CommitEntry
from perago.values.history import Stamp

T = TypeVar("T")

_KEY_DIGITS = 32

_LINE = """
WITH RECURSIVE line (id, depth) AS (
    SELECT :start, 1
    UNION ALL
    SELECT parent, depth + 1 FROM line JOIN commits USING (id) JOIN parents USING (number)
    WHERE position = 0 AND depth < :limit
)
SELECT line.id FROM line JOIN commits USING (id) ORDER BY depth
"""

_LINE_TO = """
WITH RECURSIVE line (id, depth) AS (
    SELECT :start, 1
    UNION ALL
    SELECT parent, depth + 1 FROM line JOIN commits USING (id) JOIN parents USING (number)
    WHERE position = 0 AND line.id != :end
)
SELECT line.id FROM line JOIN commits USING (id) ORDER BY depth
"""


class HistoryIndex:
    """The commits of a repository, as of the last `refresh`.

    Use it in a `with` block, or call `close`. Any number of processes and threads may use one file; threads may also
    share one object. A damaged file is replaced by an empty index, which knows no commit until the next refresh.

    Every method raises `WorkspaceStorageError` if the file cannot be used, or other processes use it for too long, and
    `RuntimeConfigError` if another user can change it. The caller then works without the index.

    Args:
        path: see `index_path`. Its directory is created for this user only.
        tell: gets one line, the first time that the file is found damaged.
    """

    def __init__(self, path: Path, *, tell: Callable[[str], None] = lambda _line: None) -> None:
        self._database = Database(path, tell)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. The next question opens it again."""
        self._database.close()

    def refresh(self, commits_since: CommitsSince) -> int:
        """Add the commits that are new in the repository. After an error, none is added. Returns their number.

        Args:
            commits_since: lists them. Called again if the file turns out to be damaged.

        Raises:
            StoreError: a commit is its own ancestor. Whatever `commits_since` raises is passed on.
        """
        return self._database.ask(partial(add_new, commits_since=commits_since))

    def commit(self, commit_id: str) -> CommitEntry | None:
        """A commit by its full id."""
        return self._read(partial(read, commit_id=commit_id))

    def line(self, start: str, *, limit: int) -> list[CommitEntry]:
        """A commit and its first parents, newest first; fewer than `limit` if they end, or the index ends."""

        def question(connection: Connection) -> list[CommitEntry]:
            rows = connection.execute(_LINE, {"start": clean(start), "limit": limit})
            found = (read(connection, text_in(commit_id)) for (commit_id,) in rows)
            return [entry for entry in found if entry is not None]

        return self._read(question)

    def line_to(self, start: str, end: str, *, nearest: int | None = None) -> list[CommitEntry]:
        """A commit and its first parents, newest first, to the commit `end`; empty if they do not lead there.

        Args:
            nearest: only so many of them, the last ones. Default: all.
        """

        def question(connection: Connection) -> list[CommitEntry]:
            rows = connection.execute(_LINE_TO, {"start": clean(start), "end": clean(end)})
            ids = [text_in(commit_id) for (commit_id,) in rows]
            leads_there = bool(ids) and ids[-1] == clean(end)
            found = (read(connection, commit_id) for commit_id in ids[-(nearest or len(ids)) :] if leads_there)
            return [entry for entry in found if entry is not None]

        return self._read(question)

    def changes(self, commits: Iterable[str]) -> dict[str, CommitChanges]:
        """What commits changed, by id, as far as it was kept."""

        def question(connection: Connection) -> dict[str, CommitChanges]:
            found = {commit_id: read_changes(connection, commit_id) for commit_id in commits}
            return {commit_id: changes for commit_id, changes in found.items() if changes is not None}

        return self._read(question)

    def keep_changes(self, changes: Mapping[str, CommitChanges]) -> None:
        """Keep what commits changed, by id."""

        def question(connection: Connection) -> None:
            with transaction(connection, "IMMEDIATE"):
                for commit_id, found in changes.items():
                    write_changes(connection, commit_id, found)

        self._database.ask(question)

    def with_key(self, key: str, *, limit: int) -> list[CommitEntry]:
        """The effective publications and seals with a cache key, newest first."""

        def question(connection: Connection) -> list[CommitEntry]:
            rows = connection.execute(
                "SELECT id FROM commits WHERE cache_key = ? ORDER BY rank DESC, id DESC", (clean(key),)
            )
            ids = (text_in(commit_id) for (commit_id,) in rows)
            effective = (each for each in ids if standing_of(connection, each) is Standing.EFFECTIVE)
            return _stamped(connection, islice(effective, limit), lambda stamp: (stamp.cache_key, key))

        return self._read(question)

    def of_task(self, task: str, *, limit: int, before: str | None = None) -> list[CommitEntry]:
        """The publications and seals of a task that have a cache key, newest first, whatever their standing.

        Args:
            before: full id of a commit; only those older than it. Default: all.
        """

        than = None if before is None else clean(before)

        def question(connection: Connection) -> list[CommitEntry]:
            rows = connection.execute(
                "SELECT id FROM commits WHERE task = ? AND cache_key IS NOT NULL "
                "AND (? IS NULL OR rank < (SELECT rank FROM commits WHERE id = ?)) ORDER BY rank DESC, id DESC LIMIT ?",
                (clean(task), than, than, limit),
            )
            return _stamped(connection, (text_in(commit_id) for (commit_id,) in rows), lambda stamp: (stamp.task, task))

        return self._read(question)

    def ends_of_run(self, run: str) -> list[str]:
        """The commits that published a transactional run as a whole, by its id."""

        def question(connection: Connection) -> list[str]:
            rows = connection.execute("SELECT id FROM commits WHERE run = ? AND task = ?", (clean(run), END_TASK))
            return [text_in(commit_id) for (commit_id,) in rows]

        return self._read(question)

    def of_run(self, run: str, *, limit: int) -> list[CommitEntry]:
        """The newest commits of a run, by its id, on any branch, newest first."""

        def question(connection: Connection) -> list[CommitEntry]:
            rows = connection.execute(
                "SELECT id FROM commits WHERE run = ? ORDER BY rank DESC LIMIT ?", (clean(run), limit)
            )
            found = (read(connection, text_in(commit_id)) for (commit_id,) in rows)
            return [entry for entry in found if entry is not None]

        return self._read(question)

    def standing(self, commit_id: str) -> Standing | None:
        """The standing of a commit, by its full id; None if the index does not have it."""
        return self._read(partial(standing_of, commit_id=commit_id))

    def _read(self, question: Callable[[Connection], T]) -> T:
        """Answer from a single state of the index."""

        def answer(connection: Connection) -> T:
            with transaction(connection, "DEFERRED"):
                return question(connection)

        return self._database.ask(answer)


def index_path(directory: Path, place: str, repository: str) -> Path:
    """The file of a repository's index.

    Its name depends on the host, because SQLite's log does not work between hosts that share a home directory. It
    depends on the version, because two versions of Perago would otherwise keep replacing each other's index.

    Args:
        directory: of the indexes, in the user's state directory.
        place: the server, or the repository on disk, as for `workspace.queue.host_queue`.
    """
    names = (str(VERSION), platform.node(), place, repository)
    return directory / f"{hashlib.sha256(chr(0).join(names).encode()).hexdigest()[:_KEY_DIGITS]}{SUFFIX}"


def _stamped(
    connection: Connection, ids: Iterable[str], compared: Callable[[Stamp], tuple[str | None, str]]
) -> list[CommitEntry]:
    """Commits that were found by a column. Compares the column's source, the stamp.

    Args:
        compared: returns the value in the stamp, and the value that was asked for.

    Raises:
        DamagedIndexError: the two differ.
    """
    entries = []
    for commit_id in ids:
        entry = read(connection, commit_id)
        if entry is None:
            raise DamagedIndexError
        if entry.stamp is not None:  # None if its JSON is too deeply nested to be read here
            says, asked = compared(entry.stamp)
            if says is None or clean(says) != clean(asked):
                raise DamagedIndexError
            entries.append(entry)
    return entries
