"""The engine of `perago run`: tasks and workflows in one process, with a record of every run on disk."""

from perago.engines.local.engine import LocalEngine
from perago.engines.local.run import LocalAttempt, LocalRun, WorkflowRun
from perago.engines.local.summary import RunSummary, TaskSummary

__all__ = ["LocalAttempt", "LocalEngine", "LocalRun", "RunSummary", "TaskSummary", "WorkflowRun"]
