"""Opens telemetry as configured. The libraries of OpenTelemetry and OpenLineage are imported only if something asks for
them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from perago.errors import RuntimeConfigError
from perago.running.lineage import open_lineage
from perago.settings import RuntimeConfig
from perago.telemetry.sink import OFF, Both, Telemetry
from perago.values.stores import StoreSettings

if TYPE_CHECKING:
    from perago.telemetry.otel import OtelSettings, OtelTelemetry

_LOGGER = logging.getLogger("perago.telemetry")

_INSTALL = "run `pip install 'perago[{}]'`"


@contextmanager
def open_telemetry(
    config: RuntimeConfig, instance_id: str, *, scraped: bool = False, store: StoreSettings | None = None
) -> Iterator[Telemetry]:
    """The sink that the settings ask for. On exit it sends what is pending, within `otel.CLOSE_SECONDS` and
    `openlineage.CLOSE_SECONDS`.

    Args:
        instance_id: identifies this process, unless the settings do.
        scraped: this process may serve metrics to Prometheus.
        store: of the attempts' workspaces; None without one.

    Raises:
        RuntimeConfigError: Prometheus is on, and its packages are not installed; the headers of the environment do
            not go to this receiver; or the variables of OpenLineage are wrong.
    """
    with ExitStack() as stack:
        opened = _opened(config, instance_id, scraped=scraped)
        telemetry: Telemetry = OFF
        if opened is not None:
            telemetry = opened
            stack.callback(_close, opened)
        lineage = open_lineage(os.environ, store, telemetry.count)
        if lineage is not None:
            telemetry = Both(telemetry, stack.enter_context(lineage))
        yield telemetry


def _close(opened: OtelTelemetry) -> None:
    if not opened.close():
        _LOGGER.warning("the telemetry receiver did not accept the last data in time; it was discarded")


def _opened(config: RuntimeConfig, instance_id: str, *, scraped: bool) -> OtelTelemetry | None:
    prometheus = scraped and config.prometheus == "on" and not config.telemetry_disabled
    if config.metrics is None and config.traces is None and not prometheus:
        return None
    config.expect_consent(*(name for name in config.refused if name.startswith("OTEL_")))
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        install = _INSTALL.format("otel")
        if prometheus:
            raise RuntimeConfigError(f"PERAGO_PROMETHEUS is on, but its packages are not installed; {install}")
        _LOGGER.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but nothing is sent: packages are missing; %s", install)
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
