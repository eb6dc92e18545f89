"""First attempts, which leave their files or do not: what that costs where there is little to gain."""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.compare import Spread
from benchmarks.inputs import Content
from benchmarks.measure import run, settle
from benchmarks.tables import MIB, ratio_text, seconds_text, verdict
from benchmarks.warm.stores import SIDES, stored

AT_MOST = 1.05
"""Seconds, and CPU, of a first attempt whose files stay, as a multiple of one that lays out each time."""


class Case(NamedTuple):
    """Files, and the number of pairs of attempts."""

    store: str
    content: Content
    pairs: int


CASES = tuple(
    Case(store, content, pairs)
    for store in ("git", "lakeFS")
    for content, pairs in ((Content(10, 1024), 60), (Content(4, 64 * MIB), 6))
)
TINY = (Case("git", Content(10, 1024), 2), Case("lakeFS", Content(2, 17 * MIB), 1))


@dataclass(frozen=True)
class First:
    """The results of a case: seconds and CPU by side, and the ratios of the pairs."""

    seconds: dict[str, Spread]
    cpu: dict[str, Spread]
    ratios: tuple[Spread, Spread]


def measure_firsts(directory: Path, tiny: bool) -> dict[Case, First]:
    """All cases. On lakeFS the host's cache has the files."""
    return {case: _measured(case, directory) for case in (TINY if tiny else CASES)}


def short(firsts: dict[Case, First]) -> Iterator[str]:
    """The main figures."""
    for case, found in firsts.items():
        seconds, cpu = (spread.median for spread in found.ratios)
        yield (
            f"{_title(case)}: a first attempt whose files may stay takes {seconds:.2f} of the time and {cpu:.2f} of "
            f"the CPU of one whose files may not ({verdict(max(seconds, cpu) <= AT_MOST, AT_MOST)})."
        )


def report(firsts: dict[Case, First]) -> Iterator[str]:
    """The table."""
    yield "### First attempts on few files, and on large ones"
    yield ""
    yield "One file is changed. On lakeFS the host's cache has the files. Both sides run in turn, in one process, each"
    yield "attempt in a root of its own. Fewer than 200 files with less than 16 MiB never stay."
    yield ""
    yield f"| | seconds, {SIDES['off']} | {SIDES['on']} | ratio | CPU, {SIDES['off']} | {SIDES['on']} | ratio |"
    yield "|---|---|---|---|---|---|---|"
    for case, found in firsts.items():
        cells = []
        for sides, ratio in zip((found.seconds, found.cpu), found.ratios, strict=True):
            cells += [seconds_text(sides["off"]), seconds_text(sides["on"]), ratio_text(ratio)]
        yield f"| {_title(case)} | {' | '.join(cells)} |"
    yield ""


def _measured(case: Case, directory: Path) -> First:
    with (
        tempfile.TemporaryDirectory(dir=directory.absolute()) as made,
        stored(case.store, case.content, Path(made)) as place,
    ):
        settle()
        words = [uuid.uuid4().hex[:8] for _ in range(1 + case.pairs)]
        program = [sys.executable, "-m", "benchmarks.warm.program_attempts", place.place, made, "turns", "1", *words]
        told = json.loads(run(program, environment=place.environment, directory=Path(made)).output)
    taken = {side: [sample for sample in told["samples"] if sample["side"] == side][1:] for side in SIDES}

    def spreads(what: str) -> dict[str, Spread]:
        return {side: Spread.of([sample[what] for sample in samples]) for side, samples in taken.items()}

    def ratio(what: str) -> Spread:
        pairs = zip(taken["on"], taken["off"], strict=True)
        return Spread.of([on[what] / off[what] for on, off in pairs])

    return First(spreads("seconds"), spreads("cpu"), (ratio("seconds"), ratio("cpu")))


def _title(case: Case) -> str:
    size = case.content.size
    each = f"{size // MIB} MiB" if size >= MIB else f"{size:,} bytes"
    return f"{case.store}, {case.content.files} files of {each}"
