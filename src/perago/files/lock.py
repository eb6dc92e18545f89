"""File locks (flock) that end with their process, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from perago.errors import required
from perago.files.storage import OWNER_ONLY

_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """A lock on a file, held until `release` or the end of the process. A fork of the process does not hold it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        _held.add(self)

    @classmethod
    def try_acquire(cls, path: Path, *, shared: bool = False) -> FileLock | None:
        """Try to take the lock. Returns None if another process holds it.

        Args:
            path: created if missing.
            shared: allow other shared holders.

        Raises:
            FileNotFoundError: its directory is missing or was just removed.
            OSError: the file cannot be opened, or is not a regular file.
        """
        descriptor = _opened(path, os.O_RDWR | os.O_CREAT)
        try:
            if try_lock(descriptor, shared=shared):
                _expect_in_place(descriptor, path)
                return cls(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    @property
    def is_held(self) -> bool:
        return self._descriptor is not None

    def write(self, content: bytes) -> None:
        """Write into the file, for processes that look up the holder."""
        descriptor = required(self._descriptor, "only the holder of a lock writes into its file")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take the lock on an open file without waiting. Returns False if others hold it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(descriptor: int) -> None:
    """Take the lock on an open file; waits for others, who must hold it for a few system calls only."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def unlock_and_close(descriptor: int) -> None:
    """Release the lock and close the file. Closing alone would leave the lock with a child forked in between."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _opened(path: Path, flags: int) -> int:
    """Open a regular file; `O_NONBLOCK` because opening a pipe would block."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, OWNER_ONLY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", os.fspath(path))
    return descriptor


def _expect_in_place(descriptor: int, path: Path) -> None:
    """Detect that the file was removed between opening and locking. Only the holder of the lock removes it."""
    if not os.path.samestat(os.fstat(descriptor), path.lstat()):
        raise FileNotFoundError(path)


def is_held_by_anybody(path: Path) -> bool:
    """Whether any process holds the lock, including this one. The check takes the lock for an instant.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.
    """
    try:
        descriptor = _opened(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


def _let_go_in_fork() -> None:
    """Release inherited locks in a fork. Its open files would hold them beyond the parent's end."""
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_fork)
