"""The page of a branch or a path: its history, newest first; commits of one run are grouped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from perago.asking.log import Wanted, as_log_entry, judged, read_time
from perago.asking.past import Past, Step
from perago.index.tables import CommitChanges
from perago.ports import CommitEntry
from perago.running.history import CommitSummary
from perago.ui.source import Source
from perago.values.models import Changes

SHOWN = 30
"""Commits on a page."""

MAX_LOOKED_AT = 1_000
"""Commits that a page looks at for those that fit. Then it says where it stopped."""


@dataclass(frozen=True, kw_only=True)
class BranchQuestion:
    """What a person asks for. Empty texts ask for nothing.

    Attributes:
        run: id of a run, or its beginning. author: a part of the name.
        path: a pattern; a directory stands for all below it.
        since, until: as `perago log` takes them: `7d`, `2026-11-29`.
        before: full id of the commit to begin with; "" for the head.
    """

    name: str
    task: str = ""
    run: str = ""
    path: str = ""
    author: str = ""
    since: str = ""
    until: str = ""
    before: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Commits that follow each other and belong together: those of one run, or one of somebody's own.

    Attributes:
        run_name: of its task or workflow, if this machine has a record of the run; else None.
    """

    run_id: str | None
    run_name: str | None
    commits: Sequence[CommitSummary]


@dataclass(frozen=True, kw_only=True)
class BranchPage:
    """A page of a branch.

    Attributes:
        branches: all of them, to choose from.
        looked_at: number of commits that were looked at for these.
        before: the commit that the next page begins with; None at the end.
        uncounted: ids of commits on it whose numbers of changed files are not known yet.
        is_reading: what commits changed is being read, so that the page will show more.
    """

    question: BranchQuestion
    branches: Sequence[str]
    cards: Sequence[Card]
    looked_at: int
    before: str | None
    uncounted: Sequence[str] = ()
    is_reading: bool = False


def branch_page(source: Source, question: BranchQuestion) -> BranchPage:
    """See `BranchPage`.

    Raises:
        TaskInputError: a time is malformed.
        BranchNotFoundError, RefNotFoundError: there is no such branch or commit.
        StoreError: the history cannot be read.
    """
    wanted = wanted_by(question, datetime.now(UTC))
    with source.past() as past:
        branches = past.repository.branches()
        start = past.resolve(question.before) if question.before else past.head(question.name)
        found, looked_at, before = looked_through(past, start, wanted)
        known = past.stepped_in_time(found)
        uncounted = found[len(known) :]
        steps = [*known, *(Step(entry, CommitChanges.of(Changes())) for entry in uncounted)]
        commits = [CommitSummary.of(as_log_entry(step)) for step in steps]
    names = {run.run_id: run.task_name for run in source.all_runs()}
    cards = cards_of(commits, names)
    return BranchPage(
        question=question,
        branches=branches,
        cards=cards,
        looked_at=looked_at,
        before=before,
        uncounted=[entry.id for entry in uncounted],
        is_reading=bool(past.unread),
    )


def wanted_by(question: BranchQuestion, now: datetime) -> Wanted:
    """What a commit must have for a question.

    Raises:
        TaskInputError: a time is malformed.
    """
    return Wanted(
        paths=(question.path,) if question.path else (),
        task=question.task or None,
        run=question.run or None,
        author=question.author or None,
        since=read_time(question.since, now) if question.since else None,
        until=read_time(question.until, now) if question.until else None,
    )


def looked_through(past: Past, start: str, wanted: Wanted) -> tuple[list[CommitEntry], int, str | None]:
    """The commits of a page, how many were looked at for them, and the one that the next page begins with."""
    found: list[CommitEntry] = []
    looked_at = 0
    for entry, is_wanted in judged(past, start, wanted):
        if len(found) == SHOWN or looked_at == MAX_LOOKED_AT:
            return found, looked_at, entry.id
        looked_at += 1
        if is_wanted:
            found.append(entry)
    unread = next((entry for entry in past.unread if not wanted.is_before(entry.time)), None)
    return found, looked_at, None if unread is None else unread.id


def cards_of(commits: Iterable[CommitSummary], names: dict[str, str]) -> list[Card]:
    """Commits as cards.

    Args:
        names: of tasks and workflows, by the id of the run.
    """
    groups = groupby(enumerate(commits), key=lambda pair: pair[1].run_id or pair[0])
    cards = []
    for _, group in groups:
        together = [commit for _, commit in group]
        run_id = together[0].run_id
        cards.append(Card(run_id=run_id, run_name=names.get(run_id or ""), commits=together))
    return cards
