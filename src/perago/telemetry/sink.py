"""The sink for the telemetry of attempts. `OFF` discards everything; `otel` and `openlineage` have the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from perago.telemetry.facts import Execution, Outcome, PhaseFact, TaskValue, WorkflowFact
from perago.telemetry.instruments import Instrument
from perago.values.trace_context import TraceContext

Reading = Callable[[], Mapping[str, int]]
"""Reads a gauge: value of the instrument's attribute -> count. The key is "" if it has no attribute."""


class Telemetry(Protocol):
    """Accepts calls from any thread, returns at once and never raises: it must not slow or fail an attempt."""

    @property
    def wants_source(self) -> bool:
        """Whether executions should come with the source of their tasks."""
        ...

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

    def workflow(self, fact: WorkflowFact) -> None:
        """A workflow run of this process has begun or ended."""
        ...

    def count(self, instrument: Instrument) -> None:
        """Count an event of the worker itself."""
        ...

    def watch(self, instrument: Instrument, reading: Reading) -> None:
        """Read a gauge of the worker at each export of metrics."""
        ...

    def prometheus_text(self) -> bytes:
        """All metrics in Prometheus' format; empty if there are none."""
        ...


class _Off:
    wants_source = False

    def begin(self, execution: Execution) -> TraceContext | None:
        return execution.trace

    def phase(self, execution_id: str, fact: PhaseFact) -> None: ...

    def value(self, execution_id: str, value: TaskValue) -> None: ...

    def end(self, execution_id: str, outcome: Outcome, reason: str | None = None) -> None: ...

    def workflow(self, fact: WorkflowFact) -> None: ...

    def count(self, instrument: Instrument) -> None: ...

    def watch(self, instrument: Instrument, reading: Reading) -> None: ...

    def prometheus_text(self) -> bytes:
        return b""


OFF: Telemetry = _Off()
"""Discards everything and returns the incoming trace context."""


class Both:
    """Two sinks.

    Args:
        first: has the metrics and the trace.
    """

    def __init__(self, first: Telemetry, second: Telemetry) -> None:
        self._first = first
        self._second = second
        self.wants_source = first.wants_source or second.wants_source

    def begin(self, execution: Execution) -> TraceContext | None:
        self._second.begin(execution)
        return self._first.begin(execution)

    def phase(self, execution_id: str, fact: PhaseFact) -> None:
        self._first.phase(execution_id, fact)
        self._second.phase(execution_id, fact)

    def value(self, execution_id: str, value: TaskValue) -> None:
        self._first.value(execution_id, value)
        self._second.value(execution_id, value)

    def end(self, execution_id: str, outcome: Outcome, reason: str | None = None) -> None:
        self._first.end(execution_id, outcome, reason)
        self._second.end(execution_id, outcome, reason)

    def workflow(self, fact: WorkflowFact) -> None:
        self._first.workflow(fact)
        self._second.workflow(fact)

    def count(self, instrument: Instrument) -> None:
        self._first.count(instrument)

    def watch(self, instrument: Instrument, reading: Reading) -> None:
        self._first.watch(instrument, reading)

    def prometheus_text(self) -> bytes:
        return self._first.prometheus_text()
