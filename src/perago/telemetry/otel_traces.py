"""Attempts as OpenTelemetry traces, with one span per attempt and one child span per phase."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from perago.telemetry import instruments
from perago.telemetry.facts import Execution, Outcome, PhaseFact
from perago.values.redaction import mask_json, mask_text
from perago.values.trace_context import TraceContext, trace_context_of

MAX_TEXT_LENGTH = 1024
"""Limit for an attribute or an error's text in a span."""

_PROPAGATOR = TraceContextTextMapPropagator()


class AttemptSpans:
    """The spans of one attempt."""

    def __init__(self, tracer: trace.Tracer, execution: Execution) -> None:
        self._tracer = tracer
        carrier = {} if execution.trace is None else _carrier(execution.trace)
        self._span = tracer.start_span(
            f"attempt {execution.task}",
            context=_PROPAGATOR.extract(carrier),
            kind=SpanKind.CONSUMER,
            attributes=_attributes_of(execution),
        )
        self._context = trace.set_span_in_context(self._span)
        self._under_way: tuple[str, int] | None = None  # a phase, and its start

    @property
    def context(self) -> TraceContext | None:
        """The trace context of the attempt's own span."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self._context)
        return trace_context_of(carrier)

    def take(self, fact: PhaseFact) -> None:
        now = time.time_ns()
        if fact.kind == "started":
            self._under_way = (fact.phase, now)
        elif fact.kind != "progress":
            self._under_way = None
            span = self._phase_span(fact.phase, now - round(fact.seconds * 1e9))
            span.set_attributes(_plain(fact.attributes))
            if fact.kind == "lost":
                span.set_attribute("perago.swap", "lost")
            elif fact.kind == "failed":
                _fail(span, fact.error_type, fact.error)
            span.end(now)

    def end(self, outcome: Outcome, reason: str | None) -> None:
        if self._under_way is not None:  # its executor died or was killed during the phase
            span = self._phase_span(*self._under_way)
            _fail(span, None, "the attempt ended during this phase")
            span.end()
        self._span.set_attribute(instruments.OUTCOME, outcome.value)
        if outcome is not Outcome.COMPLETED:
            _fail(self._span, outcome.value, reason or outcome.value)
        self._span.end()

    def _phase_span(self, phase: str, began: int) -> Span:
        return self._tracer.start_span(
            phase, context=self._context, start_time=began, attributes={instruments.PHASE: phase}
        )


class OtelTraces:
    """All spans of one process.

    Args:
        processor: exports them; this object takes ownership.
    """

    def __init__(self, resource: Resource, processor: SpanProcessor, version: str) -> None:
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("perago", version)

    def begin(self, execution: Execution) -> AttemptSpans:
        return AttemptSpans(self._tracer, execution)

    def close(self) -> None:
        """Export waiting spans, and end the exporter's thread."""
        self._provider.shutdown()


def _carrier(context: TraceContext) -> dict[str, str]:
    state = {"tracestate": context.tracestate} if context.tracestate else {}
    return {"traceparent": context.traceparent, **state}


def _attributes_of(execution: Execution) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        instruments.TASK: execution.task,
        "perago.workflow.id": execution.workflow_instance_id,
        "perago.task.id": execution.task_id,
        "perago.task.retry_count": execution.retry_count,
        "perago.execution.id": execution.execution_id,
    }
    if execution.reference_task_name is not None:
        found["perago.task.reference_name"] = execution.reference_task_name
    return found


def _plain(attributes: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """A phase's attributes for a span: masked, shortened, without nested values."""
    masked: Mapping[str, Any] = mask_json(dict(attributes))
    return {
        f"perago.{name}": value[:MAX_TEXT_LENGTH] if isinstance(value, str) else value
        for name, value in masked.items()
        if isinstance(value, str | int | float | bool)
    }


def _fail(span: Span, error_type: str | None, text: str) -> None:
    if error_type is not None:
        span.set_attribute(instruments.ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR, mask_text(text)[:MAX_TEXT_LENGTH]))
