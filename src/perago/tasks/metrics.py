"""Metrics of a task's own: which ones it wants, and the recorder that its body is given."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

from pydantic import BaseModel, ConfigDict

from perago.tasks.context import LOGGER_ROOT, TaskContext

Instrument = Literal["gauge", "histogram"]

# Names of instruments as OpenTelemetry has them (metrics API, "Instrument name syntax").
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}")

MAX_WARNINGS = 1000
"""Warnings of metrics that one attempt gets; further ones are left out."""


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

    Names hold at most 255 letters, digits, `_`, `.`, `-` and `/`; one that begins with no letter is recorded as
    `app.<name>`, as in 0.6. Values are numbers. Labels map names to texts; numbers and booleans are written as text.
    What cannot be exported, though it is of the right kind, fails no body: a value that is not finite, and a label that
    is none, are dropped, with one warning for each metric in the task's log.

    Attributes:
        context: the attempt whose body this recorder was given to; None: none yet.
    """

    context: TaskContext | None = None

    def gauge(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Record what something is now.

        Raises:
            ValueError: the name is none, or the value no number.
        """
        self._record("gauge", name, value, labels)

    def histogram(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Record one value of many, of which the distribution matters.

        Raises:
            ValueError: the name is none, or the value no number.
        """
        self._record("histogram", name, value, labels)

    def timer(self, name: str, *, labels: Mapping[str, str] | None = None) -> AbstractContextManager[None]:
        """Record how long a `with` block takes, in seconds, as a histogram; also when the block raises.

        Raises:
            ValueError: the name is none.
        """
        return self._timed(_checked_name(name), self._exportable(name, labels))

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Hand on one checked value; to be overridden. May be called from any thread of the body."""

    def _record(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str] | None) -> None:
        name, number = _checked_name(name), _checked_value(name, value)
        if math.isfinite(number):
            self.deliver(instrument, name, number, self._exportable(name, labels))
        else:
            self._warn_once(name, "a value that is not finite")

    def _exportable(self, name: str, labels: Mapping[str, str] | None) -> dict[str, str]:
        given = dict(labels or {})
        kept = {key: str(value) for key, value in given.items() if _is_label(key, value)}
        if len(kept) < len(given):
            self._warn_once(name, "a label that does not map a name to a text")
        return kept

    def _warn_once(self, name: str, what: str) -> None:
        """Once for each attempt: a process runs many, and each has a log of its own."""
        context, own = self.context, vars(self)  # a subclass may be frozen, and need not call our __init__
        if "_warned" not in own or own["_warned"][0] != context:
            own["_warned"] = (context, set())
        warned: set[tuple[str, str]] = own["_warned"][1]
        if (name, what) in warned or len(warned) >= MAX_WARNINGS:
            return
        warned.add((name, what))
        task = getattr(context, "task_name", None)
        logging.getLogger(LOGGER_ROOT if task is None else f"{LOGGER_ROOT}.{task}").warning(
            "metric %r: the body records %s, which is dropped; further ones go without a word", name, what
        )

    @contextmanager
    def _timed(self, name: str, labels: Mapping[str, str]) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.deliver("histogram", name, time.perf_counter() - started, labels)


def _checked_name(name: object) -> str:
    for text in (str(name), f"app.{name}"):
        if _NAME.fullmatch(text):
            return text
    raise ValueError(
        f"{name!r} is no name of a metric: it may hold at most 255 letters (a-z), digits, '_', '.', '-' and '/'"
    )


def _checked_value(name: str, value: float) -> float:
    try:
        math.isfinite(value)  # refuses texts, which `float` would read
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"metric {name!r}: the value must be a number, not {value!r}") from None


def _is_label(key: object, value: object) -> bool:
    return isinstance(key, str) and bool(key.strip()) and isinstance(value, str | int | float)
