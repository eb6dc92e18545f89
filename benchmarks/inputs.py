"""Input files, made from a seed, so that they are the same on every side and machine."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK = 1 << 20
FILES_IN_A_DIRECTORY = 100
IDENTITY = {
    "GIT_AUTHOR_NAME": "Benchmark",
    "GIT_AUTHOR_EMAIL": "benchmarks@example.org",
    "GIT_COMMITTER_NAME": "Benchmark",
    "GIT_COMMITTER_EMAIL": "benchmarks@example.org",
}


class Input(Protocol):
    """Files that can be written."""

    def write(self, root: Path) -> None:
        """Write them below a directory."""


@dataclass(frozen=True)
class Content:
    """A number of files of the same size.

    Half of each small file is random and half repeats, so that it compresses like text and tables. A large file is all
    random, like compressed data.
    """

    files: int
    size: int

    def write(self, root: Path) -> None:
        """Write them below a directory, a hundred in each subdirectory."""
        source = random.Random(f"{self.files} {self.size}")
        for number in range(self.files):
            path = root / f"{number // FILES_IN_A_DIRECTORY:04}" / f"{number:06}.dat"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.writelines(self._chunks(source))

    def _chunks(self, source: random.Random) -> Iterator[bytes]:
        if self.size < CHUNK:
            half = source.randbytes(self.size // 2)
            yield half + half[:1] * (self.size - len(half))
            return
        for at in range(0, self.size, CHUNK):
            yield source.randbytes(min(CHUNK, self.size - at))


def environment() -> dict[str, str]:
    """Environment of measured programs: without a git configuration, with cached bytecode."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PERAGO_", "PYTHON"))}
    return {
        **kept,
        **IDENTITY,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }


@contextmanager
def written(content: Input, directory: Path) -> Iterator[Path]:
    """Files in a temporary directory, removed after they are stored."""
    source = directory / "source"
    content.write(source)
    try:
        yield source
    finally:
        shutil.rmtree(source)
