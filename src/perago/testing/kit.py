"""Complete attempts in memory: one workflow on one branch, with failures that a test triggers. No server, no mocks.

It runs the attempt core of workers on this package's store and engine.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from perago.errors import EngineError, TaskInputError
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import params_as_json
from perago.testing.attempts import At, FinishedAttempt, RunningAttempt, Watch
from perago.testing.declared import FinishedWorkflow, run_declared
from perago.testing.engine import MemoryEngine
from perago.testing.given import Files, Params, commit_given, definition_of
from perago.testing.store import MemoryStore
from perago.values.history import CommitFacts
from perago.values.record import TryStatus, WorkflowStatus
from perago.workflows.definition import WorkflowDefinition, workflow_of
from perago.workflows.flow import Flow
from perago.workflows.params import workflow_params

R = TypeVar("R", bound=BaseModel)
W = TypeVar("W")


class MemoryWorkflow:
    """One workflow on one branch, in memory.

    `run` adds a task to the workflow and runs its first try to its end. `retry` runs the next one. Given a workflow, a
    function with `@workflow`, `run` runs all of it.

    Args:
        files: initial content of the branch: contents by object name, or a directory. Default: none.
        retries: number of retries of each task before the workflow fails.
        root: directory for workspaces. That of a failed attempt stays in `<root>/kept/`. Default: temporary directories
            that are removed.

    Attributes:
        store, engine: for calls without a short form here, such as `workflow.engine.rerun(attempt.task_id)`.
        branch: `main`.
    """

    def __init__(self, files: Files | None = None, *, retries: int = 3, root: Path | None = None) -> None:
        self.store = MemoryStore()
        self.engine = MemoryEngine(retries=retries)
        self.branch = "main"
        self._root = root
        self._begin = commit_given(self.store, self.branch, {} if files is None else files)
        self._tasks: dict[str, TaskDefinition] = {}
        self._last = ""

    # ---- state

    @property
    def head(self) -> str:
        """Full id of the commit that the branch points at."""
        return self.store.head(self.branch)

    @property
    def files(self) -> dict[str, bytes]:
        """Content of the branch, by object name."""
        return self.store.files(self.branch)

    @property
    def history(self) -> tuple[CommitFacts, ...]:
        """The commits since the initial files, newest first, including seals (`is_seal`)."""
        return self.store.read_history(self.store.input(self.branch, self._begin)).commits

    @property
    def status(self) -> WorkflowStatus:
        return self.engine.status()

    # ---- attempts

    @overload
    def run(
        self,
        task: Callable[[Flow], W] | Callable[[Flow, Any], W],
        params: Params | None = None,
        *,
        ref: str | None = None,
    ) -> FinishedWorkflow[W]: ...
    @overload
    def run(
        self,
        task: Callable[..., Coroutine[Any, Any, R]],
        params: Params | None = None,
        *,
        name: str | None = None,
        ref: str | None = None,
        at: At | None = None,
        lose_report: bool = False,
    ) -> FinishedAttempt[R]: ...
    @overload
    def run(
        self,
        task: Callable[..., R],
        params: Params | None = None,
        *,
        name: str | None = None,
        ref: str | None = None,
        at: At | None = None,
        lose_report: bool = False,
    ) -> FinishedAttempt[R]: ...
    @overload
    def run(
        self,
        task: TaskDefinition,
        params: Params | None = None,
        *,
        name: str | None = None,
        ref: str | None = None,
        at: At | None = None,
        lose_report: bool = False,
    ) -> FinishedAttempt[BaseModel]: ...
    @overload
    def run(
        self,
        task: WorkflowDefinition,
        params: Params | None = None,
        *,
        ref: str | None = None,
    ) -> FinishedWorkflow[Any]: ...
    def run(
        self,
        task: TaskDefinition | WorkflowDefinition | Callable[..., object],
        params: Params | None = None,
        *,
        name: str | None = None,
        ref: str | None = None,
        at: At | None = None,
        lose_report: bool = False,
    ) -> FinishedAttempt[Any] | FinishedWorkflow[Any]:
        """Add a task to the workflow and run its first try; or run another workflow, given one, to its end.

        Tasks of a workflow run one after the other, those beside each other from the same input. They are retried at
        once, as often as their `RetryPolicy` says.

        Args:
            task: a function decorated with `@task` or `@workflow`, or its definition.
            params: Default: `{}`.
            name: its reference name in the workflow. Default: the task's name, with a number if that is taken.
            ref: full id of the input commit, also for retries. Default: the current head.
            at: callbacks by phase, such as `at={"body": workflow.cancel}`. They are called in the attempt's thread when
                the phase starts. Their errors are raised here after the attempt.
            lose_report: the result does not reach the engine, as if the worker died. Continue with `timeout`.

        Raises:
            EngineError: the workflow has failed or was cancelled, and takes no further tasks.
            TaskInputError: `task` is neither a task nor a workflow, or an argument is not for a workflow.
            WorkflowDefinitionError: the params of a workflow do not validate.
            ValueError: `at` names an unknown phase.
            AssertionError: the attempt did not reach a phase of `at`.
        """
        declared = task if isinstance(task, WorkflowDefinition) else workflow_of(task)
        if declared is not None:
            if name is not None or at is not None or lose_report:
                raise TaskInputError(f"name=, at= and lose_report= are for a task, but {declared.name!r} is a workflow")
            return self._run_declared(declared, params, ref)
        assert not isinstance(task, WorkflowDefinition), "it is declared"
        definition = definition_of(task)
        watch = Watch(at)
        name = name or self._free_name(definition.name)
        inputs: dict[str, object] = {"params": {} if params is None else params}
        if definition.has_workspace:
            inputs["workspace"] = self.store.input(self.branch, ref).model_dump()
        self.engine.schedule(definition.name, inputs, reference_task_name=name)
        self._tasks[name] = definition
        return self._next(name, watch, lose_report=lose_report)

    def retry(
        self, name: str | None = None, *, at: At | None = None, lose_report: bool = False
    ) -> FinishedAttempt[Any]:
        """Run the next waiting try. A failed or cancelled workflow is retried first.

        Args:
            name: reference name of the task. Default: the one that ran last.

        `at` and `lose_report` are as in `run`.

        Raises:
            EngineError: there is no such task, or no try is waiting: the last one completed, or is still in progress in
                the engine.
        """
        watch = Watch(at)
        name = name or self._last
        if name not in self._tasks:
            raise EngineError(f"the workflow has no task {name!r}, but {[*self._tasks]}; add it with run()")
        if self.status in (WorkflowStatus.FAILED, WorkflowStatus.TERMINATED):
            self.engine.retry_workflow()
        return self._next(name, watch, lose_report=lose_report)

    # ---- events

    def timeout(self) -> None:
        """Let the response timeout of the try in progress pass: it is TIMED_OUT, and the next one waits.

        Raises:
            EngineError: no try is in progress.
        """
        live = [entry.task_id for entry in self.engine.record().tries if entry.status is TryStatus.IN_PROGRESS]
        if not live:
            raise EngineError(
                "no try is in progress. One is in progress while it runs, and after run(…, lose_report=True)"
            )
        self.engine.timeout(live[-1])

    def cancel(self) -> None:
        """Cancel the workflow: live tries are CANCELED, and their bodies see `TaskContext.cancelled`."""
        self.engine.terminate()

    def person_commits(self, files: Mapping[str, bytes | str | None], author: str = "someone") -> str:
        """Commit on the head without Perago: content by object name, None deletes. Returns the commit's id."""
        return self.store.commit(self.branch, files, author)

    # ---- internal

    def _free_name(self, name: str) -> str:
        number = 1
        while (free := name if number == 1 else f"{name}_{number}") in self._tasks:
            number += 1
        return free

    def _run_declared(
        self, workflow: WorkflowDefinition, params: Params | None, ref: str | None
    ) -> FinishedWorkflow[Any]:
        inputs: dict[str, Any] = {}
        if workflow.uses_workspace:
            inputs["workspace"] = self.store.input(self.branch, ref).model_dump()
        given = workflow_params(workflow, params_as_json(params))
        if workflow.params_model is not None:
            inputs["params"] = given
        return run_declared(workflow, inputs, self.store, self.branch, self._root)

    def _next(self, name: str, watch: Watch, *, lose_report: bool) -> FinishedAttempt[Any]:
        attempt = self.engine.poll(reference_task_name=name)
        if attempt is None:
            raise EngineError(
                f"no try of {name!r} is waiting: the workflow is {self.status}, its tries are "
                f"{[entry.status.value for entry in self.engine.record().of(name)]}. timeout() ends a try that is "
                f"IN_PROGRESS"
            )
        self._last = name
        running = RunningAttempt(self.store, self.engine, self._tasks[name], attempt, watch)
        return running.finish(self._root, self.branch, lose_report=lose_report)
