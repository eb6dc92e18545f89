"""Two slots of a worker that take the same commit at once."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare import Spread
from benchmarks.inputs import Content
from benchmarks.measure import run, settle
from benchmarks.tables import seconds_text, verdict
from benchmarks.warm.stores import SIDES, Stored, stored

AT_MOST = 1.3
"""Of two attempts at once whose files are there, as a multiple of one."""

SLOTS = (1, 2)
CONTENT, ROUNDS, LATER = Content(10_000, 1024), 2, 3
TINY_CONTENT = Content(300, 100)


@dataclass(frozen=True)
class Slots:
    """Seconds of first and of later rounds, by side and number of slots."""

    first: dict[tuple[str, int], Spread]
    later: dict[tuple[str, int], Spread]

    def ratio(self, side: str) -> float:
        """Of later rounds of two slots to those of one."""
        return self.later[side, 2].median / self.later[side, 1].median


def measure_slots(directory: Path, tiny: bool) -> dict[str, Slots]:
    """By store. On lakeFS the host's cache has the files."""
    content, rounds = (TINY_CONTENT, 1) if tiny else (CONTENT, ROUNDS)
    return {store: _measured(store, content, directory, rounds) for store in ("git", "lakeFS")}


def short(slots: dict[str, Slots]) -> Iterator[str]:
    """The main figures."""
    for store, found in slots.items():
        on = found.ratio("on")
        yield (
            f"{store}: two slots at once on one commit, from their second attempt on, take {on:.2f} of the time of one "
            f"({verdict(on <= AT_MOST, AT_MOST)}), and {found.ratio('off'):.2f} if nothing stays."
        )


def report(slots: dict[str, Slots]) -> Iterator[str]:
    """The table."""
    yield "### Two slots at once on one commit"
    yield ""
    yield f"Processes with one workspace root, on {CONTENT.files:,} files of {CONTENT.size:,} bytes, whose task does"
    yield "nothing, from the begin of the first attempt to the end of the last one. On lakeFS the host's cache has the"
    yield "files."
    yield ""
    yield "| | | first, one slot | two | later, one slot | two | ratio |"
    yield "|---|---|---|---|---|---|---|"
    for store, found in slots.items():
        for side, name in SIDES.items():
            cells = [seconds_text(times[side, number]) for times in (found.first, found.later) for number in SLOTS]
            yield f"| {store} | {name} | {' | '.join(cells)} | {found.ratio(side):.2f} |"
    yield ""


def _measured(store: str, content: Content, directory: Path, rounds: int) -> Slots:
    found: dict[tuple[str, int], list[list[float]]] = {(side, number): [] for side in SIDES for number in SLOTS}
    with (
        tempfile.TemporaryDirectory(dir=directory.absolute()) as made,
        stored(store, content, Path(made)) as place,
    ):
        for turn in range(rounds):
            for (side, number), taken in found.items():
                taken.append(_seconds(place, Path(made) / f"{side}{number}-{turn}", side, number))
    return Slots(
        {case: Spread.of([each[0] for each in taken]) for case, taken in found.items()},
        {case: Spread.of([seconds for each in taken for seconds in each[1:]]) for case, taken in found.items()},
    )


def _seconds(place: Stored, here: Path, side: str, slots: int) -> list[float]:
    """Of each round."""
    here.mkdir()
    settle()
    program: list[str | Path] = [
        sys.executable,
        "-m",
        "benchmarks.warm.program_slots",
        place.place,
        here,
        side,
        str(slots),
    ]
    told = run([*program, str(1 + LATER)], environment=place.environment, directory=here)
    found: list[float] = json.loads(told.output)
    return found
