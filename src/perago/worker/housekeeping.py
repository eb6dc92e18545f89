"""Removing what killed workers left: their attempts' directories, and what they staged."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from perago.errors import PeragoError
from perago.ports import HandedOut
from perago.worker.aftermath import TakesChores
from perago.worker.executor_messages import Sweep
from perago.worker.journal import Journal
from perago.worker.repositories import KnownRepositories
from perago.workspace import janitor


class Housekeeping:
    """One turn at the start, and then one each interval; see `loops.Loop`."""

    def __init__(
        self,
        root: Path,
        journal: Journal,
        slots: Sequence[TakesChores],
        repositories: KnownRepositories,
        *,
        ttl_seconds: float,
        interval_seconds: float,
    ) -> None:
        self._root = root
        self._journal = journal
        self._slots = slots
        self._ttl_seconds = ttl_seconds
        self._interval_seconds = interval_seconds
        self._repositories = repositories

    def note(self, attempt: HandedOut) -> None:
        """Remember the repository of a task: what killed attempts staged is looked for there."""
        workspace = attempt.input_data.get("workspace")
        repository = workspace.get("repository") if isinstance(workspace, Mapping) else None
        if isinstance(repository, str):
            self._repositories.note(repository)

    def turn(self) -> float:
        """Look once; returns the seconds until the next look."""
        if self.sweep_directories():
            for number, repository in enumerate(self._repositories.names()):
                order = Sweep(repository=repository, older_than_seconds=self._ttl_seconds)
                self._slots[number % len(self._slots)].add_chore(order)
        return self._interval_seconds

    def sweep_directories(self) -> bool:
        """Remove the attempt directories of the dead; says whether they could be looked for. For any thread."""
        try:
            report = janitor.sweep(self._root, self._ttl_seconds, time.time())
        except PeragoError as exc:
            self._journal.tell(logging.WARNING, f"orphans could not be looked for: {exc}")
            return False
        if report.removed:
            text = f"removed {len(report.removed)} attempt directories that killed executors left"
            self._journal.tell(logging.INFO, text)
        for path, reason in report.failed:
            self._journal.tell(logging.WARNING, f"orphan {path} could not be removed: {reason}")
        return True
