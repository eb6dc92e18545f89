"""The page of the numbers that the bodies of a run have recorded: all points that this host's record has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from perago.engines.local.record import RunRecord, TryEntry
from perago.engines.local.workflow_record import WorkflowTry
from perago.ui.curves import Curves, Drawn, curves_of
from perago.ui.source import Source

MAX_SERIES = 20
"""Series that are plotted."""


@dataclass(frozen=True, kw_only=True)
class SeriesPage:
    """The numbers of a run.

    Attributes:
        plots: a plot for each series, with a line for each try; more_series: how many others there are.
    """

    run_id: str
    task_name: str
    plots: Sequence[Curves]
    more_series: int


def series_page(source: Source, run_id: str) -> SeriesPage:
    """See `SeriesPage`.

    Raises:
        RunNotFoundError, EngineError: there is no such run, or its record is damaged.
    """
    record = source.engine.record(run_id)
    recorded = source.engine.series_of(run_id)
    tries: Sequence[TryEntry] = record.tries
    names = dict.fromkeys(name for one in tries for name in recorded.get(one.task_id, {}))
    name_of_run = record.task_name if isinstance(record, RunRecord) else record.name
    plots = [
        curves_of(
            name,
            [
                Drawn(name=_name(one), commit=None, time="", params={}, points=recorded[one.task_id][name])
                for one in reversed(tries)
                if name in recorded.get(one.task_id, {})
            ],
        )
        for name in islice(names, MAX_SERIES)
    ]
    return SeriesPage(run_id=run_id, task_name=name_of_run, plots=plots, more_series=max(len(names) - MAX_SERIES, 0))


def _name(one: TryEntry) -> str:
    task = f"{one.reference_task_name}, " if isinstance(one, WorkflowTry) else ""
    return f"{task}try {one.retry_count + 1}"
