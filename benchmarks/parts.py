"""The parts of the benchmarks: each compares a part of Perago with alternatives.

A part is a package `benchmarks/<name>/` with a module `part` that has a function `measure`, a `Measure`. It uses
`compare` (sides in turn), `measure` (a program's time and memory), `inputs`, `tables` and `plot`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

PARTS = (
    *("git", "lakefs", "transfers", "distance", "pool", "conductor", "bodies", "writers", "scoped", "workflows"),
    *("changed", "ui", "warm"),
)
"""In the order of their sections."""


class CannotMeasureError(Exception):
    """Something that the part needs is missing, with its name."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of a part.

    Attributes:
        title: title of its section.
        versions: versions of the measured programs, by name. The machine is described separately.
        short: the main figures, one sentence each.
        text: the rest of its section in Markdown, with headings that begin with `###`.
        plots: SVG by file name, which begins with the part's name.
    """

    title: str
    versions: Mapping[str, str]
    short: tuple[str, ...]
    text: str
    plots: Mapping[str, str] = field(default_factory=dict)


Measure = Callable[[Path, bool], Measured]
"""Measure a part in a directory, left empty; with True on tiny inputs, to check that it runs.

Raises `CannotMeasureError`.
"""


def load(name: str) -> Measure:
    """The function of a part, imported late to save memory and the libraries of other parts."""
    measure: Measure = import_module(f"benchmarks.{name}.part").measure
    return measure
