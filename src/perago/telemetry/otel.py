"""The sink that uses OpenTelemetry's SDK. Import it late, because it loads the SDK."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from perago._version import __version__
from perago.telemetry.facts import Execution, Outcome, PhaseFact, TaskValue, WorkflowFact
from perago.telemetry.instruments import Instrument
from perago.telemetry.measures import AttemptMeasures, Measurement
from perago.telemetry.otel_metrics import OtelMetrics
from perago.telemetry.otel_traces import AttemptSpans, OtelTraces
from perago.telemetry.sink import Reading
from perago.values.trace_context import TraceContext

SPANS_QUEUED = 2048
"""Limit for spans that wait for export; beyond it, the oldest are dropped."""

SPANS_SECONDS = 5.0
"""Interval between exports of spans."""

CLOSE_SECONDS = 5.0
"""Limit for the last export, so that an unreachable receiver does not delay the end of the process."""

TELL_SECONDS = 60.0
"""Minimum time between log messages about failing telemetry."""

PROMETHEUS_CONTENT_TYPE = CONTENT_TYPE_LATEST

_LOGGER = logging.getLogger("perago.telemetry")


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """The receiver of a signal, by OTLP over HTTP.

    Attributes:
        endpoint: URL of the signal.
        timeout_seconds: per export; None for OpenTelemetry's default, 10.
        interval_seconds: between exports of metrics; None for the default, 60.
    """

    endpoint: str
    compression: Literal["gzip"] | None = None
    timeout_seconds: float | None = None
    interval_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class OtelSettings:
    """What is recorded, and its receivers.

    Attributes:
        instance_id: `service.instance.id`.
        metrics, traces: None to send none.
        prometheus: keep metrics for scraping; see `OtelTelemetry.prometheus_text`.
    """

    instance_id: str
    metrics: Receiver | None = None
    traces: Receiver | None = None
    prometheus: bool = False


@dataclass(frozen=True)
class _Attempt:
    execution: Execution
    measures: AttemptMeasures
    spans: AttemptSpans | None
    began: float


class OtelTelemetry:
    """Implements `sink.Telemetry`. Owns its exporters' threads until `close`."""

    wants_source = False

    def __init__(self, settings: OtelSettings) -> None:
        resource = _resource(settings.instance_id)
        self._registry = CollectorRegistry() if settings.prometheus else None
        self._metrics = OtelMetrics(resource, _readers(settings, self._registry), __version__)
        self._traces = None
        if settings.traces is not None:
            self._traces = OtelTraces(resource, _span_processor(settings.traces), __version__)
        self._attempts: dict[str, _Attempt] = {}
        self._told = float("-inf")
        self._is_closed = False

    def begin(self, execution: Execution) -> TraceContext | None:
        self._guarded(lambda: self._begin(execution))
        attempt = self._attempts.get(execution.execution_id)
        return execution.trace if attempt is None or attempt.spans is None else attempt.spans.context

    def phase(self, execution_id: str, fact: PhaseFact) -> None:
        self._guarded(lambda: self._take_phase(execution_id, fact))

    def value(self, execution_id: str, value: TaskValue) -> None:
        self._guarded(lambda: self._take_value(execution_id, value))

    def end(self, execution_id: str, outcome: Outcome, reason: str | None = None) -> None:
        self._guarded(lambda: self._end(execution_id, outcome, reason))

    def workflow(self, fact: WorkflowFact) -> None:
        """Metrics and traces are of attempts."""

    def count(self, instrument: Instrument) -> None:
        self._guarded(lambda: self._metrics.record([Measurement(instrument, 1)]))

    def watch(self, instrument: Instrument, reading: Reading) -> None:
        self._guarded(lambda: self._metrics.watch(instrument, reading))

    def prometheus_text(self) -> bytes:
        """See `sink.Telemetry`; empty unless enabled."""
        return b"" if self._registry is None else generate_latest(self._registry)

    def close(self, seconds: float = CLOSE_SECONDS) -> bool:
        """Export a last time and end the threads. Returns whether that was done in time; the rest ends with the
        process. May be called twice.

        Args:
            seconds: limit for waiting.
        """
        if self._is_closed:
            return True
        self._is_closed = True
        closing = [
            threading.Thread(target=self._guarded, args=(end,), name="perago-telemetry-end", daemon=True)
            for end in self._ends(seconds)
        ]
        for thread in closing:
            thread.start()
        deadline = time.monotonic() + seconds
        for thread in closing:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in closing)

    def _ends(self, seconds: float) -> list[Callable[[], None]]:
        metrics: list[Callable[[], None]] = [lambda: self._metrics.close(seconds)]
        return metrics if self._traces is None else [*metrics, self._traces.close]

    def _begin(self, execution: Execution) -> None:
        spans = None if self._traces is None else self._traces.begin(execution)
        attempt = _Attempt(execution, AttemptMeasures(execution), spans, time.monotonic())
        self._attempts[execution.execution_id] = attempt
        self._metrics.record(attempt.measures.begin())

    def _take_phase(self, execution_id: str, fact: PhaseFact) -> None:
        attempt = self._attempts.get(execution_id)
        if attempt is None:
            return
        self._metrics.record(attempt.measures.take(fact))
        if attempt.spans is not None:
            attempt.spans.take(fact)

    def _take_value(self, execution_id: str, value: TaskValue) -> None:
        attempt = self._attempts.get(execution_id)
        if attempt is not None:
            self._metrics.record_value(attempt.execution.task, value)

    def _end(self, execution_id: str, outcome: Outcome, reason: str | None) -> None:
        attempt = self._attempts.pop(execution_id, None)
        if attempt is None:
            return
        self._metrics.record(attempt.measures.end(outcome, time.monotonic() - attempt.began))
        if attempt.spans is not None:
            attempt.spans.end(outcome, reason)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as exc:  # noqa: BLE001 - the protocol must not raise
            self._tell(exc)

    def _tell(self, exc: Exception) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            _LOGGER.error("telemetry is incomplete, because recording it failed", exc_info=exc)


def _resource(instance_id: str) -> Resource:
    """The resource. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` override these values."""
    own = {"service.name": "perago", "service.version": __version__, "service.instance.id": instance_id}
    return Resource.create(own).merge(OTELResourceDetector().detect())


def _readers(settings: OtelSettings, registry: CollectorRegistry | None) -> list[MetricReader]:
    readers: list[MetricReader] = []
    if settings.metrics is not None:
        receiver = settings.metrics
        exporter = OTLPMetricExporter(
            endpoint=receiver.endpoint,
            timeout=receiver.timeout_seconds,
            compression=_compression(receiver),
        )
        interval = None if receiver.interval_seconds is None else receiver.interval_seconds * 1000
        readers.append(PeriodicExportingMetricReader(exporter, export_interval_millis=interval))
    if registry is not None:
        readers.append(PrometheusMetricReader(disable_target_info=False, scope_info_enabled=False, registry=registry))
    return readers


def _span_processor(receiver: Receiver) -> BatchSpanProcessor:
    exporter = OTLPSpanExporter(
        endpoint=receiver.endpoint, timeout=receiver.timeout_seconds, compression=_compression(receiver)
    )
    return BatchSpanProcessor(exporter, max_queue_size=SPANS_QUEUED, schedule_delay_millis=SPANS_SECONDS * 1000)


def _compression(receiver: Receiver) -> Compression:
    return Compression.Gzip if receiver.compression == "gzip" else Compression.NoCompression
