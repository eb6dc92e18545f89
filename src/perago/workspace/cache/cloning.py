"""Files that share their blocks until one of them is written (reflinks), where the file system has such."""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path

CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a file is made that must not be there yet."""

_FICLONE = 0x40049409
"""`FICLONE` of linux/fs.h, which Python has no name for."""
_AT_FDCWD = -2
"""Of macOS's sys/fcntl.h: relative paths begin at the current directory."""


def open_clone(source: int, target: str, mode: int) -> int | None:
    """Make a new file with the blocks of an open one.

    Args:
        mode: its permissions; the umask is taken off, on macOS 0o022.

    Returns:
        the new file, open for reading and writing; None: this file system, or this system, cannot, and nothing is made.

    Raises:
        FileExistsError: something is at `target`.
    """
    if sys.platform == "darwin":
        return _open_clone_on_macos(source, target, mode)
    if sys.platform == "linux":
        return _open_clone_on_linux(source, target, mode)
    return None


def _open_clone_on_linux(source: int, target: str, mode: int) -> int | None:
    made = os.open(target, CREATE, mode)
    try:
        fcntl.ioctl(made, _FICLONE, source)
    except OSError:
        os.close(made)
        Path(target).unlink()
        return None
    return made


def _open_clone_on_macos(source: int, target: str, mode: int) -> int | None:
    try:
        clone = ctypes.CDLL(None, use_errno=True).fclonefileat
    except (OSError, AttributeError):
        return None
    if clone(source, _AT_FDCWD, os.fsencode(target), 0) != 0:
        if os.path.lexists(target):
            raise FileExistsError(target)
        return None
    try:
        Path(target).chmod(mode & ~0o022)
        return os.open(target, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except BaseException:
        with suppress(OSError):
            Path(target).unlink()
        raise
