"""The request of `perago run` for a workflow: checked completely before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import click
from pydantic import BaseModel

from perago.cli.arguments import RunArguments
from perago.cli.loading import find_modules_here
from perago.cli.output import stdout_to_stderr
from perago.cli.repos.address import RepositoryAddress, local_engine
from perago.cli.run.request import (
    find_run,
    given_repository,
    read_params,
    recordable_params,
    run_config,
    workspace_input,
)
from perago.engines.local import LocalEngine, WorkflowRun
from perago.errors import EngineError
from perago.settings import RuntimeConfig
from perago.tasks.secrets import secrets_of
from perago.values.json_text import JsonObject
from perago.values.redaction import learn_of
from perago.workflows.decide import with_template
from perago.workflows.declare import workflow_params
from perago.workflows.definition_json import to_json
from perago.workflows.load import LoadedWorkflow, is_file, workflow_of_record

_OWNER = "perago run, the workflow"

MODULES = "modules"
"""Option of a recorded run: the modules that `--tasks` named."""


@dataclass(frozen=True, kw_only=True)
class WorkflowRequest:
    """One run of a workflow to execute.

    Attributes:
        input_data: of the workflow, with its secrets. None: that of the resumed run.
        recorded_input: the same with secrets masked.
        new_params: params given for the resumed run. None: the recorded ones.
        repository: None for a workflow whose tasks have no workspace.
        resumed: id of the run to resume; None for a new run.
    """

    workflow: LoadedWorkflow
    config: RuntimeConfig
    repository: RepositoryAddress | None
    engine: LocalEngine
    input_data: JsonObject | None = None
    recorded_input: JsonObject | None = None
    new_params: JsonObject | None = None
    resumed: str | None = None
    options: JsonObject = field(default_factory=dict)

    def begin(self) -> WorkflowRun:
        """Record a new run, or go on with the resumed one.

        Raises:
            UsageError: the run cannot be resumed with these arguments.
            RunNotFoundError, RunBusyError, EngineError: see the engine.
        """
        if self.resumed is None:
            assert self.input_data is not None, "a new run has input"
            return self.engine.start_workflow(
                target=self.workflow.target,
                name=self.workflow.graph.name,
                definition=to_json(self.workflow.graph),
                input_data=self.input_data,
                recorded_input=self.recorded_input,
                options=self.options,
            )
        try:
            masked = None if self.new_params is None else _recorded_params(self.workflow, self.new_params)
            return self.engine.resume_workflow(self.resumed, input_params=self.new_params, masked_params=masked)
        except EngineError as exc:
            if type(exc) is EngineError and exc.__cause__ is None:  # the arguments are at fault, not the disk
                raise click.UsageError(str(exc)) from None
            raise


def resumes_workflow(arguments: RunArguments) -> bool:
    """Whether the run to resume is of a workflow.

    Raises:
        RunNotFoundError: there is no such run.
    """
    assert arguments.resume is not None, "checked before"
    repository = given_repository(arguments.repo)
    return find_run(local_engine(repository), arguments.resume, repository).kind == "workflow"


def prepare_workflow(arguments: RunArguments, workflow: LoadedWorkflow) -> WorkflowRequest:
    """Check everything that a new run needs.

    Raises:
        UsageError, WorkflowDefinitionError, TaskDefinitionError, RuntimeConfigError: an argument or a setting is wrong.
        RepositoryNotFoundError, BranchNotFoundError, RefNotFoundError: it does not exist.
    """
    params = _given_params(arguments.params, arguments.pairs, workflow)
    config = run_config(arguments, _settings_target(workflow))
    repository = given_repository(arguments.repo)
    recorded = _recorded_params(workflow, params)
    input_data = _workspace(workflow, arguments, repository)
    return WorkflowRequest(
        workflow=workflow,
        config=config,
        repository=repository,
        engine=local_engine(repository),
        input_data=_input(workflow, input_data, params),
        recorded_input=_input(workflow, input_data, recorded),
        options={MODULES: list(arguments.tasks)},
    )


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
    given = _given_params(params, pairs, workflow)
    place = _Place(repo=repo, branch=branch, ref=ref)
    return _input(workflow, _workspace(workflow, place, given_repository(repo)), given)


def prepare_workflow_resume(arguments: RunArguments) -> WorkflowRequest:
    """Check everything that a resumed run needs; as `prepare_workflow`.

    Raises:
        RunNotFoundError: there is no such run.
        UsageError: the named workflow is not the run's.
    """
    assert arguments.resume is not None, "checked before"
    repository = given_repository(arguments.repo)
    engine = local_engine(repository)
    summary = find_run(engine, arguments.resume, repository)
    if arguments.module is not None and arguments.module != summary.target:
        raise click.UsageError(
            f"run {summary.run_id} is of {summary.target}, not of {arguments.module}; leave it out to resume the run"
        )
    record = engine.workflow_record(summary.run_id)
    find_modules_here()
    with stdout_to_stderr():
        workflow = workflow_of_record(summary.target, record.definition, record.options.get(MODULES, ()))
    return WorkflowRequest(
        workflow=workflow,
        config=run_config(arguments, _settings_target(workflow)),
        repository=repository,
        engine=engine,
        new_params=_given_params(arguments.params, arguments.pairs, workflow) if arguments.has_params else None,
        resumed=summary.run_id,
    )


def _settings_target(workflow: LoadedWorkflow) -> str:
    """A module for the settings, which derive the worker's id prefix from it."""
    return "perago" if is_file(workflow.target) else workflow.target


@dataclass(frozen=True)
class _Place:
    """Options that name a commit."""

    repo: str | None
    branch: str | None
    ref: str | None


def _workspace(
    workflow: LoadedWorkflow, place: RunArguments | _Place, repository: RepositoryAddress | None
) -> dict[str, Any]:
    if workflow.uses_workspace:
        return {"workspace": workspace_input(place.branch, place.ref, repository, "the workflow")}
    if place.branch is not None or place.ref is not None:
        raise click.UsageError(f"workflow {workflow.graph.name!r} has no workspace; leave --branch and --ref out")
    return {}


def _given_params(params: str | None, pairs: tuple[str, ...], workflow: LoadedWorkflow) -> dict[str, Any]:
    declared = workflow.declared
    model = BaseModel if declared is None or declared.params_model is None else declared.params_model
    given = read_params(params, pairs, model)
    return given if declared is None else workflow_params(declared, given)


def _recorded_params(workflow: LoadedWorkflow, params: JsonObject) -> JsonObject:
    declared = workflow.declared
    if declared is None or declared.params_model is None:
        return recordable_params(None, params)
    validated = declared.params_model.model_validate(params)
    learn_of(_OWNER, secrets_of(validated))  # of what tasks take of them, not every type tells that it is a secret
    return recordable_params(validated, params)


def _input(workflow: LoadedWorkflow, workspace: JsonObject, params: JsonObject) -> JsonObject:
    """The input of a workflow: what one in a file calls its fields, the params are."""
    if workflow.declared is not None or workflow.uses_params:
        return with_template(
            workflow.graph, {**workspace, "params": params} if params or workflow.uses_params else workspace
        )
    return with_template(workflow.graph, {**params, **workspace})
