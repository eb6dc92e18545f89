"""What is measured on: files that are the same on every side and every machine, made from a seed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 20
FILES_IN_A_DIRECTORY = 100
IDENTITY = {
    "GIT_AUTHOR_NAME": "Benchmark",
    "GIT_AUTHOR_EMAIL": "benchmarks@example.org",
    "GIT_COMMITTER_NAME": "Benchmark",
    "GIT_COMMITTER_EMAIL": "benchmarks@example.org",
}


@dataclass(frozen=True)
class Content:
    """So many files of so many bytes.

    Half of each small file is random, half repeats, so that it compresses as text and tables do; a large one is all
    random, as what is compressed already.
    """

    files: int
    size: int

    def write(self, root: Path) -> None:
        """Write them below a directory, a hundred in each directory of it."""
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
    """What measured programs see: nobody's configuration of git, and Python's bytecode cached."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PERAGO_", "PYTHON"))}
    return {
        **kept,
        **IDENTITY,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }


@contextmanager
def written(content: Content, directory: Path) -> Iterator[Path]:
    """Files in a directory that goes when they are stored."""
    source = directory / "source"
    content.write(source)
    try:
        yield source
    finally:
        shutil.rmtree(source)
