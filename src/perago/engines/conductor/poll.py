"""The polling interval, a pure function of time, and the order of task types."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from perago.values.backoff import backoff

SHORTEST_PAUSE_SECONDS = 0.025
"""Pause between two polls while there is work. Median latency of a task is then 17 ms (with 10 ms: 15, 50 ms: 30)."""

LONGEST_PAUSE_SECONDS = 0.25
BUSY_SECONDS = 10.0
"""Time after the last task during which the shortest pause is used."""

LONGEST_FAILURE_PAUSE_SECONDS = 5.0


def pause_after(idle_seconds: float) -> float:
    """Seconds until the next poll: short for a while after the last task, then longer the longer no task comes.

    Args:
        idle_seconds: since the last task.
    """
    stretched = SHORTEST_PAUSE_SECONDS * max(1.0, idle_seconds / BUSY_SECONDS)
    return min(LONGEST_PAUSE_SECONDS, stretched)


def pause_after_failures(failures: int, jitter: float) -> float:
    """Seconds until the next poll, after a number of consecutive polls without an answer.

    Args:
        failures: 1 or more.
        jitter: a random number from 0 to 1, so that workers which lost the same server do not return in step.
    """
    longest = backoff(LONGEST_PAUSE_SECONDS, LONGEST_FAILURE_PAUSE_SECONDS, failures - 1)
    return longest * (0.5 + jitter / 2)


class Turns:
    """Rotates the task types: each poll starts with another one, so that a busy type does not starve the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0

    def order(self, task_types: Sequence[str]) -> list[str]:
        """The types in the order for the next poll."""
        with self._lock:
            first = self._next % len(task_types) if task_types else 0
            self._next = first + 1
        return [*task_types[first:], *task_types[:first]]
