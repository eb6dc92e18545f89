"""File operations that survive a crash."""

from __future__ import annotations

import os
from pathlib import Path

from perago.files.storage import sync_directory

CHUNK = 1 << 20
"""Bytes per write. Memory use is a few of these, whatever the size of a file."""


def make_directories(directory: Path) -> None:
    """Create a directory and its parents, and sync each name."""
    if directory.is_dir():
        return
    make_directories(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes, with as many calls as needed."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
