"""The Conductor server as an engine: attempts and their record, polling, leases, reports, definitions."""

from perago.engines.conductor.attempt import ConductorAttempt
from perago.engines.conductor.engine import ConductorEngine, ConductorLease
from perago.engines.conductor.failure import ConductorError

__all__ = ["ConductorAttempt", "ConductorEngine", "ConductorError", "ConductorLease"]
