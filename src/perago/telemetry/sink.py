"""The sink for a worker's telemetry. `OFF` discards everything; `otel` has the other implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from perago.telemetry.facts import Execution, Outcome, PhaseFact, TaskValue
from perago.telemetry.instruments import Instrument
from perago.values.trace_context import TraceContext

Reading = Callable[[], Mapping[str, int]]
"""Reads a gauge: value of the instrument's attribute -> count. The key is "" if it has no attribute."""


class Telemetry(Protocol):
    """Accepts calls from any thread, returns at once and never raises: it must not slow or fail an attempt."""

    def begin(self, execution: Execution) -> TraceContext | None:
        """An attempt starts. Returns the trace context for its body and its stamp."""
        ...

    def phase(self, execution_id: str, fact: PhaseFact) -> None:
        """One of its phases has started, progressed or ended."""
        ...

    def value(self, execution_id: str, value: TaskValue) -> None:
        """Its body has recorded a value."""
        ...

    def end(self, execution_id: str, outcome: Outcome, reason: str | None = None) -> None:
        """The attempt has ended."""
        ...

    def count(self, instrument: Instrument) -> None:
        """Count an event of the worker itself."""
        ...

    def watch(self, instrument: Instrument, reading: Reading) -> None:
        """Read a gauge of the worker at each export of metrics."""
        ...


class _Off:
    def begin(self, execution: Execution) -> TraceContext | None:
        return execution.trace

    def phase(self, execution_id: str, fact: PhaseFact) -> None: ...

    def value(self, execution_id: str, value: TaskValue) -> None: ...

    def end(self, execution_id: str, outcome: Outcome, reason: str | None = None) -> None: ...

    def count(self, instrument: Instrument) -> None: ...

    def watch(self, instrument: Instrument, reading: Reading) -> None: ...


OFF: Telemetry = _Off()
"""Discards everything and returns the incoming trace context."""
