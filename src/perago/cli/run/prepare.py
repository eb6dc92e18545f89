"""The request of `perago run` and `submit`, made of their arguments."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from perago.cli.arguments import RunArguments, check_workspace_root, configured_branch
from perago.cli.loading import find_modules_here, load_task
from perago.cli.output import stdout_to_stderr
from perago.cli.run.params import read_params
from perago.engines.local import LocalEngine, RunSummary
from perago.errors import required
from perago.running.repos.address import given_repository, local_engine
from perago.running.request import Place, RunArgumentError, RunRequest, find_run, new_request, params_again
from perago.running.workflow_request import (
    MODULES,
    WorkflowRequest,
    complete_params,
    new_workflow_request,
    settings_target,
    with_retries,
    workflow_input,
)
from perago.settings import RuntimeConfig, load_run_config
from perago.stores.provider import RepositoryAddress
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import validate_params
from perago.values.json_text import JsonObject
from perago.workflows.load import LoadedWorkflow, is_file, workflow_of_record


@contextmanager
def usage_errors() -> Iterator[None]:
    """Name the arguments of a run as options.

    Raises:
        UsageError: an argument is wrong.
    """
    try:
        yield
    except RunArgumentError as exc:
        text = exc.worded(lambda name: f"--{name}")
        raise click.UsageError(text if exc.missing is None else f"Missing option '--{exc.missing}': {text}") from None


def prepare(arguments: RunArguments, task: TaskDefinition) -> RunRequest:
    """Check everything that a new run needs.

    Raises:
        UsageError, TaskDefinitionError, TaskInputError, RuntimeConfigError: an argument or a setting is wrong.
        RepositoryNotFoundError, BranchNotFoundError, RefNotFoundError: it does not exist.
    """
    target = required(arguments.module, "a new run names a module")
    params = read_params(arguments.params, arguments.pairs, task.params_model)
    validate_params(task, params)
    config = run_config(arguments, target)
    place = Place(given_repository(arguments.repo), arguments.branch, arguments.ref, configured_branch)
    with usage_errors():
        request = new_request(task, target, params, config, place)
    return replace(request, in_process=in_process(arguments))


def in_process(arguments: RunArguments) -> str | None:
    """Why the body of a task runs in the process of the command; None if it has one of its own."""
    return "with --debug the body runs in the process of the command" if arguments.debug else None


def prepare_resume(arguments: RunArguments) -> RunRequest:
    """Check everything that the next try of a run needs.

    Raises:
        RunNotFoundError: the repository has no such run, or there is no such run of a free task.
        UsageError: the named task is not the run's.
        Otherwise as `prepare`.
    """
    repository, engine, summary = _resumed(arguments)
    task = load_task(summary.target)
    params = None
    if arguments.has_params:
        given = read_params(arguments.params, arguments.pairs, task.params_model)
        params = params_again(summary.params, given)
        validate_params(task, params)
    request = RunRequest(
        task=task,
        target=summary.target,
        config=run_config(arguments, summary.target),
        repository=repository,
        engine=engine,
        new_params=params,
        resumed=summary.run_id,
        in_process=in_process(arguments),
    )
    with usage_errors():
        return request.onto_head(summary.run_id) if arguments.onto_head else request


def _resumed(arguments: RunArguments) -> tuple[RepositoryAddress | None, LocalEngine, RunSummary]:
    """The run to resume, with its repository and engine.

    Raises:
        RunNotFoundError: there is no such run.
        UsageError: the named module is not the run's.
    """
    run_id = required(arguments.resume, "a resumed run has an id")
    repository = given_repository(arguments.repo)
    engine = local_engine(repository)
    summary = find_run(engine, run_id, repository)
    _expect_its_module(summary, arguments.module)
    if arguments.module is not None and arguments.module != summary.target:
        raise click.UsageError(
            f"run {summary.run_id} is of {summary.target}, not of {arguments.module}; leave the module out to resume it"
        )
    return repository, engine, summary


def _expect_its_module(summary: RunSummary, given: str | None) -> None:
    """Refuse a run whose module is not there any more, such as after it was renamed.

    Raises:
        UsageError
    """
    name = summary.target.partition(":")[0]
    if is_file(summary.target) or name in sys.modules:
        return
    find_modules_here(summary.target)
    try:
        with stdout_to_stderr():
            is_there = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as exc:
        is_there = not (exc.name and f"{name}.".startswith(f"{exc.name}."))
    except Exception:  # noqa: BLE001 - its package may raise anything; the import says what
        is_there = True
    if not is_there:
        new = (given or "").partition(":")[0] or "NEW"
        raise click.UsageError(
            f"run {summary.run_id} began as {summary.target}, and there is no module {name!r} in {Path.cwd()} or on "
            f"Python's path. Resume it where it was begun. If the module was renamed, start a new run of "
            f"{given or 'the renamed module'}. To go on with this run, add a module {name!r} with the line `from {new} "
            f"import *`"
        )


def run_config(arguments: RunArguments, target: str) -> RuntimeConfig:
    """The settings for a run in this process, with the given workspace root."""
    config = load_run_config(target, probe_workspace_root=arguments.workspace_root is None)
    if arguments.workspace_root is None:
        return config
    root = check_workspace_root(arguments.workspace_root, parents_are_trusted=config.root_parents == "trusted")
    return config.model_copy(update={"workspace_root": root})


def resumes_workflow(arguments: RunArguments) -> bool:
    """Whether the run to resume is of a workflow.

    Raises:
        RunNotFoundError: there is no such run.
    """
    run_id = required(arguments.resume, "a resumed run has an id")
    repository = given_repository(arguments.repo)
    return find_run(local_engine(repository), run_id, repository).kind == "workflow"


def prepare_workflow(arguments: RunArguments, workflow: LoadedWorkflow) -> WorkflowRequest:
    """Check everything that a new run needs.

    Raises:
        UsageError, WorkflowDefinitionError, TaskDefinitionError, RuntimeConfigError: an argument or a setting is wrong.
        RepositoryNotFoundError, BranchNotFoundError, RefNotFoundError: it does not exist.
    """
    given = _read_params(arguments.params, arguments.pairs, workflow)
    complete_params(workflow, given)
    config = run_config(arguments, settings_target(workflow))
    place = Place(given_repository(arguments.repo), arguments.branch, arguments.ref, configured_branch)
    with usage_errors():
        return new_workflow_request(workflow, given, config, place, arguments.tasks, retries=arguments.retries)


def prepare_submission(
    workflow: LoadedWorkflow,
    *,
    params: str | None,
    pairs: tuple[str, ...],
    repo: str | None,
    branch: str | None,
    ref: str | None,
    **_: Any,
) -> JsonObject:
    """The input of a workflow that a server is to run.

    Raises:
        UsageError, WorkflowDefinitionError, RuntimeConfigError: an argument or a setting is wrong.
        RepositoryNotFoundError, BranchNotFoundError, RefNotFoundError: it does not exist.
    """
    given = _read_params(params, pairs, workflow)
    complete_params(workflow, given)
    with usage_errors():
        return workflow_input(workflow, given, Place(given_repository(repo), branch, ref, configured_branch))


def prepare_workflow_resume(arguments: RunArguments) -> WorkflowRequest:
    """Check everything that a resumed run needs; as `prepare_workflow`.

    Raises:
        RunNotFoundError: there is no such run.
        UsageError: the named workflow is not the run's.
    """
    repository, engine, summary = _resumed(arguments)
    record = engine.workflow_record(summary.run_id)
    modules = record.options.get(MODULES, ())
    find_modules_here(*([] if is_file(summary.target) else [summary.target]), *modules)
    with stdout_to_stderr():
        workflow = workflow_of_record(summary.target, record.definition, modules)
    given = _read_params(arguments.params, arguments.pairs, workflow) if arguments.has_params else None
    request = WorkflowRequest(
        workflow=workflow,
        config=run_config(arguments, settings_target(workflow)),
        repository=repository,
        engine=engine,
        resumed=summary.run_id,
        options=with_retries(arguments.retries),
    ).taking_params(given)
    with usage_errors():
        if arguments.start is not None:
            return request.from_task(arguments.start)
        return request.onto_head(summary.run_id) if arguments.onto_head else request


def _read_params(params: str | None, pairs: tuple[str, ...], workflow: LoadedWorkflow) -> dict[str, Any]:
    declared = workflow.declared
    return read_params(params, pairs, BaseModel if declared is None else declared.params_model or BaseModel)
