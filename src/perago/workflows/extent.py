"""How much a workflow expands to: a sub-workflow counts as often as it is named."""

from __future__ import annotations

from dataclasses import dataclass

from perago.errors import WorkflowDefinitionError
from perago.workflows.definition_json import MAX_DEPTH
from perago.workflows.forks import known_forks
from perago.workflows.graph import Nodes, SubWorkflowNode, WorkflowGraph, parts_of

MAX_TASKS = 10_000
"""Maximum number of tasks of a workflow with those of its sub-workflows. Forks, joins and switches count too."""


@dataclass(frozen=True)
class _Extent:
    tasks: int
    depth: int


def check_extent(graph: WorkflowGraph) -> None:
    """Check how much a workflow expands to. Each definition is looked at once, however often it is named.

    Raises:
        WorkflowDefinitionError: it is more than `MAX_TASKS` or deeper than `MAX_DEPTH`. Names the innermost
            definition that is.
    """
    _Measuring().of(graph)


class _Measuring:
    def __init__(self) -> None:
        self._measured: dict[int, _Extent] = {}  # by identity: the graph that is measured keeps all of them

    def of(self, graph: WorkflowGraph) -> _Extent:
        found = self._measured.get(id(graph))
        if found is None:
            found = self._measured[id(graph)] = self._nodes(graph.nodes)
            _expect_bounded(graph, found)
        return found

    def _nodes(self, nodes: Nodes) -> _Extent:
        inner = [self._nodes(part) for node in nodes for part in parts_of(node)]
        inner += [self.of(node.found) for node in nodes if isinstance(node, SubWorkflowNode)]
        forked = sum(len(fork.tasks) for fork in known_forks(nodes, within=False))
        tasks = len(nodes) + forked + sum(one.tasks for one in inner)
        return _Extent(tasks, 1 + max((one.depth for one in inner), default=-1))


def _expect_bounded(graph: WorkflowGraph, found: _Extent) -> None:
    if found.tasks > MAX_TASKS:
        raise WorkflowDefinitionError(
            f"workflow {graph.name!r} expands to {found.tasks:,} tasks, with those of its sub-workflows; at most "
            f"{MAX_TASKS:,} can be run. Name sub-workflows less often, or start them as workflows of their own"
        )
    if found.depth > MAX_DEPTH:
        raise WorkflowDefinitionError(
            f"workflow {graph.name!r} is nested {found.depth} deep, with its sub-workflows; at most {MAX_DEPTH} levels "
            f"can be run. Use fewer levels"
        )
