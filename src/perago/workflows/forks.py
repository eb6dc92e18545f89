"""What is known of dynamic forks before they run: their tasks, or the one that is mapped over a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from perago.errors import WorkflowDefinitionError
from perago.tasks.params import describe_faults
from perago.values.json_text import JsonObject
from perago.workflows.builtin import MapParams, forked
from perago.workflows.decide import forked_tasks
from perago.workflows.expressions import unescaped
from perago.workflows.graph import MAP_TASK, DynamicForkNode, Node, Nodes, TaskNode, WorkflowGraph, all_of, parts_of


@dataclass(frozen=True, kw_only=True)
class KnownFork:
    """A dynamic fork whose tasks are known, or are alike.

    Attributes:
        join: reference name of its join.
        tasks: those in its definition; of a map over a list that only a run knows, the one for the first item.
        over: of such a map, the expression of the list; None if the tasks are known.
        param: of a map, the param that takes the item; None if its items do not show it.
    """

    join: str
    tasks: tuple[TaskNode, ...]
    over: str | None = None
    param: str | None = None

    @property
    def mapped(self) -> str | None:
        """What the reference names of a map's tasks begin with; None if it is no map, or of no items."""
        if not self.tasks:
            return None
        first = self.tasks[0]
        name = first.reference_name.removesuffix("_1")
        like_the_first = [(first.task_name, f"{name}_{number}") for number in range(1, len(self.tasks) + 1)]
        is_map = [(task.task_name, task.reference_name) for task in self.tasks] == like_the_first
        return name if is_map else None


def task_names(graph: WorkflowGraph) -> list[str]:
    """The tasks that workers run, those of sub-workflows and of known forks too."""
    nodes = [node for one in graph.with_sub_workflows() for node in all_tasks(one.nodes)]
    return list(dict.fromkeys(node.task_name for node in nodes))


def all_tasks(nodes: Nodes) -> Iterator[TaskNode]:
    """The tasks of nodes, those of known dynamic forks last."""
    yield from (node for node in all_of(nodes) if isinstance(node, TaskNode))
    for fork in known_forks(nodes):
        yield from fork.tasks


def known_forks(nodes: Nodes, *, within: bool = True) -> Iterator[KnownFork]:
    """The dynamic forks of which something is known, in order.

    Args:
        within: also those in branches and cases.

    Raises:
        WorkflowDefinitionError: a list of tasks is none, or a map has params that it does not take.
    """
    for index, node in enumerate(nodes):
        found = known_fork(nodes, index)
        if found is not None:
            yield found
        for part in parts_of(node) if within else ():
            yield from known_forks(part)


def known_fork(nodes: Nodes, index: int) -> KnownFork | None:
    """What is known of the dynamic fork at a position; None if nothing is, or if another node is there.

    Raises:
        WorkflowDefinitionError: as `known_forks`.
    """
    node = nodes[index]
    if not isinstance(node, DynamicForkNode):
        return None
    listed, given = node.inputs.get(node.tasks_input), node.inputs.get(node.inputs_input)
    join = nodes[index + 1].reference_name
    if isinstance(listed, list):
        inputs = given if isinstance(given, Mapping) else {}
        tasks = _tasks(node, listed, inputs)
        return KnownFork(join=join, tasks=tasks, param=_differing_param(tasks))
    before: Node | None = nodes[index - 1] if index else None
    if not (isinstance(before, TaskNode) and before.task_name == MAP_TASK):
        return None
    params = _map_params(before)
    item = params.item_at(0)
    first = forked(params.task, params.reference, params.inputs, params.param, [item], optional=params.optional)
    return KnownFork(join=join, tasks=_tasks(node, first, {}), over=unescaped(params.item), param=params.param)


def _differing_param(tasks: Sequence[TaskNode]) -> str | None:
    """The one param in which tasks differ."""
    params = [found if isinstance(found := task.inputs.get("params"), Mapping) else {} for task in tasks]
    names = {name for one in params for name in one if one[name] != params[0].get(name)}
    return names.pop() if len(names) == 1 else None


def _tasks(node: DynamicForkNode, listed: list[Any], inputs: JsonObject) -> tuple[TaskNode, ...]:
    return forked_tasks(node, unescaped({node.tasks_input: listed, node.inputs_input: inputs}))


def _map_params(node: TaskNode) -> MapParams:
    try:
        return MapParams.model_validate(node.inputs.get("params"))
    except ValidationError as exc:
        fault = describe_faults(exc, "params")
        raise WorkflowDefinitionError(f"task {node.reference_name!r} of {MAP_TASK}: {fault}") from None
