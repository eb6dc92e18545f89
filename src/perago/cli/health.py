"""The pages of a worker for probes and Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perago.settings import RuntimeConfig
from perago.telemetry.sink import Telemetry
from perago.worker.supervisor.health import checks_object

if TYPE_CHECKING:
    from perago.worker.supervisor.supervisor import Supervisor


@contextmanager
def serve_health(config: RuntimeConfig, supervisor: Supervisor, telemetry: Telemetry) -> Iterator[None]:
    """Serve `/healthz`, `/readyz` and, if there are metrics, `/metrics` at the configured address, if there is one.

    Raises:
        RuntimeConfigError: the address cannot be used.
    """
    if config.health_address is None:
        yield
        return
    from perago.telemetry.endpoint import Endpoint, Page, json_page

    def healthz() -> Page:
        health = supervisor.health()
        return json_page({"live": health.is_live, "checks": checks_object(health.live)}, ok=health.is_live)

    def readyz() -> Page:
        health = supervisor.health()
        return json_page({"ready": health.is_ready, "checks": checks_object(health.all)}, ok=health.is_ready)

    pages = {"/healthz": healthz, "/readyz": readyz}
    if config.prometheus == "on" and not config.telemetry_disabled:
        from perago.telemetry.otel import PROMETHEUS_CONTENT_TYPE

        pages["/metrics"] = lambda: Page(telemetry.prometheus_text(), PROMETHEUS_CONTENT_TYPE)
    with Endpoint(config.health_address, pages) as endpoint:
        supervisor.journal.tell(logging.INFO, f"serves {', '.join(pages)} on {endpoint.url}")
        yield
