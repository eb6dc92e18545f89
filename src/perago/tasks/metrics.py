"""A task's metrics: their selection, and the recorder for its body."""

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
from perago.telemetry.instruments import Group

Instrument = Literal["gauge", "histogram"]

# OpenTelemetry's names of instruments (metrics API, "Instrument name syntax").
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}")

MAX_WARNINGS = 1000
"""Maximum warnings about metrics in one attempt."""


class MetricSpec(BaseModel):
    """Perago's metrics that are recorded for a task. A spec also adds the `metrics` parameter to its function.

    Attributes:
        attempts: count and duration of attempts.
        workspace_io: duration, files and bytes of transfers.
        worker_capacity: busy slots of a worker.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: bool = True
    workspace_io: bool = True
    worker_capacity: bool = True


def metric_groups(spec: MetricSpec | None) -> list[Group]:
    """The groups of Perago's metrics that a spec selects; all without one."""
    wanted = MetricSpec() if spec is None else spec
    groups: dict[Group, bool] = {
        "attempts": wanted.attempts,
        "workspace_io": wanted.workspace_io,
        "worker_capacity": wanted.worker_capacity,
    }
    return [group for group, is_wanted in groups.items() if is_wanted]


class MetricRecorder:
    """Receives a body's metrics. This class checks and discards them; a subclass overrides `deliver`.

    A name has at most 255 letters, digits, `_`, `.`, `-` and `/`. One that does not begin with a letter is recorded as
    `app.<name>`, as in 0.6. Values are numbers. Labels map names to texts; numbers and booleans are written as text.
    Values that are not finite and invalid labels are discarded, with one warning for each metric in the task's log.
    They do not fail the body.

    Attributes:
        context: the attempt whose body uses this recorder; None before there is one.
    """

    context: TaskContext | None = None

    def gauge(
        self, name: str, value: float, *, labels: Mapping[str, str] | None = None, step: float | None = None
    ) -> None:
        """Record a current value. The values of a publication are kept with it, as a series.

        Args:
            step: where the value belongs in its series, such as the epoch. Default: the number of values before it.

        Raises:
            ValueError: the name is invalid, or a value is not a number.
        """
        name, number = _checked_name(name), _checked_value(name, value)
        at = None if step is None else _checked_value(name, step)
        if math.isfinite(number) and (at is None or math.isfinite(at)):
            self.deliver_gauge(name, number, self._exportable(name, labels), at)
        else:
            self._warn_once(name, "a value that is not finite")

    def histogram(self, name: str, value: float, *, labels: Mapping[str, str] | None = None) -> None:
        """Record one value of a distribution.

        Raises:
            ValueError: the name is invalid, or the value is not a number.
        """
        name, number = _checked_name(name), _checked_value(name, value)
        if math.isfinite(number):
            self.deliver("histogram", name, number, self._exportable(name, labels))
        else:
            self._warn_once(name, "a value that is not finite")

    def timer(self, name: str, *, labels: Mapping[str, str] | None = None) -> AbstractContextManager[None]:
        """Record the duration of a `with` block in seconds, as a histogram, even if the block raises.

        Raises:
            ValueError: the name is invalid.
        """
        return self._timed(_checked_name(name), self._exportable(name, labels))

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Deliver one checked value. Subclasses override it. May be called from any thread of the body."""

    def deliver_gauge(self, name: str, value: float, labels: Mapping[str, str], step: float | None) -> None:  # noqa: ARG002 - for subclasses
        """Deliver one checked value of a gauge, with its step. Subclasses that need no step leave it as it is."""
        self.deliver("gauge", name, value, labels)

    def _exportable(self, name: str, labels: Mapping[str, str] | None) -> dict[str, str]:
        given = dict(labels or {})
        kept = {key: str(value) for key, value in given.items() if _is_label(key, value)}
        if len(kept) < len(given):
            self._warn_once(name, "an invalid label")
        return kept

    def _warn_once(self, name: str, what: str) -> None:
        """Warn once per attempt: a process runs many, each with its own log."""
        context, own = self.context, vars(self)  # a subclass may be frozen, and need not call our __init__
        if "_warned" not in own or own["_warned"][0] != context:
            own["_warned"] = (context, set())
        warned: set[tuple[str, str]] = own["_warned"][1]
        if (name, what) in warned or len(warned) >= MAX_WARNINGS:
            return
        warned.add((name, what))
        task = getattr(context, "task_name", None)
        logging.getLogger(LOGGER_ROOT if task is None else f"{LOGGER_ROOT}.{task}").warning(
            "metric %r: the body records %s, which is discarded; further ones are discarded silently", name, what
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
        f"{name!r} is not a valid metric name: it may have at most 255 letters (a-z), digits, '_', '.', '-' and '/'"
    )


def _checked_value(name: str, value: float) -> float:
    try:
        math.isfinite(value)  # refuses text, which `float` would parse
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"metric {name!r}: the value must be a number, not {value!r}") from None


def _is_label(key: object, value: object) -> bool:
    return isinstance(key, str) and bool(key.strip()) and isinstance(value, str | int | float)
