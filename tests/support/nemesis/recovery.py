"""How long it takes until a task completes that a fault has struck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Blow:
    """A fault that is over.

    Attributes:
        at: when it was, seconds since the epoch.
        tasks: ids of those that it struck; everything: all that were under way.
    """

    fault: str
    at: float
    tasks: tuple[str, ...]
    everything: bool = False


def recoveries(blows: Sequence[Blow], workflows: Sequence[Any]) -> list[float]:
    """Seconds from the last blow that struck a logical task to its completion, for each that was struck and completed.

    Args:
        workflows: ended ones, with their tasks. One that was begun anew by hand is none of these.
    """
    found = []
    for workflow in workflows:
        for completed in _completions(workflow):
            struck = [blow.at for blow in blows if _strikes(blow, completed)]
            if struck:
                found.append(completed.ended - max(struck))
    return found


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that so many of all do not exceed; nan: there is none."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)] if values else math.nan


@dataclass(frozen=True)
class _Completed:
    """A logical task: ids of its tries, when the first was scheduled, when the last completed."""

    tries: frozenset[str]
    scheduled: float
    ended: float


def _completions(workflow: Any) -> list[_Completed]:
    found = []
    for name in {task["referenceTaskName"] for task in workflow["tasks"]}:
        tries = [task for task in workflow["tasks"] if task["referenceTaskName"] == name]
        ends = [task["endTime"] / 1000 for task in tries if task["status"] == "COMPLETED"]
        if ends:
            scheduled = min(task["scheduledTime"] for task in tries) / 1000
            found.append(_Completed(frozenset(task["taskId"] for task in tries), scheduled, max(ends)))
    return found


def _strikes(blow: Blow, task: _Completed) -> bool:
    return (blow.everything or not task.tries.isdisjoint(blow.tasks)) and task.scheduled <= blow.at <= task.ended
