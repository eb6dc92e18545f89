"""The engine of `perago run`: tasks and workflows in one process, with a record of every run on disk."""

from perago.engines.local.engine import LocalEngine
from perago.engines.local.run import LocalRun, WorkflowRun
from perago.engines.local.summary import RunSummary, TaskSummary

__all__ = ["LocalEngine", "LocalRun", "RunSummary", "TaskSummary", "WorkflowRun"]
