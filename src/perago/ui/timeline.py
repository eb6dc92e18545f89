"""When each task of a run ran, as bars below each other: positions from facts, which a template draws as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH = 1000
"""Units of a whole run."""

LEAST = 3
"""Units of the shortest bar: a bar that cannot be seen says nothing."""

MAX_ROWS = 60
"""Tasks with a row. Of more, those that took longest have one."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """One try of a task."""

    name: str
    number: int
    status: str
    started: datetime
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A try.

    Attributes:
        x, width: units; see `WIDTH`.
    """

    x: int
    width: int
    number: int
    status: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """A task with its tries."""

    name: str
    bars: Sequence[Bar]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A run.

    Attributes:
        seconds: from its first to its last moment.
        left_out: tasks without a row.
    """

    rows: Sequence[Row] = ()
    seconds: float = 0.0
    left_out: int = 0


def timeline_of(spans: Sequence[Span]) -> Timeline:
    """The rows of tries, in the order of their beginning."""
    if not spans:
        return Timeline()
    begun = min(span.started for span in spans)
    offsets = [(span.started - begun).total_seconds() for span in spans]
    whole = max(*(offset + span.seconds for offset, span in zip(offsets, spans, strict=True)), 0.001)
    rows: dict[str, list[Bar]] = {}
    for offset, span in zip(offsets, spans, strict=True):
        x = min(round(offset / whole * WIDTH), WIDTH - LEAST)
        width = min(max(round(span.seconds / whole * WIDTH), LEAST), WIDTH - x)
        bar = Bar(x=x, width=width, number=span.number, status=span.status, seconds=span.seconds)
        rows.setdefault(span.name, []).append(bar)
    made = [Row(name=name, bars=bars, seconds=sum(bar.seconds for bar in bars)) for name, bars in rows.items()]
    longest = sorted(made, key=lambda row: row.seconds, reverse=True)[:MAX_ROWS]
    kept = {row.name for row in longest}
    return Timeline(
        rows=[row for row in made if row.name in kept], seconds=whole, left_out=max(len(made) - MAX_ROWS, 0)
    )
