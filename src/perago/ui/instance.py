"""A workflow run on a Conductor server as facts for the page of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from perago.engines.conductor.workflow import ConductorTask, ConductorWorkflow
from perago.engines.local.summary import result_in
from perago.running.task_state import is_unseen
from perago.ui.boxes import Box, TryFacts, boxes_of, phases_of
from perago.ui.conductor import NO_LOG, TryLog
from perago.values.timing import Timing
from perago.worker.supervisor.status import JobStatus, read_status
from perago.workflows.graph import WorkflowGraph

_SCHEDULED = "SCHEDULED"


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is known of a run besides what its server's document says.

    Attributes:
        cached: by the path of a task, the commit whose result it took.
        logs: by the id of a try, what its log says.
        jobs: by the id of a try, what a worker of this host does for it.
    """

    cached: Mapping[str, str]
    logs: Mapping[str, TryLog]
    jobs: Mapping[str, JobStatus]


def jobs_of(root: Path | None) -> Mapping[str, JobStatus]:
    """What the worker of a workspace root does, by the ids of tries."""
    status = read_status(root) if root is not None and root.is_dir() else None
    jobs = [slot.job for slot in status.slots if slot.job is not None] if status is not None else []
    return {job.task_id: job for job in jobs}


def tries_of(workflow: ConductorWorkflow, beside: Beside, now: datetime) -> list[TryFacts]:
    """Every try, in the order of scheduling, those of a sub-workflow right after it.

    Args:
        now: the end of what still runs.
    """
    return [_facts(workflow, task, beside, now) for task in workflow.tasks]


def seen_of(workflow: ConductorWorkflow, tries: Sequence[TryFacts]) -> list[TryFacts]:
    """Those that people see."""
    pairs = zip(tries, workflow.tasks, strict=True)
    return [one for one, task in pairs if not is_unseen(task.task_name, task.status)]


def instance_boxes(graph: WorkflowGraph, tries: Sequence[TryFacts]) -> Sequence[Box]:
    """The tasks of a workflow in order."""
    return boxes_of(graph.nodes, {one.task: one for one in tries})


def _facts(workflow: ConductorWorkflow, task: ConductorTask, beside: Beside, now: datetime) -> TryFacts:
    started = datetime.fromtimestamp(task.started_time / 1000, UTC) if task.started_time else None
    duration = None
    if started is not None:
        duration = task.seconds if task.has_ended else max((now - started).total_seconds(), 0.0)
    is_done = task.status == "COMPLETED"
    job = None if task.has_ended else beside.jobs.get(task.task_id)
    log = beside.logs.get(task.task_id, NO_LOG)
    timing = log.timing if task.has_ended and log.timing is not None else Timing()
    return TryFacts(
        task=task.reference_task_name,
        number=task.retry_count + 1,
        status=task.status,
        started=started,
        duration=duration,
        output_ref=task.output_ref,
        result=result_in(task.output) if is_done else None,
        reason=None if is_done or task.status == _SCHEDULED else workflow.reason_of(task),
        cached_from=(timing.cached_from or beside.cached.get(task.reference_task_name)) if is_done else None,
        code=None,
        worker=task.worker_id,
        phase="" if job is None else job.phase.replace("_", " "),
        progress="" if job is None else job.progress,
        phases=phases_of(timing.phases),
        lines=log.lines,
    )
