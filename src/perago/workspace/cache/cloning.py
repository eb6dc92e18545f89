"""Cloning files (reflinks), so that they share blocks until one is written, on file systems that support it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from contextlib import suppress

from perago.workspace.new_files import CREATE

_FICLONE = 0x40049409
"""`FICLONE` from linux/fs.h, which Python does not define."""
_AT_FDCWD = -2
"""From macOS's sys/fcntl.h: relative paths start at the current directory."""


def open_clone(source: int, target: str, mode: int, dir_fd: int | None = None) -> int | None:
    """Create a file with the blocks of an open one.

    Args:
        dir_fd: directory that `target` is relative to.
        mode: permissions, reduced by the umask; on macOS by 0o022.

    Returns:
        the new file, open for reading and writing. None if cloning is not supported; then nothing is created.

    Raises:
        FileExistsError: `target` exists.
    """
    if sys.platform == "darwin":
        return _open_clone_on_macos(source, target, mode, dir_fd)
    if sys.platform == "linux":
        return _open_clone_on_linux(source, target, mode, dir_fd)
    return None


def _open_clone_on_linux(source: int, target: str, mode: int, dir_fd: int | None) -> int | None:
    made = os.open(target, CREATE, mode, dir_fd=dir_fd)
    try:
        fcntl.ioctl(made, _FICLONE, source)
    except OSError:
        os.close(made)
        os.unlink(target, dir_fd=dir_fd)
        return None
    return made


def _open_clone_on_macos(source: int, target: str, mode: int, dir_fd: int | None) -> int | None:
    try:
        clone = ctypes.CDLL(None, use_errno=True).fclonefileat
    except (OSError, AttributeError):
        return None
    if clone(source, _AT_FDCWD if dir_fd is None else dir_fd, os.fsencode(target), 0) != 0:
        if ctypes.get_errno() == errno.EEXIST:
            raise FileExistsError(target)
        return None
    try:
        made = os.open(target, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        os.fchmod(made, mode & ~0o022)
    except BaseException:
        with suppress(OSError):
            os.unlink(target, dir_fd=dir_fd)
        raise
    return made
