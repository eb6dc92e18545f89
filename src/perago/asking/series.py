"""The numbers that bodies have recorded over their steps, as stamps have them."""

from __future__ import annotations

from perago.values.history import Stamp

MAX_POINTS = 200
"""Points of a series that are read of a stamp; Perago writes no more."""

_LARGE = 1e300


def series_of(stamp: Stamp) -> dict[str, list[tuple[float, float]]]:
    """Step and value of each point of each series, by its name. Skips malformed points: anyone can write a stamp."""
    found = {name: _points(values) for name, values in (stamp.series or {}).items()}
    return {name: points for name, points in found.items() if points}


def _points(values: object) -> list[tuple[float, float]]:
    if not isinstance(values, list):
        return []
    return [
        (float(pair[0]), float(pair[1]))
        for pair in values[:MAX_POINTS]
        if isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair))
    ]


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _LARGE  # neither is it infinite, nor NaN
