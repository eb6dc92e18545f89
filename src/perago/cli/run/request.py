"""The request of `perago run`, params included: checked completely before anything is written."""

from __future__ import annotations

import json
import shlex
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from perago.attempt.stamp import describe_params
from perago.cli.arguments import RunArguments, check_workspace_root
from perago.cli.loading import load_task
from perago.cli.repos.address import RepositoryAddress, head_of, local_engine, parse_address
from perago.engines.local import LocalEngine, LocalRun, RunSummary
from perago.errors import EngineError, RunNotFoundError
from perago.settings import RuntimeConfig, load_run_config
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import validate_params
from perago.tasks.secrets import secrets_of
from perago.values.json_text import JsonObject
from perago.values.redaction import MASK, learn_of, mask_json
from perago.values.stamps import canonical_json

if TYPE_CHECKING:
    from pydantic import BaseModel

    from perago.tasks.declare import TaskDefinition


MAX_PARAMS_BYTES = 64 * 1024 * 1024
"""Size limit of the params: that of a message to a body's process (`worker.process.messages.MAX_MESSAGE_BYTES`)."""


_BOM = "\ufeff"
"""Byte order mark: some editors write it, but JSON does not allow it."""


_OWNER = "perago run"


def learn_secrets(task: TaskDefinition, params: object) -> None:
    """Mask the secrets among a task's params until this process ends.

    An attempt forgets them at its end, but its error and traceback are shown after that. The caller redirects what
    validators print, as for a body.
    """
    with suppress(Exception):  # the attempt reports what validators raise
        learn_of(_OWNER, secrets_of(validate_params(task, params)))


def read_params(params: str | None, pairs: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """The params as JSON; not validated yet.

    Args:
        params: a JSON object, `@FILE` for one in a file, `-` for one on stdin. Default: an empty one.
        pairs: `key=value`, which override it. A value is JSON, or text if it is not JSON or the model wants text.
        model: the task's params model.

    Raises:
        UsageError: invalid JSON, not an object, not a pair, or an unreadable file. Values are not shown: they may
            be secrets.
    """
    given = {} if params is None else _read_object(params)
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise click.UsageError(f"--param takes key=value; {key!r} has no '='")
        if not key:
            raise click.UsageError("--param takes key=value; there is no key before the '='")
        given[key] = _read_value(text, model, key)
    return given


def _read_object(params: str) -> dict[str, Any]:
    text = _read_text(params)
    try:
        value = _loads(text)
    except ValueError as exc:
        takes = "It takes a JSON object, - for one on stdin, or @FILE for one in a file"
        hint = f"; did you mean '@{params}'?" if _looks_like_a_file(params) else ""
        raise click.UsageError(f"--params is not JSON: {exc}. {takes}{hint}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"--params must be a JSON object, as in '{{\"key\": 1}}', not {_kind(value)}")
    return value


def _looks_like_a_file(params: str) -> bool:
    """Whether a file was named without `@`. Only then is the value shown: others may be secrets."""
    with suppress(OSError, ValueError):
        return params.endswith(".json") or Path(params).is_file()
    return False


def _read_text(params: str) -> str:
    if params == "-":
        return sys.stdin.read(MAX_PARAMS_BYTES).removeprefix(_BOM)
    if not params.startswith("@"):
        return params
    path = Path(params[1:]).expanduser()
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise click.UsageError(f"--params: {path} cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"--params: {path} is not UTF-8") from None


def _read_value(text: str, model: type[BaseModel], key: str) -> Any:
    try:
        value = _loads(text)
    except ValueError:
        return text
    return text if not isinstance(value, str) and value is not None and _wants_text(model, key) else value


def _wants_text(model: type[BaseModel], key: str) -> bool:
    """Whether the field accepts only text, so that `version=1.10` is not a number."""
    from pydantic import SecretStr

    for name, field in model.model_fields.items():
        if key in (name, field.alias):
            kind = field.annotation
            kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
            return set(kinds) <= {str, SecretStr, Path, type(None)}
    return False


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _kind(value: object) -> str:
    names = {list: "an array", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


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
            UsageError: the run cannot be resumed with these arguments.
            RunNotFoundError, RunBusyError, EngineError: see the engine.
        """
        if self.resumed is not None:
            run = self._resume(self.resumed)
            return run, run.input_data
        assert self.input_data is not None, "a new run has input"
        params = self.input_data["params"]
        recorded = recordable(self.task, params)
        run = self.engine.start_run(
            target=self.target,
            task_name=self.task.name,
            input_data={**self.input_data, "params": recorded},
            params_exact=recorded == params,
        )
        return run, self.input_data

    def _resume(self, run_id: str) -> LocalRun:
        with arguments_at_fault():
            return self.engine.resume_run(run_id, **self._params())

    def _params(self) -> dict[str, JsonObject | None]:
        """The params for the resumed run, and the same with secrets masked."""
        given = self.new_params
        masked = None if given is None else _masked(validate_params(self.task, given))
        return {"input_params": given, "masked_params": masked}

    def onto_head(self, run_id: str) -> RunRequest:
        """A new run with the task and params of a run, from the present head of its branch.

        Raises:
            UsageError: the run has no branch, or cannot be resumed with these arguments.
            BranchNotFoundError, RunNotFoundError, RunBusyError, EngineError: see `begin`.
        """
        with arguments_at_fault():
            input_data = self.engine.input_of(run_id, **self._params())
        if not self.task.has_workspace:
            raise click.UsageError(f"task {self.task.name!r} has no workspace and no head; leave --onto-head out")
        workspace = workspace_input(input_data["workspace"]["branch"], None, self.repository, "the task")
        return replace(self, input_data={**input_data, "workspace": workspace}, new_params=None, resumed=None)


@contextmanager
def arguments_at_fault() -> Iterator[None]:
    """Convert an engine's refusal of arguments to a `UsageError`."""
    try:
        yield
    except EngineError as exc:
        if type(exc) is EngineError and exc.__cause__ is None:  # not the disk
            raise click.UsageError(str(exc)) from None
        raise


def recordable(task: TaskDefinition, params: JsonObject) -> JsonObject:
    """The params for the record, with given secrets masked."""
    return recordable_params(validate_params(task, params), params)


def recordable_params(validated: BaseModel | None, params: JsonObject) -> JsonObject:
    """The same for params of any model.

    Args:
        validated: None for params without a model, of which only names tell what is a secret.
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
    return MASK in canonical_json(given) or mask_json(params) != params


def prepare(arguments: RunArguments) -> RunRequest:
    """Check everything that a new run needs.

    Raises:
        UsageError, TaskDefinitionError, TaskInputError, RuntimeConfigError: an argument or a setting is wrong.
        RepositoryNotFoundError, BranchNotFoundError, RefNotFoundError: it does not exist.
    """
    assert arguments.module is not None, "checked before"
    task = load_task(arguments.module)
    params = read_params(arguments.params, arguments.pairs, task.params_model)
    validate_params(task, params)
    config = run_config(arguments, arguments.module)
    repository = given_repository(arguments.repo)
    input_data: dict[str, Any] = {"params": params}
    if task.has_workspace:
        workspace = workspace_input(arguments.branch, arguments.ref, repository, "the task")
        input_data = {"workspace": workspace, **input_data}
    elif arguments.branch is not None or arguments.ref is not None:
        raise click.UsageError(f"task {task.name!r} has no workspace; leave --branch and --ref out")
    return RunRequest(
        task=task,
        target=arguments.module,
        config=config,
        repository=repository,
        engine=local_engine(repository),
        input_data=input_data,
    )


def prepare_resume(arguments: RunArguments) -> RunRequest:
    """Check everything that the next try of a run needs.

    Raises:
        RunNotFoundError: the repository has no such run, or there is no such run of a free task.
        UsageError: the named task is not the run's.
        Otherwise as `prepare`.
    """
    assert arguments.resume is not None, "checked before"
    repository = given_repository(arguments.repo)
    engine = local_engine(repository)
    summary = find_run(engine, arguments.resume, repository)
    if arguments.module is not None and arguments.module != summary.target:
        raise click.UsageError(
            f"run {summary.run_id} is of {summary.target}, not of {arguments.module}; leave the module out to resume it"
        )
    task = load_task(summary.target)
    params = None
    if arguments.has_params:
        params = read_params(arguments.params, arguments.pairs, task.params_model)
        validate_params(task, params)
    request = RunRequest(
        task=task,
        target=summary.target,
        config=run_config(arguments, summary.target),
        repository=repository,
        engine=engine,
        new_params=params,
        resumed=summary.run_id,
    )
    return request.onto_head(summary.run_id) if arguments.onto_head else request


def run_config(arguments: RunArguments, target: str) -> RuntimeConfig:
    """The settings for a run in this process, with the given workspace root."""
    config = load_run_config(target, probe_workspace_root=arguments.workspace_root is None)
    if arguments.workspace_root is None:
        return config
    root = check_workspace_root(arguments.workspace_root, parents_are_trusted=config.root_parents == "trusted")
    return config.model_copy(update={"workspace_root": root})


def given_repository(repo: str | None) -> RepositoryAddress | None:
    """The repository that `--repo` names; it exists. None if none is named."""
    if repo is None:
        return None
    address = parse_address(repo)
    with address.open():  # raises if there is no repository
        return address


def workspace_input(branch: str | None, ref: str | None, address: RepositoryAddress | None, who: str) -> dict[str, str]:
    """The workspace of the input: the branch's head, or the commit that `--ref` names.

    Args:
        who: the task or workflow, in words.
    """
    if address is None:
        raise click.UsageError(
            f"Missing option '--repo': {who} has a workspace. `perago import DIR --repo PATH` creates a repository"
        )
    with address.open() as repository:
        if branch is None:
            branches = ", ".join(map(repr, repository.branches())) or "none yet"
            raise click.UsageError(f"Missing option '--branch': the branch that {who} updates. Existing: {branches}")
        head = head_of(repository, branch, address)
        commit = head if ref is None else repository.resolve(ref)
    return {"repository": address.name, "branch": branch, "refType": "commit", "ref": commit}


def find_run(engine: LocalEngine, run_id: str, repository: RepositoryAddress | None) -> RunSummary:
    """A recorded run.

    Raises:
        RunNotFoundError: there is none.
        EngineError: its record cannot be read.
    """
    summary = next((summary for summary in engine.runs() if summary.run_id == run_id), None)
    if summary is None:
        where = (
            f"repository {repository.argument}"
            if repository
            else "the runs of free tasks; for a run on a repository give --repo"
        )
        lists = ["perago", "runs"] + (["--repo", repository.argument] if repository else [])
        raise RunNotFoundError(f"there is no run {run_id!a} in {where}. `{shlex.join(lists)}` lists the runs")
    if not summary.target:
        raise EngineError(f"the record of run {run_id} cannot be read: {summary.reason}")
    return summary
