"""What can befall a run: each fault in each phase is a cell, which is aimed at the sooner, the emptier it is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

IN_AN_EXECUTOR = (
    "parse",
    "decide",
    "materialize",
    "pre_guards",
    "body",
    "post_guards",
    "diff",
    "stage",
    "fence",
    "publish",
    "clean",
)
PHASES = ("poll", *IN_AN_EXECUTOR, "report")
TAKE = "take"
"""No phase of an attempt, but a call that a supervisor makes within `report`: the next task comes along with it."""

BOUNDARIES = (*PHASES, TAKE)

LAKEFS_CALLS = {
    "read branch": ("GET", r"/branches/[^/?]+(\?|$)"),
    "read log": ("GET", r"/refs/[^/?]+/commits"),
    "list objects": ("GET", r"/refs/[^/?]+/objects/ls"),
    "read object": ("GET", r"/refs/[^/?]+/objects\?"),
    "make branch": ("POST", r"/branches(\?|$)"),
    "copy object": ("POST", r"/branches/[^/?]+/objects/copy(\?|$)"),
    "upload": ("POST", r"/branches/[^/?]+/objects\?"),
    "commit": ("POST", r"/branches/[^/?]+/commits"),
    "merge": ("POST", r"/refs/[^/?]+/merge/"),
    "delete branch": ("DELETE", r"/branches/[^/?]+(\?|$)"),
}
CONDUCTOR_CALLS = {
    "poll": ("GET", r"/tasks/poll/", b""),
    "read task": ("GET", r"/tasks/(?!poll)[^/?]+(\?|$)", b""),
    "read record": ("GET", r"/workflow/[^/?]+\?", b""),
    "heartbeat": ("POST", r"/tasks$", b'"extendLease"'),
    "report": ("POST", r"/tasks$", b'"(COMPLETED|FAILED)'),
    "report and take": ("POST", r"/tasks/update-v2$", b""),
}
"""Method, a pattern for the request's target, one for its body."""

PROXY_FAULTS = ("cut", "delay", "500", "swallow", "repeat")


@dataclass(frozen=True, order=True)
class Cell:
    """A fault in a phase, or on a kind of call."""

    fault: str
    column: str

    def __str__(self) -> str:
        return f"{self.fault} / {self.column}"


def kill_cells() -> list[Cell]:
    """Both victims at both ends of every phase that they are in."""
    cells = [Cell(f"kill executor {side}", phase) for side in ("before", "after") for phase in IN_AN_EXECUTOR]
    return cells + [Cell(f"kill supervisor {side}", phase) for side in ("before", "after") for phase in BOUNDARIES]


def stop_cells() -> list[Cell]:
    """Supervisor and executor stopped for longer than the lease."""
    return [Cell("stop host past its lease", phase) for phase in BOUNDARIES]


def proxy_cells(calls: Iterable[str]) -> list[Cell]:
    return [Cell(fault, call) for call in calls for fault in PROXY_FAULTS]


@dataclass
class Tally:
    """How often each cell was filled.

    Args:
        cells: those that count.
    """

    cells: list[Cell]
    chance: random.Random
    counts: Counter[Cell] = field(default_factory=Counter)

    def emptiest(self, but: Collection[Cell] = ()) -> Cell | None:
        """One of those filled least, by chance; `but`: aimed at already."""
        open_cells = [cell for cell in self.cells if cell not in but]
        least = min((self.counts[cell] for cell in open_cells), default=0)
        return self.chance.choice([cell for cell in open_cells if self.counts[cell] == least]) if open_cells else None

    def fewer_than(self, least: int) -> list[str]:
        """Cells that void a run in which each is to be filled so often."""
        return [f"{cell}: {self.counts[cell]}" for cell in self.cells if self.counts[cell] < least]

    def table(self, columns: Iterable[str]) -> list[str]:
        """Lines of Markdown: a row for each fault, a column for each phase or call."""
        columns = list(columns)
        faults = list(dict.fromkeys(cell.fault for cell in self.cells))
        lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for fault in faults:
            cells = [Cell(fault, column) for column in columns]
            told = [str(self.counts[cell]) if cell in self.cells else "" for cell in cells]
            lines.append(f"| {fault} | " + " | ".join(told) + " |")
        return lines
