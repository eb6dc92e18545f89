"""Files that are still being written.

Each process has its own directory for them and holds a lock on it. An unlocked directory belongs to a dead process and
is removed.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from perago.files.lock import try_lock
from perago.files.private_directory import OWNER_ONLY_DIRECTORY
from perago.files.storage import OWNER_ONLY

_LOCK = "lock"
_NEW = "."
"""Beginning of the name of a directory that may not have its lock yet."""

_GRACE_SECONDS = 60
"""Age from which such a directory counts as left behind."""


class PartialFiles:
    """Paths for files that this process writes before it renames them into place.

    Args:
        parent: contains the directories of all processes.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._numbers = itertools.count()
        self._directory: Path | None = None
        self._lock: int | None = None

    def new_path(self) -> str:
        """An unused path on the cache's file system.

        Raises:
            OSError: the directory cannot be created.
        """
        if self._directory is None:
            self._make()
        return f"{self._directory}/{os.getpid()}-{next(self._numbers)}"

    def close(self) -> None:
        """Remove the directory."""
        directory, self._directory = self._directory, None
        lock, self._lock = self._lock, None
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        if lock is not None:
            os.close(lock)

    def sweep(self, now: float | None = None) -> int:
        """Remove what dead processes left. Returns the number of directories."""
        now = time.time() if now is None else now
        others = [path for path in left_behind(self._parent, now) if path != self._directory]
        return sum(remove_left_behind(path, now) for path in others)

    def _make(self) -> None:
        name = f"{os.getpid()}-{secrets.token_hex(8)}"
        new = self._parent / f"{_NEW}{name}"
        new.mkdir(OWNER_ONLY_DIRECTORY, parents=True)
        self._lock = os.open(new / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        with suppress(OSError):  # a file system without locks: nothing on it ever counts as left behind
            try_lock(self._lock)
        self._directory = new.rename(self._parent / name)


def left_behind(parent: Path, now: float) -> list[Path]:
    """The directories of dead processes."""
    try:
        names = os.listdir(parent)  # noqa: PTH208 - as cheap as possible: each process that fills the cache does it
    except OSError:
        return []
    return [parent / name for name in sorted(names) if _is_left_behind(parent / name, now)]


def remove_left_behind(directory: Path, now: float) -> bool:
    """Check again, and remove what a dead process left. Returns False if it is in use or cannot be removed."""
    if not _is_left_behind(directory, now):
        return False
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


def _is_left_behind(directory: Path, now: float) -> bool:
    try:
        if directory.name.startswith(_NEW) and now - directory.lstat().st_mtime < _GRACE_SECONDS:
            return False
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return try_lock(lock)
    except OSError:
        return False
    finally:
        os.close(lock)
