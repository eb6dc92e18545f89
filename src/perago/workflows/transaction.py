"""The tasks with which a transactional workflow begins and ends. Every worker with a store serves them.

Their input is made when the workflow is declared. They have no bodies: an attempt of them asks the store
(`perago.attempt.transaction`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict

from perago.errors import required
from perago.tasks.controls import RetryPolicy, TaskControls, TimeoutPolicy
from perago.tasks.declare import TaskDefinition, task, task_of
from perago.values.json_text import JsonObject
from perago.values.spec import Isolation, WorkspaceSpec
from perago.workflows.expressions import escaped, expression
from perago.workflows.graph import BEGIN_TASK, END_TASK, Nodes, TaskNode

_OWNER = "tasks@perago.invalid"
_CONTROLS = TaskControls(
    retry=RetryPolicy(count=10, logic="EXPONENTIAL_BACKOFF", delay_seconds=1),
    timeout=TimeoutPolicy(policy="RETRY", response_seconds=60),
)


class BeginParams(BaseModel):
    """No params: the workspace says where the run begins."""


class Begun(BaseModel):
    """A run that has begun.

    Attributes:
        target: the workspace to publish to, with the commit that the run began at.
    """

    target: dict[str, Any]


class Scope(BaseModel):
    """What a task of the run could see; see `WorkspaceSpec`."""

    model_config = ConfigDict(frozen=True)

    prefix: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def as_spec(self) -> WorkspaceSpec:
        return WorkspaceSpec(prefix=self.prefix, include=[*self.include], exclude=[*self.exclude])


class EndParams(BaseModel):
    """What a run publishes.

    Attributes:
        workflow: its name.
        run: the workspace that its tasks have left: a commit of its branch, or a join of several.
        scopes: what its tasks could see, without those that declare snapshot. The end is refused if others changed any
            of it since the run began.
        isolation: "exclusive" if one of its tasks declares that; "snapshot" if all declare snapshot.
    """

    workflow: str
    run: dict[str, Any]
    scopes: list[Scope]
    isolation: Isolation = "serializable"


class PublishedTask(BaseModel):
    """What one task published on the run's branch."""

    task: str
    ref: str


class Published(BaseModel):
    """What a run has published.

    Attributes:
        workflow: its name.
        branch: the run's branch; ref: the commit of it that was published.
        tasks: what its tasks published, oldest first; the newest `attempt.transaction.MAX_NAMED` of them.
        commits: the number of all of them, listed or not.
    """

    workflow: str
    branch: str
    ref: str
    commits: int
    tasks: list[PublishedTask]


_WHOLE = WorkspaceSpec()


@task(name=BEGIN_TASK, owner_email=_OWNER, description="Begins a run", workspace=_WHOLE, controls=_CONTROLS)
def begin(workspace: Path, params: BeginParams) -> Begun:  # noqa: ARG001 - a task's signature
    """Create the run's branch."""
    _no_body()


@task(name=END_TASK, owner_email=_OWNER, description="Publishes a run", workspace=_WHOLE, controls=_CONTROLS)
def end(workspace: Path, params: EndParams) -> Published:  # noqa: ARG001 - a task's signature
    """Publish what the run has done."""
    _no_body()


def _no_body() -> NoReturn:
    raise NotImplementedError("a task that begins or ends a run has no body to call; run an attempt of it")


BEGUN = expression("perago_begin", "output", "workspace")
"""The workspace of the first tasks of a transactional workflow."""


def enclosed(
    name: str, nodes: Nodes, workspace: str | JsonObject, tasks: dict[str, TaskDefinition]
) -> tuple[Nodes, str | JsonObject]:
    """The nodes of a transactional workflow with those that begin and end the run, and the workspace that a run leaves.

    Args:
        name: of the workflow.
        workspace: what the nodes leave.
        tasks: of the workflow, by name. Changed in place: the two tasks are added.
    """
    scopes, isolation = validation(tasks.values())
    tasks |= {BEGIN_TASK: _definition(begin), END_TASK: _definition(end)}
    beginning = TaskNode(
        reference_name="perago_begin",
        task_name=BEGIN_TASK,
        inputs={"workspace": expression("workflow", "input", "workspace"), "params": {}},
    )
    seen = escaped([scope.model_dump(mode="json") for scope in scopes])
    ending = TaskNode(
        reference_name="perago_end",
        task_name=END_TASK,
        inputs={
            "workspace": expression("perago_begin", "output", "result", "target"),
            "params": {"workflow": escaped(name), "run": workspace, "scopes": seen, "isolation": isolation},
        },
    )
    return (beginning, *nodes, ending), expression("perago_end", "output", "workspace")


def _definition(function: Callable[..., object]) -> TaskDefinition:
    return required(task_of(function), "the function is decorated")


def validation(tasks: Iterable[TaskDefinition]) -> tuple[list[Scope], Isolation]:
    """The scopes and the isolation with which a run of these tasks is published.

    What a task with `snapshot` isolation could see is not among the scopes: the task allows others to change it. One
    task with `exclusive` isolation makes the run exclusive.
    """
    specs = [one.workspace for one in tasks if one.workspace is not None and not one.is_builtin]
    kinds = {spec.isolation for spec in specs}
    isolation: Isolation = "snapshot"
    if kinds & {"serializable", "exclusive"}:
        isolation = "exclusive" if "exclusive" in kinds else "serializable"
    seen = (
        Scope(prefix=spec.prefix, include=tuple(spec.include), exclude=tuple(spec.exclude))
        for spec in (given.of_any_params.touched for given in specs)
        if spec.isolation != "snapshot"
    )
    scopes = list(dict.fromkeys(seen))
    whole = Scope(prefix=_WHOLE.prefix)
    return ([whole] if whole in scopes else scopes), isolation
