"""A workflow definition as Conductor's JSON, written and read.

What is read is understood whole or refused: a type of task, a field or an evaluator that Perago does not run is named,
with its place.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from perago.errors import WorkflowDefinitionError
from perago.tasks.secrets import plain_fields
from perago.values.json_text import JsonObject, is_too_deep
from perago.values.record import WITHIN
from perago.values.workflow_params import naming_plain_params, without_names
from perago.workflows.expressions import TASK_FIELDS, WORKFLOW, WORKFLOW_FIELDS, Expression, expressions_in
from perago.workflows.graph import (
    DynamicForkNode,
    ForkNode,
    JoinNode,
    Node,
    Nodes,
    SetVariableNode,
    SubWorkflowNode,
    SwitchNode,
    TaskNode,
    TerminateNode,
    WorkflowGraph,
    inputs_of,
    parts_of,
)

SCHEMA_VERSION = 2
SWITCH_EVALUATOR = "value-param"
"""The one evaluator that only compares; others run scripts on the server."""

_KINDS = (
    "SIMPLE",
    "FORK_JOIN",
    "FORK_JOIN_DYNAMIC",
    "JOIN",
    "SWITCH",
    "SUB_WORKFLOW",
    "SET_VARIABLE",
    "TERMINATE",
)
_TERMINATION = ("COMPLETED", "FAILED", "TERMINATED")
MAX_DEPTH = 50
"""Maximum number of forks, switches and sub-workflows around a task."""

MAX_JSON_DEPTH = 400
"""Maximum levels of objects and arrays in a definition: 4 for each sub-workflow around a task, 200 for its params."""

_OF_NO_EFFECT = frozenset(
    {
        "description",
        "taskDefinition",
        "ownerApp",
        "createTime",
        "updateTime",
        "createdBy",
        "updatedBy",
        "accessPolicy",
        "metadata",
        "maskedFields",
        "restartable",
        "workflowStatusListenerEnabled",
        "workflowStatusListenerSink",
        "inputSchema",
        "outputSchema",
        "enforceSchema",
        "joinStatus",
        "joinMode",
        "overwriteTags",
        "tags",
    }
)
"""Fields that change nothing in what runs. `joinMode` is how often a server looks."""


# ---------------------------------------------------------------- writing


def to_json(graph: WorkflowGraph, *, whole: bool = False) -> dict[str, Any]:
    """The definition as `POST /api/metadata/workflow` takes it.

    It names those of its params whose types have no secret, for the stamps of its tasks.

    Args:
        whole: with the definitions of all its sub-workflows in it, rather than their names.
    """
    model = graph.params_model
    return _definition(graph, whole=whole) | ({} if model is None else naming_plain_params(plain_fields(model)))


def _definition(graph: WorkflowGraph, *, whole: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": graph.name,
        "version": graph.version,
        "schemaVersion": SCHEMA_VERSION,
        "ownerEmail": graph.owner_email,
        "tasks": _tasks(graph.nodes, whole=whole),
        "inputParameters": list(graph.input_names),
        "outputParameters": dict(graph.output),
        "timeoutPolicy": graph.timeout_policy,
        "timeoutSeconds": graph.timeout_seconds,
    }
    if graph.input_template:
        document["inputTemplate"] = dict(graph.input_template)
    if graph.description is not None:
        document["description"] = graph.description
    return document


def _tasks(nodes: Nodes, *, whole: bool) -> list[dict[str, Any]]:
    return [_task(node, whole=whole) for node in nodes]


def _task(node: Node, *, whole: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"name": node.reference_name, "taskReferenceName": node.reference_name}
    inputs = dict(inputs_of(node))
    match node:
        case TaskNode():
            document |= {"name": node.task_name, "type": "SIMPLE", "inputParameters": inputs}
            if node.optional:
                document["optional"] = True
        case SubWorkflowNode():
            param: dict[str, Any] = {"name": node.workflow_name}
            if node.version is not None:
                param["version"] = node.version
            if node.is_inline or whole:
                param["workflowDefinition"] = _definition(node.found, whole=whole)
            document |= {"name": node.task_name, "type": "SUB_WORKFLOW", "subWorkflowParam": param}
            document["inputParameters"] = inputs
            if node.optional:
                document["optional"] = True
        case ForkNode():
            document |= {
                "type": "FORK_JOIN",
                "forkTasks": [_tasks(branch, whole=whole) for branch in node.branches],
            }
        case DynamicForkNode():
            document |= {
                "type": "FORK_JOIN_DYNAMIC",
                "inputParameters": inputs,
                "dynamicForkTasksParam": node.tasks_input,
                "dynamicForkTasksInputParamName": node.inputs_input,
            }
        case JoinNode():
            document |= {"type": "JOIN", "joinOn": list(node.join_on)}
        case SwitchNode():
            document |= {
                "type": "SWITCH",
                "inputParameters": inputs,
                "evaluatorType": SWITCH_EVALUATOR,
                "expression": node.value_input,
                "decisionCases": {case: _tasks(nodes, whole=whole) for case, nodes in node.cases.items()},
                "defaultCase": _tasks(node.default, whole=whole),
            }
        case SetVariableNode():
            document |= {"type": "SET_VARIABLE", "inputParameters": inputs}
        case TerminateNode():
            document |= {"type": "TERMINATE", "inputParameters": inputs}
    return document


def differences(graph: WorkflowGraph, registered: JsonObject) -> list[str]:
    """The lines of a unified diff from a registered definition to a workflow; empty if they run the same.

    Versions are not compared, nor what only the server sets.
    """
    new = to_json(graph)
    try:
        old = to_json(from_json(registered))
    except WorkflowDefinitionError:
        old = {**registered}  # it has something that Perago does not run
    lines = [
        json.dumps({**without_names(one), "version": None}, indent=2, ensure_ascii=False, sort_keys=True)
        for one in (old, new)
    ]
    before, after = (text.splitlines() for text in lines)
    return list(
        difflib.unified_diff(before, after, f"{graph.name} (registered)", f"{graph.name} (declared)", lineterm="", n=2)
    )


# ---------------------------------------------------------------- reading


def from_json(document: object) -> WorkflowGraph:
    """Read a definition.

    Raises:
        WorkflowDefinitionError: it is none, or has something that Perago does not run.
    """
    if is_too_deep(document, MAX_JSON_DEPTH):
        raise WorkflowDefinitionError(
            f"the definition is JSON nested more than {MAX_JSON_DEPTH} deep; use fewer levels"
        )
    return _graph(document, "", 0)


def _graph(document: object, within: str, depth: int) -> WorkflowGraph:
    fields = _Fields.of(document, within.rstrip(".") or "the definition")
    schema_version = fields.take("schemaVersion", int, SCHEMA_VERSION)
    if schema_version != SCHEMA_VERSION:
        raise WorkflowDefinitionError(f"{within}schemaVersion is {schema_version}; only {SCHEMA_VERSION} is known")
    graph = WorkflowGraph(
        name=fields.text("name"),
        version=fields.take("version", int, 1),
        owner_email=fields.take("ownerEmail", str, ""),
        description=fields.given.get("description"),
        nodes=_nodes(fields.take("tasks", list, []), f"{within}tasks", depth),
        output=fields.take("outputParameters", Mapping, {}),
        input_names=tuple(fields.take("inputParameters", list, [])),
        input_template=fields.take("inputTemplate", Mapping, {}),
        timeout_seconds=fields.take("timeoutSeconds", int, 0),
        timeout_policy=_timeout_policy(fields.take("timeoutPolicy", str, "ALERT_ONLY")),
    )
    if not graph.nodes:
        raise WorkflowDefinitionError(
            f"{within}{graph.name!r} has no tasks; the definition of a workflow has a list of them"
        )
    fields.expect_no_more()
    check_graph(graph, within)
    return graph


def check_graph(graph: WorkflowGraph, within: str = "") -> None:
    """Check for what a server would refuse, or would notice only in the middle of a run.

    Args:
        within: the place of the workflow in another, for messages.

    Raises:
        WorkflowDefinitionError: two nodes have one reference name, a fork has no join, a join waits for what is not
            there, or an expression names no task before it.
    """
    try:
        _check_graph(graph)
    except WorkflowDefinitionError as exc:
        raise WorkflowDefinitionError(f"{within.rstrip('.')}: {exc}" if within else str(exc)) from None


def _check_graph(graph: WorkflowGraph) -> None:
    names = Counter(node.reference_name for node in graph.all_nodes())
    for name, count in names.items():
        if count > 1:
            raise WorkflowDefinitionError(f"{count} tasks have the reference name {name!r}; rename all but one")
        if WITHIN in name:
            raise WorkflowDefinitionError(
                f"reference name {name!r} has a {WITHIN!r}, which stands before the tasks of sub-workflows; rename it"
            )
    dynamic = any(isinstance(node, DynamicForkNode) for node in graph.all_nodes())
    _check_sequence(graph.nodes, set(names))
    known = {WORKFLOW, *names}
    for where, values in (
        *((f"the input of {node.reference_name!r}", inputs_of(node)) for node in graph.all_nodes()),
        ("outputParameters", graph.output),
    ):
        for place, found in expressions_in(values):
            if found.begins_with in known or (dynamic and found.begins_with.startswith("_")):
                _check_field(f"{where}, {place}", found)
                continue
            near = difflib.get_close_matches(found.begins_with, sorted(known), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise WorkflowDefinitionError(f"{where}, {place}: {found} names no task of the workflow{hint}")


def _check_field(where: str, found: Expression) -> None:
    """Check the field that an expression reads of a task or of the workflow. A server has fields that are null here."""
    fields = WORKFLOW_FIELDS if found.begins_with == WORKFLOW else TASK_FIELDS
    name = str(found.path[1]) if len(found.path) > 1 else ""
    if name not in fields:
        near = difflib.get_close_matches(name, fields, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it knows {', '.join(fields)}"
        what = f"{name!r} of {found.begins_with!r}" if name else f"{found.begins_with!r} as a whole"
        raise WorkflowDefinitionError(f"{where}: {found}: Perago does not know {what}{hint}")


def _check_sequence(nodes: Nodes, names: set[str]) -> None:
    for index, node in enumerate(nodes):
        following = nodes[index + 1] if index + 1 < len(nodes) else None
        if isinstance(node, ForkNode | DynamicForkNode) and not isinstance(following, JoinNode):
            raise WorkflowDefinitionError(f"fork {node.reference_name!r} has no JOIN right after it; add one")
        if isinstance(node, ForkNode) and not (node.branches and all(node.branches)):
            raise WorkflowDefinitionError(
                f"fork {node.reference_name!r} has no branches, or an empty one; give each a task"
            )
        if isinstance(node, JoinNode):
            unknown = [name for name in node.join_on if name not in names]
            if unknown:
                raise WorkflowDefinitionError(
                    f"join {node.reference_name!r} waits for {unknown[0]!r}, which is no task of the workflow"
                )
        for part in parts_of(node):
            _check_sequence(part, names)


def _nodes(tasks: list[Any], where: str, depth: int) -> Nodes:
    if depth > MAX_DEPTH:
        raise WorkflowDefinitionError(f"{where} is nested more than {MAX_DEPTH} deep; use fewer levels")
    return tuple(_node(task, f"{where}[{index}]", depth) for index, task in enumerate(tasks))


def _node(task: object, where: str, depth: int) -> Node:
    fields = _Fields.of(task, where)
    reference = fields.text("taskReferenceName")
    fields.where = f"{where} ({reference})"
    kind = fields.take("type", str, "SIMPLE")
    name = fields.text("name")
    node = _node_of_kind(kind, name, reference, fields, depth)
    fields.expect_no_more()
    return node


def _node_of_kind(kind: str, name: str, reference: str, fields: _Fields, depth: int) -> Node:
    where = fields.where
    match kind:
        case "SIMPLE":
            return TaskNode(
                reference_name=reference,
                task_name=name,
                inputs=fields.inputs(),
                optional=fields.take("optional", bool, default=False),
            )
        case "SUB_WORKFLOW":
            return _sub_workflow(name, reference, fields, depth)
        case "FORK_JOIN":
            branches = fields.take("forkTasks", list, [])
            return ForkNode(
                reference_name=reference,
                branches=tuple(
                    _nodes(_list(branch, f"{where}.forkTasks[{index}]"), f"{where}.forkTasks[{index}]", depth + 1)
                    for index, branch in enumerate(branches)
                ),
            )
        case "FORK_JOIN_DYNAMIC":
            return DynamicForkNode(
                reference_name=reference,
                inputs=fields.inputs(),
                tasks_input=fields.text("dynamicForkTasksParam"),
                inputs_input=fields.text("dynamicForkTasksInputParamName"),
            )
        case "JOIN":
            return JoinNode(reference_name=reference, join_on=tuple(fields.take("joinOn", list, [])))
        case "SWITCH":
            evaluator = fields.take("evaluatorType", str, "")
            if evaluator != SWITCH_EVALUATOR:
                raise WorkflowDefinitionError(
                    f"{where}: evaluatorType {evaluator!r} runs a script on the server; Perago runs "
                    f"{SWITCH_EVALUATOR!r} only"
                )
            return SwitchNode(
                reference_name=reference,
                inputs=fields.inputs(),
                value_input=fields.text("expression"),
                cases={
                    case: _nodes(
                        _list(tasks, f"{where}.decisionCases.{case}"), f"{where}.decisionCases.{case}", depth + 1
                    )
                    for case, tasks in fields.take("decisionCases", Mapping, {}).items()
                },
                default=_nodes(fields.take("defaultCase", list, []), f"{where}.defaultCase", depth + 1),
            )
        case "SET_VARIABLE":
            return SetVariableNode(reference_name=reference, inputs=fields.inputs())
        case "TERMINATE":
            inputs = fields.inputs()
            status = inputs.get("terminationStatus")
            if status not in _TERMINATION:
                raise WorkflowDefinitionError(
                    f"{where}: terminationStatus is {status!r}; give {', '.join(_TERMINATION[:-1])} or "
                    f"{_TERMINATION[-1]}"
                )
            return TerminateNode(reference_name=reference, inputs=inputs)
        case _:
            raise WorkflowDefinitionError(
                f"{where}: Perago does not run tasks of type {kind}; it runs {', '.join(_KINDS)}"
            )


def _sub_workflow(name: str, reference: str, fields: _Fields, depth: int) -> SubWorkflowNode:
    param = _Fields.of(fields.take("subWorkflowParam", Mapping, {}), f"{fields.where}.subWorkflowParam")
    inner = param.take("workflowDefinition", Mapping, None)
    graph = None if inner is None else _graph(inner, f"{param.where}.workflowDefinition.", depth + 1)
    version = param.take("version", int, None)
    workflow = param.take("name", str, "") if graph is None else graph.name
    param.taken.add("name")  # a server takes that of the definition
    param.expect_no_more()
    if not workflow.strip():
        raise WorkflowDefinitionError(f"{param.where} has no name and no workflowDefinition; give one of them")
    if "${" in workflow:
        raise WorkflowDefinitionError(
            f"{param.where}: name {workflow!r} is known only when the workflow runs; write the name of a workflow"
        )
    return SubWorkflowNode(
        reference_name=reference,
        task_name=name,
        workflow_name=workflow,
        version=version,
        inputs=fields.inputs(),
        optional=fields.take("optional", bool, default=False),
        graph=graph,
        is_inline=graph is not None,
    )


def _timeout_policy(given: str) -> Literal["TIME_OUT_WF", "ALERT_ONLY"]:
    if given == "TIME_OUT_WF":
        return "TIME_OUT_WF"
    if given == "ALERT_ONLY":
        return "ALERT_ONLY"
    raise WorkflowDefinitionError(f"timeoutPolicy is {given!r}; give TIME_OUT_WF or ALERT_ONLY")


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise WorkflowDefinitionError(f"{where} is no list")
    return value


@dataclass
class _Fields:
    """The fields of a JSON object, taken one by one. A field that is left over must have no effect."""

    given: JsonObject
    where: str
    taken: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, value: object, where: str) -> _Fields:
        if not isinstance(value, Mapping):
            kind = "a list" if isinstance(value, list) else "no JSON object"
            raise WorkflowDefinitionError(f"{where} is {kind}; give one object")
        return cls(value, where)

    def take(self, name: str, kind: type, default: Any) -> Any:
        self.taken.add(name)
        value = self.given.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise WorkflowDefinitionError(f"{self.where}: {name} is {type(value).__name__}, not {_WORDS[kind]}")
        return value

    def text(self, name: str) -> str:
        value = cast("str", self.take(name, str, ""))
        if not value.strip():
            raise WorkflowDefinitionError(f"{self.where} has no {name}")
        return value

    def inputs(self) -> JsonObject:
        return cast("JsonObject", self.take("inputParameters", Mapping, {}))

    def expect_no_more(self) -> None:
        for name in self._left():
            raise WorkflowDefinitionError(
                f"{self.where}: Perago does not know what {name} does; leave it out, or run the workflow on Conductor"
            )

    def _left(self) -> Iterator[str]:
        for name, value in self.given.items():
            if name not in self.taken and name not in _OF_NO_EFFECT and value not in _NOTHING:
                yield name


_NOTHING: tuple[object, ...] = (None, "", False, 0, [], {})
"""What a server writes for a field that was not given."""

_WORDS: dict[type, str] = {
    str: "text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    Mapping: "an object",
}
