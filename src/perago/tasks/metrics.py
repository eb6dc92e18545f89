"""Metrics of a task's own: which ones it wants, and the recorder that its body is given."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from numbers import Real
from typing import Literal

from pydantic import BaseModel, ConfigDict

Instrument = Literal["gauge", "histogram"]

# Names of instruments as OpenTelemetry has them (metrics API, "Instrument name syntax").
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}")


class MetricSpec(BaseModel):
    """Which of Perago's own metrics are recorded for a task; giving one at all adds the `metrics` parameter.

    Attributes:
        attempts: count and duration of attempts.
        workspace_io: duration, files and bytes of transfers.
        worker_capacity: slots of a worker that are busy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: bool = True
    workspace_io: bool = True
    worker_capacity: bool = True


class MetricRecorder:
    """Takes a body's metrics. This one checks and discards them; a subclass overrides `deliver`.

    Names begin with a letter and hold at most 255 letters, digits, `_`, `.`, `-` and `/`. Values are finite numbers.
    Labels map names to texts; numbers and booleans are written as text.
    """

    def gauge(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Record what something is now.

        Raises:
            ValueError: the name, the value or a label is none.
        """
        self._record("gauge", name, value, labels)

    def histogram(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Record one value of many, of which the distribution matters.

        Raises:
            ValueError: the name, the value or a label is none.
        """
        self._record("histogram", name, value, labels)

    def timer(self, name: str, *, labels: Mapping[str, str] | None = None) -> AbstractContextManager[None]:
        """Record how long a `with` block takes, in seconds, as a histogram; also when the block raises.

        Raises:
            ValueError: the name or a label is none.
        """
        return self._timed(_checked_name(name), _checked_labels(name, labels))

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Hand on one checked value; to be overridden. May be called from any thread of the body."""

    def _record(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str] | None) -> None:
        self.deliver(instrument, _checked_name(name), _checked_value(name, value), _checked_labels(name, labels))

    @contextmanager
    def _timed(self, name: str, labels: Mapping[str, str]) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.deliver("histogram", name, time.perf_counter() - started, labels)


def _checked_name(name: object) -> str:
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise ValueError(
        f"{name!r} is no name of a metric: it must begin with a letter and may hold at most 255 letters, digits, "
        f"'_', '.', '-' and '/'"
    )


def _checked_value(name: str, value: object) -> float:
    if not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value):
        return float(value)
    raise ValueError(f"metric {name!r}: the value must be a finite number, not {value!r}")


def _checked_labels(name: str, labels: Mapping[str, str] | None) -> dict[str, str]:
    return dict(_checked_label(name, key, value) for key, value in (labels or {}).items())


def _checked_label(name: str, key: object, value: object) -> tuple[str, str]:
    if isinstance(key, str) and key.strip() and isinstance(value, str | int | float):
        return key, str(value)
    raise ValueError(f"metric {name!r}: a label maps a name that is not blank to a text, not {key!r} to {value!r}")
