"""The workflows of a plan: their tasks in order, and the input that an engine makes for each try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from perago.tasks.declare import TaskDefinition
from perago.values.json_text import JsonObject
from perago.values.record import WITHIN, InstanceRecord, TryRecord
from perago.workflows.expressions import WORKFLOW, Expression, expression, replaced, value_at
from perago.workflows.graph import END_TASK, ForkNode, JoinNode, Node, Nodes, TaskNode
from perago.workflows.transaction import BEGUN, enclosed
from simulation.plan import WorkflowPlan
from simulation.tasks import SECRET, TASKS

SHARED = "shared"
"""A path that siblings and other workflows write, too."""

BEGIN = str(BEGUN).removeprefix("${").partition(".")[0]
"""Reference name of the task that begins a run."""

WHO = {"single": "a", "read-only": "a", "sequence": "ab", "fork": "lr", "join": "lrb", "tree": "abr"}
"""The tasks of a workflow, by its shape."""


def task_type(plan: WorkflowPlan, who: str = "a") -> str:
    """Name of the definition of a task."""
    if plan.shape == "read-only":
        return "read"
    if plan.cached:
        return f"cached {who}"
    return f"scoped {who}" if plan.scoped else "merge" if plan.snapshot else "write"


def definitions(plan: WorkflowPlan) -> dict[str, TaskDefinition]:
    """The definitions of its tasks, by name."""
    return {name: TASKS[name] for name in (task_type(plan, who) for who in WHO[plan.shape])}


WITHIN_SUB = "ab"
"""The tasks of the shape "tree" that are in its sub-workflow."""


def leaf(entry: TryRecord) -> str:
    """The name of a try's task in its own workflow instance; it is unique in a simulation."""
    return entry.reference_task_name.rpartition(WITHIN)[2]


def name_of(number: int, who: str) -> str:
    """Reference name of a task; `who` is "end" for the one that publishes a run."""
    return f"w{number}-{who}"


def nodes_of(number: int, plan: WorkflowPlan) -> Nodes:
    """The tasks in order, as a declared workflow has them."""
    begun = BEGUN if plan.transactional else expression(WORKFLOW, "input", "workspace")
    fork = ForkNode(
        reference_name=name_of(number, "fork"),
        branches=((_node(number, plan, "l", begun),), (_node(number, plan, "r", begun),)),
    )
    join = JoinNode(reference_name=name_of(number, "join"), join_on=(name_of(number, "l"), name_of(number, "r")))
    joined = {"join": [_left_by(number, "l"), _left_by(number, "r")]}
    nodes: Nodes
    left: str | JsonObject
    match plan.shape:
        case "single" | "read-only":
            nodes, left = (_node(number, plan, "a", begun),), _left_by(number, "a")
        case "sequence":
            first, second = _node(number, plan, "a", begun), _node(number, plan, "b", _left_by(number, "a"))
            nodes, left = (first, second), _left_by(number, "b")
        case "tree":
            first, second = _node(number, plan, "a", begun), _node(number, plan, "b", _left_by(number, "a"))
            nodes, left = (first, second, _node(number, plan, "r", _left_by(number, "b"))), _left_by(number, "r")
        case "fork":
            nodes, left = (fork, join), joined
        case "join":
            nodes, left = (fork, join, _node(number, plan, "b", joined)), _left_by(number, "b")
    if not plan.transactional:
        return nodes
    nodes, _ = enclosed(f"workflow {number}", nodes, left, definitions(plan))
    return tuple(_named(node, number) for node in nodes)


def ordered(nodes: Nodes, after: tuple[str, ...] = ()) -> Iterator[tuple[TaskNode, tuple[str, ...]]]:
    """Each task, with the reference names of those that it follows."""
    for node in nodes:
        match node:
            case TaskNode():
                yield node, after
                after = (node.reference_name,)
            case ForkNode():
                for branch in node.branches:
                    yield from ordered(branch, after)
            case JoinNode():
                after = node.join_on
            case _:
                raise AssertionError(f"no simulated workflow has a {type(node).__name__}")


def input_of(
    node: TaskNode, workflow_input: JsonObject, record: InstanceRecord, earlier: JsonObject | None
) -> JsonObject:
    """The input of a try.

    Args:
        earlier: that of the try before, which counts where a task that it takes something of has no output any more.
    """

    def look_up(found: Expression) -> object:
        if found.begins_with == WORKFLOW:
            return value_at({"input": workflow_input}, found.path[1:])
        outputs = [
            entry.output for entry in record.tries if leaf(entry) == found.begins_with and entry.output is not None
        ]
        if not outputs:
            missing.append(found)
            return None
        return value_at({"output": outputs[0]}, found.path[1:])

    missing: list[Expression] = []
    made: JsonObject = replaced(node.inputs, look_up)
    return earlier if missing and earlier is not None else made


def _node(number: int, plan: WorkflowPlan, who: str, workspace: str | Mapping[str, object]) -> TaskNode:
    name = name_of(number, who)
    paths = [name, *([SHARED] if plan.shared_path else [])]
    params: JsonObject = {"who": name, "paths": paths, "noop": plan.noop, "big": plan.big, "password": SECRET}
    if plan.cached:
        params = {"who": who, "noop": plan.noop == "always"}
    inputs = {"workspace": workspace, "params": params}
    return TaskNode(reference_name=name, task_name=task_type(plan, who), inputs=inputs)


def _left_by(number: int, who: str) -> str:
    return expression(name_of(number, who), "output", "workspace")


def _named(node: Node, number: int) -> Node:
    """The task that ends a run has a name of its own in each workflow, by which the checker knows its isolation."""
    if isinstance(node, TaskNode) and node.task_name == END_TASK:
        return replace(node, reference_name=name_of(number, "end"))
    return node
