"""What a Conductor server can do again with a workflow, and what it would lose.

`tests/conductor/test_facts_again.py` pins the behaviour of the server that these decisions follow:

- `retry` tries again what has failed or was cancelled. It fails with status 500 if a JOIN has failed, and a task that
  the JOIN waits for has never been scheduled. It refuses if nothing has failed, as after a TERMINATE task.
- A JOIN that looks while a `retry` stores its tries may see those that were cancelled before. It is CANCELED then, and
  ends the workflow as TERMINATED. Each later `retry` ends so, too, before its tries are handed out.
- `rerun` from a task removes all tries that were scheduled later. It schedules only what follows the task in its own
  sequence: in a fork, the other branches and the JOIN are gone, and the workflow never ends. A fork, a JOIN or a
  sub-workflow that it starts from does nothing.
- `rerun` from a task of a sub-workflow removes nothing in the workflow around it.
- `rerun` without a task begins anew.
- A try that a `rerun` schedules again is never handed out if its task has a `concurrentExecLimit`. That is the one to
  start from, and each failed one before it.
- A `retry` of a JOIN, or of a task beside a sub-workflow that goes on, counts up the try that is there. A `rerun` that
  removes such a try does not schedule its task again, and the workflow never ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perago.engines.conductor.workflow import ConductorTask, ConductorWorkflow
from perago.errors import WorkflowStateError
from perago.values.record import WITHIN, listing_name

_BY_THE_SERVER = "failed with status: TERMINATED"
"""In the server's reason for a workflow that it has ended because of a cancelled task, but not in that of a person."""

Load = Callable[[str], ConductorWorkflow]
"""Reads an instance by its id."""

_WAITS = frozenset({"JOIN", "DO_WHILE"})
"""Kinds that a retry resumes if they were cancelled, in addition to the tasks that it retries."""


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """A rerun that the server can do.

    Attributes:
        task_id: of the try to start from; None to begin anew.
        start: the reference name of its task; None to begin anew.
        tasks: the newest tries of the tasks that are run again, in order.
    """

    workflow_id: str
    task_id: str | None
    start: str | None
    tasks: tuple[ConductorTask, ...]

    @property
    def replaced(self) -> tuple[ConductorTask, ...]:
        """Those whose commits the new tries replace on the branch."""
        return tuple(task for task in self.tasks if task.has_published)


def expect_retry(workflow: ConductorWorkflow, load: Load) -> None:
    """Check that a retry of a workflow can work.

    Args:
        workflow: with the tasks of its sub-workflows.

    Raises:
        WorkflowStateError: it cannot.
    """
    _expect_whole(workflow)
    _expect_ended(workflow)
    if workflow.status == "COMPLETED":
        raise WorkflowStateError(f"{_named(workflow)} is COMPLETED; nothing failed. {rerun_advice(workflow, load)}")
    if not can_retry(workflow, load):
        raise WorkflowStateError(cannot_retry(workflow, load))


def cannot_retry(workflow: ConductorWorkflow, load: Load) -> str:
    """Why the server cannot retry a workflow that has not completed, and what can be done."""
    why = "none of its tasks has failed or was cancelled"
    if _is_ended_by_join(workflow):
        why = "a JOIN took tries that were cancelled for the newest ones, and would again"
    elif _retried(workflow, load) is None:
        why = "a JOIN failed before all branches of its fork reached their last task"
    return f"Conductor cannot retry {_named(workflow)}: {why}. {rerun_advice(workflow, load)}"


def can_retry(workflow: ConductorWorkflow, load: Load) -> bool:
    """Whether the server can retry a workflow that has ended without having completed."""
    return not _is_ended_by_join(workflow) and bool(_retried(workflow, load))


def expect_running(workflow: ConductorWorkflow, load: Load) -> None:
    """Check that a workflow can be cancelled.

    Raises:
        WorkflowStateError: it has ended, or is a part of another one.
    """
    _expect_whole(workflow)
    if workflow.has_ended:
        raise WorkflowStateError(f"{_named(workflow)} has ended: it is {workflow.status}. {advice(workflow, load)}")


def plan_rerun(workflow: ConductorWorkflow, start: str | None, load: Load) -> Rerun:
    """The rerun from a task, or from the beginning.

    Args:
        workflow: with the tasks of its sub-workflows.
        start: the reference name of the task; None for the beginning.

    Raises:
        WorkflowStateError: the server cannot do it without losing something.
    """
    _expect_whole(workflow)
    _expect_ended(workflow)
    names = _names(workflow)
    points = _points(workflow, load)
    if start is None:
        if _counted_up(workflow):
            raise WorkflowStateError(f"Conductor cannot run {_named(workflow)} again. {_run_again(workflow, None)}")
        return _rerun(workflow, None, points)
    if start not in names and listing_name(start) in names:  # the name of a map
        start = listing_name(start)
    if start not in names:
        raise WorkflowStateError(f"{_named(workflow)} has no task {start!r}. It has {', '.join(names) or 'no tasks'}")
    if start not in points:
        before = [name for name in names[: names.index(start)] if name in points]
        raise WorkflowStateError(
            f"Conductor cannot run {start!r} again alone: the workflow would lose the tasks beside it, or never "
            f"end. {_run_again(workflow, before[-1] if before else None)}"
        )
    return _rerun(workflow, start, points)


def advice(workflow: ConductorWorkflow, load: Load) -> str:
    """The command that goes on with a workflow that has ended."""
    if workflow.parent_id is not None:
        return f"It is a part of workflow {workflow.parent_id}"
    refused = next((task for task in workflow.failed_tasks if _is_refused(task)), None)
    if refused is not None:
        return (
            f"`perago submit` starts it anew, from the current head: a retry of {refused.reference_task_name!r} would "
            f"start from the same commit, and be refused again"
        )
    if workflow.status != "COMPLETED" and can_retry(workflow, load):
        return f"`perago retry {workflow.workflow_id}` retries its failed tasks"
    return rerun_advice(workflow, load)


def rerun_advice(workflow: ConductorWorkflow, load: Load) -> str:
    """The rerun that repeats the fewest completed tasks; from the beginning if the workflow has completed."""
    names = _names(workflow)
    failed = _first_without_result(workflow)
    points = _points(workflow, load)
    before = [name for name in names[: failed + 1] if name in points] if failed is not None else []
    return _run_again(workflow, before[-1] if before else None)


# ---------------------------------------------------------------- retry


def _retried(workflow: ConductorWorkflow, load: Load) -> frozenset[str] | None:
    """The tasks that the server finds for a retry; None if the retry fails because of a JOIN."""
    instance = workflow
    while (inner := _resumed_id(instance)) is not None:
        instance = load(inner)
    found: set[str] = set()
    for step in sorted(instance.steps, key=lambda step: step.seq):
        if step.kind == "JOIN" and step.status == "FAILED" and not _all_scheduled(step, instance):
            return None
        if step.has_failed or (step.status == "CANCELED" and step.kind not in _WAITS):
            found.add(step.reference_task_name)
        else:
            found.discard(step.reference_task_name)
    return frozenset(found)


def _is_ended_by_join(workflow: ConductorWorkflow) -> bool:
    """Whether the server, and nobody else, has ended a workflow because of tries that were cancelled."""
    return workflow.status == "TERMINATED" and _BY_THE_SERVER in (workflow.reason or "")


def _resumed_id(instance: ConductorWorkflow) -> str | None:
    """The sub-workflow that the server resumes instead of the instance; None if it retries the instance itself."""
    if not resumes_sub_workflow(instance):
        return None
    first = next((step for step in instance.steps if step.has_failed or step.status == "CANCELED"), None)
    return None if first is None or first.kind != "SUB_WORKFLOW" else first.sub_workflow_id


def resumes_sub_workflow(instance: ConductorWorkflow) -> bool:
    """Whether a sub-workflow of an instance has failed. One that was cancelled begins anew."""
    last = {step.reference_task_name: step for step in instance.steps}
    return any(step.sub_workflow_id is not None and step.has_failed for step in last.values())


def _all_scheduled(join: ConductorTask, instance: ConductorWorkflow) -> bool:
    awaited = join.input_data.get("joinOn")
    names = {step.reference_task_name for step in instance.steps}
    return isinstance(awaited, list) and names.issuperset(map(str, awaited))


# ---------------------------------------------------------------- rerun


def _points(workflow: ConductorWorkflow, load: Load, within: str = "") -> dict[str, str]:
    """The tasks that a rerun can start from without losing any: it removes exactly what it runs again.

    Returns:
        The id of the first try of each. A rerun from a later try would leave the earlier ones.
    """
    line = set(_main_line(workflow.definition.get("tasks")))
    found: dict[str, str] = {}
    newest = max(workflow.steps, key=lambda step: step.seq, default=None)
    lost = max((step.seq for step in _counted_up(workflow)), default=0)
    for step in sorted(workflow.steps, key=lambda step: step.seq):
        if step.is_limited and step.status != "COMPLETED":
            break
        if step.reference_task_name not in line or step.seq < lost or step.is_limited:
            continue
        if step.kind == "SIMPLE":
            found.setdefault(within + step.reference_task_name, step.task_id)
        elif step.kind == "SUB_WORKFLOW" and step is newest and step.sub_workflow_id is not None:
            found |= _points(load(step.sub_workflow_id), load, within + step.reference_task_name + WITHIN)
    return found


def _counted_up(workflow: ConductorWorkflow) -> list[ConductorTask]:
    """The steps that a rerun cannot schedule again, because a retry has counted up their try instead of adding one."""
    tries = Counter(step.reference_task_name for step in workflow.steps)
    return [step for step in workflow.steps if step.retry_count >= tries[step.reference_task_name]]


def _main_line(tasks: object) -> Iterator[str]:
    """The reference names of a sequence, with those in its switches: not within forks and loops."""
    for task in tasks if isinstance(tasks, list) else ():
        yield str(task.get("taskReferenceName"))
        cases: dict[str, Any] = task.get("decisionCases") or {}
        for part in (*cases.values(), task.get("defaultCase")):
            yield from _main_line(part)


def _rerun(workflow: ConductorWorkflow, start: str | None, points: Mapping[str, str]) -> Rerun:
    task_id = None if start is None else points[start]
    begin = next((index for index, task in enumerate(workflow.tasks) if task.task_id == task_id), 0)
    tasks = {task.reference_task_name: task for task in workflow.tasks[begin:]}
    return Rerun(workflow_id=workflow.workflow_id, task_id=task_id, start=start, tasks=tuple(tasks.values()))


def _names(workflow: ConductorWorkflow) -> Sequence[str]:
    """The tasks in the order in which they were first scheduled, those of a sub-workflow right after it."""
    return list(dict.fromkeys(task.reference_task_name for task in workflow.tasks))


def _is_refused(task: ConductorTask) -> bool:
    """Whether the publish fence has refused the task for good."""
    return task.is_refused and task.status == "FAILED_WITH_TERMINAL_ERROR"


def _first_without_result(workflow: ConductorWorkflow) -> int | None:
    last = {task.reference_task_name: task for task in workflow.tasks}
    names = _names(workflow)
    return next((index for index, name in enumerate(names) if last[name].status != "COMPLETED"), None)


def _run_again(workflow: ConductorWorkflow, start: str | None) -> str:
    if start is None and (lost := _counted_up(workflow)):
        return f"Start it anew with `perago submit`: its {lost[-1].reference_task_name!r} cannot be scheduled again"
    if start is None:
        return f"`perago rerun {workflow.workflow_id}` runs it again from the beginning"
    return f"`perago rerun {workflow.workflow_id} --from {start}` runs it again from there"


# ---------------------------------------------------------------- states


def _expect_whole(workflow: ConductorWorkflow) -> None:
    if workflow.parent_id is not None:
        raise WorkflowStateError(
            f"{_named(workflow)} is a sub-workflow of workflow {workflow.parent_id}. Give the id of that one"
        )


def _expect_ended(workflow: ConductorWorkflow) -> None:
    if not workflow.has_ended:
        raise WorkflowStateError(
            f"{_named(workflow)} is {workflow.status}. `perago watch {workflow.workflow_id}` follows it, and "
            f"`perago cancel {workflow.workflow_id}` ends it"
        )


def _named(workflow: ConductorWorkflow) -> str:
    return f"workflow {workflow.workflow_id} ({workflow.name})"
