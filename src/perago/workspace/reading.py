"""Reading the files that a body left. They must not change while they are read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perago.errors import WorkspaceContentError, WorkspaceStorageError
from perago.files.beneath import REPLACED, Beneath
from perago.files.storage import storage_error
from perago.values.names import FOR_TASKS, Words

CHUNK = 1 << 20
"""Bytes per read. Memory use is a few of these, whatever the size of a file."""


def open_workspace(root: Path, words: Words = FOR_TASKS) -> Beneath:
    """Open a workspace's directory; a context manager that closes it.

    Raises:
        WorkspaceContentError: it is missing, or not a directory.
        WorkspaceStorageError: the disk failed.
    """
    try:
        return Beneath(root)
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, *REPLACED):
            raise storage_error(exc, f"cannot read {words.place}", root, words) from exc
        raise WorkspaceContentError(
            f"{words.place} {os.fspath(root)!a} no longer exists, or is no longer a directory; {words.keep}"
        ) from exc


@contextmanager
def open_workspace_file(files: Beneath, path: str) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file of a workspace for reading, and check afterwards that it has not changed.

    Args:
        files: the workspace.
        path: relative to it.

    Yields:
        its descriptor and its state.

    Raises:
        WorkspaceContentError: it is not a regular file, is missing or unreadable, or changed while it was read.
        WorkspaceStorageError: the disk could not read it.
    """
    try:
        descriptor = files.open(path)
    except OSError as exc:
        raise _unreadable(exc, path) from exc
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise _not_regular(path)
        yield descriptor, before
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise _changed(path)


def read_whole(descriptor: int, path: str, size: int) -> bytes:
    """Read a file of this size.

    Raises:
        WorkspaceContentError: it has a different size.
    """
    return b"".join(read_sized(descriptor, path, size))


def read_sized(descriptor: int, path: str, size: int) -> Iterator[bytes]:
    """Read a file of this size in chunks.

    Raises:
        WorkspaceContentError: it has a different size. At most one extra byte of a larger file is read.
    """
    left = size + 1
    while left and (part := _read(descriptor, path, min(left, CHUNK))):
        yield part
        left -= len(part)
    if left != 1:
        raise _changed(path)


def read_chunks(descriptor: int, path: str) -> Iterator[bytes]:
    """Read a file to its end in chunks."""
    while part := _read(descriptor, path, CHUNK):
        yield part


def _read(descriptor: int, path: str, size: int) -> bytes:
    try:
        return os.read(descriptor, size)
    except OSError as exc:
        raise WorkspaceStorageError(f"{path} could not be read: {exc.strerror}. Repair the disk under it") from exc


def _changed(path: str) -> WorkspaceContentError:
    return WorkspaceContentError(
        f"{path} changed while it was being staged. End every thread and process that writes files before the task "
        f"returns"
    )


def _not_regular(path: str) -> WorkspaceContentError:
    return WorkspaceContentError(f"{path} is not a regular file, so it cannot be published; remove it in the task")


def _unreadable(exc: OSError, path: str) -> WorkspaceContentError:
    if exc.errno in REPLACED and exc.filename != path.rpartition("/")[2]:
        return WorkspaceContentError(
            f"{path} cannot be read: {exc.filename} on its way is a symbolic link, which is not followed, or not a "
            f"directory. End every thread and process that writes files before the task returns"
        )
    if exc.errno in (errno.ELOOP, errno.EMLINK):
        return WorkspaceContentError(f"{path} is a symbolic link, which cannot be published; write a file instead")
    if exc.errno in (errno.ENXIO, errno.EOPNOTSUPP):
        return _not_regular(path)
    return WorkspaceContentError(f"{path} cannot be read: {exc.strerror}. The task must leave readable files")
