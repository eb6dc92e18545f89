"""Whole attempts in memory: one workflow on one branch, whose mishaps a test sets off. No server, nothing patched.

It runs the core that workers run, on the store and the engine of this package.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from pydantic import BaseModel

from perago.attempt.fence import assert_current_attempt_snapshot
from perago.attempt.free import run_workspace_free_task_attempt
from perago.attempt.phases import Phases
from perago.attempt.report import LastLook, Reported, last_look, report_attempt
from perago.attempt.run import run_workspace_task_attempt
from perago.errors import EngineError, StaleAttemptError
from perago.models import CommitFacts, JsonObject, ResultStatus, RuntimeTaskResult, TryStatus
from perago.ports import Event, Phase, SystemClock
from perago.tasks.declare import TaskDefinition
from perago.testing.engine import MemoryAttempt, MemoryEngine
from perago.testing.given import Files, Params, commit_given, definition_of, directory_for
from perago.testing.store import MemoryStore
from perago.testing.workflow import WorkflowStatus

R = TypeVar("R", bound=BaseModel)

At = Mapping[str, Callable[[], object]]
"""Name of a phase (`perago.ports.Phase`) -> what happens when it begins for the first time in the attempt."""

_PHASES = tuple(phase.value for phase in Phase if phase is not Phase.POLL)


@dataclass(frozen=True, kw_only=True)
class FinishedAttempt(Generic[R]):
    """One attempt that has ended.

    Attributes:
        task_id: the engine's id of the try.
        input_ref: full id of the commit that it worked on; empty for a free task.
        status: what it ended with, whether the engine took it or not.
        reason: why it failed; empty of a completed one.
        error: what was raised, with its traceback; None of a completed one.
        reported: the engine has the result; False: it was lost, or the attempt was no longer the current one.
        body_ran: False where the attempt adopted what another published, or was refused before.
        files: what the branch holds afterwards, by object name.
    """

    task_id: str
    input_ref: str
    status: ResultStatus
    reason: str
    error: BaseException | None = field(repr=False)
    reported: bool
    body_ran: bool
    files: Mapping[str, bytes] = field(repr=False)
    output: JsonObject | None = field(repr=False)
    output_model: type[R] = field(repr=False)

    @property
    def result(self) -> R:
        """The result, as whoever reads the engine's output gets it.

        Raises:
            AssertionError: the attempt did not complete; says why.
        """
        return self.output_model.model_validate(self._completed["result"], by_alias=False, by_name=True)

    @property
    def ref(self) -> str:
        """Full id of the commit that a workspace task completed with: its own, an adopted one, or its input.

        Raises:
            AssertionError: the attempt did not complete, or its task has no workspace.
        """
        output = self._completed
        if "workspace" not in output:
            raise AssertionError("the task has no workspace, so that its attempts complete with no commit")
        ref: str = output["workspace"]["ref"]
        return ref

    @property
    def _completed(self) -> JsonObject:
        if self.output is None:
            raise AssertionError(f"the attempt did not complete, it is {self.status}: {self.reason}") from self.error
        return self.output


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
        watch = _Watch(at)
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
            EngineError: no try waits: the last one completed, or is still in progress for all that the engine knows.
        """
        watch = _Watch(at)
        if self.status in (WorkflowStatus.FAILED, WorkflowStatus.TERMINATED):
            self.engine.retry_workflow()
        return self._next(name or self._last, watch, lose_report=lose_report)

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

    def _next(self, name: str, watch: _Watch, *, lose_report: bool) -> FinishedAttempt[Any]:
        attempt = self.engine.poll(reference_task_name=name)
        if attempt is None:
            raise EngineError(
                f"no try of {name!r} waits: the workflow is {self.status}, its tries are "
                f"{[entry.status.value for entry in self.engine.record().of(name)]}. One that is IN_PROGRESS is ended "
                f"by timeout()"
            )
        self._last = name
        running = _Running(self.store, self.engine, self._tasks[name], attempt, watch)
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


class _Watch:
    """The observer of one attempt: lets happen what a test wants to, and remembers what went wrong."""

    def __init__(self, at: At | None) -> None:
        unknown = [name for name in at or {} if name not in _PHASES]
        if unknown:
            raise ValueError(f"an attempt has no phase {unknown[0]!r}; it has {', '.join(_PHASES)}")
        self.body_ran = False
        self.error: BaseException | None = None
        self._at = dict(at or {})
        self._went_wrong: BaseException | None = None

    def observe(self, event: Event, /) -> None:
        if event.kind == "failed" and event.phase is not Phase.CLEAN and self.error is None:
            self.error = event.error
        if event.kind == "started":
            self.body_ran = self.body_ran or event.phase is Phase.BODY
            self._happen(self._at.pop(event.phase.value, None))

    def check(self) -> None:
        """Everything that was to happen meanwhile did, and went well: else a test would not test what it says."""
        if self._went_wrong is not None:
            raise self._went_wrong
        if self._at:
            said = f"the attempt never came to {', '.join(self._at)}, so that what was to happen then did not"
            raise AssertionError(said) from self.error

    def _happen(self, happening: Callable[[], object] | None) -> None:
        if happening is None:
            return
        try:
            happening()
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001 - it is the test's, not the attempt's: raised when that is over
            self._went_wrong = exc


@dataclass(frozen=True)
class _Running:
    """One attempt under way."""

    store: MemoryStore
    engine: MemoryEngine
    task: TaskDefinition
    attempt: MemoryAttempt
    watch: _Watch
    execution_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, directory: Path, *, keep: bool) -> RuntimeTaskResult:
        if not self.task.has_workspace:
            return run_workspace_free_task_attempt(
                self.task,
                self.attempt.input_data,
                attempt=self.attempt,
                execution_id=self.execution_id,
                is_cancelled=self.is_cancelled,
                observer=self.watch.observe,
            )
        return run_workspace_task_attempt(
            self.task,
            self.attempt.input_data,
            self.attempt,
            directory,
            download_workspace=self.store.download_workspace,
            load_current_attempt=self.engine.load_current_attempt,
            stage_workspace=self.store.stage_workspace,
            publish_workspace=self.store.publish_workspace,
            cleanup_staging=self.store.cleanup_staging,
            complete_noop_workspace=self.store.complete_noop_workspace,
            execution_id=self.execution_id,
            read_history=self.store.read_history,
            load_record=self.engine.load_record,
            is_cancelled=self.is_cancelled,
            keep_failed_workspace=keep,
            observer=self.watch.observe,
        )

    def report(self, result: RuntimeTaskResult) -> bool:
        """Report as a worker does; whether the engine has the result."""
        phases = Phases(self.watch.observe, SystemClock(), execution_id=self.execution_id, task_id=self.attempt.task_id)
        try:
            reported = report_attempt(self.engine, self.attempt, result, phases, last_look=self._last_look())
        except EngineError:
            return False  # a rerun or a restart removed the task
        return reported is Reported.RECORDED

    def _last_look(self) -> LastLook:
        if not self.task.has_workspace:
            return lambda: None
        return last_look(
            self.task,
            self.attempt.input_data,
            self.attempt,
            read_history=self.store.read_history,
            load_record=self.engine.load_record,
        )

    def is_cancelled(self) -> bool:
        """The engine has ended this try, or given its task to another execution."""
        try:
            assert_current_attempt_snapshot(self.attempt, self.engine.load_current_attempt(self.attempt))
        except (StaleAttemptError, EngineError):
            return True
        return False
