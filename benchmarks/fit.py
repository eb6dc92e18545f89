"""Fits a straight line to measured times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StraightLine:
    """Time by number: `base + each * number`.

    Attributes:
        off: largest relative distance of a point from the line.
    """

    base: float
    each: float
    off: float


def straight_line(points: Mapping[int, float]) -> StraightLine:
    """The least squares fit of relative distances; points are greater than 0.

    With absolute distances only the largest point would matter.
    """
    weights = {x: 1 / y**2 for x, y in points.items()}
    total = sum(weights.values())
    mean_x = sum(weights[x] * x for x in points) / total
    mean_y = sum(weights[x] * y for x, y in points.items()) / total
    across = sum(weights[x] * (x - mean_x) ** 2 for x in points)
    each = sum(weights[x] * (x - mean_x) * (y - mean_y) for x, y in points.items()) / across if across else 0.0
    base = mean_y - each * mean_x
    return StraightLine(base, each, max(abs(base + each * x - y) / y for x, y in points.items()))
