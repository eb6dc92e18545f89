"""The numbers that a body records over time, kept with its result."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from perago.tasks.metrics import Instrument, MetricRecorder
from perago.values.json_text import JsonObject
from perago.values.redaction import mask_text
from perago.values.stamps import storable

MAX_SERIES = 20
"""Series of an attempt that are kept: the first ones."""

MAX_POINTS = 200
"""Points of a series in a stamp. Of more, some are left out, evenly."""

MAX_HELD = 10_000
"""Points of a series that are held. Then every second one is left out, and of the next ones, too."""


@dataclass
class _Series:
    points: list[tuple[float, float]] = field(default_factory=list)
    count: int = 0
    stride: int = 1
    last: tuple[float, float] | None = None

    def add(self, value: float, step: float | None) -> None:
        self.last = (float(self.count) if step is None else step, value)
        if self.count % self.stride == 0:
            self.points.append(self.last)
        self.count += 1
        if len(self.points) >= MAX_HELD:
            self.points, self.stride = self.points[::2], self.stride * 2

    def thinned(self, limit: int) -> list[list[float]]:
        """At most `limit` points, evenly, the first and the last among them."""
        held = self.points if self.last is None or self.points[-1] == self.last else [*self.points, self.last]
        if len(held) <= limit:
            return [list(point) for point in held]
        return [list(held[round(number * (len(held) - 1) / (limit - 1))]) for number in range(limit)]


class SeriesRecorder(MetricRecorder):
    """Keeps the gauges of one attempt, and passes everything on.

    Args:
        listener: gets every value, too.
    """

    def __init__(self, listener: MetricRecorder | None) -> None:
        self._listener = listener
        self._series: dict[str, _Series] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, listener: MetricRecorder | None) -> SeriesRecorder:
        """The listener itself if it keeps series, else a recorder that passes everything on to it."""
        return listener if isinstance(listener, cls) else cls(listener)

    def deliver_gauge(self, name: str, value: float, labels: Mapping[str, str], step: float | None) -> None:
        """Keep a value, and pass it on."""
        title = name + "".join(f" {key}={text}" for key, text in sorted(labels.items()))
        with self._lock:
            if title in self._series or len(self._series) < MAX_SERIES:
                self._series.setdefault(title, _Series()).add(value, step)
        if self._listener is not None:
            self._listener.gauge(name, value, labels=labels)

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:  # noqa: ARG002 - as in the base
        """Pass a value of a histogram on: gauges come to `deliver_gauge`."""
        if self._listener is not None:
            self._listener.histogram(name, value, labels=labels)

    def whole(self) -> JsonObject:
        """Each series by its name with all points that are held, for the record of a run on this host."""
        with self._lock:
            return {mask_text(title): series.thinned(MAX_HELD) for title, series in self._series.items()}

    def kept(self) -> JsonObject | None:
        """Each series by its name, a list of `[step, value]`: at most `MAX_POINTS`, fewer if they were too large for a
        stamp. None if there is none.
        """
        with self._lock:
            limit = MAX_POINTS
            while self._series and limit > 1:
                found, _ = storable({title: series.thinned(limit) for title, series in self._series.items()})
                if found is not None:
                    return found
                limit //= 2
        return None
