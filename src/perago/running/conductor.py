"""Workflows on a Conductor server in the form of the runs of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from perago.engines.conductor.workflow import ConductorTask, ConductorWorkflow
from perago.engines.local import RunSummary, TaskSummary
from perago.engines.local.record import workspace_field
from perago.engines.local.summary import RUNNING, result_in
from perago.errors import WorkflowDefinitionError
from perago.values.models import RUN_PREFIX
from perago.values.redaction import mask_json
from perago.workflows.definition_json import from_json
from perago.workflows.forks import known_forks
from perago.workflows.graph import SubWorkflowNode, WorkflowGraph
from perago.workflows.load import with_sub_workflows

_RUNNING = "RUNNING"


def summary_of(workflow: ConductorWorkflow) -> RunSummary:
    """A workflow instance as a run in a list.

    The statuses are those of a run; one that the server shows as PAUSED is. The params are those that its definition
    names as plain; the code of its tasks is unknown.
    """
    newest = {task.reference_task_name: task for task in workflow.tasks}
    branches = (task.output_branch for task in workflow.tasks)
    started, ended = workflow.started_time, workflow.ended_time or round(time.time() * 1000)
    return RunSummary(
        run_id=workflow.workflow_id,
        status=RUNNING if workflow.status == _RUNNING else workflow.status,
        task_name=workflow.name,
        repository=workspace_field(workflow.input_data, "repository"),
        branch=workspace_field(workflow.input_data, "branch"),
        input_ref=workspace_field(workflow.input_data, "ref"),
        tries=len(workflow.tasks),
        output_ref=workspace_field(workflow.output, "ref"),
        run_branch=next((one for one in branches if one is not None and one.startswith(RUN_PREFIX)), None),
        reason=workflow.named_reason,
        started=datetime.fromtimestamp(started / 1000, UTC) if started else None,
        duration=max(ended - started, 0) / 1000 if started else None,
        params=workflow.params or {},
        result=mask_json(result_in(workflow.output)) if workflow.status == "COMPLETED" else None,
        kind="workflow",
        tasks=tuple(map(_task, newest.values())),
    )


def repository_of(workflow: ConductorWorkflow) -> str | None:
    """The name of the repository that an instance is on: that of its input, or else of the first task that has one."""
    inputs = (workflow.input_data, *(task.input_data for task in workflow.tasks))
    return next((name for name in (workspace_field(one, "repository") for one in inputs) if name is not None), None)


def graph_of(
    workflow: ConductorWorkflow, registered: Callable[[SubWorkflowNode], Mapping[str, Any] | None]
) -> WorkflowGraph:
    """The workflow of an instance, for its order; without nodes if it has something that Perago does not run.

    Args:
        registered: the definition that a node names.
    """
    try:
        graph = with_sub_workflows(from_json(workflow.definition), lambda node: from_json(registered(node)))
        for one in graph.with_sub_workflows():
            list(known_forks(one.nodes))
    except (WorkflowDefinitionError, RecursionError):
        return WorkflowGraph(name=workflow.name, nodes=())
    return graph


def _task(task: ConductorTask) -> TaskSummary:
    return TaskSummary(
        reference_task_name=task.reference_task_name,
        task_name=task.task_name,
        status=task.status,
        tries=task.retry_count + 1,
        output_ref=task.output_ref,
        duration=task.seconds if task.has_ended else None,
    )
