"""Telling the observer how far a phase is."""

from __future__ import annotations

from perago.ports import Clock, Event, Observer, Phase
from perago.values.models import TaskExecution

INTERVAL_SECONDS = 0.1
"""Events of one phase are at least this far apart, but for the last."""


class TransferProgress:
    """Counts files and bytes of one phase, and tells the observer now and then, and at the end.

    Attributes:
        total_files: how many there will be; 0 until that is known.
        files: how many are done; bytes: of these, and of a file under way.
        cache_hits: how many of these the host's cache had; None: none was asked.
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
        """One more file of this many bytes is done, those that were told to `move` included."""
        self.files += 1
        self.bytes += size - self._moved
        self._moved = 0
        self._tell(is_last=self.files == self.total_files)

    def hit(self) -> None:
        """The host's cache has the file that is added next."""
        self.cache_hits = (self.cache_hits or 0) + 1

    def move(self, count: int) -> None:
        """So many bytes more of a file under way; only where files go one after the other."""
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
