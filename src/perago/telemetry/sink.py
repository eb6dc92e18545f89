"""Where a worker tells what its attempts do. `OFF` is the sink that looks away; `otel` has the other one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from perago.telemetry.facts import Execution, Outcome, PhaseFact, TaskValue
from perago.telemetry.instruments import Instrument
from perago.values.trace_context import TraceContext

Reading = Callable[[], Mapping[str, int]]
"""Reads a gauge: value of the instrument's attribute -> how many. "" where it has no attribute."""


class Telemetry(Protocol):
    """Takes everything from any thread, at once and without raising: it never slows or fails an attempt."""

    def begin(self, execution: Execution) -> TraceContext | None:
        """An attempt begins; returns the place in its trace that its body and its stamp are given."""
        ...

    def phase(self, execution_id: str, fact: PhaseFact) -> None:
        """A phase of it has begun, is on its way, or has ended."""
        ...

    def value(self, execution_id: str, value: TaskValue) -> None:
        """Its body has recorded a value."""
        ...

    def end(self, execution_id: str, outcome: Outcome, reason: str | None = None) -> None:
        """It is through."""
        ...

    def count(self, instrument: Instrument, amount: int = 1) -> None:
        """Something has happened to the worker itself."""
        ...

    def watch(self, instrument: Instrument, reading: Reading) -> None:
        """Have a gauge of the worker read whenever metrics are exported."""
        ...


class _Off:
    def begin(self, execution: Execution) -> TraceContext | None:
        return execution.trace

    def phase(self, execution_id: str, fact: PhaseFact) -> None: ...

    def value(self, execution_id: str, value: TaskValue) -> None: ...

    def end(self, execution_id: str, outcome: Outcome, reason: str | None = None) -> None: ...

    def count(self, instrument: Instrument, amount: int = 1) -> None: ...

    def watch(self, instrument: Instrument, reading: Reading) -> None: ...


OFF: Telemetry = _Off()
"""The trace goes through as it came, and nothing is recorded."""
