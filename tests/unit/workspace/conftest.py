"""Small disks, quick ones, and file systems that clone files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from small_disk import mounted_image, quick_disk_at, small_disk_at


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
    if sys.platform != "linux":
        pytest.skip("a file system that clones is made with XFS, which is Linux's")
    make = ("mkfs.xfs", "-q", "-m", "reflink=1")
    with mounted_image(tmp_path / "image", tmp_path / "cloning", 320 << 20, *make) as fault:
        if fault:
            pytest.skip(fault)
        yield tmp_path / "cloning"


@pytest.fixture
def quick_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that quickly makes and removes files, on a file system on which workspaces stay."""
    with quick_disk_at(tmp_path) as path:
        yield path
