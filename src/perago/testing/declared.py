"""A declared workflow in memory: which try is next, and what came of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

from perago.attempt.join import output_commit
from perago.engines.local import LocalEngine, WorkflowRun
from perago.tasks.declare import BUILTIN_TASKS
from perago.tasks.read_back import read_back
from perago.testing.attempts import FinishedAttempt, RunningAttempt, Watch
from perago.testing.store import MemoryStore
from perago.values.json_text import JsonObject
from perago.values.models import EngineTask
from perago.values.record import TryStatus, WorkflowStatus
from perago.workflows.decide import Decision, Due, Instance, decide, with_template
from perago.workflows.definition import WorkflowDefinition
from perago.workflows.definition_json import to_json

W = TypeVar("W")


@dataclass(frozen=True, kw_only=True)
class FinishedWorkflow(Generic[W]):
    """One workflow that has ended.

    Attributes:
        status: COMPLETED, FAILED or TERMINATED.
        reason: why it failed; empty if it completed.
        error: the error of the last attempt that failed, with its traceback; None if it completed.
        attempts: the last attempt of each task that has run, by reference name.
        files: content of the branch afterwards, by object name.
        output: as the engine has it.
    """

    status: WorkflowStatus
    reason: str
    error: BaseException | None = field(repr=False)
    attempts: Mapping[str, FinishedAttempt[Any]] = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    output: JsonObject = field(repr=False)
    _workflow: WorkflowDefinition = field(repr=False)
    _ref: str | None = field(repr=False)

    @property
    def result(self) -> W:
        """The result; None of a workflow without one.

        Raises:
            AssertionError: the workflow did not complete; with the reason.
        """
        self._expect_completed()
        model = self._workflow.output_model
        result: Any = None
        if model is not None:
            result = read_back(model, self.output["result"])
        typed: W = result
        return typed

    @property
    def ref(self) -> str:
        """Full id of the commit that the workflow completed with.

        Raises:
            AssertionError: it did not complete, or has no workspace.
        """
        self._expect_completed()
        if self._ref is None:
            raise AssertionError("the workflow has no workspace, so it completes without a commit")
        return self._ref

    def _expect_completed(self) -> None:
        if self.status is not WorkflowStatus.COMPLETED:
            raise AssertionError(f"the workflow did not complete but is {self.status}: {self.reason}") from self.error


def run_declared(
    workflow: WorkflowDefinition, inputs: JsonObject, store: MemoryStore, branch: str, root: Path | None
) -> FinishedWorkflow[Any]:
    """Run a workflow to its end: one try after the other, on the local engine, whose record is removed.

    Args:
        inputs: workspace and params, as far as the workflow takes them.
        root: see `MemoryWorkflow`.
    """
    attempts: dict[str, FinishedAttempt[Any]] = {}
    with TemporaryDirectory(prefix="perago-test-") as directory:
        engine = LocalEngine(Path(directory))
        input_data = with_template(workflow.graph, inputs)
        definition = to_json(workflow.graph, whole=True)
        with engine.start_workflow(
            target=workflow.target, name=workflow.name, definition=definition, input_data=input_data
        ) as run:
            rounds = _Rounds(workflow, run)
            while (following := rounds.next()) is not None:
                due, attempt = following
                given = replace(attempt, input_data=due.input_data)  # secrets included
                running = RunningAttempt(store, engine, workflow.tasks[due.task_name], given, Watch(None))
                finished = running.finish(root, branch)
                if due.task_name not in BUILTIN_TASKS:
                    attempts[due.reference_task_name] = finished
            decision = rounds.decide()
            run.end(decision.status, output=decision.output, reason=decision.reason)
    is_completed = decision.status is WorkflowStatus.COMPLETED
    errors = [attempt.error for attempt in attempts.values() if attempt.error is not None]
    return FinishedWorkflow(
        status=decision.status,
        reason=decision.reason or "",
        error=None if is_completed or not errors else errors[-1],
        attempts=attempts,
        files=store.files(branch),
        output=decision.output,
        _workflow=workflow,
        _ref=output_commit(decision.output, store.read_history) if is_completed else None,
    )


class _Rounds:
    """The tries of a workflow, one after the other. Those due together begin together."""

    def __init__(self, workflow: WorkflowDefinition, run: WorkflowRun) -> None:
        self._workflow = workflow
        self._run = run
        self._policies = {name: task.controls.retry for name, task in workflow.tasks.items()}
        self._begun: list[tuple[Due, EngineTask]] = []

    def decide(self) -> Decision:
        instance = Instance(workflow_id=self._run.run_id, input_data=self._run.input_data)
        return decide(self._workflow.graph, instance, self._run.tries, self._policies)

    def next(self) -> tuple[Due, EngineTask] | None:
        """The next try, begun; None if the workflow has ended."""
        while (decision := self.decide()).status is WorkflowStatus.RUNNING:
            for ended in decision.ended:
                self._run.end_sub_workflow(ended.task_id, ended.status, ended.output, ended.reason)
            begun = [(due, self._begin(due)) for due in decision.due]
            self._begun += [(due, attempt) for due, attempt in begun if due.sub_workflow is None]
            if decision.ended or begun:
                continue
            due, attempt = self._begun.pop(0)
            now = self._run.find_attempt(attempt.task_id)
            if now is not None and now.status == TryStatus.IN_PROGRESS:
                return due, attempt
        return None

    def _begin(self, due: Due) -> EngineTask:
        return self._run.begin(due.reference_task_name, due.task_name, due.input_data)
