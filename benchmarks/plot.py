"""Line plots as SVG, with logarithmic or linear axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Protocol

from benchmarks.compare import Spread

WIDTH, HEIGHT, MARGIN = 640, 400, 60
COLOURS = ("#1b6ca8", "#c0392b", "#2e7d32", "#6a1b9a")

_EDGE = 0.04
"""Room between the outermost points and the frame, as a share of their distance."""

_TICKS = 10
"""Maximum number of ticks on a linear axis."""

_FONT = 'font-family="sans-serif" font-size="12"'

Line = Mapping[int, Spread]
"""x -> y: a point at the median, a bar from minimum to maximum."""


def plot(title: str, x_label: str, y_label: str, lines: Mapping[str, Line], *, even: bool = False) -> str:
    """Draw the lines; all values are greater than 0.

    Args:
        even: use linear axes from 0 instead of logarithmic ones.
    """
    axis = _EvenAxis if even else _LogarithmicAxis
    across = axis([x for line in lines.values() for x in line], MARGIN, WIDTH - MARGIN)
    up = axis([y for line in lines.values() for spread in line.values() for y in spread], HEIGHT - MARGIN, MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {_FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, MARGIN / 2, title, 'text-anchor="middle" font-size="15"'),
        _text(WIDTH / 2, HEIGHT - MARGIN / 4, x_label, 'text-anchor="middle"'),
        _text(14, HEIGHT / 2, y_label, f'text-anchor="middle" transform="rotate(-90 14 {HEIGHT // 2})"'),
        *_grid(across, up),
    ]
    for number, (name, line) in enumerate(lines.items()):
        parts += _line(line, across, up, COLOURS[number % len(COLOURS)])
        y = MARGIN + 18 * number + 14
        parts.append(_text(MARGIN + 12, y, name, f'fill="{COLOURS[number % len(COLOURS)]}"'))
    return "\n".join([*parts, "</svg>", ""])


class _Axis(Protocol):
    """Maps values to positions."""

    def at(self, value: float) -> float: ...

    def ticks(self) -> Iterator[float]: ...


class _EvenAxis:
    """Linear, from 0 to slightly above the maximum."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._high = max(values) * (1 + _EDGE)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        return self._start + value / self._high * (self._end - self._start)

    def ticks(self) -> Iterator[float]:
        power = 10.0 ** math.floor(math.log10(self._high))
        step = next(power * part for part in (0.1, 0.2, 0.5, 1) if self._high / (power * part) <= _TICKS)
        for number in range(math.floor(self._high / step) + 1):
            yield round(number * step, 9)


class _LogarithmicAxis:
    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low, self._high = math.log10(min(values)), math.log10(max(values))
        if self._high - self._low < 1:  # at least one power of ten
            middle = (self._high + self._low) / 2
            self._low, self._high = middle - 0.5, middle + 0.5
        edge = (self._high - self._low) * _EDGE
        self._low, self._high = self._low - edge, self._high + edge
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> Iterator[float]:
        for power in range(math.floor(self._low), math.ceil(self._high) + 1):
            for first in (1, 2, 5):
                value = first * 10.0**power
                if self._low <= math.log10(value) <= self._high:
                    yield value


def _grid(across: _Axis, up: _Axis) -> Iterator[str]:
    for value in across.ticks():
        x = across.at(value)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}" stroke="#dddddd"/>'
        yield _text(x, HEIGHT - MARGIN + 16, f"{value:,.0f}", 'text-anchor="middle"')
    for value in up.ticks():
        y = up.at(value)
        yield f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>'
        yield _text(MARGIN - 6, y + 4, f"{value:g}", 'text-anchor="end"')


def _line(line: Line, across: _Axis, up: _Axis, colour: str) -> Iterator[str]:
    points = " ".join(f"{across.at(x):.1f},{up.at(spread.median):.1f}" for x, spread in line.items())
    yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for value, spread in line.items():
        x = across.at(value)
        yield f'<circle cx="{x:.1f}" cy="{up.at(spread.median):.1f}" r="3.5" fill="{colour}"/>'
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{up.at(spread.least):.1f}" y2="{up.at(spread.greatest):.1f}" '
            f'stroke="{colour}"/>'
        )


def _text(x: float, y: float, text: str, attributes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
