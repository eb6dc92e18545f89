"""Removing a directory tree, whatever a body made of it: too deep for a path, without permissions, still written to.

The tree is renamed aside first, so that it is gone under its own name at once. Then every directory in it is emptied,
its subdirectories being moved up beside it: no path grows long, nothing recurses, and only entries of directories that
are held open are touched, so that no link leads anywhere else. Several processes may remove one tree.
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
"""How often a tree is gone through in which new files keep appearing."""


def discard(path: Path, last: str) -> None:
    """Take a directory out of sight at once, then delete it. One that is not there is fine.

    Args:
        last: name of the file in it that is deleted last, so that what a crash leaves behind can still be told.

    Raises:
        WorkspaceStorageError: something in it cannot be deleted; the rest is gone, and what is left is aside.
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
    """Delete a directory and everything in it; see `discard`. What is no directory, a link to one too, is unlinked.

    Args:
        last: default: no file is to be the last.
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
    """Delete what is in a directory that the caller holds open, whatever bears its name by now.

    Raises:
        OSError: something cannot be deleted; the rest is gone.
    """
    _Emptying(directory, last="").run()


def _not_removed(top: Path, why: str) -> WorkspaceStorageError:
    return WorkspaceStorageError(
        f"cannot remove all of directory {os.fspath(top)!a}: {why}; end the processes that still use it, or remove it "
        f"as a user who may"
    )


def _is_removed(directory: str | Path, dir_fd: int | None = None) -> bool:
    """Remove an empty directory; False where it is not, or no longer, empty."""
    try:
        os.rmdir(directory, dir_fd=dir_fd)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


@contextmanager
def _opened(directory: str | Path, dir_fd: int | None = None) -> Iterator[int]:
    """A directory held open, with all permissions for its owner. A symbolic link is refused."""
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
    """Give its owner all permissions for a directory that cannot be opened for reading."""
    if sys.platform != "linux":
        os.chmod(directory, OWNER_ONLY_DIRECTORY, dir_fd=dir_fd, follow_symlinks=False)
        return
    # glibc before 2.32 has no chmod that follows no link.
    found = os.open(directory, os.O_PATH | DIRECTORY, dir_fd=dir_fd)
    try:
        Path(f"/proc/self/fd/{found}").chmod(OWNER_ONLY_DIRECTORY)
    finally:
        os.close(found)


class _Emptying:
    """One pass through a tree whose root is held open as `top`."""

    def __init__(self, top: int, last: str) -> None:
        self._top = top
        self._last = last
        self._pending: deque[str] = deque()
        self._token = secrets.token_hex(8)
        self._moved = 0
        self._failure: OSError | None = None

    def run(self) -> None:
        """Delete all that is there; what appears meanwhile may stay.

        Raises:
            OSError: the first thing that could not be deleted, after all else was tried.
        """
        self._empty(self._top)
        while self._pending:
            self._try(self._remove_directory, self._pending.popleft())
        if self._failure is not None:
            raise self._failure
        if os.listdir(self._top) == [self._last]:  # noqa: PTH208 - Path cannot list an open directory
            self._try(partial(os.unlink, dir_fd=self._top), self._last)

    def _try(self, remove: Callable[[str], None], name: str) -> None:
        """Do one deletion. That another process was quicker is fine; another failure must not stop the rest.

        What has turned into something else meanwhile, a directory into a link, goes as that in the next pass.
        """
        try:
            remove(name)
        except OSError as exc:
            if exc.errno not in _MEANWHILE:
                self._failure = self._failure or exc

    def _empty(self, descriptor: int) -> None:
        """Delete a directory's files, and put its subdirectories on the list."""
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
            with _opened(name, descriptor):  # only who may write a directory may move it elsewhere, and now we may
                os.rename(name, above, src_dir_fd=descriptor, dst_dir_fd=self._top)
        self._pending.append(above)

    def _remove_directory(self, name: str) -> None:
        with _opened(name, self._top) as descriptor:
            self._empty(descriptor)
        _is_removed(name, self._top)  # if not, the next pass comes by
