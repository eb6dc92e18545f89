"""Whole attempts in memory: one workflow on one branch, whose mishaps a test sets off. No server, nothing patched.

It runs the core that workers run, on the store and the engine of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from perago.errors import EngineError
from perago.tasks.declare import TaskDefinition
from perago.testing.attempts import At, FinishedAttempt, RunningAttempt, Watch
from perago.testing.engine import MemoryEngine
from perago.testing.given import Files, Params, commit_given, definition_of, directory_for
from perago.testing.store import MemoryStore
from perago.testing.workflow import WorkflowStatus
from perago.values.history import CommitFacts
from perago.values.record import TryStatus

R = TypeVar("R", bound=BaseModel)


class MemoryWorkflow:
    """One workflow on one branch, in memory.

    A task that is run is added to the workflow, and its first try is run to its end. `retry` runs the next one.

    Args:
        files: what the branch holds at first: contents by object name, or a directory. Default: nothing.
        retries: how many tries may follow the first, of each task, before the workflow fails.
        root: where attempts make their workspaces; that of one that failed stays, in `<root>/kept/`. Default: temporary
            directories that are removed.

    Attributes:
        store, engine: for what has no short form here; `workflow.engine.rerun(attempt.task_id)`, say.
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

    # ---- looks into it

    @property
    def head(self) -> str:
        """Full id of the commit that the branch points at."""
        return self.store.head(self.branch)

    @property
    def files(self) -> dict[str, bytes]:
        """What the branch holds, by object name."""
        return self.store.files(self.branch)

    @property
    def history(self) -> tuple[CommitFacts, ...]:
        """The commits since the files that were given at first, newest first; seals (`is_seal`) among them."""
        return self.store.read_history(self.store.input(self.branch, self._begin)).commits

    @property
    def status(self) -> WorkflowStatus:
        return self.engine.status()

    # ---- attempts

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
    def run(
        self,
        task: TaskDefinition | Callable[..., object],
        params: Params | None = None,
        *,
        name: str | None = None,
        ref: str | None = None,
        at: At | None = None,
        lose_report: bool = False,
    ) -> FinishedAttempt[Any]:
        """Add a task to the workflow, and run its first try.

        Args:
            task: a function that is decorated with `@task`, or its definition.
            params: Default: none, `{}`.
            name: its reference name in the workflow. Default: the task's, with a number where that is taken.
            ref: full id of the commit that it works on, in retries too. Default: the present head.
            at: what happens meanwhile: `at={"body": workflow.cancel}`. It happens in the attempt's own thread, when
                the phase begins; what it raises is raised here, after the attempt.
            lose_report: the result never reaches the engine, as when the worker dies; then go on with `timeout`.

        Raises:
            EngineError: the workflow has failed or was cancelled, and takes no further task.
            TaskInputError: `task` is no task.
            ValueError: `at` names no phase.
            AssertionError: the attempt never came to a phase that `at` names.
        """
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
        """Run the next try that waits. A workflow that has failed or was cancelled is taken up again first.

        Args:
            name: reference name of the task. Default: the one that ran last.

        `at` and `lose_report` are as in `run`.

        Raises:
            EngineError: there is no such task; or no try waits: the last one completed, or is still in progress for all
                that the engine knows.
        """
        watch = Watch(at)
        name = name or self._last
        if name not in self._tasks:
            raise EngineError(f"the workflow has no task {name!r}, but {[*self._tasks]}; add it with run()")
        if self.status in (WorkflowStatus.FAILED, WorkflowStatus.TERMINATED):
            self.engine.retry_workflow()
        return self._next(name, watch, lose_report=lose_report)

    # ---- what befalls them

    def timeout(self) -> None:
        """The response timeout passes of the try that is in progress: it is TIMED_OUT, and the next one waits.

        Raises:
            EngineError: none is in progress.
        """
        live = [entry.task_id for entry in self.engine.record().tries if entry.status is TryStatus.IN_PROGRESS]
        if not live:
            raise EngineError("no try is in progress; one is while it runs, and after run(…, lose_report=True)")
        self.engine.timeout(live[-1])

    def cancel(self) -> None:
        """A person cancels the workflow: live tries are CANCELED, and their bodies see `TaskContext.cancelled`."""
        self.engine.terminate()

    def person_commits(self, files: Mapping[str, bytes | str | None], author: str = "someone") -> str:
        """A person commits on the head: these object names get this content, None: they go. Returns the commit's id."""
        return self.store.commit(self.branch, files, author)

    # ---- within

    def _free_name(self, name: str) -> str:
        number = 1
        while (free := name if number == 1 else f"{name}_{number}") in self._tasks:
            number += 1
        return free

    def _next(self, name: str, watch: Watch, *, lose_report: bool) -> FinishedAttempt[Any]:
        attempt = self.engine.poll(reference_task_name=name)
        if attempt is None:
            raise EngineError(
                f"no try of {name!r} waits: the workflow is {self.status}, its tries are "
                f"{[entry.status.value for entry in self.engine.record().of(name)]}. One that is IN_PROGRESS is ended "
                f"by timeout()"
            )
        self._last = name
        running = RunningAttempt(self.store, self.engine, self._tasks[name], attempt, watch)
        with directory_for(self._root) as directory:
            result = running.run(directory, keep=self._root is not None)
        reported = not lose_report and running.report(result)
        watch.check()
        return FinishedAttempt(
            task_id=attempt.task_id,
            input_ref=attempt.input_data.get("workspace", {}).get("ref", ""),
            status=result.status,
            reason=result.reason_for_incompletion or "",
            error=None if result.status == "COMPLETED" else watch.error,
            reported=reported,
            body_ran=watch.body_ran,
            files=self.files,
            output=result.output,
            output_model=self._tasks[name].output_model,
        )
