"""`perago.run`: a task or a workflow, run from Python or a notebook, without a server."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from pydantic import BaseModel

from perago.attempt.output import traceback_in_body
from perago.engines.local import LocalRun, WorkflowRun
from perago.errors import PeragoError, TaskDefinitionError, TaskExecutionError, TaskInputError
from perago.ports import Repository
from perago.running.loop import commit_of
from perago.running.notebook import open_view
from perago.running.repos.address import given_repository
from perago.running.request import (
    MAX_RETRIES,
    Place,
    about_file,
    configured_branch,
    configured_repo,
    new_request,
    resume_command,
    resume_options,
)
from perago.running.task import begun, invoke_here, own_process
from perago.running.task_state import TaskState, states_of
from perago.running.view import TaskDisplay, WorkflowView
from perago.running.watch import Interrupts, RunObserver
from perago.running.workflow import begun as workflow_begun
from perago.running.workflow_request import new_workflow_request
from perago.settings import load_run_config
from perago.tasks.declare import TaskDefinition, task_of
from perago.tasks.load import load_module_task
from perago.tasks.params import params_as_json
from perago.tasks.read_back import read_back
from perago.values.json_text import JsonObject
from perago.values.models import Changes
from perago.values.record import TryStatus, WorkflowStatus
from perago.workflows.definition import WorkflowDefinition, workflow_of
from perago.workflows.load import LoadedWorkflow, load_declared

R = TypeVar("R")

_MAIN = "__main__"
_told_of_bodies_here = False


@dataclass(frozen=True, kw_only=True)
class CompletedRun(Generic[R]):
    """A run that has completed.

    Attributes:
        run_id: `perago runs` lists it by this id.
        result: an instance of the task's or workflow's result model; None for a workflow without a result.
        commit: full id of the commit that it completed with; None without a workspace.
        changes: the names in the repository that differ between the input and `commit`. With `isolation="snapshot"`
            that includes what others have changed meanwhile.
    """

    run_id: str
    result: R
    commit: str | None
    changes: Changes = field(repr=False)


@overload
def run(
    target: Callable[..., Coroutine[Any, Any, R]],
    params: BaseModel | Mapping[str, Any] | None = None,
    *,
    repo: str | os.PathLike[str] | None = None,
    branch: str | None = None,
    ref: str | None = None,
    retries: int | None = None,
    jobs: int = 2,
    fast_retries: bool = False,
    no_cache: bool = False,
    progress: bool | None = None,
) -> CompletedRun[R]: ...
@overload
def run(
    target: Callable[..., R],
    params: BaseModel | Mapping[str, Any] | None = None,
    *,
    repo: str | os.PathLike[str] | None = None,
    branch: str | None = None,
    ref: str | None = None,
    retries: int | None = None,
    jobs: int = 2,
    fast_retries: bool = False,
    no_cache: bool = False,
    progress: bool | None = None,
) -> CompletedRun[R]: ...
@overload
def run(
    target: TaskDefinition | WorkflowDefinition | str,
    params: BaseModel | Mapping[str, Any] | None = None,
    *,
    repo: str | os.PathLike[str] | None = None,
    branch: str | None = None,
    ref: str | None = None,
    retries: int | None = None,
    jobs: int = 2,
    fast_retries: bool = False,
    no_cache: bool = False,
    progress: bool | None = None,
) -> CompletedRun[Any]: ...
def run(  # noqa: PLR0913 - its keywords are the options of the command
    target: Callable[..., object] | TaskDefinition | WorkflowDefinition | str,
    params: BaseModel | Mapping[str, Any] | None = None,
    *,
    repo: str | os.PathLike[str] | None = None,
    branch: str | None = None,
    ref: str | None = None,
    retries: int | None = None,
    jobs: int = 2,
    fast_retries: bool = False,
    no_cache: bool = False,
    progress: bool | None = None,
) -> CompletedRun[Any]:
    """Run a task or a workflow once on a commit of a branch, and publish the changes to that branch.

    The same as `perago run`: the attempts, the settings, and the record, which `perago runs` lists. Each body runs in a
    process of its own, which imports the task's module. A task that was defined in a cell or at a prompt has no module;
    its body runs in this process, in the calling thread, and the first one warns of it.

    Ctrl-C ends the whole run with its processes and raises KeyboardInterrupt.

    Args:
        target: a function with `@task` or `@workflow`, its definition, or `module:function`.
        params: a model, or an object. Default: `{}`.
        repo: `lakefs://NAME`, or the path of a bare git repository. Required by tasks with a workspace. Default:
            `PERAGO_REPO`.
        branch: its head is the input, and the result is published to it. Required by tasks with a workspace. Default:
            `PERAGO_BRANCH`.
        ref: the commit to use as input: an id or its beginning, a branch, a tag. Default: the head.
        retries: number of retries of a task after a failure, up to 100; of each task in a workflow. Default: 0; in a
            workflow each task's own.
        jobs: tasks of a workflow to run at the same time.
        fast_retries: retry tasks of a workflow without their delays.
        no_cache: ignore earlier results: run the body of every task, even if it has a cache.
        progress: show the tasks while they run: in a notebook in the cell, otherwise as lines on stderr. Default: only
            in a notebook.

    Raises:
        TaskDefinitionError, WorkflowDefinitionError, TaskInputError, RuntimeConfigError: an argument or a setting is
            wrong; nothing was begun.
        RepositoryNotFoundError, BranchNotFoundError, RefNotFoundError: it does not exist; nothing was begun.
        PeragoError: what failed the run, with a note that says how to go on. An error of a body is a
            `TaskExecutionError`; if the body ran in this process, its own error is the cause.
    """
    _refuse_while_imported()
    found = _found(target)
    call = _Call(
        params=params_as_json(params),
        place=Place(given_repository(configured_repo(repo)), branch, ref, configured_branch),
        retries=retries,
        progress=progress,
        recomputes=no_cache,
    )
    if retries is not None and not 0 <= retries <= MAX_RETRIES:
        raise TaskInputError(f"retries={retries} is not in the range 0 to {MAX_RETRIES}")
    if isinstance(found, TaskDefinition):
        return _run_task(found, call)
    if jobs < 1:
        raise TaskInputError(f"jobs={jobs} runs no task; give 1 or more")
    return _run_workflow(found, call, jobs, fast=fast_retries)


@dataclass(frozen=True, kw_only=True)
class _Call:
    params: JsonObject
    place: Place
    retries: int | None
    progress: bool | None
    recomputes: bool


def _run_task(task: TaskDefinition, call: _Call) -> CompletedRun[Any]:
    target = _target_of(task)
    config = load_run_config(target or task.target)
    request = new_request(task, target or task.target, call.params, config, call.place)
    request = replace(request, recomputes=call.recomputes)
    if target is None:
        request = replace(request, in_process="a task that no other process can import runs in this one")
    cancelled = threading.Event()
    with ExitStack() as stack:
        view = stack.enter_context(open_view([TaskState(task.name)], progress=call.progress))
        interrupts = stack.enter_context(_interrupts(cancelled, at_once=target is None))
        watch = RunObserver(TaskDisplay(view, task.name), cancelled)
        view.begin(task.name, 1)
        tries = stack.enter_context(begun(request, watch, cancelled))
        if target is None:
            _warn_of_bodies_here([task])
            invoke_body = invoke_here
        else:
            printed = _Printed(view, task.name)
            invoke_body = own_process(request, cancelled, stack, printed, on_wait=view.refresh)
        with _telling_interrupts(cancelled, tries.run.run_id):
            result = tries.go(invoke_body, retries=call.retries or 0)
        commit = commit_of(result.output)
        is_cancelled = interrupts.count > 0 and result.output is None
        status = TryStatus.CANCELED if is_cancelled else TryStatus(result.status)
        view.end(task.name, status, commit, result.reason_for_incompletion)
        run_id = tries.run.run_id
        if result.output is None:
            next_step = _resume(tries.run, call, watch.error) if target is not None else ""
            raise _failure(watch.error, result.reason_for_incompletion, run_id, next_step, interrupts)
        with _completed(run_id):
            changes = _changes(tries.repository, tries.input_data, commit)
    _raise_interrupt(interrupts, run_id)
    return CompletedRun(
        run_id=run_id, result=read_back(task.output_model, result.output["result"]), commit=commit, changes=changes
    )


def _run_workflow(workflow: LoadedWorkflow, call: _Call, jobs: int, *, fast: bool) -> CompletedRun[Any]:
    targets = {name: target for name, task in workflow.tasks.items() if (target := _target_of(task)) is not None}
    here = [task for name, task in workflow.tasks.items() if name not in targets]
    config = load_run_config(workflow.target)
    request = new_workflow_request(workflow, call.params, config, call.place, retries=call.retries, targets=targets)
    request = replace(request, recomputes=call.recomputes)
    cancelled = threading.Event()
    with ExitStack() as stack:
        view = stack.enter_context(open_view(states_of(workflow.graph.nodes), progress=call.progress))
        interrupts = stack.enter_context(_interrupts(cancelled, at_once=bool(here)))
        execution = stack.enter_context(workflow_begun(request, view, cancelled, jobs=jobs, fast=fast))
        if here:
            _warn_of_bodies_here(here)
        run_id = execution.run.run_id
        with _telling_interrupts(cancelled, run_id):
            decision = execution.go()
        if decision.status is not WorkflowStatus.COMPLETED:
            next_step = f" {decision.reason}." + ("" if here else _resume(execution.run, call, execution.error))
            raise _failure(execution.error, decision.reason, run_id, next_step, interrupts)
        repository = execution.slots[0].repository() if request.repository is not None else None
        with _completed(run_id):
            commit = execution.output_commit(decision)
            changes = _changes(repository, execution.run.input_data, commit)
    _raise_interrupt(interrupts, run_id)
    model = None if workflow.declared is None else workflow.declared.output_model
    result = None if model is None else read_back(model, decision.output["result"])
    return CompletedRun(run_id=run_id, result=result, commit=commit, changes=changes)


# ---------------------------------------------------------------- what to run


def _found(target: object) -> TaskDefinition | LoadedWorkflow:
    """The task or workflow.

    Raises:
        TaskDefinitionError, WorkflowDefinitionError: it is neither.
    """
    if isinstance(target, str):
        return load_declared(target).only()
    if isinstance(target, TaskDefinition):
        return target
    if isinstance(target, WorkflowDefinition):
        return _loaded(target)
    found = task_of(target) or workflow_of(target)
    if found is None:
        raise TaskDefinitionError(
            f"{getattr(target, '__qualname__', repr(target))} is neither a task nor a workflow; decorate it with "
            f"@task(...) or @workflow(...), or give module:function"
        )
    return found if isinstance(found, TaskDefinition) else _loaded(found)


def _loaded(definition: WorkflowDefinition) -> LoadedWorkflow:
    target = _in_a_module(definition.target) or definition.target
    return LoadedWorkflow(target=target, graph=definition.graph, tasks=definition.tasks, declared=definition)


def _target_of(task: TaskDefinition) -> str | None:
    """Where another process finds a task; None for one that was defined in a cell or at a prompt.

    Raises:
        TaskDefinitionError: its module has no such task.
    """
    target = _in_a_module(task.target)
    if target is not None and not task.target.startswith(f"{_MAIN}:"):
        found = load_module_task(target)
        if found.name != task.name:
            raise TaskDefinitionError(
                f"{target} is task {found.name!r}, not {task.name!r}; declare the task at the top level of its module"
            )
    return target


def _in_a_module(target: str) -> str | None:
    """A target with the name by which `__main__` can be imported; None if it cannot."""
    name, _, address = target.partition(":")
    if name != _MAIN:
        return target
    main = sys.modules[_MAIN]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:  # `python -m name`
        return f"{spec.name}:{address}"
    if file is None or not file.endswith(".py") or not Path(file).stem.isidentifier():
        return None
    beside = importlib.util.find_spec(Path(file).stem)
    if beside is None or beside.origin is None or not Path(file).exists() or not Path(beside.origin).samefile(file):
        return None
    return f"{Path(file).stem}:{address}"


def _refuse_while_imported() -> None:
    """Refuse a call at the top level of a module that a body's process imports: each run would begin another one.

    Raises:
        TaskDefinitionError
    """
    spec = getattr(sys.modules[_MAIN], "__spec__", None)
    if spec is None or not spec.name.startswith("perago.worker."):
        return
    frame = sys._getframe()  # noqa: SLF001 - documented despite its name
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "<module>" and frame.f_globals["__name__"] != _MAIN:
            raise TaskDefinitionError(
                f"{frame.f_code.co_filename} calls perago.run while it is imported, and each body's process imports "
                f'it. Put the call below `if __name__ == "__main__":`'
            )


def _warn_of_bodies_here(tasks: list[TaskDefinition]) -> None:
    global _told_of_bodies_here  # noqa: PLW0603 - once for a process
    if _told_of_bodies_here:
        return
    _told_of_bodies_here = True
    named = ", ".join(repr(task.name) for task in tasks)
    warnings.warn(
        f"{named}: not defined in a module. Such a body runs in this process: no timeout stops it, and what it changes "
        f"in memory stays. Move it to a file and import it to run each body in its own process",
        stacklevel=4,
    )


# ---------------------------------------------------------------- while it runs


@dataclass(frozen=True)
class _Printed:
    """Receives what a body prints."""

    view: WorkflowView
    name: str

    def __call__(self, line: str) -> None:
        self.view.printed(self.name, line)


@contextmanager
def _interrupts(cancelled: threading.Event, *, at_once: bool) -> Iterator[Interrupts]:
    """Ctrl-C, which only the main thread receives."""
    signals = [signal.SIGINT] if threading.current_thread() is threading.main_thread() else []
    with Interrupts(cancelled.set, at_once=at_once, signals=signals, is_silent=True) as interrupts:
        yield interrupts


@contextmanager
def _telling_interrupts(cancelled: threading.Event, run_id: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as exc:
        cancelled.set()
        exc.add_note(f"Run {run_id} was interrupted.")
        raise


# ---------------------------------------------------------------- what came of it


def _failure(
    error: BaseException | None,
    reason: str | None,
    run_id: str,
    next_step: str,
    interrupts: Interrupts,
) -> BaseException:
    """The error to raise for a run that did not complete."""
    raised: BaseException
    if interrupts.count:
        raised = KeyboardInterrupt()
    elif isinstance(error, PeragoError):
        raised = error
        frames = traceback_in_body(error)
        if frames is not None:
            error.__notes__ = [frames]
    else:
        raised = TaskExecutionError(reason or "the run did not complete")
        raised.__cause__ = error
    raised.add_note(f"Run {run_id} ended.{next_step}")
    return raised


def _resume(run: LocalRun | WorkflowRun, call: _Call, error: BaseException | None = None) -> str:
    options, repository = resume_options(run, error), call.place.repository
    if options is None:
        return ""
    does = "runs it again from the current head" if options else "resumes it"
    command = resume_command(run, None if repository is None else repository.argument, *options)
    about = about_file(run)
    return f" `{command}` {does}.{f' {about}.' if about else ''}"


def _raise_interrupt(interrupts: Interrupts, run_id: str) -> None:
    """Raise an interrupt that came too late.

    Raises:
        KeyboardInterrupt
    """
    if interrupts.count:
        late = KeyboardInterrupt()
        late.add_note(f"Run {run_id} had completed.")
        raise late


@contextmanager
def _completed(run_id: str) -> Iterator[None]:
    """Say of an error that the run has completed."""
    try:
        yield
    except PeragoError as exc:
        exc.add_note(f"Run {run_id} has completed, but its changes could not be read.")
        raise


def _changes(repository: Repository | None, input_data: JsonObject, commit: str | None) -> Changes:
    before = input_data.get("workspace", {}).get("ref")
    if repository is None or commit is None or before is None or commit == before:
        return Changes()
    return repository.changes(before, commit)
