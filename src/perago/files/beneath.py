"""Opening what lies below a directory, so that no link leads out of it, whoever swaps what meanwhile.

The system looks up a path as a whole and follows each link on the way. What was a directory when it was scanned can be
a link when a file in it is opened. Here each directory is opened relative to the one above it, and never through a
link. Linux has one call for that, openat2, which Python lacks; this is no slower than opening a joined `Path`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a directory is opened."""

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""How a file is opened for reading. Without O_NONBLOCK a fifo in its place would be waited for."""

REPLACED = (errno.ENOTDIR, errno.ELOOP)
"""What systems say where a link, or a file, stands in the place of a directory."""


class Beneath:
    """A directory held open, and what lies below it, by relative paths in POSIX style. Methods are for any thread.

    The directory that was used last stays open for the next call: paths come in order, as a rule. Every method raises
    `OSError`: one of `REPLACED` where a directory on the way is a link or no directory.

    Args:
        top: the directory; itself no link.

    Raises:
        OSError: it is no directory, or cannot be opened.
    """

    __slots__ = ("_kept", "_top")

    def __init__(self, top: str | os.PathLike[str]) -> None:
        self._top = os.open(top, DIRECTORY)
        self._kept: list[tuple[str, int]] = []  # one for each thread that was here at the same time

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._kept:
            os.close(self._kept.pop()[1])
        os.close(self._top)

    def open(self, path: str, flags: int = READ, mode: int = 0) -> int:
        """Open a file; a link in its place is refused."""
        directory, _, name = path.rpartition("/")
        descriptor = self._take(directory)
        try:
            return os.open(_checked(name), flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=descriptor)
        finally:
            self._give_back(directory, descriptor)

    def lstat(self, path: str) -> os.stat_result:
        """What `os.lstat` says of a file."""
        with self.directory(path.rpartition("/")[0]) as descriptor:
            return os.stat(_checked(path.rpartition("/")[2]), dir_fd=descriptor, follow_symlinks=False)

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """A directory's descriptor, for the calls that take a `dir_fd`; "" is the top."""
        descriptor = self._take(path)
        try:
            yield descriptor
        finally:
            self._give_back(path, descriptor)

    def _take(self, directory: str) -> int:
        """A directory's descriptor, for this thread alone until it is given back."""
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
    """No path that comes from a scan or a store holds such a name; one that does would lead out by itself."""
    if name == "..":
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    return name
