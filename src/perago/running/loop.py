"""The loop of a workflow's run: it decides, starts what is due, and takes the ends of tries, until the workflow ends.

It starts no thread: a crew runs the tries. The tests put a crew in its place that ends them in every order.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from perago.engines.local import WorkflowRun
from perago.engines.local.workflow_record import WorkflowTry
from perago.errors import InternalError, required
from perago.ports import Clock
from perago.running.recordable import recordable_by_tasks, recordable_input, recordable_map
from perago.running.text import reason_within
from perago.running.view import WorkflowView
from perago.tasks.code_version import code_version
from perago.tasks.controls import RetryPolicy
from perago.tasks.declare import TaskDefinition
from perago.values.json_text import JsonObject
from perago.values.models import EngineTask
from perago.values.record import CAME_TO_NOTHING, TryStatus, WorkflowStatus
from perago.workflows.decide import INNER_INPUT, Decision, Due, Instance, decide
from perago.workflows.graph import MAP_TASK
from perago.workflows.load import LoadedWorkflow

WAIT_SECONDS = 0.2
"""How often a run that waits looks whether it is cancelled."""


@dataclass(frozen=True)
class TryEnd:
    """The end of one try, which its report has recorded unless it was cancelled.

    Attributes:
        error: what failed it; None if it completed or was cancelled.
    """

    task_id: str
    error: BaseException | None


class Crew(Protocol):
    """Runs tries."""

    @property
    def is_free(self) -> bool:
        """Whether it can run one more."""

    def start(self, due: Due, attempt: EngineTask) -> None:
        """Start a try, if it is free. It reports the result, and then ends."""

    def next_end(self, seconds: float) -> TryEnd | None:
        """Wait for the end of a try; None if there was none in this time."""


@dataclass
class WorkflowLoop:
    """The tries of one run.

    A try counts as live until its end has been taken from the crew, although its report is recorded before. So its
    slot is free and its error is known before anything follows from it.

    Attributes:
        cancelled: set from outside to end the run; set by the loop for what still runs beside a task that failed.
        fast: retry without the delays of the tasks' policies.
        revives: tasks whose last try came to nothing are tried again, whatever their policy.
        retries: of each task, counted from here on. None: those of its policy, counted from its first try.
        error: what failed the try that failed the workflow; None if it completed, or has failed for another reason.
        was_cancelled: it was cancelled before it came to its end.
    """

    workflow: LoadedWorkflow
    run: WorkflowRun
    crew: Crew
    view: WorkflowView
    cancelled: threading.Event
    clock: Clock
    fast: bool
    revives: bool = True
    retries: int | None = None
    error: BaseException | None = None
    was_cancelled: bool = False
    _started: set[str] = field(default_factory=set)
    _errors: dict[str, BaseException | None] = field(default_factory=dict)
    _not_before: dict[tuple[str, str | None], float] = field(default_factory=dict)

    def go(self) -> Decision:
        """Run the workflow to its end; or, when it is cancelled, until nothing runs."""
        policies = {name: self._policy(task) for name, task in self.workflow.tasks.items()}
        instance = Instance(workflow_id=self.run.run_id, input_data=self.run.input_data)
        last = self.run.record.last_tries.values()
        revived = frozenset(entry.task_id for entry in last if self.revives and entry.status in CAME_TO_NOTHING)
        self._recall()
        uncounted = {entry.reference_task_name: entry.retry_count + 1 for entry in last}
        before = {} if self.retries is None else uncounted
        while True:
            decision = decide(self.workflow.graph, instance, self._tries(), policies, revived, before)
            if decision.status is not WorkflowStatus.RUNNING or self.cancelled.is_set():
                break
            self.view.choose(decision.taken)
            if not self._step_sub_workflows(decision):
                self._take_end(self._start(decision.due))
        if decision.status is WorkflowStatus.RUNNING:
            self.was_cancelled = True
            self.run.cancel("cancelled")
            decision = Decision(status=WorkflowStatus.TERMINATED, reason="it was cancelled")
        else:
            decision = replace(decision, reason=self.view.with_items(decision.reason))
            self.run.end(decision.status, output=decision.output, reason=decision.reason)
            self.error = None if decision.failed is None else self._errors.get(decision.failed)
        self.cancelled.set()
        while self._started:
            self._take_end(WAIT_SECONDS)
        return decision

    def _recall(self) -> None:
        """Show the tasks of a resumed run in their last states."""
        for entry in self.run.record.tasks:
            self.view.recall(
                entry.reference_task_name,
                entry.retry_count + 1,
                entry.status,
                input_data=entry.input_data,
                ref=commit_of(entry.output),
                reason=reason_within(entry.reference_task_name, entry.reason) or None,
                seconds=None if entry.duration_ms is None else entry.duration_ms / 1000,
            )

    def _policy(self, task: TaskDefinition) -> RetryPolicy:
        own = task.controls.retry
        return own if self.retries is None else own.model_copy(update={"count": self.retries})

    def _tries(self) -> Sequence[WorkflowTry]:
        return [
            replace(entry, status=TryStatus.IN_PROGRESS) if entry.task_id in self._started else entry
            for entry in self.run.tries
        ]

    def _start(self, due: Sequence[Due]) -> float:
        """Start what is due, as far as the crew is free. Returns the seconds until more is due."""
        wait, now = WAIT_SECONDS, self.clock.monotonic()
        self.view.schedule(one.reference_task_name for one in due)
        for one in due:
            left = self._due_at(one, now) - now
            if left > 0:
                wait = min(wait, left)
                self.view.retry(one.reference_task_name, left)
            elif self.crew.is_free:
                attempt = self._begin(one)
                self._started.add(attempt.task_id)
                self.crew.start(one, attempt)
        return wait

    def _begin(self, due: Due) -> EngineTask:
        """Record and show the beginning of a try."""
        recordable = self._recordable(due)
        task = self.workflow.tasks.get(due.task_name) if due.sub_workflow is None else None
        code = None if task is None or task.is_builtin else code_version(task)
        attempt = self.run.begin(due.reference_task_name, due.task_name, due.input_data, recordable, code)
        self.view.begin(due.reference_task_name, attempt.retry_count + 1, recordable)
        return attempt

    def _recordable(self, due: Due) -> JsonObject:
        """The input of a try with what is a secret by its type masked."""
        tasks = self.workflow.tasks
        if due.sub_workflow is not None:
            inner, model = due.input_data[INNER_INPUT], due.sub_workflow.params_model
            if model is None:  # a definition in a file, or in the record of a run
                inner = recordable_by_tasks(due.sub_workflow, tasks, inner)
            inner = recordable_input(model, inner)
            return {**due.input_data, INNER_INPUT: inner}
        if due.task_name == MAP_TASK and (mapped := tasks.get(due.input_data["params"]["task"])) is not None:
            return recordable_map(mapped.params_model, due.input_data)
        return recordable_input(tasks[due.task_name].params_model, due.input_data)

    def _step_sub_workflows(self, decision: Decision) -> bool:
        """Record what begins and ends without a process of its own. Returns whether anything did."""
        for ended in decision.ended:
            name, reason = ended.reference_task_name, self.view.with_items(ended.reason)
            self.run.end_sub_workflow(ended.task_id, ended.status, ended.output, reason)
            self._errors[name] = None if ended.failed is None else self._errors.get(ended.failed)
            self.view.end(name, ended.status, commit_of(ended.output), reason_within(name, reason) or None)
        begun = [due for due in decision.due if due.sub_workflow is not None]
        for due in begun:
            self._begin(due)
        return bool(decision.ended or begun)

    def _due_at(self, due: Due, now: float) -> float:
        """When a try may start, monotonic seconds."""
        jitter_ms = self.workflow.tasks[due.task_name].controls.retry.jitter_ms
        is_late = due.retried_task_id is not None and due.delay_seconds > 0 and not self.fast
        delay = due.delay_seconds + random.uniform(0, jitter_ms) / 1000 if is_late else 0.0  # noqa: S311 - spreads load
        return self._not_before.setdefault((due.reference_task_name, due.retried_task_id), now + delay)

    def _take_end(self, seconds: float) -> None:
        """Wait for a try to end, and take note of it."""
        self.view.refresh()
        self.run.live.tell()
        end = self.crew.next_end(seconds)
        if end is None:
            return
        self._started.remove(end.task_id)
        entry = required(self.run.record.find(end.task_id), f"try {end.task_id} is recorded")
        self._errors[entry.reference_task_name] = end.error
        if entry.status.is_live and not self.cancelled.is_set():  # its report failed
            raise end.error or InternalError(f"the try {entry.task_id} ended without a report")


def commit_of(output: JsonObject | None) -> str | None:
    """The commit in the output of a task or workflow; None if it has none."""
    workspace = (output or {}).get("workspace")
    ref = workspace.get("ref") if isinstance(workspace, dict) else None
    return ref if isinstance(ref, str) else None
