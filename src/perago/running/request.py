"""The request of a run of one task: checked completely before anything is written."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from perago.engines.local import LocalEngine, LocalRun, RunSummary, WorkflowRun
from perago.errors import (
    EngineError,
    PreGuardrailViolation,
    PublishFenceError,
    RunNotFoundError,
    StaleAttemptError,
    TaskInputError,
    TaskTerminalError,
    required,
)
from perago.running.recordable import masked_params, recordable
from perago.running.repos.address import configured_text, head_of, local_engine
from perago.settings import RuntimeConfig
from perago.stores.provider import RepositoryAddress
from perago.tasks.code_version import code_version
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import validate_params
from perago.values.json_text import JsonObject
from perago.values.models import outsiders_fault
from perago.values.redaction import masked_names
from perago.worker.body.sandbox import expect_sandbox

MAX_RETRIES = 100
"""Largest number of retries that a run may be given."""

_LOGGER = logging.getLogger("perago.run")


def _is_behind(error: BaseException | None) -> bool:
    """Whether an error means that only a new run, from the current head, can succeed.

    A resumed run has the same input, and would be refused again because of the same foreign commits.
    """
    return isinstance(error, PublishFenceError) and not error.retry_can_help


_FAULTS_OF_INPUT = (TaskInputError, PreGuardrailViolation)
_FOR_GOOD = (TaskTerminalError, StaleAttemptError, PublishFenceError)


def resume_options(run: LocalRun | WorkflowRun, error: BaseException | None) -> tuple[str, ...] | None:
    """The options beside `--resume` with which a run that failed can succeed; None if it would fail again.

    A resumed run has the same input and params. A resumed workflow keeps what has completed, so it is worth resuming
    after a failure for good, once the code is mended.
    """
    if _is_behind(error):
        return ("--onto-head",)
    final = _FAULTS_OF_INPUT if isinstance(run, WorkflowRun) else (*_FAULTS_OF_INPUT, *_FOR_GOOD)
    return None if isinstance(error, final) else ()


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One run to execute.

    Attributes:
        target: as given by the user; a body's process finds the task by it.
        input_data: the task's input with its secrets. None: the input of the resumed run.
        new_params: params given for the resumed run. None: the recorded ones.
        repository: address of the repository; None for a free task without one.
        resumed: id of the run to resume; None for a new run.
        in_process: why the body runs in this process; None if it has one of its own.
        recomputes: use no earlier result.
    """

    task: TaskDefinition
    target: str
    config: RuntimeConfig
    repository: RepositoryAddress | None
    engine: LocalEngine
    input_data: JsonObject | None = None
    new_params: JsonObject | None = None
    resumed: str | None = None
    in_process: str | None = None
    recomputes: bool = False

    def expect_sandbox(self) -> None:
        """Check that the task's sandbox can be had.

        Raises:
            RuntimeConfigError, TaskDefinitionError: it cannot.
        """
        expect_sandbox([self.task], self.config.sandbox, self.config.workspace_root, in_process=self.in_process)

    def begin(self) -> tuple[LocalRun, JsonObject]:
        """Record a new run, or the next try of the resumed one; returns it with its complete input.

        Raises:
            RuntimeConfigError, TaskDefinitionError: the task's sandbox cannot be had here.
            RunArgumentError: the run cannot be resumed with these arguments.
            RunNotFoundError, RunBusyError, EngineError: see the engine.
        """
        self.expect_sandbox()
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
        masked = None if given is None else masked_params(validate_params(self.task, given))
        return {"input_params": given, "masked_params": masked}

    def onto_head(self, run_id: str) -> RunRequest:
        """A new run with the task and params of a run, from the current head of its branch.

        Raises:
            RunArgumentError: the run has no branch, or cannot be resumed with these arguments.
            BranchNotFoundError, RunNotFoundError, RunBusyError, EngineError: see `begin`.
        """
        with resuming():
            input_data = self.engine.input_of(run_id, **self._params())
        if not self.task.has_workspace:
            raise RunArgumentError(
                f"task {self.task.name!r} has no workspace, so no branch head to start from", superfluous=("onto-head",)
            )
        place = Place(self.repository, input_data["workspace"]["branch"], None)
        workspace = place.input_of(f"task {self.task.name!r}", "the task", has_workspace=True)
        return replace(self, input_data={**input_data, **workspace}, new_params=None, resumed=None)


def params_again(recorded: JsonObject, given: JsonObject) -> JsonObject:
    """The params of a resumed run: those given, and of the recorded ones those that are not masked."""
    masked = masked_names(recorded)
    return {**{name: value for name, value in recorded.items() if name not in masked}, **given}


def resume_command(run: LocalRun | WorkflowRun, repo: str | None, *options: str) -> str:
    """The command that resumes a run. A file has the params that the record has masked."""
    params = ["--params", "@FILE"] if run.record.params_to_give else []
    place = [] if repo is None else ["--repo", repo]
    return shlex.join(["perago", "run", "--resume", run.run_id, *options, *params, *place])


def about_file(run: LocalRun | WorkflowRun) -> str | None:
    """What belongs into the file of that command; None if it takes none."""
    names = ", ".join(run.record.params_to_give)
    return f"Put the params that are not recorded into FILE: {names}" if names else None


@contextmanager
def resuming() -> Iterator[None]:
    """Distinguish arguments that do not allow a resume from a disk failure."""
    try:
        yield
    except EngineError as exc:
        if type(exc) is EngineError and exc.__cause__ is None:
            raise RunArgumentError(str(exc)) from None
        raise


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
            f"in repository {repository.argument}"
            if repository
            else "among the tasks without a workspace. Give --repo for a run on a repository"
        )
        lists = ["perago", "runs"] + (["--repo", repository.argument] if repository else [])
        raise RunNotFoundError(f"there is no run {run_id!a} {where}. `{shlex.join(lists)}` lists the runs")
    if not summary.target:
        raise EngineError(f"the record of run {summary.run_id} cannot be read: {summary.reason}")
    return summary
