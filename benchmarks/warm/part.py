"""The part: attempts one after the other on a host, of which files stay or do not, on git and on lakeFS.

A few files change in each attempt. All that is compared runs in turn, so that both sides have the same load. `firsts`,
`slots` and `runs` have first attempts, attempts at once, and whole workflows.
"""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.compare import Spread
from benchmarks.inputs import Content
from benchmarks.measure import run, settle
from benchmarks.parts import CannotMeasureError, Measured
from benchmarks.tables import bytes_text, seconds_text, verdict
from benchmarks.warm import firsts, runs, slots
from benchmarks.warm.stores import SIDES, stored
from servers.go_build import LAKEFS

CHANGED = 10
AT_MOST_MEMORY = 200 * 1024**2
AT_MOST_FIRST = 1.05
"""Of a first attempt whose files stay, as a multiple of one that lays out each time."""


class Case(NamedTuple):
    """What is measured on one store.

    Attributes:
        seconds: required at most of a second attempt, or from one body's end to the next one's begin.
        between: whether it is the latter.
        rounds: of each side.
    """

    store: str
    content: Content
    seconds: float
    between: bool = False
    rounds: int = 3


CASES = (
    Case("git", Content(10_000, 1024), 0.25, between=True),
    Case("git", Content(50_000, 1024), 0.7, between=True, rounds=2),
    Case("lakeFS", Content(10_000, 1024), 0.3),
    Case("lakeFS", Content(100_000, 100), 1.5, rounds=1),
)
TINY = (
    Case("git", Content(300, 100), 0.25, between=True),
    Case("lakeFS", Content(300, 100), 0.3),
)
WORDS = 4


@dataclass(frozen=True)
class Result:
    """One side of a case: seconds, seconds between bodies, CPU seconds of first and of later attempts, peak bytes."""

    first: Spread
    first_cpu: Spread
    later: Spread
    between: Spread
    cpu: Spread
    peak: float


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    if LAKEFS.is_missing:
        raise CannotMeasureError(LAKEFS.missing)
    results = [(case, _measured(case, directory, 1 if tiny else case.rounds)) for case in (TINY if tiny else CASES)]
    found_firsts, found_slots = firsts.measure_firsts(directory, tiny), slots.measure_slots(directory, tiny)
    found_runs = runs.measure_runs(directory, tiny)
    return Measured(
        title="The second attempt on a host",
        versions={"lakeFS": LAKEFS.version},
        short=(
            *(_short(case, sides) for case, sides in results),
            *firsts.short(found_firsts),
            *slots.short(found_slots),
            *runs.short(found_runs),
        ),
        text="\n".join(
            [
                *(line for case, sides in results for line in _report(case, sides)),
                *firsts.report(found_firsts),
                *slots.report(found_slots),
                *runs.report(found_runs),
            ]
        ),
    )


def _measured(case: Case, directory: Path, rounds: int) -> dict[str, Result]:
    with (
        tempfile.TemporaryDirectory(dir=directory.absolute()) as made,
        stored(case.store, case.content, Path(made)) as place,
    ):
        samples: dict[str, list[Any]] = {side: [] for side in SIDES}
        for number in range(rounds):
            for side in SIDES:
                here = Path(made) / f"{side}{number}"
                here.mkdir()
                settle()
                words = [uuid.uuid4().hex[:8] for _ in range(WORDS)]
                program = [sys.executable, "-m", "benchmarks.warm.program_attempts"]
                used = run(
                    [*program, place.place, here, side, str(CHANGED), *words],
                    environment=place.environment,
                    directory=here,
                )
                samples[side].append(json.loads(used.output))
        return {side: _result(found) for side, found in samples.items()}


def _result(rounds: list[Any]) -> Result:
    firsts = [one["samples"][0] for one in rounds]
    later = [sample for one in rounds for sample in one["samples"][1:]]
    return Result(
        first=Spread.of([sample["seconds"] for sample in firsts]),
        first_cpu=Spread.of([sample["cpu"] for sample in firsts]),
        later=Spread.of([sample["seconds"] for sample in later]),
        between=Spread.of([sample["between"] for sample in later]),
        cpu=Spread.of([sample["cpu"] for sample in later]),
        peak=max(one["peak"] for one in rounds),
    )


def _title(case: Case) -> str:
    return f"{case.store}, {case.content.files:,} files of {case.content.size:,} bytes, {CHANGED} changed"


def _short(case: Case, sides: dict[str, Result]) -> str:
    on, off = sides["on"], sides["off"]
    what, own, before = "a later attempt", on.later, off.later
    if case.between:
        what, own, before = "from one body's end to the next one's begin", on.between, off.between
    return (
        f"{_title(case)}: {what} takes {own.median:.2f} s, and {before.median:.2f} s if nothing stays "
        f"({verdict(own.median <= case.seconds, f'{case.seconds} s')}); CPU {on.cpu.median:.2f} and "
        f"{off.cpu.median:.2f} s. First attempt: CPU {on.first_cpu.median:.2f} and {off.first_cpu.median:.2f} s "
        f"({verdict(on.first_cpu.median <= AT_MOST_FIRST * off.first_cpu.median, AT_MOST_FIRST)}). Memory "
        f"{bytes_text(on.peak)} ({verdict(on.peak <= AT_MOST_MEMORY, bytes_text(AT_MOST_MEMORY))})."
    )


def _report(case: Case, sides: dict[str, Result]) -> Iterator[str]:
    yield f"### {_title(case)}"
    yield ""
    yield "| | first attempt | later ones | from body to body | CPU of a first | CPU of a later one | peak |"
    yield "|---|---|---|---|---|---|---|"
    for side, result in sides.items():
        spreads = (result.first, result.later, result.between, result.first_cpu, result.cpu)
        yield f"| {SIDES[side]} | {' | '.join(map(seconds_text, spreads))} | {bytes_text(result.peak)} |"
    yield ""
