"""The request of a run of a workflow: checked completely before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from perago.engines.local import LocalEngine, WorkflowRun
from perago.engines.local.workflow_record import WorkflowTry
from perago.errors import WorkflowStateError, required
from perago.running.recordable import recordable_by_tasks, recordable_params
from perago.running.repos.address import local_engine
from perago.running.request import Place, RunArgumentError, params_again, resuming
from perago.settings import RuntimeConfig
from perago.stores.provider import RepositoryAddress
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import read_model
from perago.tasks.secrets import secrets_of
from perago.values.json_text import JsonObject
from perago.values.redaction import learn_of, masked_names
from perago.values.workflow_params import params_in
from perago.worker.body.sandbox import expect_sandbox
from perago.workflows.again import Again, plan_again
from perago.workflows.check import check_input
from perago.workflows.decide import with_template
from perago.workflows.definition_json import to_json
from perago.workflows.load import LoadedWorkflow, is_file
from perago.workflows.params import workflow_params

_OWNER = "the workflow of perago run"

MODULES = "modules"
"""Option of a recorded run: the modules of the tasks that a file names."""

RETRIES = "retries"
"""Option of a recorded run: the retries of each task in place of those of its policy."""


@dataclass(frozen=True, kw_only=True)
class WorkflowRequest:
    """One run of a workflow to execute.

    Attributes:
        input_data: of the workflow, with its secrets. None: that of the resumed run.
        recorded_input: the same with secrets masked.
        new_params: params for the resumed run, without defaults. None: the recorded ones.
        repository: None for a workflow whose tasks have no workspace.
        resumed: id of the run to resume; None for a new run.
        options: to record; of a resumed run those that change.
        again: of a resumed run, what runs again although it has completed. None: nothing.
        targets: where a body's process finds a task, by the task's name. Default: where the task is declared. The body
            of a task without one runs in this process, in the thread that waits for the run.
        recomputes: use no earlier results.
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
    again: Again | None = None
    targets: Mapping[str, str] | None = None
    recomputes: bool = False

    @property
    def loaded(self) -> Mapping[str, str]:
        """Where a body's process finds a task, by the task's name."""
        if self.targets is not None:
            return self.targets
        return {name: task.target for name, task in self.workflow.tasks.items()}

    def in_process(self, task: TaskDefinition) -> str | None:
        """Why the body of a task runs in this process; None if it has one of its own."""
        return None if task.name in self.loaded else "its body runs in the process that runs the workflow"

    def begin(self) -> WorkflowRun:
        """Record a new run, or go on with the resumed one.

        Raises:
            RuntimeConfigError, TaskDefinitionError: the sandbox of a task cannot be had here.
            RunArgumentError: the run cannot be resumed with these arguments.
            RunNotFoundError, RunBusyError, EngineError: see the engine.
        """
        for task in self.workflow.tasks.values():
            in_process = self.in_process(task)
            expect_sandbox([task], self.config.sandbox, self.config.workspace_root, in_process=in_process)
        if self.resumed is None:
            return self.engine.start_workflow(
                target=self.workflow.target,
                name=self.workflow.graph.name,
                definition=to_json(self.workflow.graph, whole=True),
                input_data=required(self.input_data, "a new run has input"),
                recorded_input=self.recorded_input,
                options=self.options,
            )
        with resuming():
            return self.engine.resume_workflow(self.resumed, **self._params(), options=self.options, again=self.again)

    def _params(self) -> dict[str, JsonObject | None]:
        """The params for the resumed run, and the same with secrets masked."""
        given = self.new_params
        if given is None:
            return {"input_params": None, "masked_params": None}
        complete = complete_params(self.workflow, given)
        return {"input_params": complete, "masked_params": _recorded_params(self.workflow, given, complete)}

    def taking_params(self, given: JsonObject | None) -> WorkflowRequest:
        """The resumed run with params given again, those of the record, and defaults of secrets that never were given.

        Raises:
            WorkflowDefinitionError: the params do not validate.
            RunNotFoundError, EngineError: see the engine.
        """
        record = self.engine.workflow_record(required(self.resumed, "a resumed run is recorded"))
        if given is None and (self.workflow.declared is None or record.params_exact or record.params_to_give):
            return self
        params = params_again(params_in(record.input_data) or {}, given or {})
        complete_params(self.workflow, params)
        return replace(self, new_params=params)

    def from_task(self, start: str) -> WorkflowRequest:
        """The resumed run from a task on, although that may have completed.

        Raises:
            RunArgumentError: it cannot begin there.
            RunNotFoundError, EngineError: see the engine.
        """
        run_id = required(self.resumed, "a run that begins again is recorded")
        record = self.engine.workflow_record(run_id)
        tried = [entry.reference_task_name for entry in record.tries]
        try:
            again = plan_again(self.workflow.graph, tried, start)
        except WorkflowStateError as exc:
            raise RunArgumentError(f"run {run_id} cannot begin again: {exc}") from None
        return replace(self, again=again)

    @property
    def replaced(self) -> list[WorkflowTry]:
        """The tries whose commits are replaced by those of the tasks that run again."""
        if self.again is None or self.resumed is None:
            return []
        last = self.engine.workflow_record(self.resumed).last_tries
        return [last[name] for name in self.again.tasks if last[name].published is not None]

    def onto_head(self, run_id: str) -> WorkflowRequest:
        """A new run with the workflow and params of a run, from the current head of its branch.

        Raises:
            RunArgumentError: the run has no branch, or cannot be resumed with these arguments.
            BranchNotFoundError, RunNotFoundError, RunBusyError, EngineError: see `begin`.
        """
        with resuming():
            input_data = self.engine.input_of(run_id, **self._params())
        name, record = self.workflow.graph.name, self.engine.workflow_record(run_id)
        if not self.workflow.uses_workspace:
            raise RunArgumentError(
                f"workflow {name!r} has no workspace, so no branch head to start from", superfluous=("onto-head",)
            )
        workspace = _workspace(self.workflow, Place(self.repository, input_data["workspace"]["branch"], None))
        return replace(
            self,
            input_data={**input_data, **workspace},
            recorded_input={**record.input_data, **workspace},
            options={**record.options, **self.options},
            new_params=None,
            resumed=None,
        )


def new_workflow_request(
    workflow: LoadedWorkflow,
    given: JsonObject,
    config: RuntimeConfig,
    place: Place,
    modules: Sequence[str] = (),
    *,
    retries: int | None = None,
    targets: Mapping[str, str] | None = None,
) -> WorkflowRequest:
    """The request of a new run.

    Args:
        given: the params, without defaults.
        modules: of the tasks that a file names.
        retries: of each task. Default: those of its policy.
        targets: see `WorkflowRequest`.

    Raises:
        TaskInputError: an argument is missing or superfluous.
        WorkflowDefinitionError: the params do not validate.
        BranchNotFoundError, RefNotFoundError: it does not exist.
    """
    params = complete_params(workflow, given)
    workspace = _workspace(workflow, place)
    input_data = _checked_input(workflow, workspace, params)
    return WorkflowRequest(
        workflow=workflow,
        config=config,
        repository=place.repository,
        engine=local_engine(place.repository),
        input_data=input_data,
        recorded_input=_recorded_input(workflow, workspace, input_data, _recorded_params(workflow, given, params)),
        options={MODULES: list(modules), **with_retries(retries)},
        targets=targets,
    )


def with_retries(retries: int | None) -> JsonObject:
    """The option of a run with so many retries of each task; none for those of its policy."""
    return {} if retries is None else {RETRIES: retries}


def recorded_retries(options: JsonObject) -> int | None:
    """The retries of each task that the options of a run name, if they do."""
    value = options.get(RETRIES)
    return value if isinstance(value, int) else None


def workflow_input(workflow: LoadedWorkflow, given: JsonObject, place: Place) -> JsonObject:
    """The input of a workflow, for an engine that records it itself; raises as `new_workflow_request`."""
    return _checked_input(workflow, _workspace(workflow, place), complete_params(workflow, given))


def complete_params(workflow: LoadedWorkflow, given: JsonObject) -> JsonObject:
    """The params with the defaults of what is not given.

    Raises:
        WorkflowDefinitionError: they do not validate.
    """
    return given if workflow.declared is None else workflow_params(workflow.declared, given)


def settings_target(workflow: LoadedWorkflow) -> str:
    """A module for the settings, which derive the worker's id prefix from it."""
    return "perago" if is_file(workflow.target) else workflow.target


def _workspace(workflow: LoadedWorkflow, place: Place) -> JsonObject:
    who = f"workflow {workflow.graph.name!r}"
    return place.input_of(who, "the workflow", has_workspace=workflow.uses_workspace)


def _recorded_params(workflow: LoadedWorkflow, given: JsonObject, params: JsonObject) -> JsonObject:
    """The params for the record, secrets masked. A secret that was not given is left out: a resume takes its default.

    Args:
        params: with the defaults of what is not given.
    """
    declared = workflow.declared
    if declared is None:
        wrapped = _input(workflow, {}, recordable_params(None, params))
        recorded = recordable_by_tasks(workflow.graph, workflow.tasks, wrapped)
        return recorded.get("params", {}) if workflow.uses_params else recorded
    if declared.params_model is None:
        return recordable_params(None, params)
    validated = read_model(declared.params_model, params)
    learn_of(_OWNER, secrets_of(validated))  # of what tasks take of them, not every type tells that it is a secret
    recorded = recordable_params(validated, params)
    defaults = [name for name in masked_names(recorded) if name not in given]
    return {name: value for name, value in recorded.items() if name not in defaults}


def _recorded_input(
    workflow: LoadedWorkflow, workspace: JsonObject, input_data: JsonObject, recorded: JsonObject
) -> JsonObject:
    """The input of a workflow for the record. Its template would bring back a secret that was left out."""
    if workflow.declared is not None and "params" in input_data:
        return {**input_data, "params": recorded}
    return _input(workflow, workspace, recorded)


def _checked_input(workflow: LoadedWorkflow, workspace: JsonObject, params: JsonObject) -> JsonObject:
    """The input of a workflow.

    Raises:
        WorkflowDefinitionError: its tasks do not take it; lists all faults, without values.
    """
    input_data = _input(workflow, workspace, params)
    if workflow.declared is None:  # else its params are validated
        check_input(workflow.graph, workflow.tasks, input_data)
    return input_data


def _input(workflow: LoadedWorkflow, workspace: JsonObject, params: JsonObject) -> JsonObject:
    """As `_checked_input`, unchecked. If a workflow in a file reads no `params`, they are the fields of its input."""
    if workflow.declared is not None or workflow.uses_params:
        return with_template(workflow.graph, {**workspace, "params": params} if params else workspace)
    return with_template(workflow.graph, {**params, **workspace})
