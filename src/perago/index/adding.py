"""Adding new commits to an index, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from sqlite3 import Connection

from perago.errors import StoreError
from perago.index.database import transaction
from perago.index.tables import Row, clean, is_known, number_in, remove_until, write
from perago.ports import CommitEntry

CommitsSince = Callable[[Callable[[str], bool]], Iterable[CommitEntry]]
"""Lists the new commits, in any order; see `ReusableStore.commits_since`."""

_BEFORE_ALL = -(2**62)
"""Rank of a parent that the repository lacks, as in a shallow clone."""


def add_new(connection: Connection, commits_since: CommitsSince) -> int:
    """Add the new commits. Returns their number.

    Usually there are none. This is checked before the transaction begins, so that it waits for nobody. Otherwise the
    transaction waits for other writers, and from then on the commits that they added are known.

    If the repository has none of the known commits, it was replaced. The old commits are removed.

    Raises:
        StoreError: a commit is its own ancestor.
    """
    look = _Look(connection)
    found = iter(commits_since(look.knows))
    first = next(found, None)
    if first is None:
        return 0
    with transaction(connection, "IMMEDIATE"):
        return _add(connection, chain((first,), found), look)


class _Look:
    """Tells a store which commits are known.

    Attributes:
        has_met: whether the store has asked for one that is.
    """

    def __init__(self, connection: Connection) -> None:
        self.has_met = False
        self._connection = connection

    def knows(self, commit_id: str) -> bool:
        found = is_known(self._connection, commit_id)
        self.has_met |= found
        return found


def _add(connection: Connection, entries: Iterable[CommitEntry], look: _Look) -> int:
    # A commit is known once it has a row in `commits`. These rows are written at the end, because all that came before
    # a known commit must be known, too, and a store may list a commit before its parents.
    new: dict[str, Row] = {}
    newest = number = number_in(connection.execute("SELECT coalesce(max(number), 0) FROM commits").fetchone()[0])
    for entry in entries:
        if clean(entry.id) not in new and not look.knows(entry.id):
            number += 1
            row = write(connection, number, entry)
            new[row.id] = row
    if newest and not look.has_met:
        remove_until(connection, newest)
    ranks = ranks_of(new, partial(_rank, connection))
    rows = (row.ranked(ranks[row.id]) for row in new.values())
    connection.executemany("INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return len(new)


def ranks_of(new: Mapping[str, Row], rank: Callable[[str], int | None]) -> dict[str, int]:
    """The rank of each new commit, by id: its time, or more, so that it is above the rank of each parent.

    The time alone does not tell which of two commits is newer: git stores seconds, and the clocks of hosts differ.

    Args:
        rank: returns the rank of a known commit, and None for one that the repository lacks.
    """
    ranks: dict[str, int] = {}
    graph = {row.id: row.parents for row in new.values()}
    try:
        for commit_id in TopologicalSorter(graph).static_order():
            row = new.get(commit_id)
            if row is None:
                known = rank(commit_id)
                ranks[commit_id] = _BEFORE_ALL if known is None else known
            else:
                ranks[commit_id] = max([row.time, *(ranks[parent] + 1 for parent in row.parents)])
    except CycleError as exc:
        raise StoreError(
            f"the store lists commits that are their own ancestors: {exc.args[1]}; check the store"
        ) from exc
    return ranks


def _rank(connection: Connection, commit_id: str) -> int | None:
    found = connection.execute("SELECT rank FROM commits WHERE id = ?", (commit_id,)).fetchone()
    return None if found is None else number_in(found[0])
