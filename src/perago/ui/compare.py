"""The page that compares commits and runs: params and results side by side, and the files of two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from perago.asking.differences import MAX_COMPARED, Column, FileDifference, column, differing_files, rows_of
from perago.asking.past import Past
from perago.asking.series import series_of
from perago.errors import TaskInputError
from perago.ui.curves import Curves, Drawn, Points, curves_of
from perago.ui.source import Source

MAX_FILES = 200
"""Differing files that are listed."""


MAX_SERIES = 8
"""Series that are plotted."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One of the commits and runs that are compared; see `asking.differences.Column`."""

    name: str
    commit: str | None
    task: str
    time: str


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A fact, such as `params.depth`, and its value in each commit; None where one lacks it."""

    name: str
    values: Sequence[Any]
    differs: bool


@dataclass(frozen=True, kw_only=True)
class ComparePage:
    """Commits side by side.

    Attributes:
        curves: the series that their bodies recorded, at most `MAX_SERIES`.
        files: those that differ between the first and the last, at most `MAX_FILES`; has_more: there are others.
    """

    of: Sequence[Compared]
    facts: Sequence[Fact]
    curves: Sequence[Curves]
    files: Sequence[FileDifference]
    has_more: bool


def compare_page(source: Source, names: Sequence[str]) -> ComparePage:
    """See `ComparePage`. Of fewer than two names, an empty one.

    Args:
        names: branches, tags, commits, or ids of runs.

    Raises:
        TaskInputError: too many names, or one that names nothing.
        StoreError: the history cannot be read.
    """
    if len(names) > MAX_COMPARED:
        raise TaskInputError(f"{len(names)} commits are too many to compare; at most {MAX_COMPARED} are")
    if len(names) < 2:
        return ComparePage(of=(), facts=(), curves=(), files=(), has_more=False)
    with source.past() as past:
        columns = [column(past, source.engine, name) for name in names]
        files = _files(past, columns) if len(names) == 2 else []
    return ComparePage(
        of=[_compared(one) for one in columns],
        facts=[Fact(name=name, values=values, differs=differs) for name, values, differs in rows_of(columns)],
        curves=_curves(columns),
        files=files[:MAX_FILES],
        has_more=len(files) > MAX_FILES,
    )


def _files(past: Past, columns: Sequence[Column]) -> list[FileDifference]:
    first, last = columns[0].commit, columns[-1].commit
    if first is None or last is None or first == last:
        return []
    return list(islice(differing_files(past.repository, first, last), MAX_FILES + 1))


def _curves(columns: Sequence[Column]) -> list[Curves]:
    """Each series, with a line for each of the columns that have it."""
    recorded = [({} if one.stamp is None else series_of(one.stamp), one) for one in columns]
    names = dict.fromkeys(name for found, _ in recorded for name in found)
    return [
        curves_of(name, [_drawn(one, found[name]) for found, one in recorded if name in found])
        for name in islice(names, MAX_SERIES)
    ]


def _drawn(one: Column, points: Points) -> Drawn:
    stamp = one.stamp
    params = {} if stamp is None or stamp.params is None else stamp.params
    return Drawn(name=one.name, commit=one.commit, time=_text(one.time), params=params, points=points)


def _compared(one: Column) -> Compared:
    return Compared(name=one.name, commit=one.commit, task=one.task, time=_text(one.time))


def _text(time: datetime | None) -> str:
    return "" if time is None else time.isoformat()
