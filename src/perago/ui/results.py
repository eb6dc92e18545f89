"""The page of results over time: numbers of a task's publications, against each other or their time, as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from perago.asking.past import Past
from perago.asking.series import series_of
from perago.ports import CommitEntry
from perago.ui.curves import HEIGHT, WIDTH, Curves, Drawn, Points, curves_of, placed, range_of
from perago.ui.source import Source

MAX_POINTS = 200
"""Publications in a plot, the newest ones."""

MAX_SERIES = 50
"""Series to choose from."""

MAX_LOOKED_AT = 10_000
"""Commits of the branch that are looked at for them."""

TIME = "time"
SERIES = "series."


@dataclass(frozen=True, kw_only=True)
class ResultsQuestion:
    """What a person asks for.

    Attributes:
        task: its name; "" for none yet.
        x, y: fields: `time`, `duration`, `params.alpha`, `result.score`. "" for the time, and the first number. As
            `y` also a series, `series.loss`, over its steps.
    """

    branch: str
    task: str = ""
    x: str = ""
    y: str = ""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A publication.

    Attributes:
        left, top: units; see `WIDTH`. x, y: the values; the time as seconds since the epoch.
        params: to be shown beside it.
    """

    commit: str
    time: datetime
    left: int
    top: int
    x: float
    y: float
    params: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ResultsPage:
    """A plot.

    Attributes:
        tasks: those of the newest commits, to choose from; fields: those with numbers, to choose from; series:
            those that the bodies recorded.
        curves: the lines of a series in place of points; None for a number.
        x, y: the fields that are plotted.
        x_range, y_range: least and greatest value.
        without: number of publications that lack one of the two.
    """

    question: ResultsQuestion
    tasks: Sequence[str]
    fields: Sequence[str]
    x: str
    y: str
    points: Sequence[Point]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    without: int
    series: Sequence[str] = ()
    curves: Curves | None = None


def results_page(source: Source, question: ResultsQuestion) -> ResultsPage:
    """See `ResultsPage`.

    Raises:
        BranchNotFoundError, StoreError: there is no such branch, or it cannot be read.
    """
    with source.past() as past:
        entries, tasks = publications(past, past.head(question.branch), question.task)
    return plot(question, sorted(tasks), entries)


def publications(past: Past, start: str, task: str) -> tuple[list[CommitEntry], set[str]]:
    """The newest publications of a task, also within runs that were published as a whole, and the tasks that were met
    on the way."""
    found, tasks = list[CommitEntry](), set[str]()
    for looked_at, entry in enumerate(past.line(start)):
        if looked_at == MAX_LOOKED_AT or len(found) >= MAX_POINTS or (not task and looked_at == MAX_POINTS):
            break
        for made in past.by_tasks(entry):
            if made.stamp is not None and made.stamp.result:
                tasks.add(made.stamp.task)
                if made.stamp.task == task:
                    found.append(made)
    return found[:MAX_POINTS], tasks


def plot(question: ResultsQuestion, tasks: Sequence[str], entries: Sequence[CommitEntry]) -> ResultsPage:
    """The plot of publications, newest first."""
    recorded = [(entry, {} if entry.stamp is None else series_of(entry.stamp)) for entry in entries]
    series = list(dict.fromkeys(f"{SERIES}{name}" for _, found in recorded for name in found))[:MAX_SERIES]
    if question.y in series:
        name = question.y.removeprefix(SERIES)
        drawn = [_drawn(entry, found[name]) for entry, found in recorded if name in found]
        return _curved(question, tasks, entries, series, curves_of(name, drawn))
    numbers = [(entry, numbers_of(entry)) for entry in entries]
    fields = list(dict.fromkeys(name for _, found in numbers for name in found))
    x = question.x if question.x in fields else TIME
    results = [name for name in fields if name.startswith("result.")]
    y = question.y if question.y in fields else next(iter([*results, *fields[1:]]), "duration")
    both = [(entry, found[x], found[y]) for entry, found in numbers if x in found and y in found]
    x_range, y_range = range_of([value for _, value, _ in both]), range_of([value for _, _, value in both])
    points = [
        Point(
            commit=entry.id,
            time=entry.time,
            left=placed(one, x_range, WIDTH),
            top=HEIGHT - placed(other, y_range, HEIGHT),
            x=one,
            y=other,
            params=_params(entry),
        )
        for entry, one, other in both
    ]
    return ResultsPage(
        question=question,
        tasks=tasks,
        fields=fields,
        x=x,
        y=y,
        points=points,
        x_range=x_range,
        y_range=y_range,
        without=len(numbers) - len(both),
        series=series,
    )


def _curved(
    question: ResultsQuestion,
    tasks: Sequence[str],
    entries: Sequence[CommitEntry],
    series: Sequence[str],
    curves: Curves,
) -> ResultsPage:
    """The page of a series."""
    fields = dict.fromkeys(name for entry in entries for name in numbers_of(entry))
    return ResultsPage(
        question=question,
        tasks=tasks,
        fields=list(fields),
        x="step",
        y=question.y,
        points=(),
        x_range=curves.x_range,
        y_range=curves.y_range,
        without=len(entries) - len(curves.curves) - curves.left_out,
        series=series,
        curves=curves,
    )


def _drawn(entry: CommitEntry, points: Points) -> Drawn:
    name = f"{entry.author if entry.stamp is None else entry.stamp.task} {entry.id[:12]}"
    return Drawn(name=name, commit=entry.id, time=entry.time.isoformat(), params=_params(entry), points=points)


def _params(entry: CommitEntry) -> Mapping[str, Any]:
    return {} if entry.stamp is None or entry.stamp.params is None else entry.stamp.params


def numbers_of(entry: CommitEntry) -> dict[str, float]:
    """The numbers of a publication by the names of their fields."""
    stamp = entry.stamp
    found = {TIME: entry.time.timestamp()}
    if stamp is None:
        return found
    for group, values in (("result", stamp.result or {}), ("params", stamp.params or {})):
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
                found[f"{group}.{name}"] = float(value)
    return {**found, "duration": stamp.duration_ms / 1000}
