"""Finds a workflow: by its function, or in a file with Conductor's JSON, and what that names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

from perago.errors import TaskDefinitionError, WorkflowDefinitionError
from perago.tasks.declare import BUILTIN_TASKS, TaskDefinition
from perago.tasks.load import load_module_task, load_module_tasks
from perago.values.json_text import JsonObject, parse_json
from perago.values.workflow_params import has_result
from perago.workflows.builtin import builtin_task
from perago.workflows.check import check_sub_workflow_names, check_wiring
from perago.workflows.definition import WorkflowDefinition, workflow_of
from perago.workflows.definition_json import MAX_JSON_DEPTH, from_json, to_json
from perago.workflows.expressions import Expression, expressions_in
from perago.workflows.extent import check_extent
from perago.workflows.forks import all_tasks, task_names
from perago.workflows.graph import SubWorkflowNode, WorkflowGraph, each_replaced, inputs_of
from perago.workflows.wiring import did_you_mean

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Maximum size of a definition's file."""


@dataclass(frozen=True, kw_only=True)
class LoadedWorkflow:
    """A workflow that can be run here.

    Attributes:
        target: as given by the user.
        tasks: the definitions of its tasks, by their names.
        declared: its declaration; None if it was read from JSON.
    """

    target: str
    graph: WorkflowGraph
    tasks: dict[str, TaskDefinition]
    declared: WorkflowDefinition | None = None

    @property
    def has_result(self) -> bool:
        """Whether its output has a result to show."""
        if self.declared is not None:
            return self.declared.output_model is not None
        return has_result(to_json(self.graph))

    @property
    def uses_workspace(self) -> bool:
        """Whether its input has a workspace."""
        return any(path[:3] == ("workflow", "input", "workspace") for path in _paths(self.graph))

    @property
    def uses_params(self) -> bool:
        """Whether its input has `params`, rather than fields of its own."""
        return any(path[:3] == ("workflow", "input", "params") for path in _paths(self.graph))


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What a target names: one task, one workflow, or all that a module declares.

    Attributes:
        target: as given by the user.
    """

    target: str
    tasks: tuple[TaskDefinition, ...] = ()
    workflows: tuple[LoadedWorkflow, ...] = ()

    @property
    def all_tasks(self) -> list[TaskDefinition]:
        """Its tasks and those of its workflows, each once."""
        of_workflows = (task for workflow in self.workflows for task in workflow.tasks.values())
        return list({id(task): task for task in (*self.tasks, *of_workflows)}.values())

    def only(self) -> TaskDefinition | LoadedWorkflow:
        """The one task or workflow.

        Raises:
            TaskDefinitionError: the module declares several; lists them.
        """
        everything: tuple[TaskDefinition | LoadedWorkflow, ...] = (*self.tasks, *self.workflows)
        if len(everything) > 1:
            kinds = [
                (len(names), f"{kind}{'' if len(names) == 1 else 's'}", ", ".join(names))
                for kind, names in (("task", _targets(self.tasks)), ("workflow", _targets(self.workflows)))
                if names
            ]
            listed = [names if len(kinds) == 1 else f"{kind} {names}" for _, kind, names in kinds]
            raise TaskDefinitionError(
                f"module {self.target!r} declares {' and '.join(f'{count} {kind}' for count, kind, _ in kinds)}; name "
                f"one of them: {'; '.join(listed)}"
            )
        return everything[0]


def _targets(declared: Iterable[TaskDefinition | LoadedWorkflow]) -> list[str]:
    return sorted(one.target for one in declared)


def load_declared(target: str, modules: Sequence[str] = (), files: Sequence[str] = ()) -> Declared:
    """What a target names.

    Args:
        target: `module`, `module:function`, or a path that ends in `.json`.
        modules: of the tasks and sub-workflows that a file names.
        files: with the definitions of such sub-workflows.

    Raises:
        TaskDefinitionError: it names neither a task nor a workflow, or a module cannot be imported.
        WorkflowDefinitionError: a workflow has something that Perago does not run.
    """
    if is_file(target):
        return Declared(target=target, workflows=(_from_file(Path(target), modules, files),))
    name, _, function = target.partition(":")
    module = _imported(name, target)
    if module is None:
        return Declared(target=target, tasks=(load_module_task(target),))
    if function:
        return _declared_as(module, function, target)
    workflows = _own_workflows(module)
    try:
        tasks = load_module_tasks(target)
    except TaskDefinitionError:
        if not workflows:
            raise
        tasks = []
    is_only = len(workflows) == 1 and not tasks
    return Declared(
        target=target,
        tasks=tuple(tasks),
        workflows=tuple(_loaded(target if is_only else one.target, one) for one in workflows),
    )


def _declared_as(module: ModuleType, function: str, target: str) -> Declared:
    """The task or workflow that a module has under a name.

    Raises:
        TaskDefinitionError: it has none; lists those that it has.
    """
    found: object = module
    for part in function.split("."):
        found = getattr(found, part, None)
    definition = None if found is None else workflow_of(found)
    if definition is not None:
        return Declared(target=target, workflows=(_loaded(target, definition),))
    workflows = sorted(f"{module.__name__}:{one.fn.__qualname__}" for one in _own_workflows(module))
    return Declared(target=target, tasks=(load_module_task(target, workflows),))


def _loaded(target: str, definition: WorkflowDefinition) -> LoadedWorkflow:
    return LoadedWorkflow(target=target, graph=definition.graph, tasks=definition.tasks, declared=definition)


def is_file(target: str) -> bool:
    """Whether a target names a file with a definition."""
    return target.endswith(".json")


def _own_workflows(module: ModuleType) -> list[WorkflowDefinition]:
    """The workflows that a module declares under a name."""
    found = [workflow_of(value) for value in vars(module).values()]
    return [one for one in found if one is not None and one.fn.__module__ == module.__name__]


def load_workflow(target: str, modules: Sequence[str] = (), files: Sequence[str] = ()) -> LoadedWorkflow:
    """The one workflow of a target, beside any tasks. Arguments as `load_declared`.

    Raises:
        WorkflowDefinitionError: there is none, or there are several.
        TaskDefinitionError: as `load_declared`.
    """
    workflows = load_declared(target, modules, files).workflows
    if len(workflows) != 1:
        raise WorkflowDefinitionError(f"{target!r} names {len(workflows)} workflows; give module:function of one")
    return workflows[0]


def workflow_of_record(target: str, document: JsonObject, modules: Sequence[str]) -> LoadedWorkflow:
    """The workflow of a recorded run: its definition as recorded, its tasks as they are now.

    Args:
        target: as when it began.
        modules: as then.

    Raises:
        WorkflowDefinitionError, TaskDefinitionError: as `load_workflow`.
    """
    graph = from_json(document)
    if is_file(target):
        return LoadedWorkflow(target=target, graph=graph, tasks=_tasks_of(graph, _Known(modules, ())))
    now = load_workflow(target)
    missing = [name for name in task_names(graph) if name not in now.tasks]
    if missing:
        raise WorkflowDefinitionError(
            f"{target} no longer has task {missing[0]!r}, which the run needs; put it back, or start another run"
        )
    return LoadedWorkflow(target=target, graph=graph, tasks=now.tasks, declared=now.declared)


def _from_file(path: Path, modules: Sequence[str], files: Sequence[str]) -> LoadedWorkflow:
    graph = _read(path)
    known = _Known(modules, files)
    try:
        graph = with_sub_workflows(graph, known.workflow)
        tasks = _tasks_of(graph, known)
        for one in graph.with_sub_workflows():
            check_wiring(one, tasks)
        check_sub_workflow_names(graph, tasks)
        return LoadedWorkflow(target=str(path), graph=graph, tasks=tasks)
    except WorkflowDefinitionError as exc:
        raise WorkflowDefinitionError(f"{path}: {exc}") from None


def _read(path: Path) -> WorkflowGraph:
    """The definition in a file. Those that it names are not found yet."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise WorkflowDefinitionError(f"{path} is larger than {MAX_FILE_BYTES} bytes and is no definition")
        document = parse_json(path.read_bytes())
    except OSError as exc:
        raise WorkflowDefinitionError(f"{path} cannot be read: {exc.strerror}") from None
    except ValueError as exc:
        raise WorkflowDefinitionError(f"{path} is not JSON: {exc}") from None
    except RecursionError:
        raise WorkflowDefinitionError(f"{path} is JSON nested more than {MAX_JSON_DEPTH} deep") from None
    try:
        return from_json(document)
    except WorkflowDefinitionError as exc:
        raise WorkflowDefinitionError(f"{path}: {exc}") from None


class _Known:
    """What the definition in a file may name.

    Attributes:
        tasks: by their names.
        workflows: by name, then by version.
    """

    def __init__(self, modules: Sequence[str], files: Sequence[str]) -> None:
        self.modules = modules
        self.tasks: dict[str, TaskDefinition] = {}
        self.workflows: dict[str, dict[int, WorkflowGraph]] = {}
        for module in modules:
            declared = _declared_workflows(module)
            for workflow in declared:
                self._add(workflow.graph)
                self.tasks |= workflow.tasks
            if not declared or _declares_tasks(sys.modules[module]):
                self.tasks |= {task.name: task for task in load_module_tasks(module)}
        for file in files:
            self._add(_read(Path(file)))

    def workflow(self, node: SubWorkflowNode) -> WorkflowGraph:
        """The workflow that a definition names.

        Raises:
            WorkflowDefinitionError: it is not known.
        """
        versions = self.workflows.get(node.workflow_name, {})
        if not versions:
            near = did_you_mean(node.workflow_name, sorted(self.workflows)) if self.workflows else ""
            raise WorkflowDefinitionError(
                f"workflow {node.workflow_name!r}, which {node.reference_name!r} runs, is not found{near}; give the "
                f"file of its definition with --workflows, or the module that declares it with --tasks"
            )
        found = versions.get(max(versions) if node.version is None else node.version)
        if found is None:
            raise WorkflowDefinitionError(
                f"version {node.version} of workflow {node.workflow_name!r}, which {node.reference_name!r} runs, is "
                f"not found; the known versions are {', '.join(map(str, sorted(versions)))}"
            )
        return found

    def _add(self, graph: WorkflowGraph) -> None:
        self.workflows.setdefault(graph.name, {})[graph.version] = graph


def _declared_workflows(module: str) -> list[WorkflowDefinition]:
    """The workflows of a module; of `module:function`, none."""
    imported = None if ":" in module else _imported(module, module)
    return [] if imported is None else _own_workflows(imported)


def with_sub_workflows(graph: WorkflowGraph, find: Callable[[SubWorkflowNode], WorkflowGraph]) -> WorkflowGraph:
    """A workflow whose sub-workflows are found, at any depth; each definition once, however often it is named.

    Args:
        find: gives the workflow that a node names.

    Raises:
        WorkflowDefinitionError: one is not found, or contains itself; or the whole expands to too much.
    """
    try:
        whole = _SubWorkflows(find).within(graph, ())
        check_extent(whole)
    except RecursionError:
        raise WorkflowDefinitionError(
            f"workflow {graph.name!r} and its sub-workflows are nested too deeply; use fewer levels"
        ) from None
    return whole


class _SubWorkflows:
    def __init__(self, find: Callable[[SubWorkflowNode], WorkflowGraph]) -> None:
        self._find = find
        self._named: dict[tuple[str, int | None], WorkflowGraph] = {}
        self._whole: dict[int, tuple[WorkflowGraph, WorkflowGraph]] = {}  # by identity: as read, and with what it names

    def within(self, graph: WorkflowGraph, around: tuple[WorkflowGraph, ...]) -> WorkflowGraph:
        """A workflow with its sub-workflows.

        Args:
            around: the workflows that it is within, from the outside in.
        """
        if id(graph) not in self._whole:
            replaced = each_replaced(graph.nodes, partial(self._found, within=(*around, graph)))
            self._whole[id(graph)] = graph, replace(graph, nodes=replaced)
        return self._whole[id(graph)][1]

    def _found(self, node: SubWorkflowNode, within: tuple[WorkflowGraph, ...]) -> SubWorkflowNode:
        inner = node.graph or self._of_name(node)
        if any((one.name, one.version) == (inner.name, inner.version) for one in within):
            path = " > ".join(one.name for one in (*within, inner))
            raise WorkflowDefinitionError(f"workflow {inner.name!r} contains itself ({path}), and would never end")
        return replace(node, graph=self.within(inner, within))

    def _of_name(self, node: SubWorkflowNode) -> WorkflowGraph:
        name = (node.workflow_name, node.version)
        if name not in self._named:
            self._named[name] = self._find(node)
        return self._named[name]


def _tasks_of(graph: WorkflowGraph, known: _Known) -> dict[str, TaskDefinition]:
    names = task_names(graph)
    found = known.tasks | {name: builtin_task(name) for name in names if name in BUILTIN_TASKS}
    missing = sorted(set(names) - set(found))
    if missing:
        near = did_you_mean(missing[0], sorted(known.tasks))
        where = (
            f"the modules {', '.join(known.modules)} declare no such task{near}"
            if known.modules
            else "give their modules with --tasks"
        )
        raise WorkflowDefinitionError(f"tasks {', '.join(map(repr, missing))} are not found: {where}")
    return found


def _paths(graph: WorkflowGraph) -> Iterable[tuple[str | int, ...]]:
    nodes = (*graph.all_nodes(), *all_tasks(graph.nodes))
    values: list[JsonObject] = [*(inputs_of(node) for node in nodes), graph.output]
    found: list[Expression] = [expression for value in values for _, expression in expressions_in(value)]
    return [expression.path for expression in found]


def _imported(name: str, target: str) -> ModuleType | None:
    """The module; None if its name cannot be that of a module; `load_module_task` has a message for that."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    try:
        return sys.modules.get(name) or importlib.import_module(name)
    except WorkflowDefinitionError:
        raise
    except BaseException:
        load_module_task(target)
        raise


def _declares_tasks(module: ModuleType) -> bool:
    try:
        return bool(load_module_tasks(module.__name__))
    except TaskDefinitionError:
        return False
