"""Whether the result of a commit still counts, according to other commits."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from sqlite3 import Connection

from perago.index.claims import SHORTEST_NAME
from perago.index.tables import is_known, number_in, text_in


class Standing(enum.StrEnum):
    """Whether the result of a commit may be used again: only if it is `EFFECTIVE`. If several apply, the first counts.

    In doubt a commit is not effective. That costs one more run of a body, and the opposite mistake a wrong result.
    """

    DISTRUSTED = "distrusted"  # a person forbade its use
    REVERTED = "reverted"  # a person reverted it
    REPLACED = "replaced"  # its try does not count, and a later publication dropped its content
    EFFECTIVE = "effective"


@dataclass(frozen=True)
class Revert:
    """A commit that says it reverts another one.

    Attributes:
        claimant: its id.
        rank: of the claimant; that of a descendant is higher.
        is_sure: the id in its message fits only one commit.
    """

    claimant: str
    rank: int
    is_sure: bool

    @property
    def order(self) -> tuple[int, str]:
        return self.rank, self.claimant


def standing_of(connection: Connection, commit_id: str) -> Standing | None:
    """The standing of a commit, by its full id; None if the index does not have it."""
    if not is_known(connection, commit_id):
        return None
    if _is_distrusted(connection, commit_id):
        return Standing.DISTRUSTED
    if is_reverted(commit_id, partial(_reverts, connection)):
        return Standing.REVERTED
    replaced = connection.execute("SELECT 1 FROM replaced WHERE id = ?", (commit_id,)).fetchone()
    return Standing.EFFECTIVE if replaced is None else Standing.REPLACED


def is_reverted(commit_id: str, reverts_of: Callable[[str], Sequence[Revert]]) -> bool:
    """Whether a commit is reverted by one that is not itself reverted.

    Any revert reverts. Only a later one that names it unambiguously undoes a revert. This rules out circles, even if
    somebody constructs commits whose abbreviated ids fit each other.

    Args:
        reverts_of: returns the reverts of a commit.
    """
    found: dict[str, Sequence[Revert]] = {}
    waiting = [commit_id]
    while waiting:
        at = waiting.pop()
        if at not in found:
            found[at] = reverts_of(at)
            waiting += [revert.claimant for revert in found[at]]
    undone: set[str] = set()
    latest_first = sorted({revert.order for reverts in found.values() for revert in reverts}, reverse=True)
    for order in latest_first:
        claimant = order[1]
        if any(by.is_sure and by.order > order and by.claimant not in undone for by in found[claimant]):
            undone.add(claimant)
    return any(revert.claimant not in undone for revert in found[commit_id])


def _is_distrusted(connection: Connection, commit_id: str) -> bool:
    """Whether the newest decision about its result forbids its use."""
    newest = connection.execute(
        "SELECT is_undone FROM distrusted JOIN commits ON commits.id = claimant WHERE distrusted.id = ? "
        "ORDER BY rank DESC, claimant DESC, is_undone LIMIT 1",
        (commit_id,),
    ).fetchone()
    return newest is not None and not newest[0]


_REVERTS = """
SELECT claimant, rank, (SELECT count(*) FROM (SELECT 1 FROM commits WHERE id >= name AND id < name || 'g' LIMIT 2)) = 1
FROM reverted JOIN commits ON commits.id = claimant
WHERE name BETWEEN substr(:id, 1, :shortest) AND :id AND name = substr(:id, 1, length(name)) AND claimant != :id
"""
"""All names that fit an id sort between its first digits and the id. `g` sorts after all hexadecimal digits."""


def _reverts(connection: Connection, commit_id: str) -> Sequence[Revert]:
    rows = connection.execute(_REVERTS, {"id": commit_id, "shortest": SHORTEST_NAME})
    return [Revert(text_in(claimant), number_in(rank), bool(is_sure)) for claimant, rank, is_sure in rows]
