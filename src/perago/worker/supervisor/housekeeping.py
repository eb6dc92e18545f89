"""Remove what killed workers left: attempt directories, and staged work in repositories that this worker has used."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from perago.errors import PeragoError
from perago.files.durable import sweep_leftovers, write_durably
from perago.files.private_directory import make_directory
from perago.files.storage import opened_file
from perago.ports import HandedOut
from perago.values.joins import input_repository
from perago.worker.attempts.journal import Journal
from perago.worker.executor.wire import Sweep
from perago.worker.supervisor.completion import TakesChores
from perago.workspace import janitor

FILE = "repositories.json"

MAX_REPOSITORIES = 1000
"""Limit on remembered repositories. The one that has had no task for the longest time is dropped first."""

_NAMES = TypeAdapter(list[str])


class KnownRepositories:
    """Names of repositories in a file. Only one process may write it, from any thread.

    If the file cannot be read or written, the names are kept in memory only.

    Args:
        directory: the worker's own; created with the first name.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._lock = threading.Lock()
        self._names = dict.fromkeys(_read(self._path))

    def note(self, name: str) -> None:
        """Remember a repository."""
        with self._lock:
            is_new = name not in self._names
            self._names.pop(name, None)
            self._names[name] = None
            if len(self._names) > MAX_REPOSITORIES:
                del self._names[next(iter(self._names))]
            if is_new:
                self._write()

    def names(self) -> list[str]:
        """All names. The last one had the most recent task."""
        with self._lock:
            return list(self._names)

    def _write(self) -> None:
        with suppress(OSError):
            make_directory(self._path.parent)
            sweep_leftovers(self._path)
            write_durably(self._path, json.dumps(list(self._names)))


def _read(path: Path) -> list[str]:
    try:
        with opened_file(path) as file:
            return _NAMES.validate_json(file.readall())[-MAX_REPOSITORIES:]
    except (OSError, ValidationError):
        return []


class Housekeeping:
    """Removes orphans at the start and then once each interval; see `supervisor.Loop`."""

    def __init__(
        self,
        root: Path,
        journal: Journal,
        slots: Sequence[TakesChores],
        repositories: KnownRepositories,
        *,
        ttl_seconds: float,
        run_branch_ttl_seconds: float,
        interval_seconds: float,
    ) -> None:
        self._root = root
        self._journal = journal
        self._slots = slots
        self._ttl_seconds = ttl_seconds
        self._run_branch_ttl_seconds = run_branch_ttl_seconds
        self._interval_seconds = interval_seconds
        self._repositories = repositories

    def note(self, attempt: HandedOut) -> None:
        """Remember the repository of a task, so that it is swept for staged work of killed attempts."""
        repository = input_repository(attempt.input_data)
        if repository is not None:
            self._repositories.note(repository)

    def turn(self) -> float:
        """Sweep once; returns the seconds until the next turn."""
        if self.sweep_directories():
            for number, repository in enumerate(self._repositories.names()):
                order = Sweep(
                    repository=repository,
                    older_than_seconds=self._ttl_seconds,
                    runs_older_than_seconds=self._run_branch_ttl_seconds,
                )
                self._slots[number % len(self._slots)].add_chore(order)
        return self._interval_seconds

    def sweep_directories(self) -> bool:
        """Remove attempt directories whose processes are dead. Returns False if the root cannot be read. Any thread."""
        try:
            report = janitor.sweep(self._root, self._ttl_seconds, time.time())
        except PeragoError as exc:
            self._journal.tell(logging.WARNING, f"cannot look for orphaned attempt directories: {exc}")
            return False
        if report.removed:
            text = f"removed {len(report.removed)} attempt directories of killed executors"
            self._journal.tell(logging.INFO, text)
        for path, reason in report.failed:
            self._journal.tell(logging.WARNING, f"orphaned directory {path} could not be removed: {reason}")
        return True
