"""Reading the files that a body left, which must stay as they are meanwhile."""

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
"""Bytes read at once. Memory stays at a few of these, whatever the size of a file."""


def open_workspace(root: Path, words: Words = FOR_TASKS) -> Beneath:
    """Hold a workspace's directory open; whoever does closes it, as a context.

    Raises:
        WorkspaceContentError: it is gone, or no directory.
        WorkspaceStorageError: the disk failed.
    """
    try:
        return Beneath(root)
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, *REPLACED):
            raise storage_error(exc, f"cannot look at {words.place}", root, words) from exc
        raise WorkspaceContentError(
            f"{words.place} {os.fspath(root)!a} is no longer there, or no longer a directory; {words.keep}"
        ) from exc


@contextmanager
def open_workspace_file(files: Beneath, path: str) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file of a workspace for reading, and see to it that it stays as it is meanwhile.

    Args:
        files: the workspace.
        path: relative to it.

    Yields:
        its descriptor and its state.

    Raises:
        WorkspaceContentError: it is no regular file, is gone, cannot be read, or changed while it was read.
        WorkspaceStorageError: the disk could not read it.
    """
    try:
        descriptor = files.open(path)
    except OSError as exc:
        raise _unreadable(exc, path) from exc
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise WorkspaceContentError(f"{path} is no regular file, so it cannot be published; remove it in the task")
        yield descriptor, before
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise _changed(path)


def read_whole(descriptor: int, path: str, size: int) -> bytes:
    """Read a file of this size.

    Raises:
        WorkspaceContentError: it has another size.
    """
    return b"".join(read_sized(descriptor, path, size))


def read_sized(descriptor: int, path: str, size: int) -> Iterator[bytes]:
    """Read a file of this size, a chunk at a time.

    Raises:
        WorkspaceContentError: it has another size. One that grows is read no further than that tells.
    """
    left = size + 1
    while left and (part := _read(descriptor, path, min(left, CHUNK))):
        yield part
        left -= len(part)
    if left != 1:
        raise _changed(path)


def read_chunks(descriptor: int, path: str) -> Iterator[bytes]:
    """Read a file to its end, a chunk at a time."""
    while part := _read(descriptor, path, CHUNK):
        yield part


def _read(descriptor: int, path: str, size: int) -> bytes:
    try:
        return os.read(descriptor, size)
    except OSError as exc:
        raise WorkspaceStorageError(f"{path} could not be read: {exc.strerror}. Mend the disk under it") from exc


def _changed(path: str) -> WorkspaceContentError:
    return WorkspaceContentError(
        f"{path} changed while it was being staged. End every thread and process that writes files before the task "
        f"returns"
    )


def _unreadable(exc: OSError, path: str) -> WorkspaceContentError:
    if exc.errno in REPLACED and exc.filename != path.rpartition("/")[2]:
        return WorkspaceContentError(
            f"{path} cannot be read: {exc.filename} on its way is no directory, or a symbolic link, which is not "
            f"followed. End every thread and process that writes files before the task returns"
        )
    if exc.errno in (errno.ELOOP, errno.EMLINK):
        return WorkspaceContentError(f"{path} is a symbolic link, which is not published; write a file in its place")
    if exc.errno in (errno.ENXIO, errno.EOPNOTSUPP):
        return WorkspaceContentError(f"{path} is no regular file, so it cannot be published; remove it in the task")
    return WorkspaceContentError(f"{path} cannot be read: {exc.strerror}. The task has to leave files it may read")
