"""What `perago run` is to do, params included: checked whole before anything is written."""

from __future__ import annotations

import json
import shlex
import sys
import types
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
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
"""Larger params could not be passed to a body's process (`worker.process.messages.MAX_MESSAGE_BYTES`)."""


_BOM = "\ufeff"
"""What editors of some systems put before a text; to JSON it is a fault."""


_OWNER = "perago run"


def learn_secrets(task: TaskDefinition, params: object) -> None:
    """Have the secrets among a task's params masked for as long as this process lives.

    An attempt forgets them when it ends, and only then is shown what failed it, with its traceback. What validators
    print goes where what a body prints does, which is for the caller to see to.
    """
    with suppress(Exception):  # whatever validators raise is for the attempt to tell
        learn_of(_OWNER, secrets_of(validate_params(task, params)))


def read_params(params: str | None, pairs: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """The params as JSON; not validated yet.

    Args:
        params: a JSON object, `@FILE` for one in a file, `-` for one on stdin; None: an empty one.
        pairs: `key=value`, which go over it; a value is JSON, or text where it is none or the model wants text.
        model: the task's params model.

    Raises:
        UsageError: something is no JSON, no object, no pair, or cannot be read. Values are not shown: they may be
            secrets.
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
        raise click.UsageError(f"--params is no JSON: {exc}. {takes}{hint}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"--params must be a JSON object, as in '{{\"key\": 1}}', not {_kind(value)}")
    return value


def _looks_like_a_file(params: str) -> bool:
    """Whether a file was named without its `@`: only then is a value shown, as others may be secrets."""
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
    """Whether the field takes text and nothing else, so that `version=1.10` is not a number."""
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
    """One run to be done.

    Attributes:
        target: as the person named it; a body's process finds the task by it.
        input_data: the task's input, secrets and all. None: that of the run to be resumed.
        new_params: params given for the run to be resumed; None: those of its record.
        repository: where the repository is; None: a free task without one.
        resumed: id of the run to be resumed; None: a new one.
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
        """Record a new run, or the next try of the one to be resumed; returns it with its whole input.

        Raises:
            UsageError: the run cannot be resumed like this.
            RunNotFoundError, RunBusyError, EngineError: see the engine.
        """
        if self.resumed is not None:
            run = self._resume(self.resumed)
            return run, run.input_data
        assert self.input_data is not None, "a new run has its input"
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
        try:
            given = self.new_params
            masked = None if given is None else _masked(validate_params(self.task, given))
            return self.engine.resume_run(run_id, input_params=given, masked_params=masked)
        except EngineError as exc:
            if type(exc) is EngineError and exc.__cause__ is None:  # not the disk's fault: what was asked for
                raise click.UsageError(str(exc)) from None
            raise


def recordable(task: TaskDefinition, params: JsonObject) -> JsonObject:
    """The params as a record may hold them: as they are, or with the secrets that were given masked."""
    validated = validate_params(task, params)
    return _masked(validated) if _holds_secrets(validated, params) else params


def _masked(validated: BaseModel) -> JsonObject:
    """All params, secrets masked. A secret that was left out is left out here, so that it shows in a comparison."""
    fields = type(validated).model_fields.items()
    unset = {field.serialization_alias or name for name, field in fields if name not in validated.model_fields_set}
    described = describe_params(validated)
    return {name: value for name, value in described.items() if not (name in unset and MASK in canonical_json(value))}


def _holds_secrets(validated: BaseModel, params: JsonObject) -> bool:
    """Whether any was given: by the model's types, or by its name. Defaults do not count."""
    try:
        given = validated.model_dump(mode="json", exclude_unset=True, warnings=False)
    except PydanticSerializationError:
        return True  # nobody can tell
    return MASK in canonical_json(given) or mask_json(params) != params


def prepare(arguments: RunArguments) -> RunRequest:
    """Check everything that a new run needs.

    Raises:
        UsageError, TaskDefinitionError, TaskInputError, RuntimeConfigError: something is wrong with what was given.
        RepositoryNotFoundError, BranchNotFoundError, RefNotFoundError: something named is not there.
    """
    assert arguments.module is not None, "checked before"
    task = load_task(arguments.module)
    params = read_params(arguments.params, arguments.pairs, task.params_model)
    validate_params(task, params)
    config = run_config(arguments, arguments.module)
    repository = _repository(arguments)
    input_data: dict[str, Any] = {"params": params}
    if task.has_workspace:
        input_data = {"workspace": _workspace(arguments, repository), **input_data}
    elif arguments.branch is not None or arguments.ref is not None:
        raise click.UsageError(f"task {task.name!r} has no workspace, and takes no --branch or --ref")
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
        RunNotFoundError: there is no such run in the repository, or among the free tasks.
        UsageError: another task is named than the run's.
        Otherwise as `prepare`.
    """
    assert arguments.resume is not None, "checked before"
    repository = _repository(arguments)
    engine = local_engine(repository)
    summary = _find(engine, arguments.resume, repository)
    if arguments.module is not None and arguments.module != summary.target:
        raise click.UsageError(
            f"run {summary.run_id} is of {summary.target}, not of {arguments.module}; leave the module out to resume it"
        )
    task = load_task(summary.target)
    params = None
    if arguments.has_params:
        params = read_params(arguments.params, arguments.pairs, task.params_model)
        validate_params(task, params)
    return RunRequest(
        task=task,
        target=summary.target,
        config=run_config(arguments, summary.target),
        repository=repository,
        engine=engine,
        new_params=params,
        resumed=summary.run_id,
    )


def run_config(arguments: RunArguments, target: str) -> RuntimeConfig:
    """The settings for a run in this process, with the workspace root that was given."""
    config = load_run_config(target, probe_workspace_root=arguments.workspace_root is None)
    if arguments.workspace_root is None:
        return config
    root = check_workspace_root(arguments.workspace_root, parents_are_trusted=config.root_parents == "trusted")
    return config.model_copy(update={"workspace_root": root})


def _repository(arguments: RunArguments) -> RepositoryAddress | None:
    if arguments.repo is None:
        return None
    address = parse_address(arguments.repo)
    with address.open():  # raises where it is no repository
        return address


def _workspace(arguments: RunArguments, address: RepositoryAddress | None) -> dict[str, str]:
    """The workspace of the input: the branch's head, or the commit that `--ref` names."""
    if address is None:
        raise click.UsageError(
            "Missing option '--repo': the task works on a workspace. `perago import DIR --repo PATH` makes a repository"
        )
    with address.open() as repository:
        if arguments.branch is None:
            branches = ", ".join(map(repr, repository.branches())) or "none yet"
            raise click.UsageError(f"Missing option '--branch': which branch is the task to move? There is {branches}")
        head = head_of(repository, arguments.branch, address)
        ref = head if arguments.ref is None else repository.resolve(arguments.ref)
    return {"repository": address.name, "branch": arguments.branch, "refType": "commit", "ref": ref}


def _find(engine: LocalEngine, run_id: str, repository: RepositoryAddress | None) -> RunSummary:
    summary = next((summary for summary in engine.runs() if summary.run_id == run_id), None)
    if summary is None:
        where = (
            f"repository {repository.argument}"
            if repository
            else "the runs of free tasks; --repo says in which repository"
        )
        lists = ["perago", "runs"] + (["--repo", repository.argument] if repository else [])
        raise RunNotFoundError(f"there is no run {run_id!a} in {where}. `{shlex.join(lists)}` lists what is there")
    if not summary.target:
        raise EngineError(f"the record of run {run_id} cannot be read: {summary.reason}")
    return summary
