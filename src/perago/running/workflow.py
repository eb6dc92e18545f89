"""Runs a workflow here: decides, starts what is due, and waits for what ends."""

from __future__ import annotations

import os
import platform
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from perago.attempt.body import BodyCall, InvokeBody
from perago.attempt.context import RunContext
from perago.attempt.output import with_place
from perago.attempt.phases import Phases
from perago.attempt.report import report_attempt
from perago.attempt.run import run_attempt
from perago.engines.local import LocalAttempt, WorkflowRun
from perago.errors import TaskCancelledError, required
from perago.ports import Event, Repository, SystemClock
from perago.running.repos.address import queue_for
from perago.running.request import recordable_by_tasks, recordable_input, recordable_map
from perago.running.task import GRACE_SECONDS, body_timeout, invoke_here, observed_try, sweep_leftovers
from perago.running.telemetry import open_telemetry
from perago.running.text import reason_within
from perago.running.view import TaskDisplay, WorkflowView
from perago.running.watch import RunObserver
from perago.running.workflow_request import WorkflowRequest
from perago.tasks.declare import TaskDefinition
from perago.telemetry.sink import Telemetry
from perago.values.json_text import JsonObject
from perago.values.models import RuntimeTaskResult
from perago.values.record import CAME_TO_NOTHING, TryStatus, WorkflowStatus
from perago.values.redaction import mask_text
from perago.worker.body.run import BodyProcess, BodyZygote, load_order
from perago.worker.executor.runner import merge_seconds, status_to_report, within_limit
from perago.workflows.decide import INNER_INPUT, Decision, Due, Instance, decide
from perago.workflows.graph import MAP_TASK

WAIT_SECONDS = 0.2
"""How often a run that waits looks whether it is cancelled."""


@dataclass
class _Ended:
    """A try that has ended."""

    slot: _Slot
    reference_name: str
    status: TryStatus
    error: BaseException | None


@dataclass(frozen=True)
class _Called:
    """A body to run in the thread that waits for the run, as the body of a task that no other process can load."""

    call: BodyCall
    outcome: Future[JsonObject] = field(default_factory=Future)

    def run(self) -> None:
        """Run it, unless its attempt has been cancelled meanwhile."""
        if not self.outcome.set_running_or_notify_cancel():
            return
        try:
            self.outcome.set_result(invoke_here(self.call))
        except KeyboardInterrupt:
            self.outcome.set_exception(self._cancelled("while"))
            raise
        except BaseException as exc:  # noqa: BLE001 - the attempt's thread raises it
            self.outcome.set_exception(exc)

    def result(self, is_cancelled: Callable[[], bool]) -> JsonObject:
        """Wait for its result; raises its error."""
        while not wait([self.outcome], WAIT_SECONDS).done:
            if is_cancelled() and self.outcome.cancel():
                raise self._cancelled("before")
        return self.outcome.result()

    def _cancelled(self, when: str) -> TaskCancelledError:
        return TaskCancelledError(f"task {self.call.task.name!r}: cancelled {when} its body ran")


class _Slot:
    """Runs one try after the other, with a store and a zygote of its own.

    Args:
        events: where the thread that waits for the run takes what it is to do.
        stack: ends the zygote, and closes the repositories.
    """

    def __init__(
        self,
        request: WorkflowRequest,
        cancelled: threading.Event,
        view: WorkflowView,
        events: queue.SimpleQueue[_Ended | _Called],
        stack: ExitStack,
    ) -> None:
        self._request = request
        self._events = events
        self._cancelled = cancelled
        self._view = view
        self._stack = stack
        self._load = load_order(sorted(set(request.loaded.values())), request.config.body_start)
        self._zygote = BodyZygote(self._load)
        self._repositories: dict[float | None, Repository] = {}
        self._observer: RunObserver | None = None
        if self._load.targets:
            stack.enter_context(self._zygote)
        tasks = request.workflow.tasks
        if tasks.keys() - request.loaded.keys():  # later, a body here may have hidden the credentials
            for seconds in {merge_seconds(task) for task in tasks.values() if task.has_workspace}:
                self.repository(seconds)

    def repository(self, seconds: float | None = None) -> Repository:
        """The open repository with a limit for publications."""
        if seconds not in self._repositories:
            address = required(self._request.repository, "a workflow with a workspace has a repository")
            opened = address.open(self._observe, merge_seconds=seconds)
            self._repositories[seconds] = self._stack.enter_context(opened)
        return self._repositories[seconds]

    def run(
        self, due: Due, attempt: LocalAttempt, telemetry: Telemetry
    ) -> tuple[RuntimeTaskResult, BaseException | None]:
        """Run a try, and report it. Returns its result, and the error that failed it."""
        request = self._request
        task = request.workflow.tasks[due.task_name]
        is_cancelled = partial(self.is_cancelled, attempt)
        watch = RunObserver(TaskDisplay(self._view, due.reference_task_name), self._cancelled, is_cancelled)
        self._observer = watch
        invoke_body = self._invoke_body(task, due.reference_task_name, is_cancelled)
        with observed_try(telemetry, task, attempt, watch) as observer:
            context = RunContext(
                execution_id=observer.execution_id,
                metrics=observer.metrics,
                failure_reason_max_length=request.config.failure_reason_max_length,
                status_of=lambda exc: status_to_report(exc, attempt, request.engine.load_record),
                invoke_body=within_limit(invoke_body),
                invoke_guards=invoke_body,
                is_cancelled=is_cancelled,
                observer=observer,
                trace=observer.trace,
                queue=queue_for(request.repository),
            )
            result = run_attempt(
                task,
                due.input_data,
                attempt,
                context,
                workspace_root=request.config.workspace_root,
                open_store=lambda: self.repository(merge_seconds(task)),
                engine=request.engine,
            )
            max_length = request.config.failure_reason_max_length
            reason = with_place(result.reason_for_incompletion, watch.error, max_length=max_length)
            result = replace(result, reason_for_incompletion=reason)
            was_cancelled = result.status != "COMPLETED" and is_cancelled()
            observer.settle(result, cancelled=was_cancelled)
            if not was_cancelled:
                phases = Phases(observer, SystemClock(), execution_id="", task_id=attempt.task_id)
                report_attempt(request.engine, attempt, result, phases)
        return result, watch.error

    def is_cancelled(self, attempt: LocalAttempt) -> bool:
        """Whether the run is cancelled, or the sub-workflow of a try has ended without it."""
        current = self._request.engine.load_current_attempt(attempt)
        return self._cancelled.is_set() or current.status == TryStatus.CANCELED

    def _invoke_body(self, task: TaskDefinition, reference_name: str, is_cancelled: Callable[[], bool]) -> InvokeBody:
        if task.name not in self._request.loaded:
            return partial(self._have_called, is_cancelled=is_cancelled)
        return BodyProcess(
            self._zygote.start,
            self._load,
            timeout_seconds=body_timeout(task),
            grace_seconds=GRACE_SECONDS,
            cancelled=is_cancelled,
            on_print=lambda _call, line: self._view.printed(reference_name, line),
            on_log=lambda message: self._view.logged(reference_name, message),
        )

    def _have_called(self, call: BodyCall, /, *, is_cancelled: Callable[[], bool]) -> JsonObject:
        called = _Called(call)
        self._events.put(called)
        return called.result(is_cancelled)

    def _observe(self, event: Event) -> None:
        if self._observer is not None:
            self._observer(event)


@contextmanager
def begun(
    request: WorkflowRequest, view: WorkflowView, cancelled: threading.Event, *, jobs: int, fast: bool
) -> Iterator[WorkflowExecution]:
    """Open the repository and record the run. Afterwards, release both; an interrupted run is recorded as cancelled.

    Args:
        jobs: tasks to run at the same time.
        fast: retry without the delays of the tasks' policies.

    Raises:
        RunArgumentError, RunNotFoundError, RunBusyError, EngineError, StoreError: nothing was begun.
    """
    with ExitStack() as stack:
        telemetry = stack.enter_context(open_telemetry(request.config, f"{platform.node()}-{os.getpid()}"))
        events: queue.SimpleQueue[_Ended | _Called] = queue.SimpleQueue()
        slots = [_Slot(request, cancelled, view, events, stack) for _ in range(jobs)]
        repository = slots[0].repository() if request.repository is not None else None
        sweep_leftovers(request.config, repository, view, resumes=request.resumed is not None)
        run = stack.enter_context(request.begin())
        view.line(_beginning(request, run))
        try:
            yield WorkflowExecution(request, run, slots, events, view, telemetry, cancelled, fast=fast)
        except KeyboardInterrupt:
            run.cancel("interrupted")
            raise


@dataclass
class WorkflowExecution:
    """The tries of one run, as many at a time as there are slots.

    Attributes:
        fast: retry without the delays of the tasks' policies.
        error: what failed the last try that failed.
    """

    request: WorkflowRequest
    run: WorkflowRun
    slots: list[_Slot]
    events: queue.SimpleQueue[_Ended | _Called]
    view: WorkflowView
    telemetry: Telemetry
    cancelled: threading.Event
    fast: bool
    error: BaseException | None = None
    _not_before: dict[tuple[str, str | None], float] = field(default_factory=dict)

    def go(self) -> Decision:
        """Run the workflow to its end; or, when it is cancelled, until nothing runs."""
        policies = {name: task.controls.retry for name, task in self.request.workflow.tasks.items()}
        instance = Instance(workflow_id=self.run.run_id, input_data=self.run.input_data)
        last = self.run.record.last_tries.values()
        revived = frozenset(entry.task_id for entry in last if entry.status in CAME_TO_NOTHING)
        free = list(self.slots)
        with (
            ThreadPoolExecutor(len(self.slots), thread_name_prefix="perago-task") as threads,
            self._cancelling_at_an_error(),
        ):
            while True:
                decision = decide(self.request.workflow.graph, instance, self.run.tries, policies, revived)
                if decision.status is not WorkflowStatus.RUNNING or self.cancelled.is_set():
                    break
                if not self._step_sub_workflows(decision):
                    self._take_ended(free, self._start(decision, free, threads))
            if decision.status is WorkflowStatus.RUNNING:
                self.run.cancel("cancelled")
                decision = Decision(status=WorkflowStatus.TERMINATED, reason="it was cancelled")
            else:
                self.run.end(decision.status, output=decision.output, reason=decision.reason)
            self.cancelled.set()  # for what still runs beside a task that failed
            while len(free) < len(self.slots):
                self._take_ended(free, WAIT_SECONDS)
        return decision

    @contextmanager
    def _cancelling_at_an_error(self) -> Iterator[None]:
        """End what runs, so that its threads are not waited for."""
        try:
            yield
        except BaseException:
            self.cancelled.set()
            raise

    def _start(self, decision: Decision, free: list[_Slot], threads: ThreadPoolExecutor) -> float:
        """Start what is due, as far as slots are free. Returns the seconds until more is due."""
        wait = WAIT_SECONDS
        now = time.monotonic()
        self.view.choose(decision.taken)
        self.view.schedule(due.reference_task_name for due in decision.due)
        for due in decision.due:
            left = self._due_at(due, now) - now
            if left > 0:
                wait = min(wait, left)
                self.view.retry(due.reference_task_name, left)
            elif free:
                slot = free.pop()
                threads.submit(self._try, slot, due, self._begin(due, self._recordable(due)))
        return wait

    def _recordable(self, due: Due) -> JsonObject:
        """The input of a try with what is a secret by its type masked."""
        tasks = self.request.workflow.tasks
        if due.sub_workflow is not None:
            inner, model = due.input_data[INNER_INPUT], due.sub_workflow.params_model
            if model is None:  # a definition in a file, or in the record of a run
                inner = recordable_by_tasks(due.sub_workflow, tasks, inner)
            inner = recordable_input(model, inner)
            return {**due.input_data, INNER_INPUT: inner}
        if due.task_name == MAP_TASK and (mapped := tasks.get(due.input_data["params"]["task"])) is not None:
            return recordable_map(mapped.params_model, due.input_data)
        return recordable_input(tasks[due.task_name].params_model, due.input_data)

    def _begin(self, due: Due, recordable: JsonObject) -> LocalAttempt:
        """Record and show the beginning of a try."""
        attempt = self.run.begin(due.reference_task_name, due.task_name, due.input_data, recordable)
        self.view.begin(due.reference_task_name, attempt.retry_count + 1, recordable)
        return attempt

    def _step_sub_workflows(self, decision: Decision) -> bool:
        """Record what begins and ends without a process of its own. Returns whether anything did."""
        for ended in decision.ended:
            self.run.end_sub_workflow(ended.task_id, ended.status, ended.output, ended.reason)
            reason = reason_within(ended.reference_task_name, ended.reason) or None
            self.view.end(ended.reference_task_name, ended.status, commit_of(ended.output), reason)
        begun = [due for due in decision.due if due.sub_workflow is not None]
        for due in begun:
            self._begin(due, self._recordable(due))
        return bool(decision.ended or begun)

    def _due_at(self, due: Due, now: float) -> float:
        """When a try may start, monotonic seconds."""
        jitter_ms = self.request.workflow.tasks[due.task_name].controls.retry.jitter_ms
        is_late = due.retried_task_id is not None and due.delay_seconds > 0 and not self.fast
        delay = due.delay_seconds + random.uniform(0, jitter_ms) / 1000 if is_late else 0.0  # noqa: S311 - spreads load
        return self._not_before.setdefault((due.reference_task_name, due.retried_task_id), now + delay)

    def _try(self, slot: _Slot, due: Due, attempt: LocalAttempt) -> None:
        """Run one try, in a thread."""
        try:
            result, error = slot.run(due, attempt, self.telemetry)
            status = TryStatus(result.status)
            if status is not TryStatus.COMPLETED and slot.is_cancelled(attempt):
                status = TryStatus.CANCELED
            reason = reason_within(due.task_name, result.reason_for_incompletion) or None
            self.view.end(due.reference_task_name, status, commit_of(result.output), reason)
        except BaseException as exc:  # noqa: BLE001 - what cannot be reported ends the run, in the thread that waits
            status, error = TryStatus.FAILED, exc
            self.view.end(due.reference_task_name, status, None, mask_text(str(exc)))
        self.events.put(_Ended(slot, due.reference_task_name, status, error))

    def _take_ended(self, free: list[_Slot], seconds: float) -> None:
        """Wait for a try to end; or for a body to run here, which delays what follows others meanwhile."""
        self.view.refresh()
        try:
            ended = self.events.get(timeout=seconds)
        except queue.Empty:
            return
        if isinstance(ended, _Called):
            ended.run()
            return
        free.append(ended.slot)
        if ended.status not in (TryStatus.COMPLETED, TryStatus.CANCELED):
            self.error = ended.error
        entry = self.run.record.last_tries[ended.reference_name]
        if entry.status.is_live and not self.cancelled.is_set():  # its report failed
            raise ended.error or AssertionError(f"the try {entry.task_id} ended without a report")


def commit_of(output: JsonObject | None) -> str | None:
    """The commit in the output of a task or workflow; None if it has none."""
    workspace = (output or {}).get("workspace")
    ref = workspace.get("ref") if isinstance(workspace, dict) else None
    return ref if isinstance(ref, str) else None


def _beginning(request: WorkflowRequest, run: WorkflowRun) -> str:
    word = f"Resuming run {run.run_id} of" if request.resumed else f"Run {run.run_id}:"
    workspace = run.input_data.get("workspace")
    on = f" on commit {workspace['ref'][:12]} of branch {workspace['branch']}" if workspace else ""
    return f"{word} workflow {run.record.name}{on}"
