"""The tables of an index: writing a commit into them and reading it back."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection

from perago.index.claims import judgements_of, replaced_by, reverted_by
from perago.ports import CommitEntry
from perago.values.history import Stamp
from perago.values.models import Changes
from perago.values.stamps import from_pairs, to_pairs

_REVISION = 1
"""Increase it when the same commits lead to other rows in the same tables."""

SCHEMA = """
CREATE TABLE commits (                  -- written last: a commit that is here is complete
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    time INTEGER NOT NULL,              -- microseconds since 1970, UTC
    rank INTEGER NOT NULL,              -- the time, or later, so that it is above that of each parent
    task TEXT,                          -- this and what follows: of the stamp
    run TEXT,
    path TEXT,
    cache_key TEXT,
    is_seal INTEGER
);
CREATE INDEX by_key ON commits (cache_key, rank) WHERE cache_key IS NOT NULL;
CREATE INDEX by_run ON commits (run, rank);
CREATE INDEX by_task ON commits (task, rank) WHERE cache_key IS NOT NULL;
CREATE TABLE bodies (                   -- separate from `commits`, so that queries read few pages
    number INTEGER PRIMARY KEY,
    body TEXT NOT NULL,                 -- JSON
    checksum INTEGER NOT NULL
);
CREATE TABLE changes (                  -- of those commits that somebody has asked about
    number INTEGER PRIMARY KEY,
    body TEXT NOT NULL,                 -- JSON
    checksum INTEGER NOT NULL
);
CREATE TABLE parents (
    number INTEGER NOT NULL, position INTEGER NOT NULL, parent TEXT NOT NULL, PRIMARY KEY (number, position)
) WITHOUT ROWID;
CREATE TABLE replaced (
    id TEXT NOT NULL, claimant TEXT NOT NULL, PRIMARY KEY (id, claimant)
) WITHOUT ROWID;
CREATE TABLE reverted (                 -- name: an id, or the first digits of one
    name TEXT NOT NULL, claimant TEXT NOT NULL, PRIMARY KEY (name, claimant)
) WITHOUT ROWID;
CREATE TABLE distrusted (
    id TEXT NOT NULL, claimant TEXT NOT NULL, is_undone INTEGER NOT NULL, PRIMARY KEY (id, claimant, is_undone)
) WITHOUT ROWID;
"""

VERSION = zlib.crc32(repr((_REVISION, SCHEMA, [field.name for field in fields(Stamp)])).encode()) & 0x7FFF_FFFF
"""Version of an index. It changes with the fields of `Stamp`: an older Perago would drop fields that it does not
know."""

END_TASK = "perago.end"
"""Task in the stamp of a transactional run that is published as a whole."""

_GREATEST = 2**62
"""Of all numbers here, far below what SQLite can store."""

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


MAX_PATHS = 1_000
"""Paths that are kept of what a commit changed."""


@dataclass(frozen=True, kw_only=True)
class CommitChanges:
    """What a commit changed since its first parent.

    Attributes:
        added, modified, deleted: number of paths.
        written, removed: their names; at most `MAX_PATHS` of each are kept. Those that were added come first.
    """

    added: int
    modified: int
    deleted: int
    written: tuple[str, ...]
    removed: tuple[str, ...]

    @classmethod
    def of(cls, changes: Changes) -> CommitChanges:
        return cls(
            added=len(changes.added),
            modified=len(changes.modified),
            deleted=len(changes.deleted),
            written=(*changes.added, *changes.modified),
            removed=changes.deleted,
        )

    @property
    def paths(self) -> tuple[str, ...]:
        return (*self.written, *self.removed)

    @property
    def is_whole(self) -> bool:
        """Whether `paths` has all of them."""
        return len(self.paths) == self.added + self.modified + self.deleted


class DamagedIndexError(Exception):
    """An index contains something that was not written. Handled within this package."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table `commits` that has no rank yet."""

    number: int
    id: str
    parents: tuple[str, ...]
    time: int
    task: str | None
    run: str | None
    path: str | None
    cache_key: str | None
    is_seal: bool | None

    def ranked(self, rank: int) -> tuple[str | int | None, ...]:
        """In the order of the columns."""
        return (
            *(self.number, self.id, self.time, rank),
            *(self.task, self.run, self.path, self.cache_key, self.is_seal),
        )


def is_known(connection: Connection, commit_id: str) -> bool:
    """Whether the index has a commit, and with it all that came before."""
    return connection.execute("SELECT 1 FROM commits WHERE id = ?", (clean(commit_id),)).fetchone() is not None


def write(connection: Connection, number: int, entry: CommitEntry) -> Row:
    """Write a commit, except for its row in `commits`, which is returned."""
    stamp, pairs = entry.stamp, _pairs_of(entry.stamp)
    body = json.dumps([entry.author, entry.subject, entry.message, pairs], separators=(",", ":"))
    keyed = None if pairs is None else stamp  # a result without its stamp cannot be used
    logical_task = (None, None) if keyed is None else keyed.logical_task
    row = Row(
        number=number,
        id=clean(entry.id),
        parents=tuple(map(clean, entry.parents)),
        time=(entry.time - _EPOCH) // _MICROSECOND,
        task=None if keyed is None else clean(keyed.task),
        run=None if logical_task[0] is None else clean(logical_task[0]),
        path=None if logical_task[1] is None else clean(logical_task[1]),
        cache_key=None if keyed is None or keyed.cache_key is None else clean(keyed.cache_key),
        is_seal=None if keyed is None else keyed.completes is not None,
    )
    checksum = _checksum(row.id, row.time, row.parents, body)
    connection.execute("INSERT INTO bodies VALUES (?, ?, ?)", (number, body, checksum))
    for position, parent in enumerate(row.parents):
        connection.execute("INSERT INTO parents VALUES (?, ?, ?)", (number, position, parent))
    _write_claims(connection, row.id, entry)
    return row


def remove_until(connection: Connection, number: int) -> None:
    """Remove the commits up to a number, and what they say of others."""
    ids = "SELECT id FROM commits WHERE number <= ?"
    for table in ("replaced", "reverted", "distrusted"):
        connection.execute(f"DELETE FROM {table} WHERE claimant IN ({ids})", (number,))  # noqa: S608 - names of ours
    for table in ("bodies", "changes", "parents", "commits"):
        connection.execute(f"DELETE FROM {table} WHERE number <= ?", (number,))  # noqa: S608 - as above


def read(connection: Connection, commit_id: str) -> CommitEntry | None:
    """A commit; None if the index does not have it.

    Raises:
        DamagedIndexError: it differs from what was written.
    """
    found = connection.execute(
        "SELECT number, time, body, checksum FROM commits LEFT JOIN bodies USING (number) WHERE id = ?",
        (clean(commit_id),),
    ).fetchone()
    if found is None:
        return None
    number, time, body, checksum = found
    rows = connection.execute("SELECT parent FROM parents WHERE number = ? ORDER BY position", (number,))
    try:
        parents = tuple(parent for (parent,) in rows)
        if _checksum(clean(commit_id), time, parents, body) != checksum:
            raise DamagedIndexError
        author, subject, message, pairs = json.loads(body)
        return CommitEntry(
            id=commit_id,
            parents=parents,
            author=author,
            time=_EPOCH + time * _MICROSECOND,
            subject=subject,
            message=message,
            stamp=None if pairs is None else from_pairs(pairs),
        )
    except (TypeError, ValueError, OverflowError) as exc:
        raise DamagedIndexError from exc


def write_changes(connection: Connection, commit_id: str, found: CommitChanges) -> None:
    """Write what a commit changed. Does nothing if the index does not have the commit."""
    names = found.written[:MAX_PATHS], found.removed[:MAX_PATHS]
    body = json.dumps([found.added, found.modified, found.deleted, *names], separators=(",", ":"))
    connection.execute(
        "INSERT OR REPLACE INTO changes SELECT number, ?, ? FROM commits WHERE id = ?",
        (body, zlib.crc32(f"{commit_id}\n{body}".encode()), clean(commit_id)),
    )


def read_changes(connection: Connection, commit_id: str) -> CommitChanges | None:
    """What a commit changed; None if the index does not have it.

    Raises:
        DamagedIndexError: it differs from what was written.
    """
    row = connection.execute(
        "SELECT body, checksum FROM changes JOIN commits USING (number) WHERE id = ?", (clean(commit_id),)
    ).fetchone()
    if row is None:
        return None
    body, checksum = row
    if zlib.crc32(f"{commit_id}\n{text_in(body)}".encode()) != checksum:
        raise DamagedIndexError
    try:
        added, modified, deleted, written, removed = json.loads(body)
        return CommitChanges(
            added=added, modified=modified, deleted=deleted, written=tuple(written), removed=tuple(removed)
        )
    except (TypeError, ValueError) as exc:
        raise DamagedIndexError from exc


def text_in(value: object) -> str:
    """A value of a column with text.

    Raises:
        DamagedIndexError: it is something else. SQLite lets a column have values of any type.
    """
    if not isinstance(value, str):
        raise DamagedIndexError
    return value


def number_in(value: object) -> int:
    """As `text_in`, for a column with a number that may be increased."""
    if not isinstance(value, int) or abs(value) > _GREATEST:
        raise DamagedIndexError
    return value


def clean(text: str) -> str:
    """Text for a column. Replaces lone surrogates, which UTF-8 cannot encode but a commit's JSON may contain."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _pairs_of(stamp: Stamp | None) -> dict[str, str] | None:
    """The pairs of a stamp; None if it cannot be written. Python reads numbers from JSON that `to_pairs` refuses."""
    try:
        return None if stamp is None else to_pairs(stamp)
    except (ValueError, TypeError, RecursionError):
        return None


def _checksum(commit_id: str, time: int, parents: tuple[str, ...], body: str) -> int:
    """SQLite detects damage of its own structures only, not of the values in them."""
    return zlib.crc32("\n".join((commit_id, str(time), *parents, body)).encode())


def _write_claims(connection: Connection, claimant: str, entry: CommitEntry) -> None:
    for commit_id in replaced_by(entry):
        connection.execute("INSERT OR IGNORE INTO replaced VALUES (?, ?)", (clean(commit_id), claimant))
    for name in reverted_by(entry):
        connection.execute("INSERT OR IGNORE INTO reverted VALUES (?, ?)", (name, claimant))
    for judged in judgements_of(entry):
        row = (clean(judged.commit_id), claimant, judged.is_trusted)
        connection.execute("INSERT OR IGNORE INTO distrusted VALUES (?, ?, ?)", row)
