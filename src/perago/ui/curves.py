"""Series of publications or tries as lines in one plot: positions from points, which a template draws as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 600, 300
"""Units of a plot."""

MAX_CURVES = 20
"""Lines in a plot; the template has a colour and a dash for each."""

MAX_DRAWN = 600
"""Points of a line. Of more, some are left out, evenly."""

Points = Sequence[tuple[float, float]]
"""Step and value."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a line is of.

    Attributes:
        commit: where it leads to; None for nowhere.
        time: in ISO 8601, or "".
        params: to be shown beside it.
    """

    name: str
    commit: str | None
    time: str
    params: Mapping[str, Any]
    points: Points


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line.

    Attributes:
        line: the points as an SVG polyline has them.
        count: of its points; first, last, least, most: of its values.
    """

    name: str
    commit: str | None
    time: str
    params: Mapping[str, Any]
    line: str
    count: int
    first: float
    last: float
    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A plot of one series.

    Attributes:
        left_out: lines for which there is no room.
        x_range, y_range: least and greatest step and value.
    """

    name: str
    curves: Sequence[Curve]
    left_out: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]


def curves_of(name: str, drawn: Sequence[Drawn]) -> Curves:
    """The plot of what has points."""
    given = [one for one in drawn if one.points]
    shown = given[:MAX_CURVES]
    steps = [step for one in shown for step, _ in one.points]
    values = [value for one in shown for _, value in one.points]
    x_range, y_range = range_of(steps), range_of(values)
    return Curves(
        name=name,
        curves=[_curve(one, x_range, y_range) for one in shown],
        left_out=len(given) - len(shown),
        x_range=x_range,
        y_range=y_range,
    )


def _curve(one: Drawn, x_range: tuple[float, float], y_range: tuple[float, float]) -> Curve:
    values = [value for _, value in one.points]
    places = (
        f"{placed(step, x_range, WIDTH)},{HEIGHT - placed(value, y_range, HEIGHT)}"
        for step, value in thinned(one.points)
    )
    return Curve(
        name=one.name,
        commit=one.commit,
        time=one.time,
        params=one.params,
        line=" ".join(places),
        count=len(values),
        first=values[0],
        last=values[-1],
        least=min(values),
        most=max(values),
    )


def thinned(points: Points) -> Points:
    """At most `MAX_DRAWN` points, evenly, the first and the last among them."""
    if len(points) <= MAX_DRAWN:
        return points
    return [points[round(number * (len(points) - 1) / (MAX_DRAWN - 1))] for number in range(MAX_DRAWN)]


def range_of(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest value; zeros without one."""
    return (min(values), max(values)) if values else (0.0, 0.0)


def placed(value: float, within: tuple[float, float], size: int) -> int:
    """Where a value is between the least, at 0, and the greatest, at `size`; a value alone is in the middle."""
    least, most = within
    return round((value - least) / (most - least) * size) if most > least else size // 2
