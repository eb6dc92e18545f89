"""A small file system of a test's own, which can be full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk_at(directory: Path, size: str) -> Iterator[Path]:
    """An empty tmpfs below a directory, for as long as the block lasts; skips the test where none may be mounted.

    Args:
        size: as tmpfs takes it, such as `4m`.
    """
    point = directory / "disk"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", point]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs root, with the right to mount a small file system: {mounted.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)
