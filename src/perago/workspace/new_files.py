"""Making the directories and files of a workspace, where nothing may be yet."""

from __future__ import annotations

import os
from collections.abc import Iterable

from perago.files.beneath import Beneath

FILE, EXECUTABLE = 0o644, 0o755
"""Permissions of what is laid out, less the umask."""

CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a file is made that must not be there yet."""


def make_directories(target: Beneath, paths: Iterable[str]) -> None:
    """Make the directories below `target` that files at these relative paths lie in.

    Raises:
        OSError: one cannot be made, or something is there already.
    """
    made = {""}
    for path in paths:
        _make_directory(target, path.rpartition("/")[0], made)


def open_new(target: Beneath, path: str, *, executable: bool) -> int:
    """Make a file below `target`, and open it for writing and reading.

    Raises:
        OSError: it cannot be made, or something is there already.
    """
    return target.open(path, CREATE, EXECUTABLE if executable else FILE)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte, however many the system takes at once.

    Raises:
        OSError
    """
    written = os.write(descriptor, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(descriptor, data)


def write_all_at(descriptor: int, data: bytes, at: int) -> int:
    """As `write_all`, from a place on; returns where it ended.

    Raises:
        OSError
    """
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written
    return at


def _make_directory(target: Beneath, directory: str, made: set[str]) -> None:
    """Make a directory and those above it that are not made yet."""
    missing = []
    while directory not in made:
        missing.append(directory)
        made.add(directory)
        directory = directory.rpartition("/")[0]
    for path in reversed(missing):
        above, _, name = path.rpartition("/")
        with target.directory(above) as descriptor:
            os.mkdir(name, dir_fd=descriptor)
