"""The configured Conductor server, and the TaskDefs registered there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from perago.cli.loading import expect_names_of_their_own
from perago.errors import RuntimeConfigError
from perago.settings import RuntimeConfig

if TYPE_CHECKING:
    from perago.engines.conductor import ConductorEngine
    from perago.tasks.declare import TaskDefinition
    from perago.workflows.graph import WorkflowGraph

State = Literal["registered", "differs", "missing"]

MAX_VERSIONS = 50
"""Newest versions of a workflow among which the one that equals the code is looked for, with a call each."""


@contextmanager
def open_conductor(config: RuntimeConfig) -> Iterator[ConductorEngine]:
    """The configured server; sends nothing yet.

    Raises:
        RuntimeConfigError: no server is configured, or the client packages are not installed.
    """
    if config.conductor is None:
        raise RuntimeConfigError(
            "no Conductor server is configured; set CONDUCTOR_SERVER_URL, such as http://localhost:8080/api"
        )
    from perago.engines.conductor import ConductorEngine

    with ConductorEngine(config.conductor.server_url, credentials=config.conductor_credentials()) as engine:
        yield engine


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A declared task compared with its registration.

    Attributes:
        to_register: the TaskDef, with the registered fields that Perago does not set.
        diff: lines of a unified diff from registered to declared.
    """

    task: TaskDefinition
    taskdef: dict[str, Any]
    to_register: dict[str, Any]
    state: State
    diff: Sequence[str]

    @property
    def said(self) -> dict[str, Any]:
        """As JSON."""
        return {"task": self.task.name, "target": self.task.target, "state": self.state, "diff": list(self.diff)}


def compare_taskdefs(engine: ConductorEngine, tasks: Sequence[TaskDefinition]) -> list[Compared]:
    """Compare tasks with their registrations. Warns like `build_taskdef`.

    Raises:
        TaskDefinitionError: a task has no TaskDef, or two have one name.
        EngineError: the server refused, or did not answer.
    """
    from perago.engines.conductor.taskdefs import differences, with_kept
    from perago.tasks.taskdef import build_taskdef

    expect_names_of_their_own(tasks)
    taskdefs = [build_taskdef(task) for task in tasks]
    compared = []
    for task, taskdef in zip(tasks, taskdefs, strict=True):
        registered = engine.get_taskdef(task.name)
        diff = differences(taskdef, registered)
        state: State = "missing" if registered is None else "differs" if diff else "registered"
        kept = with_kept(taskdef, registered)
        compared.append(Compared(task=task, taskdef=taskdef, to_register=kept, state=state, diff=diff))
    return compared


def expect_registered(engine: ConductorEngine, task_names: Sequence[str], target: str) -> None:
    """Refuse a workflow with tasks that the server does not know: it would only wait for them.

    Raises:
        UsageError: names all of them.
        EngineError: the server refused, or did not answer.
    """
    missing = [name for name in task_names if engine.get_taskdef(name) is None]
    if missing:
        raise click.UsageError(
            f"not registered at {engine.api_url}: task{'s' if len(missing) > 1 else ''} "
            f"{', '.join(map(repr, missing))}. `perago register {target}` registers "
            f"{'them' if len(missing) > 1 else 'it'}"
        )


def register_command(modules: Sequence[str]) -> str:
    """The command that registers the tasks of modules."""
    return shlex.join(["perago", "register", *modules])


@dataclass(frozen=True, kw_only=True)
class ComparedWorkflow:
    """A workflow compared with its registration.

    Attributes:
        definition: to register, with the version that it gets.
        state: "differs" if it gets the next version.
        diff: lines of a unified diff from registered to declared.
    """

    name: str
    version: int
    definition: dict[str, Any]
    state: State
    diff: Sequence[str]

    @property
    def said(self) -> dict[str, Any]:
        """As JSON."""
        return {"workflow": self.name, "version": self.version, "state": self.state, "diff": list(self.diff)}


def compare_workflows(
    engine: ConductorEngine, workflows: Sequence[WorkflowGraph], *, bump: bool = False
) -> list[ComparedWorkflow]:
    """Compare workflows with their registrations, each after the sub-workflows that it names.

    Args:
        bump: a workflow that differs gets the next version. Workflows that name it then name that version.

    Raises:
        UsageError, EngineError: as `compare_workflow`.
    """
    compared: dict[tuple[str, int], ComparedWorkflow] = {}
    for graph in [one for workflow in workflows for one in (*workflow.named_sub_workflows(), workflow)]:
        if (graph.name, graph.version) not in compared:
            versions = {declared: entry.version for declared, entry in compared.items()}
            compared[graph.name, graph.version] = compare_workflow(engine, graph.naming(versions), bump=bump)
    return list(compared.values())


def register_workflows(engine: ConductorEngine, compared: Sequence[ComparedWorkflow]) -> None:
    """Register the workflows that are not registered yet.

    Raises:
        EngineError: the server refused, or did not answer.
    """
    for workflow in compared:
        if workflow.state != "registered":
            engine.put_workflow_definition(workflow.definition)


def compare_workflow(engine: ConductorEngine, graph: WorkflowGraph, *, bump: bool = False) -> ComparedWorkflow:
    """Compare a workflow with its registrations: it is registered if one of its versions equals the code.

    Args:
        bump: compare with the newest version only. If that differs, the workflow gets the next one.

    Raises:
        UsageError: its version is registered with another definition, and `bump` is not set. Shows the difference.
        EngineError: the server refused, or did not answer.
    """
    from perago.workflows.definition_json import differences

    latest = engine.get_workflow_definition(graph.name)
    newest = _version_of(latest)
    if latest is None or newest < graph.version:
        return _compared(graph, "missing", graph.version)
    if not differences(graph, latest):
        return _compared(graph, "registered", newest)
    if bump:
        return _compared(graph, "differs", newest + 1, differences(graph, latest))
    for version in range(newest - 1, max(0, newest - MAX_VERSIONS), -1):
        older = engine.get_workflow_definition(graph.name, version)
        if older is not None and not differences(graph, older):
            return _compared(graph, "registered", version)
    same = engine.get_workflow_definition(graph.name, graph.version)
    if same is None:
        return _compared(graph, "missing", graph.version)
    told = "\n".join(differences(graph, same))
    raise click.UsageError(
        f"version {graph.version} of workflow {graph.name!r} is registered with another definition. Register the "
        f"next version with --bump, or give the declaration another version:\n{told}"
    )


def _version_of(definition: Mapping[str, Any] | None) -> int:
    version = (definition or {}).get("version")
    return version if isinstance(version, int) else 0


def _compared(graph: WorkflowGraph, state: State, version: int, diff: Sequence[str] = ()) -> ComparedWorkflow:
    from perago.workflows.definition_json import to_json

    definition = {**to_json(graph), "version": version}
    return ComparedWorkflow(name=graph.name, version=version, definition=definition, state=state, diff=diff)
