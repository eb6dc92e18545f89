"""The few calls on files that survive a crash."""

from __future__ import annotations

import errno
import os
from pathlib import Path

CHUNK = 1 << 20
"""Bytes written at once. Memory stays at a few of these, whatever the size of a file."""

_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a crash of the machine, where its file system can."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_directories(directory: Path) -> None:
    """Make a directory and those above it, each name synced."""
    if directory.is_dir():
        return
    make_directories(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, however many the system takes at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
