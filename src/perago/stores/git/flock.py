"""Kernel locks on files of the repository. They end with their owner, however it ends."""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perago.errors import StoreError
from perago.ports import Clock

_POLL_SECONDS = 0.01


def acquire(descriptor: int, path: Path, seconds: float, clock: Clock, *, shared: bool = False) -> None:
    """Lock an open file, and wait for other holders.

    Args:
        path: of the file, for messages.
        shared: allow other shared holders.

    Raises:
        StoreError: others hold it for longer than `seconds`, or the file system has no locks.
    """
    deadline = clock.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if clock.monotonic() > deadline:
                raise StoreError(
                    f"{path} has been locked by other processes for {seconds:.0f} s, so nothing can be published. "
                    f"Look for a stopped Perago process (`{shlex.join(['fuser', str(path)])}`), or run the task again"
                ) from exc
            clock.sleep(_POLL_SECONDS)
        except OSError as exc:
            raise StoreError(f"{path} cannot be locked: {exc.strerror}. Keep the repository on a local disk") from exc
        else:
            return


@contextmanager
def peek(path: Path) -> Iterator[int | None]:
    """Open a file for reading and prevent others from locking it; yields None if it is missing.

    Raises:
        BlockingIOError: it is locked.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        try:
            yield descriptor
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
