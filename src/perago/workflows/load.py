"""Finds a workflow: by its function, or in a file with Conductor's JSON and the modules of its tasks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from perago.errors import TaskDefinitionError, WorkflowDefinitionError
from perago.tasks.declare import BUILTIN_TASKS, TaskDefinition
from perago.tasks.load import load_module_task, load_module_tasks
from perago.values.json_text import JsonObject, parse_json
from perago.workflows.builtin import builtin_task
from perago.workflows.check import check_wiring
from perago.workflows.declare import WorkflowDefinition, workflow_of
from perago.workflows.definition_json import from_json
from perago.workflows.expressions import Expression, expressions_in
from perago.workflows.forks import all_tasks
from perago.workflows.graph import WorkflowGraph, inputs_of

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
    def uses_workspace(self) -> bool:
        """Whether its input has a workspace."""
        return any(path[:3] == ("workflow", "input", "workspace") for path in _paths(self.graph))

    @property
    def uses_params(self) -> bool:
        """Whether its input has `params`, rather than fields of its own."""
        return any(path[:3] == ("workflow", "input", "params") for path in _paths(self.graph))


def is_file(target: str) -> bool:
    """Whether a target names a file with a definition."""
    return target.endswith(".json")


def find_workflow(target: str) -> WorkflowDefinition | None:
    """The workflow that `module:function` names; or that a module declares which declares one and no tasks.

    Returns:
        None if it names no workflow; it may name a task.

    Raises:
        TaskDefinitionError: the module cannot be imported.
    """
    name, _, function = target.partition(":")
    module = _imported(name, target)
    if module is None:
        return None
    if function:
        found: object = module
        for part in function.split("."):
            found = getattr(found, part, None)
        return None if found is None else workflow_of(found)
    own = [
        definition
        for value in vars(module).values()
        if (definition := workflow_of(value)) is not None and definition.fn.__module__ == module.__name__
    ]
    return own[0] if len(own) == 1 and not _declares_tasks(module) else None


def load_workflow(target: str, modules: Sequence[str] = ()) -> LoadedWorkflow:
    """The workflow of a target.

    Args:
        target: `module:function`, or a path that ends in `.json`.
        modules: of the tasks that a file names.

    Raises:
        WorkflowDefinitionError: there is none, or it has something that Perago does not run.
        TaskDefinitionError: a module cannot be imported.
    """
    if is_file(target):
        return _from_file(Path(target), modules)
    definition = find_workflow(target)
    if definition is None:
        raise WorkflowDefinitionError(f"{target!r} names no workflow; give module:function of one with @workflow")
    return LoadedWorkflow(target=target, graph=definition.graph, tasks=definition.tasks, declared=definition)


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
        return LoadedWorkflow(target=target, graph=graph, tasks=_tasks_of(graph, modules))
    now = load_workflow(target)
    missing = [name for name in _task_names(graph) if name not in now.tasks]
    if missing:
        raise WorkflowDefinitionError(
            f"{target} no longer has task {missing[0]!r}, which the run needs; put it back, or start another run"
        )
    return LoadedWorkflow(target=target, graph=graph, tasks=now.tasks, declared=now.declared)


def _from_file(path: Path, modules: Sequence[str]) -> LoadedWorkflow:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise WorkflowDefinitionError(f"{path} is larger than {MAX_FILE_BYTES} bytes and is no definition")
        document = parse_json(path.read_bytes())
    except OSError as exc:
        raise WorkflowDefinitionError(f"{path} cannot be read: {exc.strerror}") from None
    except (ValueError, RecursionError) as exc:
        raise WorkflowDefinitionError(f"{path} is not JSON: {exc}") from None
    try:
        graph = from_json(document)
        tasks = _tasks_of(graph, modules)
        check_wiring(graph, tasks)
        return LoadedWorkflow(target=str(path), graph=graph, tasks=tasks)
    except WorkflowDefinitionError as exc:
        raise WorkflowDefinitionError(f"{path}: {exc}") from None


def _tasks_of(graph: WorkflowGraph, modules: Sequence[str]) -> dict[str, TaskDefinition]:
    found = {task.name: task for module in modules for task in load_module_tasks(module)}
    names = set(_task_names(graph))
    found |= {name: builtin_task(name) for name in sorted(names & BUILTIN_TASKS)}
    missing = sorted(names - set(found))
    if missing:
        where = (
            f"the modules {', '.join(modules)} declare no such task" if modules else "give their modules with --tasks"
        )
        raise WorkflowDefinitionError(f"tasks {', '.join(map(repr, missing))} are not found: {where}")
    return found


def _task_names(graph: WorkflowGraph) -> Iterable[str]:
    return [node.task_name for node in all_tasks(graph.nodes)]


def _paths(graph: WorkflowGraph) -> Iterable[tuple[str | int, ...]]:
    nodes = (*graph.all_nodes(), *all_tasks(graph.nodes))
    values: list[JsonObject] = [*(inputs_of(node) for node in nodes), graph.output]
    found: list[Expression] = [expression for value in values for _, expression in expressions_in(value)]
    return [expression.path for expression in found]


def _imported(name: str, target: str) -> ModuleType | None:
    """The module; None if the target does not name one, which `load_module_task` words."""
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
