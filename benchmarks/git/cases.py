"""The measured cases: number and size of files, number of changes, repetitions."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.compare import Comparison, Side, compare
from benchmarks.git import sides
from benchmarks.git.repositories import make_git_repository, make_perago_repository
from benchmarks.git.sides import Case
from benchmarks.inputs import Content

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

ATTEMPT = "Perago, an attempt"
RUN = "Perago, `perago run`"
GIT = "git"
LFS = "git with git-lfs"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of one run.

    Attributes:
        small: numbers of small files of `size` bytes, of which `changed` change.
        large: sizes of large files in bytes: the first is compared with git, the others are for memory only.
        files: numbers of small files for the growth, of which `changed` change.
        changes: numbers of changed files for the growth, out of the maximum of `small`.
        repeats, large_repeats: samples of each side; rounds_before: warm-up rounds.
    """

    small: tuple[int, ...] = (1_000, 10_000)
    size: int = 4 * KIB
    changed: int = 10
    large: tuple[int, ...] = (GIB, 64 * MIB)
    files: tuple[int, ...] = (1_000, 3_000, 10_000, 30_000)
    changes: tuple[int, ...] = (10, 100, 1_000, 10_000)
    repeats: int = 5
    large_repeats: int = 3
    rounds_before: int = 1


TINY = Plan(
    small=(20,),
    size=KIB,
    changed=2,
    large=(3 * MIB, 2 * MIB),
    files=(5, 20),
    changes=(2, 20),
    repeats=1,
    large_repeats=1,
    rounds_before=0,
)
"""Only checks that the benchmarks run."""


@dataclass
class Results:
    """What was measured.

    Attributes:
        small: results by number of files; large: by size.
        by_files, by_changes: growth by number of files and by number of changed files.
    """

    small: dict[int, Comparison] = field(default_factory=dict)
    large: dict[int, Comparison] = field(default_factory=dict)
    by_files: dict[int, Comparison] = field(default_factory=dict)
    by_changes: dict[int, Comparison] = field(default_factory=dict)


class Measuring:
    """A run of the benchmarks.

    Args:
        directory: working directory on the file system to measure, left empty.
    """

    def __init__(self, plan: Plan, directory: Path) -> None:
        self._plan = plan
        self._directory = directory
        self._began = time.monotonic()
        self.results = Results()

    def run(self) -> Results:
        """Measure everything."""
        plan = self._plan
        for files in plan.small:
            self.results.small[files] = self._small(files, plan.changed, plan.repeats, run=True)
        for number, size in enumerate(plan.large):
            self.results.large[size] = self._large(Content(1, size), beside_git=number == 0)
        for files in plan.files:
            self.results.by_files[files] = self._growing(files, plan.changed)
        for changed in plan.changes:
            self.results.by_changes[changed] = self._growing(max(plan.small), changed)
        return self.results

    def _growing(self, files: int, changed: int) -> Comparison:
        """A point of the growth. Measured points are reused."""
        if changed == self._plan.changed and files in self.results.small:
            return self.results.small[files]
        return self._small(files, changed, self._plan.large_repeats)

    def _small(self, files: int, changed: int, repeats: int, *, run: bool = False) -> Comparison:
        size = self._plan.size
        title = f"{files:,} files of {size:,} bytes, {min(changed, files):,} changed"
        with self._working(title) as directory:
            case = Case(make_git_repository(Content(files, size), directory), changed)
            both: dict[str, Side] = {ATTEMPT: partial(sides.perago, case), GIT: partial(sides.git, case)}
            if run:
                both[RUN] = partial(sides.perago_run, case)
            return self._compare(title, both, repeats, directory)

    def _large(self, content: Content, *, beside_git: bool) -> Comparison:
        title = f"one file of {content.size // MIB:,} MiB, one byte changed"
        with self._working(title) as directory:
            in_lfs = Case(make_perago_repository(content, directory), 1, width=1)
            all_sides: dict[str, Side] = {ATTEMPT: partial(sides.perago, in_lfs)}
            if beside_git:
                all_sides[GIT] = partial(sides.git, Case(make_git_repository(content, directory), 1, width=1))
                if shutil.which("git-lfs"):
                    all_sides[LFS] = partial(sides.git_lfs, in_lfs)
            return self._compare(title, all_sides, self._plan.large_repeats, directory)

    def _compare(self, title: str, all_sides: dict[str, Side], repeats: int, directory: Path) -> Comparison:
        return compare(title, all_sides, repeats, directory, rounds_before=self._plan.rounds_before)

    @contextmanager
    def _working(self, title: str) -> Iterator[Path]:
        print(f"{time.monotonic() - self._began:5.0f} s  {title}", flush=True)
        with tempfile.TemporaryDirectory(dir=self._directory) as directory:
            yield Path(directory)
