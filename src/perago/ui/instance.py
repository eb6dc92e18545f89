"""A workflow run on a Conductor server as facts for the page of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from perago.engines.conductor.workflow import ConductorTask, ConductorWorkflow
from perago.engines.local.summary import result_in
from perago.running.task_state import is_unseen
from perago.ui.boxes import Box, TryFacts, boxes_of
from perago.workflows.graph import WorkflowGraph

_SCHEDULED = "SCHEDULED"


def tries_of(workflow: ConductorWorkflow, cached: Mapping[str, str], now: datetime) -> list[TryFacts]:
    """Every try, in the order of scheduling, those of a sub-workflow right after it.

    Args:
        cached: by the path of a task, the commit whose result it took.
        now: the end of what still runs.
    """
    return [_facts(workflow, task, cached, now) for task in workflow.tasks]


def seen_of(workflow: ConductorWorkflow, tries: Sequence[TryFacts]) -> list[TryFacts]:
    """Those that people see."""
    pairs = zip(tries, workflow.tasks, strict=True)
    return [one for one, task in pairs if not is_unseen(task.task_name, task.status)]


def instance_boxes(graph: WorkflowGraph, tries: Sequence[TryFacts]) -> Sequence[Box]:
    """The tasks of a workflow in order."""
    return boxes_of(graph.nodes, {one.task: one for one in tries})


def _facts(workflow: ConductorWorkflow, task: ConductorTask, cached: Mapping[str, str], now: datetime) -> TryFacts:
    started = datetime.fromtimestamp(task.started_time / 1000, UTC) if task.started_time else None
    duration = None
    if started is not None:
        duration = task.seconds if task.has_ended else max((now - started).total_seconds(), 0.0)
    is_done = task.status == "COMPLETED"
    return TryFacts(
        task=task.reference_task_name,
        number=task.retry_count + 1,
        status=task.status,
        started=started,
        duration=duration,
        output_ref=task.output_ref,
        result=result_in(task.output) if is_done else None,
        reason=None if is_done or task.status == _SCHEDULED else workflow.reason_of(task),
        cached_from=cached.get(task.reference_task_name) if is_done else None,
        code=None,
        worker=task.worker_id,
    )
