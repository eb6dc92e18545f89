"""Where a run of a workflow can begin again, and which of its tasks then run again. Without I/O.

A run can begin again only where nothing else runs at the same time: at a task of the workflow's own sequence, switches
and sub-workflows included, or at a fork as a whole. All that was tried before that point precedes it, and all that was
tried later follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perago.errors import WorkflowStateError
from perago.values.record import WITHIN, name_of_map, paths_around
from perago.workflows.graph import (
    MAP_TASK,
    ForkNode,
    Nodes,
    SubWorkflowNode,
    SwitchNode,
    TaskNode,
    WorkflowGraph,
    all_of,
)


@dataclass(frozen=True, kw_only=True)
class Again:
    """What runs again.

    Attributes:
        tasks: reference names, in the order in which the tasks were first tried.
        around: the sub-workflows that the first of them is in. They go on.
        tries: how many the run had when this was planned.
    """

    tasks: tuple[str, ...]
    around: tuple[str, ...]
    tries: int


def plan_again(graph: WorkflowGraph, tried: Sequence[str], start: str) -> Again:
    """What runs again if a run begins again at a task or a fork.

    Args:
        tried: the reference names of its tries, in the order of scheduling.
        start: the reference name of the task or fork, with those of the sub-workflows that it is in before it.

    Raises:
        WorkflowStateError: something runs beside it, or the run has not reached it.
    """
    first = list(dict.fromkeys(tried))
    points = dict(_points(graph, first))
    if start in points:
        return Again(tasks=tuple(first[points[start] :]), around=paths_around(start), tries=len(tried))
    if start not in first:
        can = f"It can begin again from {', '.join(_distinct(points))}" if points else "It has tried no task"
        raise WorkflowStateError(f"the run has not reached task {start!r}. {can}")
    before = [name for name, place in points.items() if place <= first.index(start)]
    if not before:
        raise WorkflowStateError(f"other tasks run beside {start!r}, and none comes before them; start another run")
    nearest = max(before, key=lambda name: (points[name], name.count(WITHIN)))
    raise WorkflowStateError(f"other tasks run beside {start!r}. --from {nearest} runs all of them again")


def _points(graph: WorkflowGraph, first: Sequence[str], within: str = "") -> Iterator[tuple[str, int]]:
    """Where a run can begin again, each with the place of its first task in `first`."""
    for node in _main_line(graph.nodes):
        name = within + node.reference_name
        if isinstance(node, ForkNode):
            names = [within + inner.reference_name for branch in node.branches for inner in all_of(branch)]
        else:
            names = [name]
        places = [first.index(inner) for inner in names if inner in first]
        if not places:
            continue
        if isinstance(node, TaskNode) and node.task_name == MAP_TASK:
            yield name_of_map(name), min(places)  # as the tree names it
        yield name, min(places)
        if isinstance(node, SubWorkflowNode):
            yield from _points(node.found, first, name + WITHIN)


def _distinct(points: Mapping[str, int]) -> list[str]:
    """The points without the task that lists a map's tasks, which the name of the map stands for."""
    return [name for name in points if name_of_map(name) == name or name_of_map(name) not in points]


def _main_line(nodes: Nodes) -> Iterator[TaskNode | SubWorkflowNode | ForkNode]:
    """What a sequence and its switches run, forks as a whole."""
    for node in nodes:
        match node:
            case TaskNode() | SubWorkflowNode() | ForkNode():
                yield node
            case SwitchNode():
                for part in (*node.cases.values(), node.default):
                    yield from _main_line(part)
            case _:
                continue
