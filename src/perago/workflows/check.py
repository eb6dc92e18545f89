"""Holds a workflow against the typed tasks that it names: its wiring, and tasks that will refuse each other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from perago.errors import WorkflowDefinitionError
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import describe_faults
from perago.tasks.patterns import segment_of
from perago.values.joins import JOIN, is_join
from perago.values.json_text import JsonObject
from perago.values.record import WITHIN
from perago.values.spec import WorkspaceSpec
from perago.workflows.expressions import (
    WORKFLOW,
    Expression,
    Step,
    expressions_in,
    unescaped,
    value_at,
    whole_expression,
)
from perago.workflows.forks import known_fork, known_forks
from perago.workflows.graph import (
    BEGIN_TASK,
    END_TASK,
    GATHER_TASK,
    ForkNode,
    JoinNode,
    Node,
    Nodes,
    SubWorkflowNode,
    SwitchNode,
    TaskNode,
    TerminateNode,
    WorkflowGraph,
    all_of,
    inputs_of,
    parts_of,
)
from perago.workflows.wiring import (
    FAULT_OF_A_LITERAL,
    did_you_mean,
    field_type,
    has_secret,
    list_of,
    misfit,
    no_such,
    type_name,
    type_within,
)
from perago.workspace.patterns import covers, may_meet

Tasks = Mapping[str, TaskDefinition]

Outputs = Mapping[str, Mapping[str, Any]]
"""The names in the output of each node, with their types; nodes whose output is not known are left out."""

_OF_UNKNOWN_TYPE: Any = None

MAX_FILLED = 200
"""Tasks of a fork, or of a workflow, whose patterns get the literals of the wiring: each is compared with each."""

_Cases = tuple[tuple[str, int], ...]
"""The switches around a task by name, from the outside in, each with the number of its case."""


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """A task that may publish.

    Attributes:
        name: its path from the workflow.
        declared: its workspace.
        given: its input.
    """

    name: str
    task: TaskDefinition
    declared: WorkspaceSpec
    given: JsonObject
    cases: _Cases

    def filled(self) -> WorkspaceSpec:
        """Its workspace, with the literals of the wiring in the patterns. Fields that only a run knows stay."""
        return self.declared.filled(lambda name: self._literal(name) or f"{{{name}}}")

    def _literal(self, name: str) -> str | None:
        about, params = self.task.params_model.model_fields[name], self.given.get("params")
        if not isinstance(params, Mapping):
            return None
        value = params.get(about.alias or name, about.default)
        try:
            if any(True for _ in expressions_in(value)):
                return None
            known = TypeAdapter(field_type(about)).validate_python(unescaped(value))
            return segment_of(self.task.name, name, known)
        except Exception:  # noqa: BLE001 - a validator may raise anything; whether the value fits is another check's
            return None


def check_wiring(graph: WorkflowGraph, tasks: Tasks) -> None:
    """Check every input of a task or sub-workflow against what it takes, and what others make.

    Raises:
        WorkflowDefinitionError: all faults, each with both ends.
    """
    nodes = _known_nodes(graph)
    outputs = {node.reference_name: found for node in nodes if (found := _outputs_of(node, tasks)) is not None}
    outputs |= _gathered(graph, tasks)
    faults = [f"task {node.reference_name!r}: {fault}" for node in nodes for fault in _faults_of(node, tasks, outputs)]
    faults += [f"outputParameters: {fault}" for fault in _unknown_outputs(graph.output, outputs)]
    faults += _beside_the_run(graph)
    if faults:
        raise WorkflowDefinitionError("; ".join(faults))


def _beside_the_run(graph: WorkflowGraph) -> Iterator[str]:
    """What a transactional workflow would publish outside of its run, or not at all."""
    tasks = [node for node in all_of(graph.nodes) if isinstance(node, TaskNode | SubWorkflowNode)]
    begins = [node.reference_name for node in tasks if node.task_name == BEGIN_TASK]
    ends = [index for index, node in enumerate(tasks) if node.task_name == END_TASK]
    if not begins and not ends:
        return
    at_top = [node.task_name for node in graph.nodes if isinstance(node, TaskNode)]
    if len(begins) != 1 or len(ends) != 1 or at_top.count(BEGIN_TASK) != 1 or at_top.count(END_TASK) != 1:
        yield f"a transactional workflow has one task {BEGIN_TASK} and one {END_TASK}, neither in a fork or switch"
        return
    own = f"use ${{{begins[0]}.output.workspace}}, or the workspace of an earlier task"
    for index, node in enumerate(tasks):
        if "workspace" not in node.inputs or node.task_name in (BEGIN_TASK, END_TASK):
            continue
        if index > ends[0]:
            yield f"task {node.reference_name!r}: it runs after the run was published; move it before {END_TASK}"
        elif not _is_of_a_run(node.inputs["workspace"]):
            yield f"task {node.reference_name!r}: its workspace is not the run's; {own}"


def _is_of_a_run(workspace: object) -> bool:
    """Whether a workspace is what a task has left, as far as its expressions tell."""
    if isinstance(workspace, Mapping):
        inner = workspace.get(JOIN)
        return is_join(workspace) and all(map(_is_of_a_run, inner if isinstance(inner, list) else [inner]))
    whole = whole_expression(workspace)
    return whole is not None and whole.path[:2] != (WORKFLOW, "input")


def check_input(graph: WorkflowGraph, tasks: Tasks, input_data: JsonObject) -> None:
    """Check the input of a workflow against the tasks that take it as it is and are certain to run.

    Raises:
        WorkflowDefinitionError: all faults, without values.
    """
    document = {WORKFLOW: {"input": input_data}}
    faults = {
        f"{whole} for param {name!r} of task {node.reference_name!r}: {'it is not given' if value is None else fault}"
        for node in _certain(graph.nodes)
        for name, field, whole in _taken_from_input(node, tasks)
        if (fault := _json_fault(value := value_at(document, whole.path), field_type(field))) is not None
    }
    if faults:
        raise WorkflowDefinitionError("; ".join(sorted(faults)))


def _certain(nodes: Nodes) -> Iterator[TaskNode | SubWorkflowNode]:
    """The tasks that run unless one before them fails: none of a switch, nor what follows one that may end it all."""
    for node in nodes:
        if any(isinstance(inner, TerminateNode) for inner in all_of((node,))):
            return
        if isinstance(node, TaskNode | SubWorkflowNode) and not node.optional:
            yield node
        if isinstance(node, ForkNode):
            for branch in node.branches:
                yield from _certain(branch)


def _taken_from_input(node: TaskNode | SubWorkflowNode, tasks: Tasks) -> Iterator[tuple[str, FieldInfo, Expression]]:
    """The params of a task or sub-workflow that are values of the workflow's input, each with its field."""
    model = tasks[node.task_name].params_model if isinstance(node, TaskNode) else node.found.params_model
    given = node.inputs.get("params")
    if model is None or not isinstance(given, Mapping):
        return
    for name, field in model.model_fields.items():
        whole = whole_expression(given.get(field.alias or name))
        if whole is not None and whole.path[:2] == (WORKFLOW, "input"):
            yield name, field, whole


def typed_places(graph: WorkflowGraph, tasks: Tasks) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """The places in a workflow's input that tasks take params from as they are, each with the type that it has there.

    A place of a sub-workflow's input that is itself such a place is traced to its origin.
    """
    for node in _known_nodes(graph):
        if isinstance(node, TaskNode):
            places: Iterable[tuple[tuple[Step, ...], Any]] = _places_of_params(tasks[node.task_name].params_model)
        elif isinstance(node, SubWorkflowNode):
            places = typed_places(node.found, tasks)
        else:
            continue
        for path, kind in places:
            for end in range(1, len(path) + 1):
                whole = whole_expression(value_at(node.inputs, path[:end]))
                if whole is not None and whole.path[:2] == (WORKFLOW, "input"):
                    yield (*whole.path[2:], *path[end:]), kind


def _places_of_params(model: type[BaseModel]) -> Iterator[tuple[tuple[Step, ...], Any]]:
    for name, field in model.model_fields.items():
        yield ("params", field.alias or name), field_type(field)


def check_sub_workflow_names(graph: WorkflowGraph, tasks: Tasks) -> None:
    """Check that no sub-workflow is named like a task with retries: a server would run the whole of it again.

    Raises:
        WorkflowDefinitionError
    """
    for one in graph.with_sub_workflows():
        for node in one.all_nodes():
            if isinstance(node, SubWorkflowNode) and node.task_name in tasks:
                raise WorkflowDefinitionError(
                    f"sub-workflow {node.reference_name!r} has the name of task {node.task_name!r}. A server would "
                    f"apply the retries of the task to the whole sub-workflow. Give the sub-workflow another name"
                )


def _outputs_of(node: Node, tasks: Tasks) -> Mapping[str, Any] | None:
    match node:
        case TaskNode():
            task = tasks[node.task_name]
            place = {"workspace": _OF_UNKNOWN_TYPE} if task.has_workspace else {}
            return {"result": task.output_model, **place}
        case SubWorkflowNode():
            graph = node.found
            names = dict.fromkeys(graph.output, _OF_UNKNOWN_TYPE)
            result = {} if graph.output_model is None else {"result": graph.output_model}
            return {"subWorkflowId": str, **names, **result} if graph.output else None
        case JoinNode() if node.join_on:
            return dict.fromkeys(node.join_on, _OF_UNKNOWN_TYPE)
        case SwitchNode():
            return {"evaluationResult": list[str], "selectedCase": str}
        case _:
            return None


def neighbours_that_refuse(graph: WorkflowGraph, tasks: Tasks) -> list[str]:
    """A warning for each fork in which tasks publish beside each other, and one may be refused for it."""
    found = []
    for node in [node for one in graph.with_sub_workflows() for node in one.all_nodes()]:
        if not isinstance(node, ForkNode):
            continue
        beside, strict = _refused(_specs([list(_writers(branch, tasks)) for branch in node.branches]))
        if strict:
            found.append(
                f"tasks {_listed(beside)} publish at the same time in fork {node.reference_name!r}. Perago may refuse "
                f"{'any of ' if len(strict) > 1 else ''}{_listed(strict)} if another one publishes first. Run them one "
                f"after the other, give them separate prefixes, or declare include= and outputs= that match files no "
                f"other task writes, such as {_apart(strict, 'a')}"
            )
    for fork in [fork for one in graph.with_sub_workflows() for fork in known_forks(one.nodes)]:
        strict = [each for each in _writers(fork.tasks, tasks) if may_refuse_another_item(each.declared)]
        if strict and (fork.over is not None or len(fork.tasks) > 1):
            names = sorted({task.task_name for task in fork.tasks})
            field = f"{{{fork.param or 'item'}}}"
            used = field if fork.param is not None else f"a param that differs between items, such as {field},"
            found.append(
                f"{', '.join(map(repr, names))} {'runs' if len(names) == 1 else 'run'} for several items of "
                f"{fork.mapped or fork.join!r} at the same time. An item may be refused if another one publishes "
                f"first. Give each item its own files: use {used} in include= and outputs=, such as "
                f"{_apart(strict, field)}"
            )
    return found


def _listed(writers: Iterable[_Writer]) -> str:
    return ", ".join(repr(each.name) for each in writers)


def _apart(writers: Sequence[_Writer], name: str) -> str:
    """An example of files that no other task writes. Isolation "snapshot" is not for tasks with a cache."""
    example = f'WorkspaceSpec(include=["raw/{name}/**"], outputs=["made/{name}/**"])'
    snapshot = "" if any(each.task.cache for each in writers) else ', or give WorkspaceSpec(isolation="snapshot")'
    return f"{example}{snapshot}"


def _specs(branches: list[list[_Writer]]) -> list[list[tuple[_Writer, WorkspaceSpec]]]:
    """The workspaces of writers: with the literals of the wiring in their patterns, unless there are too many."""
    fills = sum(map(len, branches)) <= MAX_FILLED
    return [[(each, each.filled() if fills else each.declared) for each in branch] for branch in branches]


def _refused(branches: list[list[tuple[_Writer, WorkspaceSpec]]]) -> tuple[list[_Writer], list[_Writer]]:
    """Tasks of a fork, in order: those that may be refused or refuse another, and those that may be refused.

    Those with equal workspaces are compared once: a fork may have thousands.
    """
    alike: dict[_Alike, tuple[WorkspaceSpec, set[int]]] = {}
    for index, branch in enumerate(branches):
        for _, spec in branch:
            alike.setdefault(_alike(spec), (spec, set()))[1].add(index)
    refuse: dict[_Alike, set[int]] = {}
    refused: dict[_Alike, set[int]] = {}
    for one, (spec, own) in alike.items():
        for other, (beside, theirs) in alike.items():
            if _may_refuse(spec, beside):
                refused.setdefault(one, set()).update(theirs)
                refuse.setdefault(other, set()).update(own)

    def those(*by: Mapping[_Alike, set[int]]) -> list[_Writer]:
        return [
            writer
            for index, branch in enumerate(branches)
            for writer, spec in branch
            if any(other != index for one in by for other in one.get(_alike(spec), ()))
        ]

    return those(refused, refuse), those(refused)


_Alike = tuple[str, str, tuple[str, ...], tuple[str, ...]]


def _alike(spec: WorkspaceSpec) -> _Alike:
    """The parts of a workspace that are compared."""
    return spec.root, spec.isolation, tuple(spec.include) if spec.outputs else (), tuple(spec.outputs)


def _may_refuse(spec: WorkspaceSpec, beside: WorkspaceSpec) -> bool:
    """Whether a publication of a task with the spec `beside` can refuse one with `spec`.

    Patterns are compared only with declared outputs.
    """
    if spec.isolation != "serializable":
        return spec.isolation == "exclusive"
    if not (spec.root.startswith(beside.root) or beside.root.startswith(spec.root)):
        return False
    return _may_meet(spec, beside)


def may_refuse_another_item(spec: WorkspaceSpec) -> bool:
    """Whether one item of a map can refuse another one. They are alike but for their params."""
    return _may_refuse(spec, spec) and _may_meet(spec, spec, fields_differ=True)


def _may_meet(spec: WorkspaceSpec, beside: WorkspaceSpec, *, fields_differ: bool = False) -> bool:
    seen, made = spec.touched.include, beside.outputs
    if spec.isolation == "exclusive" or not seen or not made or spec.root != beside.root:
        return True
    return any(may_meet(one, other, fields_differ=fields_differ) for one in seen for other in made)


def outputs_that_overlap(graph: WorkflowGraph, tasks: Tasks) -> list[str]:
    """A warning for each two tasks that declare the same outputs, unless they are in different cases of a switch."""
    ((*writers,),) = _specs([list(_writers(graph.nodes, tasks))])
    makers: dict[tuple[str, str, str], set[_Cases]] = {}
    for writer, spec in writers:
        for pattern in spec.outputs:
            makers.setdefault((writer.task.name, spec.root, pattern), set()).add(writer.cases)
    made = list(makers.items())
    found = [
        f"tasks {name!r} and {other!r} both declare outputs at {root + pattern!r}, so the later one "
        f"deletes what the earlier one has made. Give each its own outputs"
        for index, ((name, root, pattern), own) in enumerate(made)
        for (other, beside, theirs), cases in made[index + 1 :]
        if other != name
        and (covers(root + pattern, beside + theirs) or covers(beside + theirs, root + pattern))
        and any(_may_both_run(one, another) for one in own for another in cases)
    ]
    return list(dict.fromkeys(found))


def _may_both_run(one: _Cases, other: _Cases) -> bool:
    chosen = dict(one)
    return all(chosen.get(switch, case) == case for switch, case in other)


def _known_nodes(graph: WorkflowGraph) -> list[Node]:
    """All nodes, and the tasks of known forks."""
    return [*graph.all_nodes(), *(task for fork in known_forks(graph.nodes) for task in fork.tasks)]


def _gathered(graph: WorkflowGraph, tasks: Tasks) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The output of each task that gathers the results of tasks that are alike, by its name."""
    joined = {
        f"${{{fork.join}.output}}": fork.tasks[0]
        for fork in known_forks(graph.nodes)
        if len({(task.task_name, task.optional) for task in fork.tasks}) == 1
    }
    for node in graph.all_nodes():
        params = node.inputs.get("params") if isinstance(node, TaskNode) and node.task_name == GATHER_TASK else None
        task = joined.get(str(params.get("outputs"))) if isinstance(params, Mapping) else None
        if task is not None:
            made = tasks[task.task_name].output_model
            kind = list_of(made, optional=task.optional)
            yield node.reference_name, {"result": create_model("Gathered", results=(kind, ...))}


def _writers(nodes: Nodes, tasks: Tasks, within: str = "", cases: _Cases = ()) -> Iterator[_Writer]:
    """Each task that may publish."""
    forked = [task for index in range(len(nodes)) if (fork := known_fork(nodes, index)) for task in fork.tasks]
    for node in [*nodes, *forked]:
        name = within + node.reference_name
        match node:
            case TaskNode():
                task = tasks[node.task_name]
                if task.workspace is not None and not task.workspace.read_only:
                    yield _Writer(name=name, task=task, declared=task.workspace, given=node.inputs, cases=cases)
            case SubWorkflowNode():
                yield from _writers(node.found.nodes, tasks, name + WITHIN, cases)
            case SwitchNode():
                for number, part in enumerate(parts_of(node)):
                    yield from _writers(part, tasks, within, (*cases, (name, number)))
            case _:
                for part in parts_of(node):
                    yield from _writers(part, tasks, within, cases)


def _faults_of(node: Node, tasks: Tasks, outputs: Outputs) -> Iterator[str]:
    inputs = inputs_of(node)
    yield from _unknown_outputs(inputs, outputs)
    if isinstance(node, SubWorkflowNode):
        yield from _params_of_sub_workflow(node, outputs)
    if not isinstance(node, TaskNode):
        return
    task = tasks[node.task_name]
    taken = {"params", "workspace"} if task.has_workspace else {"params"}
    for name in inputs:
        if task.has_workspace and name not in taken:
            yield f"its input has {name!r}, which it does not take{did_you_mean(name, sorted(taken))}"
    for name in sorted(taken - set(inputs)):
        if name == "workspace" or task.params_model.model_fields:
            yield f"its input has no {name!r}"
    yield from _param_faults(inputs.get("params"), task.params_model, outputs)


def _params_of_sub_workflow(node: SubWorkflowNode, outputs: Outputs) -> Iterator[str]:
    model, given = node.found.params_model, node.inputs.get("params")
    if model is None:
        return
    if given is None and not node.found.input_template:
        yield "its input has no 'params'"
    yield from _param_faults(given, model, outputs)
    if isinstance(given, Mapping):
        for name, about in model.model_fields.items():
            if name not in given and not about.is_required():
                yield f"param {name!r} is missing; give it, or leave all params out for the defaults"


def _unknown_outputs(values: object, outputs: Outputs) -> Iterator[str]:
    """Expressions that name no output, or no field of one."""
    for place, expression in expressions_in(values):
        known = outputs.get(expression.begins_with)
        if known is not None and len(expression.path) > 2 and expression.path[1] == "output":
            fault = _fault_on_the_way(known, expression)
            if fault is not None:
                yield f"{place}: {expression}: {fault}"


def _fault_on_the_way(known: Mapping[str, Any], expression: Expression) -> str | None:
    first = str(expression.path[2])
    if first not in known:
        return f"the output of {expression.begins_with!r} has no {first!r}{did_you_mean(first, [*known])}"
    kind, name = known[first], f"the {first} of task {expression.begins_with!r}"
    for step in expression.path[3:]:
        if kind is _OF_UNKNOWN_TYPE:
            return None
        within = type_within(kind, step)
        if within is None:
            return f"{name} {no_such(kind, str(step))}"
        kind, name = within[0], f"{step} of {name}"
    return None


def _kind_of(expression: Expression, outputs: Outputs) -> tuple[Any] | None:
    """The type of an expression, in a tuple; None if it is not known."""
    if len(expression.path) < 3 or expression.path[1] != "output":
        return None
    kind: Any = outputs.get(expression.begins_with, {}).get(str(expression.path[2]))
    for step in expression.path[3:]:
        within = None if kind is _OF_UNKNOWN_TYPE else type_within(kind, step)
        if within is None:
            return None
        kind = within[0]
    return None if kind is _OF_UNKNOWN_TYPE else (kind,)


def _param_faults(given: Any, model: type[BaseModel], outputs: Outputs) -> Iterator[str]:
    if isinstance(given, str) and (whole := whole_expression(given)) is not None:
        made = _kind_of(whole, outputs)
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
        fault = _value_fault(value, field_type(field_of_it), outputs)
        if fault is not None:
            yield f"param {name!r}{fault}"


def _value_fault(value: object, kind: Any, outputs: Outputs) -> str | None:
    whole = whole_expression(value)
    if whole is not None:
        made = _kind_of(whole, outputs)
        fault = None if made is None else misfit(made[0], kind)
        return None if fault is None else f" takes {type_name(kind)}, but {whole}: {fault}"
    if has_secret(value, kind):
        return FAULT_OF_A_LITERAL
    if any(True for _ in expressions_in(value)):
        return None
    fault = _json_fault(value, kind)
    return None if fault is None else f": {fault}"


def _json_fault(value: object, kind: Any) -> str | None:
    """Why a JSON value is none of a type."""
    try:
        TypeAdapter(kind).validate_json(json.dumps(value))
    except ValidationError as exc:
        return describe_faults(exc, "value")
    return None
