"""Small disks, and file systems that clone files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from small_disk import small_disk_at


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if sys.platform != "linux":
        pytest.skip("a small file system is made with tmpfs, which is Linux's")
    with small_disk_at(tmp_path, "256k") as path:
        yield path


@pytest.fixture
def full_disk(small_disk: Path) -> Path:
    """A file system on which nothing is free; its one file is `ballast`."""
    with (small_disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return small_disk


@pytest.fixture
def cloning_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of some 300 MiB that clones files."""
    make = shutil.which("mkfs.xfs")
    if sys.platform != "linux":
        pytest.skip("a file system that clones is made with XFS, which is Linux's")
    if make is None:
        pytest.skip("needs mkfs.xfs, to make a file system that clones")
    image, path = tmp_path / "image", tmp_path / "cloning"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run([make, "-q", "-m", "reflink=1", image], check=True, capture_output=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, path], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs root, with the right to mount an image")
    yield path
    subprocess.run(["umount", "-l", path], check=True)
