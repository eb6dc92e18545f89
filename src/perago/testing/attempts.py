"""One attempt in memory: running, observed, finished."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from perago.attempt.context import RunContext
from perago.attempt.fence import assert_current_attempt_snapshot
from perago.attempt.phases import Phases
from perago.attempt.report import LastLook, Reported, last_look, report_attempt
from perago.attempt.run import run_attempt
from perago.errors import EngineError, StaleAttemptError
from perago.ports import PHASES, Engine, Event, Phase, SystemClock
from perago.tasks.declare import TaskDefinition
from perago.tasks.read_back import read_back
from perago.testing.given import directory_for
from perago.testing.in_process import expect_no_sandbox
from perago.testing.store import MemoryStore
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, ResultStatus, RuntimeTaskResult

R = TypeVar("R", bound=BaseModel)

At = Mapping[str, Callable[[], object]]
"""Name of a phase (`perago.ports.Phase`) -> callback for its first start in the attempt."""

_PHASES = tuple(phase.value for phase, facts in PHASES.items() if facts.is_emitted)


@dataclass(frozen=True, kw_only=True)
class FinishedAttempt(Generic[R]):
    """One finished attempt.

    Attributes:
        task_id: the engine's id of the try.
        input_ref: full id of the input commit; empty for a free task.
        status: its final status, whether the engine has it or not.
        reason: why it failed; empty if it completed.
        error: the error with its traceback; None if it completed.
        reported: whether the engine has the result; False if it was lost, or the attempt was no longer current.
        body_ran: False if the attempt adopted a commit, or was refused before the body.
        files: content of the branch afterwards, by object name.
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
        """The result, as read from the engine's output.

        Raises:
            AssertionError: the attempt did not complete; with the reason.
        """
        return read_back(self.output_model, self._completed["result"])

    @property
    def ref(self) -> str:
        """Full id of the commit that the workspace task completed with: its own, an adopted one, or its input.

        Raises:
            AssertionError: the attempt did not complete, or its task has no workspace.
        """
        output = self._completed
        if "workspace" not in output:
            raise AssertionError("the task has no workspace, so its attempts complete without a commit")
        ref: str = output["workspace"]["ref"]
        return ref

    @property
    def _completed(self) -> JsonObject:
        if self.output is None:
            raise AssertionError(f"the attempt did not complete but is {self.status}: {self.reason}") from self.error
        return self.output


class Watch:
    """Observer of one attempt that runs a test's callbacks and remembers the error."""

    def __init__(self, at: At | None) -> None:
        unknown = [name for name in at or {} if name not in _PHASES]
        if unknown:
            raise ValueError(f"an attempt has no phase {unknown[0]!r}; it has {', '.join(_PHASES)}")
        self.body_ran = False
        self.error: BaseException | None = None
        self._at = dict(at or {})
        self._went_wrong: BaseException | None = None

    def observe(self, event: Event, /) -> None:
        if event.kind == "failed" and not PHASES[event.phase].is_best_effort and self.error is None:
            self.error = event.error
        if event.kind == "started":
            self.body_ran = self.body_ran or event.phase is Phase.BODY
            self._happen(self._at.pop(event.phase.value, None))

    def check(self) -> None:
        """Check that every callback was called and raised nothing. Otherwise the test would not test what it claims."""
        if self._went_wrong is not None:
            raise self._went_wrong
        if self._at:
            said = f"the attempt never reached {', '.join(self._at)}, so its callback was not called"
            raise AssertionError(said) from self.error

    def _happen(self, happening: Callable[[], object] | None) -> None:
        if happening is None:
            return
        try:
            happening()
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001 - an error of the test, raised after the attempt
            self._went_wrong = exc


class Delivered(Attempt, Protocol):
    """A task as an engine delivers it."""

    @property
    def input_data(self) -> JsonObject: ...


@dataclass(frozen=True)
class RunningAttempt:
    """One running attempt."""

    store: MemoryStore
    engine: Engine
    task: TaskDefinition
    attempt: Delivered
    watch: Watch
    execution_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, directory: Path, *, keep: bool) -> RuntimeTaskResult:
        expect_no_sandbox(self.task)
        context = RunContext(
            execution_id=self.execution_id,
            is_cancelled=self.is_cancelled,
            keep_failed_workspace=keep,
            observer=self.watch.observe,
        )
        return run_attempt(
            self.task,
            self.attempt.input_data,
            self.attempt,
            context,
            workspace_root=directory,
            open_store=lambda: self.store,
            engine=self.engine,
        )

    def finish(self, root: Path | None, branch: str, *, lose_report: bool = False) -> FinishedAttempt[Any]:
        """Run it, and report as a worker does.

        Args:
            root: see `MemoryWorkflow`.
            branch: whose files are told.
        """
        with directory_for(root) as directory:
            result = self.run(directory, keep=root is not None)
        reported = not lose_report and self.report(result)
        self.watch.check()
        return FinishedAttempt(
            task_id=self.attempt.task_id,
            input_ref=self.attempt.input_data.get("workspace", {}).get("ref", ""),
            status=result.status,
            reason=result.reason_for_incompletion or "",
            error=None if result.status == "COMPLETED" else self.watch.error,
            reported=reported,
            body_ran=self.watch.body_ran,
            files=self.store.files(branch),
            output=result.output,
            output_model=self.task.output_model,
        )

    def report(self, result: RuntimeTaskResult) -> bool:
        """Report as a worker does; returns whether the engine has the result."""
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
        """Whether the engine has ended this try, or given its task to another execution."""
        try:
            assert_current_attempt_snapshot(self.attempt, self.engine.load_current_attempt(self.attempt))
        except (StaleAttemptError, EngineError):
            return True
        return False
