"""The page of a branch: its history, newest first, what a run has published together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from perago.errors import TaskInputError
from perago.running.history import CommitSummary
from perago.running.repos.address import head_of
from perago.ui.source import Source

SHOWN = 30
"""Commits on a page."""

MAX_LOOKED_AT = 1_000
"""Commits that a page looks at for those that fit. Then it says where it stopped."""


@dataclass(frozen=True, kw_only=True)
class BranchQuestion:
    """What a person asks for. Empty texts ask for nothing.

    Attributes:
        run: id of a run, or its beginning. author: a part of the name.
        since, until: days of this machine's time zone, `2026-11-29`, both included.
        before: full id of the commit to begin with; "" for the head.
    """

    name: str
    task: str = ""
    run: str = ""
    author: str = ""
    since: str = ""
    until: str = ""
    before: str = ""

    @property
    def filters(self) -> bool:
        return bool(self.task or self.run or self.author or self.since or self.until)


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
    """

    question: BranchQuestion
    branches: Sequence[str]
    cards: Sequence[Card]
    looked_at: int
    before: str | None


def branch_page(source: Source, question: BranchQuestion) -> BranchPage:
    """See `BranchPage`.

    Raises:
        TaskInputError: a day is none.
        BranchNotFoundError, RefNotFoundError: there is no such branch or commit.
        StoreError: the server cannot be reached, or refused.
    """
    fits = Filter(question)
    with source.repository() as repository:
        branches = repository.branches()
        address = source.expected_address
        start = question.before or head_of(repository, question.name, address)
        found, looked_at, before = _page(map(CommitSummary.of, repository.log(start, MAX_LOOKED_AT + 1)), fits)
    names = {run.run_id: run.task_name for run in source.runs()}
    return BranchPage(
        question=question,
        branches=branches,
        cards=cards_of(found, names),
        looked_at=looked_at,
        before=before,
    )


def _page(commits: Iterator[CommitSummary], fits: Filter) -> tuple[list[CommitSummary], int, str | None]:
    """Commits that fit, how many were looked at, and the one that the next page begins with."""
    found: list[CommitSummary] = []
    looked_at = 0
    for commit in commits:
        if len(found) == SHOWN or looked_at == MAX_LOOKED_AT:
            return found, looked_at, commit.commit
        if fits.is_over(commit):
            break
        looked_at += 1
        if fits(commit):
            found.append(commit)
    return found, looked_at, None


class Filter:
    """Decides which commits are shown.

    Raises:
        TaskInputError: a day is none.
    """

    def __init__(self, question: BranchQuestion) -> None:
        self._question = question
        self._since = None if not question.since else _begin_of("since", question.since)
        self._until = None if not question.until else _begin_of("until", question.until) + timedelta(days=1)

    def __call__(self, commit: CommitSummary) -> bool:
        asked = self._question
        return (
            (not asked.task or commit.task_name == asked.task)
            and (not asked.run or (commit.run_id or "").startswith(asked.run))
            and asked.author.casefold() in commit.author.casefold()
            and (self._until is None or commit.time < self._until)
            and (self._since is None or commit.time >= self._since)
        )

    def is_over(self, commit: CommitSummary) -> bool:
        """Whether this commit and all before it are too old. Clocks of hosts differ, by less than a day."""
        return self._since is not None and commit.time < self._since - timedelta(days=1)


def _begin_of(name: str, text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day).astimezone().astimezone(UTC)  # noqa: DTZ001 - of this machine
    except (ValueError, OverflowError):
        raise TaskInputError(f"{name} is {text!r}, which is no day; write it as 2026-11-29") from None


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
