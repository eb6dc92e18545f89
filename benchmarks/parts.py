"""The parts of the benchmarks: each measures Perago with one store beside what people would use otherwise.

A part is a package `benchmarks/<name>/` with a module `part` that has a function `measure`, a `Measure`. It builds on
`compare` (sides that take turns), `measure` (a program's time and memory), `inputs`, `tables` and `plot`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

PARTS = ("git", "lakefs", "pool", "conductor", "bodies")
"""In the order of their sections."""


class CannotMeasureError(Exception):
    """Something that the part needs is not here; says what."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came of measuring a part.

    Attributes:
        title: of its section.
        versions: of what was measured, by name; the machine is described anyway.
        short: the figures that somebody in a hurry wants, one sentence each.
        text: the rest of its section, Markdown; its headings begin with `###`.
        plots: SVG by file name, which begins with the part's name.
    """

    title: str
    versions: Mapping[str, str]
    short: tuple[str, ...]
    text: str
    plots: Mapping[str, str] = field(default_factory=dict)


Measure = Callable[[Path, bool], Measured]
"""Measure a part, in a directory that it leaves empty; with True on next to nothing, to see that it runs.

Raises `CannotMeasureError`.
"""


def load(name: str) -> Measure:
    """The function of a part. Loaded late: who measures stays small in memory, and needs no other part's libraries."""
    measure: Measure = import_module(f"benchmarks.{name}.part").measure
    return measure
