"""The measured cases: number and size of files, changes, repetitions."""

from __future__ import annotations

import math
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.compare import Comparison, Side, compare
from benchmarks.lakefs import reference, sides
from benchmarks.lakefs.sides import Case
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSApi

FIRST, SECOND = "Perago, first attempt", "Perago, second attempt"
REFERENCE, LAKECTL, BARE = f"perago {reference.VERSION}", "lakectl", "bare HTTP"
KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case.

    Attributes:
        changed: number of changed files.
        at_least: required ratios of the reference's time to that of the first and of the second attempt.
        second_seconds: maximum seconds of the second attempt; peak_mib: maximum memory of any attempt.
        beside: whether other tools run, too; slow: whether the reference and lakectl run only once.
        repeats: samples of each side; rounds_before: warm-up rounds.
    """

    files: int
    size: int
    changed: int
    task: str = "change"
    at_least: tuple[float, float] | None = None
    second_seconds: float | None = None
    peak_mib: int | None = None
    beside: bool = True
    slow: bool = False
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
    """The plan of one run.

    Attributes:
        rows: the cases.
        files: numbers of files for the growth, with the minimum of `changes` changed; changes: numbers of changed
            files for the growth, with the maximum of `files`.
        reference: whether to install the reference if it is missing; otherwise it is left out.
        seconds: time limit; rows that have not started by then are left out.
    """

    rows: tuple[Row, ...] = (
        Row(files=1_000, size=4 * KIB, changed=10, at_least=(15, 60)),
        Row(files=1_000, size=4 * KIB, changed=1_000, at_least=(8, 8)),
        Row(files=1, size=512 * MIB, changed=1, task="append", at_least=(2, 3), peak_mib=150, slow=True),
        Row(files=10_000, size=KIB, changed=10, at_least=(15, 100), slow=True, rounds_before=0),
        Row(
            files=100_000,
            size=100,
            changed=10,
            second_seconds=15,
            peak_mib=300,
            beside=False,
            repeats=1,
            rounds_before=0,
        ),
    )
    files: tuple[int, ...] = (1_000, 5_000, 10_000, 20_000)
    changes: tuple[int, ...] = (10, 500, 1_000, 2_000)
    growth_size: int = KIB
    reference: bool = True
    seconds: float = 1500.0


TINY = Plan(
    rows=(
        Row(files=20, size=KIB, changed=2, at_least=(15, 60), repeats=1, rounds_before=0),
        Row(files=1, size=2 * MIB, changed=1, task="append", second_seconds=60, peak_mib=1000, slow=True, repeats=2),
    ),
    files=(5, 20),
    changes=(2, 20),
    reference=False,
    seconds=math.inf,
)
"""Only checks that the benchmarks run."""


@dataclass
class Results:
    """What was measured.

    Attributes:
        rows: the rows with their results.
        by_files, by_changes: growth by number of files and by number of changed files.
        left_out: rows that were left out or failed, each with the reason.
        no_reference: why the reference was not measured, if it was not.
    """

    rows: list[tuple[Row, Comparison]] = field(default_factory=list)
    by_files: dict[int, Comparison] = field(default_factory=dict)
    by_changes: dict[int, Comparison] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    no_reference: str | None = None


class Measuring:
    """A run of the benchmarks.

    Args:
        directory: working directory, left empty.
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
        results.no_reference = _no_reference(plan)
        for row in plan.rows:
            if (comparison := self._measure(row)) is not None:
                results.rows.append((row, comparison))
        changed = min(plan.changes)
        for files in plan.files:
            self._grow(results.by_files, files, files, changed)
        for changed in plan.changes:
            self._grow(results.by_changes, changed, max(plan.changes), changed)
        return results

    def _grow(self, growth: dict[int, Comparison], number: int, files: int, changed: int) -> None:
        row = Row(files=files, size=self._plan.growth_size, changed=changed, beside=False, rounds_before=0)
        if (comparison := self._measure(row)) is not None:
            growth[number] = comparison

    def _measure(self, row: Row) -> Comparison | None:
        if time.monotonic() - self._began > self._plan.seconds:
            self._results.left_out.append(f"{row.title}: there was no time for it")
            return None
        print(f"{time.monotonic() - self._began:5.0f} s  {row.title}", flush=True)
        try:
            return self._compare(row)
        except RuntimeError as exc:  # a program failed; keep the other rows
            last = str(exc).strip().rpartition("\n")[2]
            print(f"failed: {last}", file=sys.stderr, flush=True)
            self._results.left_out.append(f"{row.title}: {last}")
            return None

    def _compare(self, row: Row) -> Comparison:
        with tempfile.TemporaryDirectory(dir=self._directory) as name, self._filled(row, Path(name)) as case:
            once = (REFERENCE, LAKECTL) if row.slow else ()
            sides = self._sides(case, row)
            return compare(row.title, sides, row.repeats, Path(name), rounds_before=row.rounds_before, once=once)

    @contextmanager
    def _filled(self, row: Row, directory: Path) -> Iterator[Case]:
        """A repository with the files in it."""
        name = f"bench-{uuid.uuid4().hex[:16]}"
        repository = self._api.create_repository(name, f"{self._server.storage}{name}")
        case = Case(self._server, repository, row.task, row.changed)
        sides.fill(case, directory, row.files, row.size)
        yield case
        repository.expect("DELETE", "", query={"force": True})

    def _sides(self, case: Case, row: Row) -> Mapping[str, Side]:
        chosen: dict[str, Side] = {
            FIRST: partial(sides.first_attempt, case),
            SECOND: partial(sides.second_attempt, case),
        }
        if row.beside:
            chosen |= {BARE: partial(sides.bare, case), LAKECTL: partial(sides.lakectl, case)}
            if self._results.no_reference is None:
                chosen[REFERENCE] = partial(sides.reference, case)
        return chosen


def _no_reference(plan: Plan) -> str | None:
    """Why there is no reference to measure, or None."""
    if reference.is_made():
        return None
    if not plan.reference:
        return "it is not installed here"
    try:
        reference.make()
    except reference.NoReferenceError as exc:
        return str(exc)
    return None
