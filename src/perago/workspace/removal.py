"""Removing a directory tree, whatever a body made of it: too deep for a path, without permissions, still being written.

The tree is first renamed, so that its own name is free at once. Then every directory in it is emptied, and its
subdirectories are moved up beside it: paths stay short, and no recursion is needed. Only entries of open directories
are touched, so no link leads elsewhere. Several processes may remove one tree.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from perago.errors import WorkspaceStorageError
from perago.files.beneath import DIRECTORY, REPLACED
from perago.files.private_directory import OWNER_ONLY_DIRECTORY
from perago.files.storage import storage_error
from perago.values.names import show_name

_MEANWHILE = (errno.ENOENT, errno.EISDIR, *REPLACED)

TRASH_PREFIX = ".trash-"
MAX_PASSES = 100
"""Limit of passes over a tree in which new files keep appearing."""


def discard(path: Path, last: str) -> None:
    """Rename a directory out of the way, then delete it. A missing one is fine.

    Args:
        last: name of the file in it that is deleted last, which identifies the directory after a crash.

    Raises:
        WorkspaceStorageError: something cannot be deleted. Everything else is gone; the rest has another name.
    """
    aside = path.with_name(TRASH_PREFIX + secrets.token_hex(16))
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise storage_error(exc, "cannot remove directory", path) from exc
    delete_tree(aside, last)


def delete_tree(top: Path, last: str = "") -> None:
    """Delete a directory and everything in it; see `discard`. Anything else, even a link to a directory, is unlinked.

    Args:
        last: default: no particular file.
    """
    try:
        if not stat.S_ISDIR(os.lstat(top).st_mode):
            top.unlink()
            return
        for _ in range(MAX_PASSES):
            with _opened(top) as descriptor:
                _Emptying(descriptor, last).run()
            if _is_removed(top):
                return
    except FileNotFoundError:
        return
    except OSError as exc:
        what = f" ({show_name(str(exc.filename))})" if exc.filename else ""
        raise _not_removed(top, f"{exc.strerror}{what}") from exc
    raise _not_removed(top, "files keep appearing in it")


def delete_content(directory: int) -> None:
    """Delete the content of a directory that the caller holds open, independent of its current name.

    Raises:
        OSError: something cannot be deleted; everything else is gone.
    """
    _Emptying(directory, last="").run()


def _not_removed(top: Path, why: str) -> WorkspaceStorageError:
    return WorkspaceStorageError(
        f"cannot remove all of directory {os.fspath(top)!a}: {why}; end the processes that still use it, or remove it "
        f"as a user with permission"
    )


def _is_removed(directory: str | Path, dir_fd: int | None = None) -> bool:
    """Remove an empty directory. Returns False if it is not empty."""
    try:
        os.rmdir(directory, dir_fd=dir_fd)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


@contextmanager
def _opened(directory: str | Path, dir_fd: int | None = None) -> Iterator[int]:
    """Open a directory, with all permissions for its owner. Symbolic links are refused."""
    try:
        descriptor = os.open(directory, DIRECTORY, dir_fd=dir_fd)
    except PermissionError:
        _permit(directory, dir_fd)
        descriptor = os.open(directory, DIRECTORY, dir_fd=dir_fd)
    try:
        if os.fstat(descriptor).st_mode & OWNER_ONLY_DIRECTORY != OWNER_ONLY_DIRECTORY:
            os.fchmod(descriptor, OWNER_ONLY_DIRECTORY)
        yield descriptor
    finally:
        os.close(descriptor)


def _permit(directory: str | Path, dir_fd: int | None) -> None:
    """Give the owner all permissions for a directory that cannot be opened for reading."""
    if sys.platform != "linux":
        os.chmod(directory, OWNER_ONLY_DIRECTORY, dir_fd=dir_fd, follow_symlinks=False)
        return
    # glibc before 2.32 has no chmod that does not follow links.
    found = os.open(directory, os.O_PATH | DIRECTORY, dir_fd=dir_fd)
    try:
        Path(f"/proc/self/fd/{found}").chmod(OWNER_ONLY_DIRECTORY)
    finally:
        os.close(found)


class _Emptying:
    """One pass over a tree whose root is open as `top`."""

    def __init__(self, top: int, last: str) -> None:
        self._top = top
        self._last = last
        self._pending: deque[str] = deque()
        self._token = secrets.token_hex(8)
        self._moved = 0
        self._failure: OSError | None = None

    def run(self) -> None:
        """Delete everything that is there. What appears during the pass may stay.

        Raises:
            OSError: the first failed deletion, after everything else was tried.
        """
        self._empty(self._top)
        while self._pending:
            self._try(self._remove_directory, self._pending.popleft())
        if self._failure is not None:
            raise self._failure
        if os.listdir(self._top) == [self._last]:  # noqa: PTH208 - Path cannot list an open directory
            self._try(partial(os.unlink, dir_fd=self._top), self._last)

    def _try(self, remove: Callable[[str], None], name: str) -> None:
        """Do one deletion. It may already be done by another process. A failure does not stop the others.

        An entry that changed its type in between, such as a directory into a link, is left to the next pass.
        """
        try:
            remove(name)
        except OSError as exc:
            if exc.errno not in _MEANWHILE:
                self._failure = self._failure or exc

    def _empty(self, descriptor: int) -> None:
        """Delete a directory's files, and queue its subdirectories."""
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    if descriptor != self._top or entry.name != self._last:
                        self._try(partial(os.unlink, dir_fd=descriptor), entry.name)
                elif descriptor == self._top:
                    self._pending.append(entry.name)
                else:
                    self._try(partial(self._move_up, descriptor), entry.name)

    def _move_up(self, descriptor: int, name: str) -> None:
        self._moved += 1
        above = f"{self._token}-{self._moved}"
        try:
            os.rename(name, above, src_dir_fd=descriptor, dst_dir_fd=self._top)
        except PermissionError:
            with _opened(name, descriptor):  # moving a directory needs write permission for it, which this grants
                os.rename(name, above, src_dir_fd=descriptor, dst_dir_fd=self._top)
        self._pending.append(above)

    def _remove_directory(self, name: str) -> None:
        with _opened(name, self._top) as descriptor:
            self._empty(descriptor)
        _is_removed(name, self._top)  # if not, the next pass tries again
