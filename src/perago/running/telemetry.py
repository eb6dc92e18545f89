"""Opens telemetry as configured. OpenTelemetry is imported only if the settings ask for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from perago.errors import RuntimeConfigError
from perago.settings import RuntimeConfig
from perago.telemetry.sink import OFF, Telemetry

if TYPE_CHECKING:
    from perago.telemetry.otel import OtelSettings, OtelTelemetry

_LOGGER = logging.getLogger("perago.telemetry")


_INSTALL = "run `pip install 'perago[otel]'`"


@contextmanager
def open_telemetry(config: RuntimeConfig, instance_id: str, *, scraped: bool = False) -> Iterator[Telemetry]:
    """The sink that the settings ask for. On exit it sends what is pending, within `otel.CLOSE_SECONDS`.

    Args:
        instance_id: identifies this process, unless the settings do.
        scraped: this process may serve metrics to Prometheus.

    Raises:
        RuntimeConfigError: Prometheus is on, and its packages are not installed; or the headers of the environment do
            not go to this receiver.
    """
    opened = _opened(config, instance_id, scraped=scraped)
    if opened is None:
        yield OFF
        return
    try:
        yield opened
    finally:
        if not opened.close():
            _LOGGER.warning("the telemetry receiver did not accept the last data in time; it was discarded")


def _opened(config: RuntimeConfig, instance_id: str, *, scraped: bool) -> OtelTelemetry | None:
    prometheus = scraped and config.prometheus == "on" and not config.telemetry_disabled
    if config.metrics is None and config.traces is None and not prometheus:
        return None
    config.expect_consent(*(name for name in config.refused if name.startswith("OTEL_")))
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        if prometheus:
            raise RuntimeConfigError(f"PERAGO_PROMETHEUS is on, but its packages are not installed; {_INSTALL}")
        _LOGGER.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but nothing is sent: packages are missing; %s", _INSTALL)
        return None
    from perago.telemetry.otel import OtelTelemetry

    return OtelTelemetry(_settings(config, config.instance_id or instance_id, prometheus=prometheus))


def _settings(config: RuntimeConfig, instance_id: str, *, prometheus: bool) -> OtelSettings:
    from perago.telemetry.otel import OtelSettings, Receiver

    metrics, traces = config.metrics, config.traces
    return OtelSettings(
        instance_id=instance_id,
        metrics=None
        if metrics is None
        else Receiver(
            endpoint=metrics.endpoint,
            compression=metrics.compression,
            timeout_seconds=_seconds(metrics.timeout_millis),
            interval_seconds=_seconds(metrics.export_interval_millis),
        ),
        traces=None
        if traces is None
        else Receiver(
            endpoint=traces.endpoint,
            compression=traces.compression,
            timeout_seconds=_seconds(traces.timeout_millis),
        ),
        prometheus=prometheus,
    )


def _seconds(millis: int | None) -> float | None:
    return None if millis is None else millis / 1000
