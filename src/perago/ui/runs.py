"""The page of runs: those recorded on this host, to filter and to sort by what they were given and what they found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from perago.engines.local import RunSummary
from perago.ui.conditions import Condition, conditions_in, field_of, number_in, text_of
from perago.ui.source import Source, merged

if TYPE_CHECKING:
    from perago.ui.conductor import ServerState

SHOWN = 50
"""Runs on a page."""

MAX_COLUMNS = 12
"""Columns for params and results. A run's own page has all of them."""

FIXED = ("started", "status", "task", "duration", "tries")
"""Fields that each run has, by the names to sort by."""


@dataclass(frozen=True, kw_only=True)
class RunsQuestion:
    """What a person asks for. Empty texts ask for nothing.

    Attributes:
        where: conditions; see `conditions`.
        sort: a field: `started`, `duration`, `params.alpha`, …; desc: the greatest first.
        after: id of the last run of the page before.
    """

    task: str = ""
    status: str = ""
    where: str = ""
    sort: str = ""
    desc: bool = True
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class RunsPage:
    """A page of runs.

    Attributes:
        columns: fields of params and results that have a column, if the page is of one task: `params.alpha`.
        tasks, statuses: those of all runs, to choose from.
        total: number of all runs; found: of those that fulfil the question.
        after: what the next page begins after; None at the end.
        server: how the runs of the Conductor server were had; None if the page shows none.
        on_server: ids of the runs on this page that are the server's.
    """

    question: RunsQuestion
    runs: Sequence[RunSummary]
    columns: Sequence[str]
    tasks: Sequence[str]
    statuses: Sequence[str]
    total: int
    found: int
    after: str | None
    server: ServerState | None = None
    on_server: Sequence[str] = ()


def runs_page(source: Source, question: RunsQuestion) -> RunsPage:
    """See `RunsPage`.

    Raises:
        TaskInputError: a condition is malformed.
        EngineError: the records cannot be read.
    """
    if source.conductor is None:
        return page_of(source.runs(), question)
    there = source.conductor.listed()
    page = page_of(merged(source.runs(), there.runs), question)
    ids = {run.run_id for run in there.runs}
    return replace(page, server=there.state, on_server=[run.run_id for run in page.runs if run.run_id in ids])


def page_of(runs: Sequence[RunSummary], question: RunsQuestion, shown: int = SHOWN) -> RunsPage:
    """The page of some runs.

    Args:
        runs: newest first.
    """
    conditions = conditions_in(question.where)
    found = [run for run in runs if _fits(run, question, conditions)]
    if question.sort:
        found = _sorted(found, question.sort, desc=question.desc)
    elif not question.desc:
        found.reverse()
    names = [run.run_id for run in found]
    first = names.index(question.after) + 1 if question.after in names else 0
    page = found[first : first + shown]
    return RunsPage(
        question=question,
        runs=page,
        columns=_columns(page) if len({run.task_name for run in page}) == 1 else (),
        tasks=sorted({run.task_name for run in runs if run.task_name}),
        statuses=sorted({run.status for run in runs}),
        total=len(runs),
        found=len(found),
        after=page[-1].run_id if first + shown < len(found) else None,
    )


def value_of(run: RunSummary, name: str) -> object:
    """A field of a run by its name."""
    fixed: Mapping[str, Any] = {
        "started": None if run.started is None else run.started.timestamp(),
        "status": run.status,
        "task": run.task_name,
        "duration": run.duration,
        "tries": run.tries,
        "branch": run.branch,
        "run": run.run_id,
        "reason": run.reason,
    }
    return field_of(name, [("params", run.params), ("result", run.result or {}), ("run", fixed)])


def _fits(run: RunSummary, question: RunsQuestion, conditions: Iterable[Condition]) -> bool:
    if question.task and run.task_name != question.task:
        return False
    if question.status and run.status != question.status:
        return False
    return all(condition.holds(value_of(run, condition.field)) for condition in conditions)


def _sorted(runs: Iterable[RunSummary], name: str, *, desc: bool) -> list[RunSummary]:
    """Runs by a field: numbers, then texts, then those without it, which come last in either direction."""
    values = [(value_of(run, name), run) for run in runs]
    with_value = [(value, run) for value, run in values if value is not None]

    def key(pair: tuple[object, RunSummary]) -> tuple[bool, float, str]:
        number = number_in(pair[0])
        return (True, 0.0, text_of(pair[0])) if number is None else (False, number, "")

    with_value.sort(key=key, reverse=desc)
    return [run for _, run in with_value] + [run for value, run in values if value is None]


def _columns(runs: Iterable[RunSummary]) -> list[str]:
    names: dict[str, None] = {}
    for run in runs:
        names.update(dict.fromkeys(f"params.{name}" for name, value in run.params.items() if _is_plain(value)))
    for run in runs:
        names.update(dict.fromkeys(f"result.{name}" for name, value in (run.result or {}).items() if _is_plain(value)))
    return list(names)[:MAX_COLUMNS]


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
