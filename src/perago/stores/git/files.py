"""The few calls on files that survive a crash."""

from __future__ import annotations

import os
from pathlib import Path

from perago.files.storage import sync_directory

CHUNK = 1 << 20
"""Bytes written at once. Memory stays at a few of these, whatever the size of a file."""


def make_directories(directory: Path) -> None:
    """Make a directory and those above it, each name synced."""
    if directory.is_dir():
        return
    make_directories(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, however many the system takes at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
