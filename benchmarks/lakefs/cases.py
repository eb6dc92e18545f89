"""What is measured: how many files, how large, what changes of them, and how often."""

from __future__ import annotations

import math
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.compare import Comparison, Side, compare
from benchmarks.inputs import Content, written
from benchmarks.lakefs import sides
from benchmarks.lakefs.sides import Case
from perago.stores.lakefs import LakeFSStore
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSApi

FIRST, SECOND = "Perago, first attempt", "Perago, second attempt"
REFERENCE, LAKECTL, BARE = "perago 0.6.1", "lakectl", "bare HTTP"
KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case.

    Attributes:
        changed: so many of the files.
        at_least: times that the reference takes, over the first and the second attempt: what is to be reached.
        beside: whether others do it too.
        repeats: samples of each side; rounds_before: rounds that do not count.
    """

    files: int
    size: int
    changed: int
    task: str = "change"
    at_least: tuple[float, float] | None = None
    beside: bool = True
    repeats: int = 3
    rounds_before: int = 1

    @property
    def title(self) -> str:
        size = f"{self.size // MIB:,} MiB" if self.size >= MIB else f"{self.size:,} bytes"
        if self.files == 1:
            return f"one file of {size}, a byte {'appended' if self.task == 'append' else 'changed'}"
        changed = "all" if self.changed >= self.files else f"{self.changed:,}"
        return f"{self.files:,} files of {size}, {changed} changed"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one run does.

    Attributes:
        rows: the cases.
        files: numbers of files for the growth, of which 10 change; changes: numbers of changed files of 1,000.
        seconds: when so many have passed, what has not begun is left out.
    """

    rows: tuple[Row, ...] = (
        Row(files=1_000, size=4 * KIB, changed=10, at_least=(15, 60)),
        Row(files=1_000, size=4 * KIB, changed=1_000, at_least=(8, 8)),
        Row(files=1, size=512 * MIB, changed=1, task="append", at_least=(2, 3), repeats=2),
        Row(files=10_000, size=KIB, changed=10, at_least=(15, 100), repeats=1, rounds_before=0),
        Row(files=100_000, size=100, changed=10, beside=False, repeats=1, rounds_before=0),
    )
    files: tuple[int, ...] = (1_000, 3_000, 10_000, 30_000)
    changes: tuple[int, ...] = (10, 30, 100, 300, 1_000)
    growth_size: int = KIB
    seconds: float = 1500.0


TINY = Plan(
    rows=(
        Row(files=20, size=KIB, changed=2, at_least=(15, 60), repeats=1, rounds_before=0),
        Row(files=1, size=2 * MIB, changed=1, task="append", repeats=1, rounds_before=0),
    ),
    files=(5, 20),
    changes=(2, 20),
    seconds=math.inf,
)
"""Shows that the benchmarks run, and nothing else."""


@dataclass
class Results:
    """What was measured.

    Attributes:
        rows: with what came of each.
        by_files, by_changes: the growth; by number of files, and by number of changed files.
        left_out: what there was no time for.
    """

    rows: list[tuple[Row, Comparison]] = field(default_factory=list)
    by_files: dict[int, Comparison] = field(default_factory=dict)
    by_changes: dict[int, Comparison] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


class Measuring:
    """A run of the benchmarks.

    Args:
        directory: where it works, and leaves nothing.
    """

    def __init__(self, plan: Plan, directory: Path, server: LakeFSServer, api: LakeFSApi) -> None:
        self._plan = plan
        self._directory = directory
        self._server = server
        self._api = api
        self._began = time.monotonic()
        self._results = Results()

    def run(self) -> Results:
        """Measure everything."""
        results, plan = self._results, self._plan
        for row in plan.rows:
            if (comparison := self._measure(row)) is not None:
                results.rows.append((row, comparison))
        changed = min(plan.changes)
        for files in plan.files:
            self._grow(results.by_files, files, Row(files=files, size=plan.growth_size, changed=changed, beside=False))
        most = max(plan.changes)
        for changed in plan.changes:
            row = Row(files=most, size=plan.growth_size, changed=changed, beside=False)
            self._grow(results.by_changes, changed, row)
        return results

    def _grow(self, growth: dict[int, Comparison], number: int, row: Row) -> None:
        comparison = self._measure(row)
        if comparison is not None:
            growth[number] = comparison

    def _measure(self, row: Row) -> Comparison | None:
        if time.monotonic() - self._began > self._plan.seconds:
            self._results.left_out.append(row.title)
            return None
        print(f"{time.monotonic() - self._began:5.0f} s  {row.title}", flush=True)
        with tempfile.TemporaryDirectory(dir=self._directory) as name, self._filled(row, Path(name)) as case:
            return compare(row.title, _sides(case, row), row.repeats, Path(name), rounds_before=row.rounds_before)

    @contextmanager
    def _filled(self, row: Row, directory: Path) -> Iterator[Case]:
        """A repository with the files in it."""
        name = f"bench-{uuid.uuid4().hex[:16]}"
        repository = self._api.create_repository(name, f"{self._server.storage}{name}")
        store = LakeFSStore(
            endpoint_url=self._server.url,
            access_key_id=self._server.access_key_id,
            secret_access_key=self._server.secret_access_key,
        )
        with store, written(Content(row.files, row.size), directory) as source:
            store.repository(name).import_directory(source, "main", "the input")
        yield Case(self._server, repository, row.task, row.changed)
        repository.expect("DELETE", "", query={"force": True})


def _sides(case: Case, row: Row) -> Mapping[str, Side]:
    chosen: dict[str, Side] = {
        FIRST: partial(sides.first_attempt, case),
        SECOND: partial(sides.second_attempt, case),
    }
    if row.beside:
        chosen |= {BARE: partial(sides.bare, case), LAKECTL: partial(sides.lakectl, case)}
        if sides.REFERENCE_VARIABLE in os.environ:
            chosen[REFERENCE] = partial(sides.reference, case)
    return chosen
