"""Holds a workflow against the typed tasks that it names: its wiring, and tasks that will refuse each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from perago.errors import WorkflowDefinitionError
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import describe_faults
from perago.values.spec import WorkspaceSpec
from perago.workflows.expressions import WORKFLOW, Expression, expressions_in, whole_expression
from perago.workflows.graph import ForkNode, Nodes, TaskNode, WorkflowGraph, all_of
from perago.workflows.wiring import did_you_mean, field_type, misfit, no_such, type_name, type_within

Tasks = Mapping[str, TaskDefinition]
Writer = tuple[str, WorkspaceSpec]

_RESULT = ("output", "result")


def check_wiring(graph: WorkflowGraph, tasks: Tasks) -> None:
    """Check every input of a task against what it takes, and what others make.

    Raises:
        WorkflowDefinitionError: all faults, each with both ends.
    """
    kinds = {
        node.reference_name: tasks[node.task_name].output_model
        for node in graph.all_nodes()
        if isinstance(node, TaskNode)
    }
    without = {
        node.reference_name
        for node in graph.all_nodes()
        if isinstance(node, TaskNode) and not tasks[node.task_name].has_workspace
    }
    faults = [
        f"task {node.reference_name!r}: {fault}"
        for node in graph.all_nodes()
        if isinstance(node, TaskNode)
        for fault in _faults_of(node, tasks[node.task_name], kinds, without)
    ]
    faults += [f"outputParameters: {fault}" for fault in _unknown_outputs(graph.output, kinds)]
    if faults:
        raise WorkflowDefinitionError("; ".join(faults))


def neighbours_that_refuse(graph: WorkflowGraph, tasks: Tasks) -> list[str]:
    """A warning for each fork in which tasks publish beside each other, and one may be refused for it."""
    found = []
    for node in graph.all_nodes():
        if not isinstance(node, ForkNode):
            continue
        writers = [list(_writers(branch, tasks)) for branch in node.branches]
        refused = {
            name: [other for other, beside in _beside(writers, branch) if _may_refuse(spec, beside)]
            for branch in writers
            for name, spec in branch
        }
        if strict := [name for name, others in refused.items() if others]:
            beside = dict.fromkeys(name for names in refused.items() for name in (names[0], *names[1]) if names[1])
            found.append(
                f"tasks {', '.join(map(repr, beside))} publish beside each other in fork {node.reference_name!r}, and "
                f"{', '.join(map(repr, strict))} will be refused when another has published first what it could see; "
                f"run them one after the other, or give them prefixes beside each other or "
                f'WorkspaceSpec(isolation="snapshot")'
            )
    return found


def _beside(writers: list[list[Writer]], branch: list[Writer]) -> Iterator[Writer]:
    """The tasks of the other branches."""
    return (writer for other in writers if other is not branch for writer in other)


def _may_refuse(spec: WorkspaceSpec, beside: WorkspaceSpec) -> bool:
    """Whether a publication of a task with the spec `beside` can refuse one with `spec`. Patterns are not compared."""
    if spec.isolation != "serializable":
        return spec.isolation == "exclusive"
    return spec.root.startswith(beside.root) or beside.root.startswith(spec.root)


def _writers(nodes: Nodes, tasks: Tasks) -> Iterator[Writer]:
    """Reference name and workspace of each task that may publish."""
    for node in all_of(nodes):
        if isinstance(node, TaskNode):
            spec = tasks[node.task_name].workspace
            if spec is not None and not spec.read_only:
                yield node.reference_name, spec


def _faults_of(
    node: TaskNode, task: TaskDefinition, kinds: Mapping[str, type[BaseModel]], without: Set[str]
) -> Iterator[str]:
    taken = {"params", "workspace"} if task.has_workspace else {"params"}
    for name in node.inputs:
        if task.has_workspace and name not in taken:
            yield f"its input has {name!r}, which it does not take{did_you_mean(name, sorted(taken))}"
    for name in sorted(taken - set(node.inputs)):
        if name == "workspace" or task.params_model.model_fields:
            yield f"its input has no {name!r}"
    yield from _unknown_outputs({name: node.inputs[name] for name in node.inputs}, kinds)
    yield from _param_faults(node.inputs.get("params"), task, kinds)
    yield from _without_workspace(node.inputs.get("workspace"), without)


def _without_workspace(given: Any, without: Set[str]) -> Iterator[str]:
    """Expressions that name the workspace of a task that has none."""
    for place, expression in expressions_in({"workspace": given}):
        if expression.begins_with in without and expression.path[1:3] == ("output", "workspace"):
            yield f"{place}: {expression}: task {expression.begins_with!r} has no workspace"


def _unknown_outputs(values: object, kinds: Mapping[str, type[BaseModel]]) -> Iterator[str]:
    """Expressions that name no field of a result."""
    for place, expression in expressions_in(values):
        kind = kinds.get(expression.begins_with)
        if kind is not None and expression.path[1:3] == _RESULT:
            fault = _fault_on_the_way(kind, expression)
            if fault is not None:
                yield f"{place}: {expression}: {fault}"


def _fault_on_the_way(kind: Any, expression: Expression) -> str | None:
    name = f"the result of task {expression.begins_with!r}"
    for step in expression.path[3:]:
        within = type_within(kind, step)
        if within is None:
            return f"{name} {no_such(kind, str(step))}"
        kind, name = within[0], f"{step} of {name}"
    return None


def _kind_of(expression: Expression, kinds: Mapping[str, type[BaseModel]]) -> tuple[Any] | None:
    """The type of an expression, in a tuple; None if it is not known."""
    kind: Any = kinds.get(expression.begins_with)
    if kind is None or expression.begins_with == WORKFLOW or expression.path[1:3] != _RESULT:
        return None
    for step in expression.path[3:]:
        within = type_within(kind, step)
        if within is None:
            return None
        kind = within[0]
    return (kind,)


def _param_faults(given: Any, task: TaskDefinition, kinds: Mapping[str, type[BaseModel]]) -> Iterator[str]:
    model = task.params_model
    if isinstance(given, str) and (whole := whole_expression(given)) is not None:
        made = _kind_of(whole, kinds)
        fault = None if made is None else misfit(made[0], model)
        if fault is not None:
            yield f"params: {whole} does not fit: {fault}"
        return
    if not isinstance(given, Mapping):
        return
    keys = {field.alias or name: field for name, field in model.model_fields.items()}
    for name, field in keys.items():
        if field.is_required() and name not in given:
            yield f"param {name!r} is missing"
    for name, value in given.items():
        field_of_it = keys.get(name)
        if field_of_it is None:
            yield f"it has no param {name!r}{did_you_mean(name, [*keys])}"
            continue
        fault = _value_fault(value, field_type(field_of_it), kinds)
        if fault is not None:
            yield f"param {name!r}{fault}"


def _value_fault(value: object, kind: Any, kinds: Mapping[str, type[BaseModel]]) -> str | None:
    whole = whole_expression(value)
    if whole is not None:
        made = _kind_of(whole, kinds)
        fault = None if made is None else misfit(made[0], kind)
        return None if fault is None else f" takes {type_name(kind)}, but {whole}: {fault}"
    if any(True for _ in expressions_in(value)):
        return None
    try:
        TypeAdapter(kind).validate_json(json.dumps(value))
    except ValidationError as exc:
        return f": {describe_faults(exc, 'value')}"
    return None
