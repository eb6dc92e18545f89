"""Creating the directories and files of a workspace, at paths that do not exist yet."""

from __future__ import annotations

import os
from collections.abc import Iterable

from perago.files.beneath import Beneath

FILE, EXECUTABLE = 0o644, 0o755
"""Permissions of files that are laid out, reduced by the umask."""

CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags for creating a file that must not exist."""


def make_directories(target: Beneath, paths: Iterable[str], there: Iterable[str] = ()) -> None:
    """Create the directories below `target` for files at these relative paths.

    Args:
        there: directories that exist.

    Raises:
        OSError: one cannot be created, or exists.
    """
    made = {"", *there}
    for path in paths:
        _make_directory(target, path.rpartition("/")[0], made)


def open_new(target: Beneath, path: str, *, executable: bool) -> int:
    """Create a file below `target`, and open it for writing and reading.

    Raises:
        OSError: it cannot be created, or exists.
    """
    return target.open(path, CREATE, EXECUTABLE if executable else FILE)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all bytes, with as many calls as needed.

    Raises:
        OSError
    """
    written = os.write(descriptor, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(descriptor, data)


def write_all_at(descriptor: int, data: bytes, at: int) -> int:
    """As `write_all`, at a position. Returns the position after the data.

    Raises:
        OSError
    """
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written
    return at


def _make_directory(target: Beneath, directory: str, made: set[str]) -> None:
    """Create a directory and its missing parents."""
    missing = []
    while directory not in made:
        missing.append(directory)
        made.add(directory)
        directory = directory.rpartition("/")[0]
    for path in reversed(missing):
        above, _, name = path.rpartition("/")
        with target.directory(above) as descriptor:
            os.mkdir(name, dir_fd=descriptor)
