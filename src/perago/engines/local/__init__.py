"""The engine of `perago run`: one process, one attempt at a time, with a record of every run on disk."""

from perago.engines.local.engine import LocalEngine
from perago.engines.local.run import LocalAttempt, LocalRun
from perago.engines.local.summary import RunSummary

__all__ = ["LocalAttempt", "LocalEngine", "LocalRun", "RunSummary"]
