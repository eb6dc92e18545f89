"""What is measured on: bare repositories with one commit, the same for both sides, made from a seed."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import run

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


def make_perago_repository(content: Content, directory: Path) -> Path:
    """With `perago import`: files of 1 MiB and more come to lie in git-lfs layout."""
    repository = directory / "perago.git"
    with _written(content, directory) as source:
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "perago",
            "import",
            source,
            "--repo",
            repository,
            "--branch",
            "main",
        ]
        run(command, environment=environment(), directory=directory)
    return repository


def make_git_repository(content: Content, directory: Path) -> Path:
    """With git alone, packed, as a clone would be. A large file is stored uncompressed, which is quicker."""
    repository = directory / "git.git"
    compression = ["-c", "core.compression=0"] if content.size >= CHUNK else []
    with _written(content, directory) as source:
        git = ["git", f"--git-dir={repository}", *compression]
        for command in (
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository)],
            [*git, f"--work-tree={source}", "add", "--all"],
            [*git, f"--work-tree={source}", "commit", "--quiet", "--message=the input"],
            [*git, "repack", "-a", "-d", "--quiet", "--window=0"],
        ):
            run(command, environment=environment(), directory=directory)
    (repository / "index").unlink()
    return repository


@contextmanager
def _written(content: Content, directory: Path) -> Iterator[Path]:
    """Files in a directory that goes when they are stored."""
    source = directory / "source"
    content.write(source)
    try:
        yield source
    finally:
        shutil.rmtree(source)
