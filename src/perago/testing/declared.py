"""A declared workflow in memory: which try is next, and what came of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from perago.testing.attempts import FinishedAttempt
from perago.testing.engine import MemoryAttempt, MemoryEngine
from perago.values.json_text import JsonObject
from perago.values.record import TryStatus, WorkflowStatus
from perago.workflows.decide import Decision, Instance, decide, with_template
from perago.workflows.declare import WorkflowDefinition
from perago.workflows.graph import TaskNode

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

    @property
    def result(self) -> W:
        """The result; None of a workflow without one.

        Raises:
            AssertionError: the workflow did not complete; with the reason.
        """
        output, model = self._completed, self._workflow.output_model
        result: Any = None
        if model is not None:
            result = model.model_validate(output["result"], by_alias=False, by_name=True)
        typed: W = result
        return typed

    @property
    def ref(self) -> str:
        """Full id of the commit that the workflow completed with.

        Raises:
            AssertionError: it did not complete, has no workspace, or left several commits.
        """
        output = self._completed
        if "workspace" not in output:
            raise AssertionError("the workflow left no commit, or several: read those of its attempts")
        ref: str = output["workspace"]["ref"]
        return ref

    @property
    def _completed(self) -> JsonObject:
        if self.status is not WorkflowStatus.COMPLETED:
            raise AssertionError(f"the workflow did not complete but is {self.status}: {self.reason}") from self.error
        return self.output


@dataclass(frozen=True, kw_only=True)
class _Try:
    """See `decide.Try`."""

    task_id: str
    reference_task_name: str
    retry_count: int
    status: TryStatus
    input_data: JsonObject
    output: JsonObject | None
    reason: str | None


class Rounds:
    """The tries of a workflow, one after the other.

    Args:
        inputs: workspace and params, as far as the workflow takes them.
    """

    def __init__(self, engine: MemoryEngine, workflow: WorkflowDefinition, inputs: JsonObject) -> None:
        self._engine = engine
        self._workflow = workflow
        self._policies = {name: task.controls.retry for name, task in workflow.tasks.items()}
        self._id = engine.start_workflow()
        self._instance = Instance(workflow_id=self._id, input_data=with_template(workflow.graph, inputs))

    def next(self) -> MemoryAttempt | None:
        """The next try, delivered; None if the workflow has ended."""
        decision = self._decide()
        if decision.status is not WorkflowStatus.RUNNING:
            return None
        for due in decision.due:
            if due.retried_task_id is None:  # the engine retries by itself
                self._engine.schedule(
                    due.task_name,
                    due.input_data,
                    reference_task_name=due.reference_task_name,
                    retries=self._policies[due.task_name].count,
                    optional=self._is_optional(due.reference_task_name),
                    workflow=self._id,
                )
        attempt = self._engine.poll(workflow=self._id)
        assert attempt is not None, "a workflow that runs has a try that waits"
        return attempt

    def finished(
        self, attempts: Mapping[str, FinishedAttempt[Any]], files: Mapping[str, bytes]
    ) -> FinishedWorkflow[Any]:
        """What came of it.

        Args:
            attempts: the last of each task.
            files: content of the branch.
        """
        decision = self._decide()
        errors = [attempt.error for attempt in attempts.values() if attempt.error is not None]
        return FinishedWorkflow(
            status=decision.status,
            reason=decision.reason or "",
            error=None if decision.status is WorkflowStatus.COMPLETED or not errors else errors[-1],
            attempts=attempts,
            files=files,
            output=decision.output,
            _workflow=self._workflow,
        )

    def _decide(self) -> Decision:
        return decide(self._workflow.graph, self._instance, self._tries(), self._policies)

    def _tries(self) -> Iterator[_Try]:
        for entry in self._engine.record(self._id).tries:
            yield _Try(
                task_id=entry.task_id,
                reference_task_name=entry.reference_task_name,
                retry_count=entry.retry_count,
                status=entry.status,
                input_data=self._engine.attempt(entry.task_id).input_data,
                output=entry.output,
                reason=self._engine.reason(entry.task_id),
            )

    def _is_optional(self, reference_name: str) -> bool:
        nodes = (node for node in self._workflow.graph.all_nodes() if isinstance(node, TaskNode))
        return any(node.optional for node in nodes if node.reference_name == reference_name)
