"""Tasks that Perago itself declares, for what an engine cannot do in a workflow.

Every worker serves those of this file. They have no workspace and see no secrets: what a forked task takes passes
through `perago.map` as the text of an expression, which the engine evaluates for that task. `transaction` declares two
with a workspace, which every worker with a store serves. `tasks.declare.BUILTIN_TASKS` names them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from perago.errors import TaskTerminalError
from perago.tasks.controls import RetryPolicy, TaskControls, TimeoutPolicy
from perago.tasks.declare import TaskDefinition, task, task_of
from perago.values.json_text import JsonObject
from perago.workflows import transaction
from perago.workflows.graph import GATHER_TASK, MAP_TASK, MAX_FORKED

FREE_MODULES = (__name__,)
"""Where a worker loads those from that need no store."""

MODULES = (*FREE_MODULES, transaction.__name__)
"""Where a worker with a store loads them from."""

_OWNER = "tasks@perago.invalid"
_CONTROLS = TaskControls(
    retry=RetryPolicy(count=5, logic="EXPONENTIAL_BACKOFF", delay_seconds=1),
    timeout=TimeoutPolicy(policy="RETRY", response_seconds=60),
)


class MapParams(BaseModel):
    """What to map over a list.

    Attributes:
        over: the list, when the workflow runs.
        item: the expression that gives it.
        task: name of the task to run for each item.
        reference: the tasks' reference names are `<reference>_1`, `<reference>_2`, …
        param: the param that takes the item.
        inputs: the rest of each task's input. Its expressions are evaluated for each task.
        optional: the workflow goes on if a task's last try fails.
    """

    over: Any = None
    item: str
    task: str
    reference: str
    param: str
    inputs: dict[str, Any]
    optional: bool = False

    def item_at(self, index: int) -> str:
        """The expression of an item."""
        return f"{self.item.removesuffix('}')}[{index}]}}"


class ForkedTasks(BaseModel):
    """Tasks for a dynamic fork (Conductor's `dynamicForkTasksParam`)."""

    tasks: list[dict[str, Any]]


class GatherParams(BaseModel):
    """What a join has.

    Attributes:
        names: reference names of its tasks, in the order of the items.
        outputs: their outputs by these names; a task that failed has none.
    """

    names: list[str]
    outputs: dict[str, Any]


class Gathered(BaseModel):
    """Results in the order of the items; None for a task that failed."""

    results: list[Any]


@task(name=MAP_TASK, owner_email=_OWNER, description="Lists the tasks of flow.map", controls=_CONTROLS)
def list_tasks(params: MapParams) -> ForkedTasks:
    """A task for each item of a list.

    Raises:
        TaskTerminalError: it is no list, or has too many items.
    """
    over, name = params.over, params.reference
    if not isinstance(over, list):
        raise TaskTerminalError(f"map {name!r} takes a list, but {params.item} is {_kind(over)}")
    if len(over) > MAX_FORKED:
        raise TaskTerminalError(
            f"map {name!r} takes at most {MAX_FORKED} items, but {params.item} has {len(over)}; map over lists of "
            f"several items each"
        )
    items = map(params.item_at, range(len(over)))
    tasks = forked(params.task, name, params.inputs, params.param, items, optional=params.optional)
    return ForkedTasks(tasks=tasks)


@task(name=GATHER_TASK, owner_email=_OWNER, description="Gathers the results of flow.map", controls=_CONTROLS)
def gather(params: GatherParams) -> Gathered:
    """The results of the joined tasks, in order."""
    outputs = (params.outputs.get(name) for name in params.names)
    return Gathered(results=[output.get("result") if isinstance(output, Mapping) else None for output in outputs])


def forked(
    task_name: str, reference: str, inputs: JsonObject, param: str, items: Iterable[Any], *, optional: bool
) -> list[dict[str, Any]]:
    """The tasks of a dynamic fork, one for each item.

    Args:
        inputs: of each task, without the item. Like the items, they may hold expressions.
    """
    settings = {"optional": True} if optional else {}
    return [
        {
            "name": task_name,
            "taskReferenceName": f"{reference}_{number}",
            "type": "SIMPLE",
            "inputParameters": {**inputs, "params": {**inputs["params"], param: item}},
            **settings,
        }
        for number, item in enumerate(items, 1)
    ]


def builtin_task(name: str) -> TaskDefinition:
    """The definition of a task of Perago."""
    return _TASKS[name]


def _kind(value: object) -> str:
    words = {dict: "an object", str: "text", bool: "true or false", type(None): "null"}
    return words.get(type(value), "a number")


_TASKS = {
    found.name: found
    for one in (list_tasks, gather, transaction.begin, transaction.end)
    if (found := task_of(one)) is not None
}
