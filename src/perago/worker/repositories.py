"""The repositories whose tasks a worker has had, remembered beyond its end: what killed attempts staged lies there."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from perago.engines.local.files import sweep_leftovers, write_durably
from perago.private_directory import make_directory
from perago.workspace.storage import opened_file

FILE = "repositories.json"

MAX_REPOSITORIES = 1000
"""That a worker remembers; the one that had no task for longest is forgotten first."""

_NAMES = TypeAdapter(list[str])


class KnownRepositories:
    """Names in a file. One process writes it, from any thread; a file that cannot be read or written costs memory only.

    Args:
        directory: the worker's own; made when a name is noted.
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
        """All of them, the one that had a task last at the end."""
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
