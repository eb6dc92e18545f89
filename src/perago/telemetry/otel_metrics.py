"""Measurements as OpenTelemetry metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource

from perago.telemetry import instruments
from perago.telemetry.facts import TaskValue
from perago.telemetry.instruments import INSTRUMENTS, SECONDS_BUCKETS, Instrument
from perago.telemetry.measures import Measurement
from perago.telemetry.sink import Reading
from perago.values.redaction import mask_text

MAX_TASK_INSTRUMENTS = 200
"""Names for values of bodies, per process. Values with further names are dropped and counted."""

MAX_LABELS = 16
MAX_LABEL_LENGTH = 256
"""Limits for a value of a body. The SDK limits the combinations of labels to 2,000 per metric, and counts others under
`otel.metric.overflow`."""

TASK_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 50, 100, 500, 1000, 5000, 10000, 100000, 1000000)
"""Bucket boundaries for values of unknown magnitude."""

Record = Callable[[float, Mapping[str, str]], None]


class OtelMetrics:
    """All instruments of one process.

    Args:
        readers: collect and export; this object takes ownership.
    """

    def __init__(self, resource: Resource, readers: Sequence[MetricReader], version: str) -> None:
        self._provider = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
        self._meter = self._provider.get_meter("perago", version)
        self._task_meter = self._provider.get_meter("perago.task", version)
        self._records = {
            instrument.name: _recorder(self._meter, instrument)
            for instrument in INSTRUMENTS
            if instrument.kind != "gauge"
        }
        self.record(Measurement(each, 0) for each in INSTRUMENTS if each.kind == "counter" and not each.attributes)
        self._task_records: dict[tuple[str, str], Record] = {}
        self._lock = threading.Lock()

    def record(self, measurements: Iterable[Measurement]) -> None:
        for measurement in measurements:
            self._records[measurement.instrument.name](measurement.value, measurement.attributes)

    def record_value(self, task: str, value: TaskValue) -> None:
        """Record a body's value under its own name; see `MAX_TASK_INSTRUMENTS`."""
        record = self._task_record(value)
        if record is None:
            self.record([Measurement(instruments.VALUES_DROPPED, 1, {instruments.TASK: task})])
            return
        labels = list(value.labels.items())[:MAX_LABELS]
        masked = {name[:MAX_LABEL_LENGTH]: mask_text(text)[:MAX_LABEL_LENGTH] for name, text in labels}
        record(value.value, {**masked, instruments.TASK: task})

    def watch(self, instrument: Instrument, reading: Reading) -> None:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            del options
            for label, count in reading().items():
                yield Observation(count, {instrument.attributes[0]: label} if instrument.attributes else {})

        self._meter.create_observable_gauge(
            instrument.name, [observe], unit=instrument.unit, description=instrument.description
        )

    def close(self, seconds: float) -> None:
        """Export a last time, and end the readers' threads."""
        self._provider.shutdown(timeout_millis=seconds * 1000)

    def _task_record(self, value: TaskValue) -> Record | None:
        key = (value.name.lower(), value.instrument)
        with self._lock:
            record = self._task_records.get(key)
            if record is None and self._may_be_new(value):
                record = self._task_records[key] = self._new_task_record(value)
        return record

    def _may_be_new(self, value: TaskValue) -> bool:
        """Whether a new name is allowed: below the limit, not one of Perago's, and not used for another kind."""
        name = value.name.lower()
        other = "gauge" if value.instrument == "histogram" else "histogram"
        is_ours = name.startswith(("perago.", "perago_", "otel.", "otel_"))
        return (
            len(self._task_records) < MAX_TASK_INSTRUMENTS and not is_ours and (name, other) not in self._task_records
        )

    def _new_task_record(self, value: TaskValue) -> Record:
        if value.instrument == "gauge":
            return self._task_meter.create_gauge(value.name).set
        return self._task_meter.create_histogram(value.name, explicit_bucket_boundaries_advisory=TASK_BUCKETS).record


def _recorder(meter: Meter, instrument: Instrument) -> Record:
    name, about = instrument.name, {"unit": instrument.unit, "description": instrument.description}
    match instrument.kind:
        case "counter":
            return meter.create_counter(name, **about).add
        case "updowncounter":
            return meter.create_up_down_counter(name, **about).add
        case _:
            return meter.create_histogram(name, **about, explicit_bucket_boundaries_advisory=SECONDS_BUCKETS).record
