"""What a commit says of other commits: it replaces, reverts, distrusts or trusts them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from perago.ports import CommitEntry

SHORTEST_NAME = 7
"""Digits of the shortest abbreviated commit id, as git writes them."""

_NAME = rf"([0-9a-f]{{{SHORTEST_NAME},64}})"
_BY_GIT = re.compile(rf"\bThis\s+reverts\s+commit\s+{_NAME}\b")
"""Also written by `git revert --reference`. After a merge's id follows `, reversing changes made to <id>`, which is not
reverted."""
_BY_LAKEFS = re.compile(rf"Revert {_NAME}")
"""The whole subject. lakeFS repeats the reference it was given. A branch there does not tell which commit it was."""


@dataclass(frozen=True)
class Judgement:
    """A person's decision that the result of a commit must not be used again, or may be used again after all."""

    commit_id: str
    is_trusted: bool


def replaced_by(entry: CommitEntry) -> tuple[str, ...]:
    """Full ids of the commits whose content this one replaces."""
    return () if entry.stamp is None else entry.stamp.abandoned


def reverted_by(entry: CommitEntry) -> frozenset[str]:
    """Ids of the commits that this one reverts, as its message spells them: possibly abbreviated."""
    names = _BY_GIT.findall(f"{entry.subject}\n{entry.message}")
    by_lakefs = _BY_LAKEFS.fullmatch(entry.subject.strip())
    by_perago = () if entry.stamp is None else entry.stamp.reverts
    return frozenset((*names, *by_perago, *(() if by_lakefs is None else (by_lakefs[1],))))


def judgements_of(entry: CommitEntry) -> Iterator[Judgement]:
    """The decisions that this commit records."""
    if entry.stamp is None:
        return
    if entry.stamp.distrusts is not None:
        yield Judgement(entry.stamp.distrusts, is_trusted=False)
    if entry.stamp.trusts is not None:
        yield Judgement(entry.stamp.trusts, is_trusted=True)
