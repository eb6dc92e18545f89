"""How often to poll, and the turn of the task types. The pace is a pure function of time."""

from __future__ import annotations

import threading
from collections.abc import Sequence

SHORTEST_PAUSE_SECONDS = 0.025
"""Between two polls while there is work: the median latency of a task is then 17 ms (with 10 ms: 15, 50 ms: 30)."""

LONGEST_PAUSE_SECONDS = 0.25
BUSY_SECONDS = 10.0
"""After the last task, for which the shortest pause holds."""

LONGEST_FAILURE_PAUSE_SECONDS = 5.0
_DOUBLINGS = 10
"""More than it takes to the longest pause; a float has an end."""


def pause_after(idle_seconds: float) -> float:
    """Seconds to wait until the next poll: short for a while after the last task, then longer with each idle minute.

    Args:
        idle_seconds: since the last task came.
    """
    stretched = SHORTEST_PAUSE_SECONDS * max(1.0, idle_seconds / BUSY_SECONDS)
    return min(LONGEST_PAUSE_SECONDS, stretched)


def pause_after_failures(failures: int, jitter: float) -> float:
    """Seconds to wait after so many polls in a row that the server did not answer.

    Args:
        failures: 1 or more.
        jitter: a random number from 0 to 1; workers that lost the same server must not come back in step.
    """
    longest = min(LONGEST_FAILURE_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS * 2.0 ** min(failures - 1, _DOUBLINGS))
    return longest * (0.5 + jitter / 2)


class Turns:
    """Whose turn it is among the task types: the first asked is another each time, so that a busy one starves none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0

    def order(self, task_types: Sequence[str]) -> list[str]:
        """The types, the first one in turn first."""
        with self._lock:
            first = self._next % len(task_types) if task_types else 0
            self._next = first + 1
        return [*task_types[first:], *task_types[:first]]
