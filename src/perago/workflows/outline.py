"""A workflow in words, for people."""

from __future__ import annotations

from collections.abc import Iterator

from perago.tasks.declare import BUILTIN_TASKS
from perago.workflows.expressions import whole_expression
from perago.workflows.forks import KnownFork, known_fork
from perago.workflows.graph import (
    DynamicForkNode,
    ForkNode,
    JoinNode,
    Nodes,
    SetVariableNode,
    SubWorkflowNode,
    SwitchNode,
    TaskNode,
    TerminateNode,
)


def outline(nodes: Nodes, depth: int = 0, *, in_python: bool = False) -> Iterator[tuple[int, str]]:
    """Each node that people see, in words, with the number of forks and switches around it.

    Args:
        in_python: they were declared so. Values that the run knows are then not shown as expressions of Conductor.
    """
    for index, node in enumerate(nodes):
        match node:
            case TaskNode():
                if node.task_name not in BUILTIN_TASKS:
                    yield depth, f"{_named(node.reference_name, node)}{', optional' if node.optional else ''}"
            case SubWorkflowNode():
                version = "" if node.version is None else f", version {node.version}"
                named = f"workflow {node.workflow_name}{version}{', optional' if node.optional else ''}"
                yield depth, f"{node.reference_name} ({named}):"
                yield from outline(node.found.nodes, depth + 1, in_python=in_python)
            case ForkNode():
                yield depth, "side by side:"
                for branch in node.branches:
                    yield from outline(branch, depth + 1, in_python=in_python)
            case DynamicForkNode():
                yield depth, _outline_of_fork(node, known_fork(nodes, index), in_python=in_python)
            case SwitchNode():
                yield from _outline_of_switch(node, depth, in_python=in_python)
            case TerminateNode():
                yield depth, f"ends as {node.inputs.get('terminationStatus')}"
            case JoinNode() | SetVariableNode():
                pass


def _named(reference_name: str, task: TaskNode) -> str:
    return reference_name if reference_name == task.task_name else f"{reference_name} ({task.task_name})"


def _outline_of_fork(node: DynamicForkNode, fork: KnownFork | None, *, in_python: bool) -> str:
    if fork is None or fork.mapped is None:
        return f"{node.reference_name}: as many side by side as its input lists"
    items = (
        f"each of {len(fork.tasks)} items"
        if fork.over is None
        else f"each item of {_value(fork.over, in_python=in_python)}"
    )
    optional = ", optional" if fork.tasks[0].optional else ""
    return f"{_named(fork.mapped, fork.tasks[0])}, for {items}{optional}"


def _outline_of_switch(node: SwitchNode, depth: int, *, in_python: bool) -> Iterator[tuple[int, str]]:
    value = _value(node.inputs.get(node.value_input), in_python=in_python)
    for case, nodes in node.cases.items():
        yield depth, f"if {value} is {case}:"
        yield from outline(nodes, depth + 1, in_python=in_python)
    if any(True for _ in outline(node.default)):
        yield depth, "otherwise:"
        yield from outline(node.default, depth + 1, in_python=in_python)


def _value(value: object, *, in_python: bool) -> object:
    """A value as its author wrote it."""
    whole = whole_expression(value) if in_python else None
    return value if whole is None else whole.in_python
