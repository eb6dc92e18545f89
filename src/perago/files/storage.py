"""Disk errors as Perago's own errors, and files that are written completely or not at all."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perago.errors import WorkspaceStorageError
from perago.files.beneath import READ, Beneath
from perago.values.names import FOR_TASKS, Words

OWNER_ONLY = 0o600

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
_ADVICE = {
    errno.ENOSPC: "free some space, or put the {root} on a larger disk",
    errno.EDQUOT: "the user's quota is used up: free some space, or put the {root} on another disk",
    errno.EROFS: "put the {root} on a writable file system",
    errno.EACCES: "give this user permission to write there, or choose another {root}",
    errno.EPERM: "give this user permission to write there, or choose another {root}",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the machine has too many open files: raise its limit",
    errno.ENAMETOOLONG: "choose a {root} with a shorter path",
    errno.ENOTDIR: "a file is in the way of a directory: remove it, or choose another {root}",
    errno.EEXIST: "something else is in the way: remove it, or choose another {root}",
    errno.EIO: "the disk is failing: check the system's log",
}
_OTHER_ADVICE = "check the disk under the {root}"


def storage_error(
    exc: OSError, doing: str, path: str | os.PathLike[str], words: Words = FOR_TASKS
) -> WorkspaceStorageError:
    """Translate an error of the operating system.

    Args:
        doing: the failed action on `path`, such as "cannot write the manifest".
    """
    why = exc.strerror or type(exc).__name__
    advice = _ADVICE.get(exc.errno or 0, _OTHER_ADVICE).format(root=words.root)
    return WorkspaceStorageError(f"{doing} {os.fspath(path)!a}: {why}; {advice}")


@contextmanager
def storage_errors(doing: str, path: str | os.PathLike[str], words: Words = FOR_TASKS) -> Iterator[None]:
    """Convert the block's `OSError`s to `WorkspaceStorageError`s that name `path`."""
    try:
        yield
    except OSError as exc:
        raise storage_error(exc, doing, path, words) from exc


@contextmanager
def opened_file(path: str | os.PathLike[str], within: Beneath | None = None) -> Iterator[io.FileIO]:
    """Open a regular file for reading, unbuffered. Links are not followed, and a FIFO does not block.

    Args:
        path: the file.
        within: the directory that `path` is relative to and cannot lead out of.

    Raises:
        OSError: it is missing, cannot be read, or (`EINVAL`, `ELOOP`) is not a regular file.
    """
    descriptor = os.open(path, READ) if within is None else within.open(os.fspath(path))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", os.fspath(path))
        with io.FileIO(descriptor, closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def write_whole(path: Path, lines: Iterable[str]) -> None:
    """Write a text file for its owner only (mode 0600). Readers see all of it or nothing.

    Nothing is synced: these files are useless after a crash of the machine.

    Raises:
        OSError: writing failed; nothing is left.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines)
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a crash of the machine, if its file system can."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_opened(descriptor)
    finally:
        os.close(descriptor)


def sync_opened(directory: int) -> None:
    """As `sync_directory`, for an open directory."""
    try:
        os.fsync(directory)
    except OSError as exc:
        if exc.errno not in _NO_SYNC:
            raise
