"""The request of a run of one task: checked completely before anything is written."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError

from perago.attempt.stamp import describe_params
from perago.engines.local import LocalEngine, LocalRun, RunSummary
from perago.errors import EngineError, PublishFenceError, RunNotFoundError, TaskInputError, required
from perago.running.repos.address import configured_text, head_of, local_engine
from perago.settings import RuntimeConfig
from perago.stores.provider import RepositoryAddress
from perago.tasks.code_version import code_version
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import read_model, validate_params
from perago.tasks.secrets import mask_by_type, secrets_of
from perago.values.json_text import JsonObject, with_finite_numbers
from perago.values.models import outsiders_fault
from perago.values.redaction import MASK, learn_of, mask_json
from perago.values.stamps import canonical_json
from perago.workflows.check import typed_places
from perago.workflows.expressions import value_at, with_value_at
from perago.workflows.graph import WorkflowGraph
from perago.workflows.wiring import field_type

_OWNER = "perago run"
_LOGGER = logging.getLogger("perago.run")


def learn_secrets(model: type[BaseModel] | None, params: object) -> BaseModel | None:
    """Mask the secrets among params until this process ends.

    An attempt forgets them at its end, but its error and traceback are shown after that. The caller redirects what
    validators print, as for a body.

    Returns:
        the validated params; None if they do not validate.
    """
    with suppress(Exception):  # the attempt reports what validators raise
        if model is not None:
            validated = read_model(model, params, extra="ignore")
            learn_of(_OWNER, secrets_of(validated))
            return validated
    return None


def is_behind(error: BaseException | None) -> bool:
    """Whether an error means that only a new run, from the present head, can succeed.

    A resumed run has the same input, and would be refused again because of the same foreign commits.
    """
    return isinstance(error, PublishFenceError) and not error.retry_can_help


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One run to execute.

    Attributes:
        target: as given by the user; a body's process finds the task by it.
        input_data: the task's input with its secrets. None: the input of the resumed run.
        new_params: params given for the resumed run. None: the recorded ones.
        repository: address of the repository; None for a free task without one.
        resumed: id of the run to resume; None for a new run.
    """

    task: TaskDefinition
    target: str
    config: RuntimeConfig
    repository: RepositoryAddress | None
    engine: LocalEngine
    input_data: JsonObject | None = None
    new_params: JsonObject | None = None
    resumed: str | None = None

    def begin(self) -> tuple[LocalRun, JsonObject]:
        """Record a new run, or the next try of the resumed one; returns it with its complete input.

        Raises:
            RunArgumentError: the run cannot be resumed with these arguments.
            RunNotFoundError, RunBusyError, EngineError: see the engine.
        """
        if self.resumed is not None:
            run = self._resume(self.resumed)
            return run, run.input_data
        input_data = required(self.input_data, "a new run has input")
        params = input_data["params"]
        recorded = recordable(self.task, params)
        run = self.engine.start_run(
            target=self.target,
            task_name=self.task.name,
            input_data={**input_data, "params": recorded},
            params_exact=recorded == params,
            code=code_version(self.task),
        )
        return run, input_data

    def _resume(self, run_id: str) -> LocalRun:
        with resuming():
            return self.engine.resume_run(run_id, **self._params(), code=code_version(self.task))

    def _params(self) -> dict[str, JsonObject | None]:
        """The params for the resumed run, and the same with secrets masked."""
        given = self.new_params
        masked = None if given is None else _masked(validate_params(self.task, given))
        return {"input_params": given, "masked_params": masked}

    def onto_head(self, run_id: str) -> RunRequest:
        """A new run with the task and params of a run, from the present head of its branch.

        Raises:
            RunArgumentError: the run has no branch, or cannot be resumed with these arguments.
            BranchNotFoundError, RunNotFoundError, RunBusyError, EngineError: see `begin`.
        """
        with resuming():
            input_data = self.engine.input_of(run_id, **self._params())
        if not self.task.has_workspace:
            raise RunArgumentError(f"task {self.task.name!r} has no workspace and no head", superfluous=("onto-head",))
        place = Place(self.repository, input_data["workspace"]["branch"], None)
        workspace = place.input_of(f"task {self.task.name!r}", "the task", has_workspace=True)
        return replace(self, input_data={**input_data, **workspace}, new_params=None, resumed=None)


@contextmanager
def resuming() -> Iterator[None]:
    """Distinguish arguments that do not allow a resume from a disk failure."""
    try:
        yield
    except EngineError as exc:
        if type(exc) is EngineError and exc.__cause__ is None:
            raise RunArgumentError(str(exc)) from None
        raise


def recordable(task: TaskDefinition, params: JsonObject) -> JsonObject:
    """The params for the record, with given secrets masked."""
    return recordable_params(validate_params(task, params), params)


def recordable_input(model: type[BaseModel] | None, input_data: JsonObject) -> JsonObject:
    """The input of a try for the record, with secrets masked. From now on this process masks them in every text.

    Args:
        model: of its params. Params that do not validate are all masked, because no types show which are secrets.
    """
    if model is None or "params" not in input_data:
        return input_data
    params = input_data["params"]
    validated = learn_secrets(model, params)
    if validated is not None:
        return {**input_data, "params": recordable_params(validated, params)}
    return {**input_data, "params": dict.fromkeys(params, MASK) if isinstance(params, Mapping) else MASK}


def recordable_by_tasks(
    graph: WorkflowGraph, tasks: Mapping[str, TaskDefinition], input_data: JsonObject
) -> JsonObject:
    """The input of a workflow without a model, for the record. The params of its tasks show what is a secret."""
    recorded: JsonObject = input_data
    for path, kind in typed_places(graph, tasks):
        value = value_at(recorded, path)
        masked = None if value is None else _recordable_value(kind, value)
        if masked != value:
            recorded = with_value_at(recorded, path, masked)
    return recorded


def recordable_map(model: type[BaseModel], input_data: JsonObject) -> JsonObject:
    """The same for `perago.map`, whose list has an item for each of its tasks.

    Args:
        model: of these tasks' params, of which one takes the item.
    """
    params = input_data["params"]
    fields = {field.alias or name: field_type(field) for name, field in model.model_fields.items()}
    items, kind = params.get("over"), fields.get(params["param"])
    if not isinstance(items, list) or kind is None:
        return input_data
    return {**input_data, "params": {**params, "over": [_recordable_value(kind, item) for item in items]}}


def _recordable_value(kind: Any, value: object) -> object:
    try:
        validated: object = TypeAdapter(kind).validate_python(value)
    except Exception:  # noqa: BLE001 - validators may raise anything, which the attempt reports
        return MASK
    learn_of(_OWNER, secrets_of(validated))
    return mask_by_type(validated, value)


def recordable_params(validated: BaseModel | None, params: JsonObject) -> JsonObject:
    """The same for params of any model.

    Args:
        validated: None for params without a model. Then only names show what is a secret.
    """
    if validated is None:
        masked: JsonObject = mask_json(params)
        return masked
    return _masked(validated) if _holds_secrets(validated, params) else params


def _masked(validated: BaseModel) -> JsonObject:
    """All params, secrets masked. A secret that was not given is left out, so that a comparison shows it."""
    fields = type(validated).model_fields.items()
    unset = {field.serialization_alias or name for name, field in fields if name not in validated.model_fields_set}
    described = describe_params(validated)
    return {name: value for name, value in described.items() if not (name in unset and MASK in canonical_json(value))}


def _holds_secrets(validated: BaseModel, params: JsonObject) -> bool:
    """Whether a secret was given, by the model's types or by its name. Defaults do not count."""
    try:
        given = validated.model_dump(mode="json", exclude_unset=True, warnings=False)
    except PydanticSerializationError:
        return True  # unknown: assume yes
    return MASK in canonical_json(with_finite_numbers(mask_by_type(validated, given))) or mask_json(params) != params


def new_request(
    task: TaskDefinition, target: str, params: JsonObject, config: RuntimeConfig, place: Place
) -> RunRequest:
    """The request of a new run.

    Raises:
        TaskInputError: the params do not validate, or an argument is missing or superfluous.
        BranchNotFoundError, RefNotFoundError: it does not exist.
    """
    validate_params(task, params)
    workspace = place.input_of(f"task {task.name!r}", "the task", has_workspace=task.has_workspace)
    return RunRequest(
        task=task,
        target=target,
        config=config,
        repository=place.repository,
        engine=local_engine(place.repository),
        input_data={**workspace, "params": params},
    )


def configured_repo(repo: str | os.PathLike[str] | None = None) -> str | None:
    """The repository that a call from Python names, or else the settings, which is logged."""
    return os.fspath(repo) if repo is not None else configured_text("repo=", "PERAGO_REPO", _LOGGER.info)


def configured_branch() -> str | None:
    """The branch that the settings name for a call from Python, which is logged."""
    return configured_text("branch=", "PERAGO_BRANCH", _LOGGER.info)


@dataclass(frozen=True)
class Place:
    """What a run works on, as given by the user.

    Attributes:
        branch: its head is the input, and it gets the result.
        ref: the input in place of the head.
        default_branch: gives the branch if none is given.
    """

    repository: RepositoryAddress | None
    branch: str | None
    ref: str | None
    default_branch: Callable[[], str | None] = lambda: None

    def input_of(self, who: str, role: str, *, has_workspace: bool) -> JsonObject:
        """The workspace of an input: the branch's head, or the commit that the ref names. Empty without a workspace.

        Args:
            who: the task or workflow, by its name.
            role: "the task" or "the workflow".
        """
        if not has_workspace:
            if self.branch is not None or self.ref is not None:
                raise RunArgumentError(f"{who} has no workspace", superfluous=("branch", "ref"))
            return {}
        if self.repository is None:
            creates = "`perago import DIR --repo PATH` creates a repository"
            raise RunArgumentError(f"{role} has a workspace. {creates}", missing="repo")
        if self.branch is not None and (fault := outsiders_fault(self.branch)) is not None:
            raise RunArgumentError(fault)
        with self.repository.open() as repository:
            branch = self.branch or self.default_branch()
            if branch is None:
                branches = ", ".join(map(repr, repository.branches())) or "none yet"
                raise RunArgumentError(f"the branch that {role} updates. Existing: {branches}", missing="branch")
            head = head_of(repository, branch, self.repository)
            commit = head if self.ref is None else repository.resolve(self.ref)
        workspace = {"repository": self.repository.name, "branch": branch, "refType": "commit", "ref": commit}
        return {"workspace": workspace}


class RunArgumentError(TaskInputError):
    """An argument of a run is missing or does not belong there.

    Args:
        text: what is wrong; of a missing argument, what it is.
        missing: its name.
        superfluous: names of arguments to leave out.
    """

    def __init__(self, text: str, *, missing: str | None = None, superfluous: tuple[str, ...] = ()) -> None:
        self._text = text
        self._superfluous = superfluous
        self.missing = missing
        named = "" if missing is None else f"{missing}= is missing: "
        super().__init__(named + self.worded(lambda name: f"{name}="))

    def worded(self, argument: Callable[[str], str]) -> str:
        """The text, with arguments named as where they are given."""
        leave = " and ".join(map(argument, self._superfluous))
        return f"{self._text}; leave {leave} out" if leave else self._text


def find_run(engine: LocalEngine, run_id: str, repository: RepositoryAddress | None) -> RunSummary:
    """A recorded run.

    Args:
        run_id: its id, or a beginning that no other id has.

    Raises:
        RunNotFoundError: there is none, or several begin so.
        EngineError: its record cannot be read.
    """
    found = [summary for summary in engine.runs() if summary.run_id.startswith(run_id)] if run_id else []
    summary = next((one for one in found if one.run_id == run_id), found[0] if len(found) == 1 else None)
    if summary is None and found:
        named = ", ".join(one.run_id for one in found[:3])
        raise RunNotFoundError(
            f"the ids of {len(found)} runs begin with {run_id!a}. The newest are {named}. Give a longer id"
        )
    if summary is None:
        where = (
            f"repository {repository.argument}"
            if repository
            else "the runs of free tasks; for a run on a repository give --repo"
        )
        lists = ["perago", "runs"] + (["--repo", repository.argument] if repository else [])
        raise RunNotFoundError(f"there is no run {run_id!a} in {where}. `{shlex.join(lists)}` lists the runs")
    if not summary.target:
        raise EngineError(f"the record of run {summary.run_id} cannot be read: {summary.reason}")
    return summary
