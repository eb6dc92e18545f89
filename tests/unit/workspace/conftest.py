"""Another user, and a small disk: what the tests of the workspace need and root alone cannot show."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from small_disk import small_disk_at

NOBODY = 65534


@pytest.fixture
def as_nobody() -> Callable:
    """Run a function as a user without rights, in a process of its own; its value, or what it raised, comes back.

    `before` is run there first, while it is still root's.
    """
    if os.geteuid() != 0:
        return lambda function, before=None: function()
    if not hasattr(os, "setresuid"):
        pytest.skip("this system does not let root become another user for a while: Linux does")

    def run(function, before=lambda: None):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                try:
                    before()
                    os.setgroups([])
                    os.setresgid(NOBODY, NOBODY, 0)
                    os.setresuid(NOBODY, NOBODY, 0)
                    answer = (True, function())
                except Exception as exc:
                    answer = (False, exc)
                with os.fdopen(writing, "wb") as pipe:
                    pickle.dump(answer, pipe)
            finally:
                os.setresuid(0, 0, 0)  # who measures coverage writes as root
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            content = pipe.read()
        os.waitpid(child, 0)
        succeeded, value = pickle.loads(content)
        if not succeeded:
            raise value
        return value

    return run


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory in which any user may write."""
    path = Path(tempfile.mkdtemp(prefix="perago-test-"))
    path.chmod(0o777)
    yield path
    subprocess.run(["chmod", "-R", "u+rwx", path], check=False, capture_output=True)
    shutil.rmtree(path)


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
