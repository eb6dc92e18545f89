"""Reporting the progress of a phase to the observer."""

from __future__ import annotations

from perago.ports import Clock, Event, Observer, Phase
from perago.values.models import TaskExecution

INTERVAL_SECONDS = 0.1
"""Minimum time between events of one phase, except for the last event."""


class TransferProgress:
    """Counts files and bytes of one phase. Informs the observer at intervals, and at the end.

    Attributes:
        total_files: expected number; 0 until it is known.
        files: completed files; bytes: of these, and of the current file.
        cache_hits: how many of these came from the host's cache; None if there is none.
    """

    def __init__(
        self,
        observer: Observer,
        clock: Clock,
        phase: Phase,
        *,
        total_files: int = 0,
        execution: TaskExecution | None = None,
    ) -> None:
        self._observer = observer
        self._clock = clock
        self._phase = phase
        self.total_files = total_files
        self._execution_id = execution.execution_id if execution is not None else ""
        self._task_id = execution.task_id if execution is not None else ""
        self._begun = self._told = clock.monotonic()
        self.files = 0
        self.bytes = 0
        self.cache_hits: int | None = None
        self._moved = 0

    def add(self, size: int) -> None:
        """Count a completed file of this size, including bytes already passed to `move`."""
        self.files += 1
        self.bytes += size - self._moved
        self._moved = 0
        self._tell(is_last=self.files == self.total_files)

    def hit(self) -> None:
        """Count a cache hit for the file that is added next."""
        self.cache_hits = (self.cache_hits or 0) + 1

    def move(self, count: int) -> None:
        """Count further bytes of the current file. Only if files are moved one after the other."""
        self._moved += count
        self.bytes += count
        self._tell()

    def _tell(self, *, is_last: bool = False) -> None:
        now = self._clock.monotonic()
        if is_last or now - self._told >= INTERVAL_SECONDS:
            self._told = now
            self._observer(self._event(now))

    def _event(self, now: float) -> Event:
        cached = {} if self.cache_hits is None else {"cache_hits": self.cache_hits}
        return Event(
            phase=self._phase,
            kind="progress",
            execution_id=self._execution_id,
            task_id=self._task_id,
            seconds=now - self._begun,
            attributes={"files": self.files, "bytes": self.bytes, "total_files": self.total_files, **cached},
        )
