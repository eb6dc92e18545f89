"""A workflow as values: its tasks in order, forks, joins and switches, whether declared in Python or read from JSON.

The names are Conductor's. A sequence of nodes runs one after the other; the nodes within a fork's branches run beside
each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel

from perago.errors import required
from perago.values.json_text import JsonObject

CASE_INPUT = "switchCaseValue"
"""Name of a switch's input that holds its value, where a workflow is declared in Python."""

MAX_FORKED = 1_000
"""Maximum number of tasks of a dynamic fork."""

MAP_TASK = "perago.map"
"""Lists the tasks of a dynamic fork that runs one task for each item of a list; see `builtin`."""

GATHER_TASK = "perago.gather"
"""Gathers their results in order."""

BEGIN_TASK = "perago.begin"
"""Begins a transactional workflow: creates the branch that its tasks work on; see `transaction`."""

END_TASK = "perago.end"
"""Ends it: publishes what they have done, all of it or nothing."""


@dataclass(frozen=True, kw_only=True)
class TaskNode:
    """A task that workers run (Conductor's SIMPLE).

    Attributes:
        reference_name: unique in the workflow.
        task_name: of its definition.
        inputs: may hold expressions, as all inputs of nodes.
        optional: the workflow goes on when its last try has failed.
    """

    reference_name: str
    task_name: str
    inputs: JsonObject
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class SubWorkflowNode:
    """A workflow that runs as one task of another.

    Attributes:
        task_name: of a TaskDef whose retries a server applies, if there is one; else only a label.
        workflow_name, version: what names it on a server; None for the newest version.
        inputs: of the workflow.
        optional: as for a task.
        graph: the workflow; None until it is found by its name.
        is_inline: the definition around it has the workflow, rather than only its name.
    """

    reference_name: str
    task_name: str
    workflow_name: str
    inputs: JsonObject
    version: int | None = None
    optional: bool = False
    graph: WorkflowGraph | None = None
    is_inline: bool = False

    @property
    def found(self) -> WorkflowGraph:
        """The workflow."""
        return required(self.graph, f"workflow {self.workflow_name!r} was found before anything ran")


@dataclass(frozen=True, kw_only=True)
class ForkNode:
    """Branches that run beside each other. A `JoinNode` follows."""

    reference_name: str
    branches: tuple[Nodes, ...]


@dataclass(frozen=True, kw_only=True)
class DynamicForkNode:
    """Tasks that are known when it runs, beside each other. A `JoinNode` follows, which waits for all of them.

    Attributes:
        tasks_input: name of the input that lists the tasks.
        inputs_input: name of the input that maps each task's reference name to its input.
    """

    reference_name: str
    inputs: JsonObject
    tasks_input: str
    inputs_input: str


@dataclass(frozen=True, kw_only=True)
class JoinNode:
    """Waits for tasks. Its output maps the reference name of each to its output.

    Attributes:
        join_on: their reference names; ignored behind a dynamic fork.
    """

    reference_name: str
    join_on: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SwitchNode:
    """Runs the case whose name is the value of an input, as text; else the default case.

    Attributes:
        value_input: name of that input.
    """

    reference_name: str
    inputs: JsonObject
    value_input: str
    cases: Mapping[str, Nodes]
    default: Nodes = ()


@dataclass(frozen=True, kw_only=True)
class SetVariableNode:
    """Sets variables of the workflow."""

    reference_name: str
    inputs: JsonObject


@dataclass(frozen=True, kw_only=True)
class TerminateNode:
    """Ends the workflow.

    Attributes:
        inputs: `terminationStatus`, `terminationReason`, `workflowOutput`.
    """

    reference_name: str
    inputs: JsonObject


Node = TaskNode | SubWorkflowNode | ForkNode | DynamicForkNode | JoinNode | SwitchNode | SetVariableNode | TerminateNode
Nodes = tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class WorkflowGraph:
    """A workflow.

    Attributes:
        name, version: what names it on a server.
        output: may hold expressions; empty for the output of its last task.
        input_template: for inputs that were not given.
        timeout_seconds: of the whole; 0 for none. What happens then is `timeout_policy`.
        params_model, output_model: of `input.params` and `output.result`; None if it has none, or was read from JSON.
    """

    name: str
    nodes: Nodes
    version: int = 1
    owner_email: str = ""
    description: str | None = None
    output: JsonObject = field(default_factory=dict)
    input_names: tuple[str, ...] = ()
    input_template: JsonObject = field(default_factory=dict)
    timeout_seconds: int = 0
    timeout_policy: Literal["TIME_OUT_WF", "ALERT_ONLY"] = "ALERT_ONLY"
    params_model: type[BaseModel] | None = field(default=None, compare=False)
    output_model: type[BaseModel] | None = field(default=None, compare=False)

    @property
    def is_transactional(self) -> bool:
        """Whether it publishes at its end all that its tasks have done, or nothing."""
        return any(isinstance(node, TaskNode) and node.task_name == BEGIN_TASK for node in self.nodes)

    def all_nodes(self) -> Iterator[Node]:
        """All nodes, those of branches and cases too, in order; not those of sub-workflows."""
        return all_of(self.nodes)

    def with_sub_workflows(self) -> list[WorkflowGraph]:
        """This workflow, then those within it, at any depth; each once, however often it is named."""
        found, known = [self], {id(self)}
        for graph in found:  # grows meanwhile
            for node in graph.all_nodes():
                if isinstance(node, SubWorkflowNode) and id(node.found) not in known:
                    known.add(id(node.found))
                    found.append(node.found)
        return found

    def named_sub_workflows(self) -> list[WorkflowGraph]:
        """The sub-workflows that a server has to know by their names, each before those that name it."""
        found: list[WorkflowGraph] = []
        for node in self.all_nodes():
            if isinstance(node, SubWorkflowNode):
                found += node.found.named_sub_workflows()
                found += [] if node.is_inline else [node.found]
        return list({(graph.name, graph.version): graph for graph in found}.values())

    def naming(self, versions: Mapping[tuple[str, int], int]) -> WorkflowGraph:
        """This workflow with other versions of the sub-workflows that it names.

        Args:
            versions: by the name and the declared version.
        """

        def named(node: SubWorkflowNode) -> SubWorkflowNode:
            graph = node.found.naming(versions)
            if node.is_inline or node.version is None:
                return replace(node, graph=graph)
            return replace(node, graph=graph, version=versions.get((graph.name, node.version), node.version))

        return replace(self, nodes=each_replaced(self.nodes, named))


def all_of(nodes: Nodes) -> Iterator[Node]:
    """Nodes, each followed by those within it."""
    for node in nodes:
        yield node
        for inner in parts_of(node):
            yield from all_of(inner)


def parts_of(node: Node) -> tuple[Nodes, ...]:
    """The sequences within a node."""
    match node:
        case ForkNode():
            return node.branches
        case SwitchNode():
            return (*node.cases.values(), node.default)
        case _:
            return ()


def without(nodes: Nodes, left_out: Mapping[str, str]) -> Nodes:
    """Nodes without some of them.

    Args:
        left_out: their reference names, each with the name of the node that a join waits for instead.
    """
    return tuple(_without(node, left_out) for node in nodes if node.reference_name not in left_out)


def _without(node: Node, left_out: Mapping[str, str]) -> Node:
    match node:
        case JoinNode():
            return replace(node, join_on=tuple(left_out.get(name, name) for name in node.join_on))
        case _:
            return _with_parts(node, lambda nodes: without(nodes, left_out))


def each_replaced(nodes: Nodes, by: Callable[[SubWorkflowNode], SubWorkflowNode]) -> Nodes:
    """Nodes with each sub-workflow among them, or within them, replaced."""
    return tuple(
        by(node) if isinstance(node, SubWorkflowNode) else _with_parts(node, lambda inner: each_replaced(inner, by))
        for node in nodes
    )


def _with_parts(node: Node, change: Callable[[Nodes], Nodes]) -> Node:
    """A node with each sequence within it changed."""
    match node:
        case ForkNode():
            return replace(node, branches=tuple(map(change, node.branches)))
        case SwitchNode():
            cases = {case: change(nodes) for case, nodes in node.cases.items()}
            return replace(node, cases=cases, default=change(node.default))
        case _:
            return node


def inputs_of(node: Node) -> JsonObject:
    """The inputs of a node; empty for a fork and a join."""
    return {} if isinstance(node, ForkNode | JoinNode) else node.inputs
