"""The Conductor server as an engine: attempts and their record, polling, leases, reports, definitions."""

from perago.http import need_aiohttp

need_aiohttp("conductor")

from perago.engines.conductor.attempt import ConductorAttempt  # noqa: E402
from perago.engines.conductor.engine import ConductorEngine, ConductorLease  # noqa: E402
from perago.engines.conductor.failure import ConductorError  # noqa: E402

__all__ = ["ConductorAttempt", "ConductorEngine", "ConductorError", "ConductorLease"]
