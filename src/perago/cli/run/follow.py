"""Follows a workflow on a Conductor server until it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from perago.cli.failure import DONE, FENCE_REFUSED, INTERRUPTED, TASK_FAILED
from perago.cli.output import note, print_json, result_on_stdout
from perago.cli.run.unserved import Unserved, waiting_in, warning_for
from perago.cli.run.workflow_view import open_view
from perago.engines.conductor import ConductorEngine, ConductorTask, ConductorWorkflow
from perago.errors import EngineError, TaskNotFoundError
from perago.running.conductor import graph_of
from perago.running.text import printable, reason_within
from perago.running.view import WorkflowView
from perago.values.record import WITHIN, TryStatus
from perago.values.workflow_params import has_result, possible_secrets, texts_in
from perago.workflows.graph import WorkflowGraph

LOOK_SECONDS = 0.5
"""Between two looks at the server, each of which reads the whole workflow."""

PATIENCE_SECONDS = 60.0
"""A server that does not answer for so long ends the following; the workflow goes on."""


def follow(engine: ConductorEngine, workflow_id: str, *, start: str = "perago start MODULE", as_json: bool) -> int:
    """Show a workflow until it ends, and print its result; returns the exit code.

    An interrupt leaves the workflow running, and says so.

    Args:
        start: the command that starts a worker for its tasks.

    Raises:
        TaskNotFoundError: there is no such workflow.
        EngineError: the server has not answered for a minute.
    """
    workflow = engine.get_workflow(workflow_id)
    try:
        with open_view(_graph_of(engine, workflow)) as view:
            shown, unserved = _Shown(view), Unserved(engine.last_poll)
            shown.take(workflow)
            while not workflow.has_ended:
                with suppress(EngineError):  # the next look at the workflow waits for the server
                    for queue in unserved.look(waiting_in(workflow), time.monotonic()):
                        view.warn(warning_for(queue, start))
                time.sleep(LOOK_SECONDS)
                workflow = _looked(engine, workflow_id)
                shown.take(workflow)
    except KeyboardInterrupt:
        note(f"Workflow {workflow_id} is still running. `perago watch {workflow_id}` follows it, and")
        note(f"`perago cancel {workflow_id}` ends it.")
        return INTERRUPTED
    return _told(engine, workflow, view.with_items(workflow.named_reason), as_json=as_json)


def _looked(engine: ConductorEngine, workflow_id: str) -> ConductorWorkflow:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return engine.get_workflow(workflow_id)
        except TaskNotFoundError:
            raise
        except EngineError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(LOOK_SECONDS)


class _Shown:
    """What a view has been told of a workflow's tries."""

    def __init__(self, view: WorkflowView) -> None:
        self._view = view
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def take(self, workflow: ConductorWorkflow) -> None:
        """Show what is new."""
        self._view.choose(workflow.taken_cases)
        self._view.schedule(task.reference_task_name for task in workflow.tasks if task.status == TryStatus.SCHEDULED)
        ended: list[ConductorTask] = []  # the tasks of a sub-workflow follow it, and end before it
        for task in workflow.tasks:
            while ended and not task.reference_task_name.startswith(ended[-1].reference_task_name + WITHIN):
                self._end(workflow, ended.pop())
            if task.status == TryStatus.SCHEDULED:
                if task.due_in > 0:
                    self._view.retry(task.reference_task_name, task.due_in)
                continue
            if task.task_id not in self._begun:
                self._begun.add(task.task_id)
                self._view.begin(task.reference_task_name, task.retry_count + 1, _showable(workflow, task))
            if task.has_ended:
                ended.append(task)
        while ended:
            self._end(workflow, ended.pop())

    def _end(self, workflow: ConductorWorkflow, task: ConductorTask) -> None:
        if task.task_id in self._ended:
            return
        self._ended.add(task.task_id)
        why = self._view.with_items(workflow.reason_of(task))
        reason = None if task.status == TryStatus.COMPLETED else reason_within(task.task_name, why)
        self._view.end(task.reference_task_name, TryStatus(task.status), task.output_ref, reason, seconds=task.seconds)


def _showable(workflow: ConductorWorkflow, task: ConductorTask) -> dict[str, Any]:
    """The input of a task without params that may have a secret of the workflow in them."""
    params = task.input_data.get("params")
    if not isinstance(params, Mapping):
        return {}
    secrets = possible_secrets(workflow.definition, workflow.input_data)
    return {"params": {name: value for name, value in params.items() if secrets.isdisjoint(texts_in(value))}}


def _graph_of(engine: ConductorEngine, workflow: ConductorWorkflow) -> WorkflowGraph:
    return graph_of(workflow, lambda node: engine.get_workflow_definition(node.workflow_name, node.version))


def _told(engine: ConductorEngine, workflow: ConductorWorkflow, reason: str | None, *, as_json: bool) -> int:
    is_done = workflow.status == "COMPLETED"
    with result_on_stdout():
        if as_json:
            print_json(as_object(workflow))
        elif is_done and has_result(workflow.definition):
            print_json(workflow.output.get("result", workflow.output))
    if is_done:
        note(f"Workflow {workflow.name} is done: {workflow.workflow_id}.")
        return DONE
    why = printable(reason or "no reason was given")
    note(f"error: workflow {workflow.name} is {workflow.status}: {why}")
    note(f"{engine.next_command(workflow)}.")
    return FENCE_REFUSED if any(task.is_refused for task in workflow.failed_tasks) else TASK_FAILED


def as_object(workflow: ConductorWorkflow) -> dict[str, Any]:
    """A workflow instance as JSON."""
    last = {task.reference_task_name: task for task in workflow.tasks}
    return {
        "workflow_id": workflow.workflow_id,
        "workflow": workflow.name,
        "status": workflow.status,
        "output": dict(workflow.output) or None,
        "reason": workflow.named_reason,
        "tasks": [
            {
                "reference_name": task.reference_task_name,
                "task": task.task_name,
                "status": task.status,
                "tries": task.retry_count + 1,
                "seconds": task.seconds,
                "output": dict(task.output) or None,
                "reason": task.reason,
            }
            for task in last.values()
        ],
    }
