"""The Conductor server as an engine: attempts and their record, polling, leases, reports, definitions,
workflows."""

from perago.http import need

need("urllib3", "conductor")

from perago.engines.conductor.engine import ConductorEngine  # noqa: E402 - after the check
from perago.engines.conductor.failure import ConductorError  # noqa: E402 - as above
from perago.engines.conductor.lease import ConductorLease  # noqa: E402 - as above
from perago.engines.conductor.workflow import ConductorTask, ConductorWorkflow  # noqa: E402 - as above

__all__ = [
    "ConductorEngine",
    "ConductorError",
    "ConductorLease",
    "ConductorTask",
    "ConductorWorkflow",
]
