"""Small file systems of a test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
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


@contextmanager
def mounted_image(image: Path, point: Path, size: int, *make: str) -> Iterator[str]:
    """Mount a new image for as long as the block lasts. Yields why it could not be; "" if it is mounted.

    Args:
        image: a file to make.
        point: a directory to make.
        size: bytes.
        make: the command that makes its file system, without the image.
    """
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    if shutil.which(make[0]) is None:
        yield f"needs {make[0]}, to make a file system"
        return
    subprocess.run([*make, image], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", image, point], check=False, capture_output=True).returncode != 0:
        yield "needs root, with the right to mount an image"
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", "-l", point], check=True)


@contextmanager
def quick_disk_at(directory: Path) -> Iterator[Path]:
    """A directory on an ext4 without a journal, in memory; on the disk of `directory` where none may be mounted.

    On a disk, removing a directory waits for its journal, which is half the time of tests that remove many.
    """
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else directory) as held:
        make = ("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "root_owner")
        with mounted_image(Path(held) / "image", directory / "disk", 256 << 20, *make) as fault:
            yield directory if fault else directory / "disk"
