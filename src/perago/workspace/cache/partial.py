"""Files that are not whole yet.

Each process has a directory for its own, and holds a lock on it: what lies in an unlocked one is a dead process's, and
goes.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from perago.files.private_directory import OWNER_ONLY_DIRECTORY
from perago.files.storage import OWNER_ONLY

_LOCK = "lock"
_GRACE_SECONDS = 60
"""A directory as young as this may not have its lock yet."""


class PartialFiles:
    """Where this process writes what it then renames into place.

    Args:
        parent: the directory of all processes' directories.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._numbers = itertools.count()
        self._directory: Path | None = None
        self._lock: int | None = None

    def new_path(self) -> str:
        """A path at which nothing is, on the file system of the cache.

        Raises:
            OSError: the directory cannot be made.
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
        """Remove what dead processes left; returns how many directories that were."""
        now = time.time() if now is None else now
        others = [path for path in left_behind(self._parent, now) if path != self._directory]
        return sum(remove_left_behind(path, now) for path in others)

    def _make(self) -> None:
        directory = self._parent / f"{os.getpid()}-{secrets.token_hex(8)}"
        directory.mkdir(OWNER_ONLY_DIRECTORY, parents=True)
        self._lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        with suppress(OSError):  # a file system without locks: nothing on it is ever taken for left behind
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._directory = directory


def left_behind(parent: Path, now: float) -> list[Path]:
    """The directories of dead processes."""
    try:
        names = os.listdir(parent)  # noqa: PTH208 - as light as can be: each process that fills the cache does it
    except OSError:
        return []
    return [parent / name for name in sorted(names) if _is_left_behind(parent / name, now)]


def remove_left_behind(directory: Path, now: float) -> bool:
    """Look again, and remove what a dead process left; False: it is somebody's, or cannot be removed."""
    if not _is_left_behind(directory, now):
        return False
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


def _is_left_behind(directory: Path, now: float) -> bool:
    try:
        if now - directory.lstat().st_mtime < _GRACE_SECONDS:
            return False
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
