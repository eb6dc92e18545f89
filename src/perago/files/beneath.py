"""Opening files below a directory, so that no link leads out of it, even if paths are replaced at the same time.

The operating system resolves a path as a whole and follows every link on the way. A directory can become a link after
it was scanned. Therefore each directory is opened relative to its parent and never through a link. Linux has one call
for that, openat2, which Python lacks. This is no slower than opening a joined `Path`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags for opening a directory."""

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Flags for opening a file for reading. Without O_NONBLOCK, opening a FIFO would block."""

REPLACED = (errno.ENOTDIR, errno.ELOOP)
"""Error numbers if a link or a file has replaced a directory."""


class Beneath:
    """An open directory, and access to what lies below it by relative POSIX paths. Methods may be called by any thread.

    The directory used last stays open for the next call, because paths usually come in order. Every method raises
    `OSError`, with an errno of `REPLACED` if a directory on the way is a link or not a directory.

    Args:
        top: the directory; must not be a link.

    Raises:
        OSError: it is not a directory, or cannot be opened.
    """

    __slots__ = ("_kept", "_top")

    def __init__(self, top: str | os.PathLike[str]) -> None:
        self._top = os.open(top, DIRECTORY)
        self._kept: list[tuple[str, int]] = []  # one for each thread that was active at the same time

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._kept:
            os.close(self._kept.pop()[1])
        os.close(self._top)

    def open(self, path: str, flags: int = READ, mode: int = 0) -> int:
        """Open a file. A link in its place is an error."""
        directory, _, name = path.rpartition("/")
        descriptor = self._take(directory)
        try:
            return os.open(_checked(name), flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=descriptor)
        finally:
            self._give_back(directory, descriptor)

    def lstat(self, path: str) -> os.stat_result:
        """`os.lstat` of a file."""
        with self.directory(path.rpartition("/")[0]) as descriptor:
            return os.stat(_checked(path.rpartition("/")[2]), dir_fd=descriptor, follow_symlinks=False)

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """A directory's descriptor, for calls with a `dir_fd`; "" is the top."""
        descriptor = self._take(path)
        try:
            yield descriptor
        finally:
            self._give_back(path, descriptor)

    def _take(self, directory: str) -> int:
        """A directory's descriptor, for this thread only until it is given back."""
        if not directory:
            return self._top
        try:
            kept, descriptor = self._kept.pop()
        except IndexError:
            return self._descend(directory)
        if kept == directory:
            return descriptor
        os.close(descriptor)
        return self._descend(directory)

    def _give_back(self, directory: str, descriptor: int) -> None:
        if directory:
            self._kept.append((directory, descriptor))

    def _descend(self, directory: str) -> int:
        at = self._top
        for name in directory.split("/"):
            try:
                below = os.open(_checked(name), DIRECTORY, dir_fd=at)
            finally:
                if at != self._top:
                    os.close(at)
            at = below
        return at


def _checked(name: str) -> str:
    """Reject "..", which would lead out. No path from a scan or a store contains it."""
    if name == "..":
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    return name
