"""Runs a workflow here: its repository, its record, and the threads that the tries run in."""

from __future__ import annotations

import os
import platform
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from perago.attempt.body import BodyCall, InvokeBody, within_limit
from perago.attempt.context import RunContext
from perago.attempt.join import output_commit
from perago.attempt.output import result_for_exception, with_place
from perago.attempt.phases import Phases
from perago.attempt.report import report_attempt
from perago.attempt.run import run_attempt
from perago.engines.local import WorkflowRun
from perago.errors import TaskCancelledError, TaskDefinitionError, required
from perago.ports import Event, Repository, SystemClock
from perago.running.cache import cache_of_run
from perago.running.code import RunCode
from perago.running.loop import WAIT_SECONDS, TryEnd, WorkflowLoop, commit_of
from perago.running.repos.address import queue_for
from perago.running.task import (
    GRACE_SECONDS,
    ObservedTry,
    body_timeout,
    invoke_here,
    observed_try,
    sweep_leftovers,
    warm_place,
)
from perago.running.telemetry import open_telemetry
from perago.running.text import log_line, reason_within
from perago.running.view import TaskDisplay, WorkflowView
from perago.running.watch import RunObserver
from perago.running.workflow_request import WorkflowRequest, recorded_retries
from perago.tasks.declare import TaskDefinition
from perago.tasks.series import SeriesRecorder
from perago.telemetry.facts import Outcome, WorkflowFact
from perago.telemetry.sink import Telemetry
from perago.values.json_text import JsonObject
from perago.values.models import AttemptIdentity, EngineTask, RuntimeTaskResult
from perago.values.record import TryStatus, WorkflowStatus
from perago.values.redaction import mask_text
from perago.worker.body.run import BodyProcess, BodyZygote, load_order
from perago.worker.body.sandbox import sandbox_of
from perago.worker.executor.runner import status_to_report
from perago.worker.process.messages import Log
from perago.workflows.decide import Decision, Due

_OUTCOMES = {
    WorkflowStatus.COMPLETED: Outcome.COMPLETED,
    WorkflowStatus.FAILED: Outcome.FAILED,
    WorkflowStatus.TERMINATED: Outcome.CANCELLED,
}
"""Of a run that has ended, or is not carried on here."""


@dataclass(frozen=True)
class _Ended:
    """A try that has ended, and the slot that is free again."""

    slot: _Slot
    end: TryEnd


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
        events: queue of events for the thread that waits for the run.
        stack: ends the zygote, and closes the repositories.
        code: the tasks.
        keep: keep the workspace of a try that fails.
    """

    def __init__(
        self,
        request: WorkflowRequest,
        cancelled: threading.Event,
        view: WorkflowView,
        events: queue.SimpleQueue[_Ended | _Called],
        stack: ExitStack,
        code: RunCode,
        *,
        keep: bool,
    ) -> None:
        self._request = request
        self._warm = warm_place(request.config, stack)
        self._keep = keep
        self._events = events
        self._cancelled = cancelled
        self._view = view
        self._stack = stack
        self._code = code
        self._loaded = code.current
        self._load = load_order(
            sorted(set(request.loaded.values())), request.config.body_start, sandbox=request.config.sandbox
        )
        self._zygote = BodyZygote(self._load)
        self._repositories: dict[float | None, Repository] = {}
        self._observer: RunObserver | None = None
        if self._load.targets:
            stack.enter_context(self._zygote)
        tasks = request.workflow.tasks
        if tasks.keys() - request.loaded.keys():  # later, a body here may have hidden the credentials
            for seconds in {task.controls.publish_seconds for task in tasks.values() if task.has_workspace}:
                self.repository(seconds)

    def repository(self, seconds: float | None = None) -> Repository:
        """The open repository with a limit for publications."""
        if seconds not in self._repositories:
            address = required(self._request.repository, "a workflow with a workspace has a repository")
            opened = address.open(self._observe, merge_seconds=seconds)
            self._repositories[seconds] = self._stack.enter_context(opened)
        return self._repositories[seconds]

    def run(self, due: Due, attempt: EngineTask, telemetry: Telemetry) -> tuple[RuntimeTaskResult, RunObserver]:
        """Run a try, and report it. Returns its result, and what it was seen to do."""
        request = self._request
        is_cancelled = partial(self.is_cancelled, attempt)
        watch = RunObserver(TaskDisplay(self._view, due.reference_task_name), self._cancelled, is_cancelled)
        self._observer = watch
        max_length = request.config.failure_reason_max_length
        broken = self._take_up_code(due)
        task = self._loaded.tasks[due.task_name]
        note = partial(request.engine.note_event, attempt)
        with observed_try(telemetry, task, attempt, watch, note) as observer:
            if broken is None:
                result = self._attempt(task, due, attempt, watch, observer, is_cancelled)
            else:
                watch.fail(broken)
                result = result_for_exception(broken, max_length=max_length)
            reason = with_place(result.reason_for_incompletion, watch.error, max_length=max_length)
            result = replace(result, reason_for_incompletion=reason)
            was_cancelled = result.status != "COMPLETED" and is_cancelled()
            observer.settle(result, cancelled=was_cancelled)
            if not was_cancelled:
                phases = Phases(observer, SystemClock(), execution_id="", task_id=attempt.task_id)
                report_attempt(request.engine, attempt, result, phases)
        return result, watch

    def _take_up_code(self, due: Due) -> TaskDefinitionError | None:
        """Load the modules anew if this try has to. Returns the error if they cannot be loaded."""
        task = self._loaded.tasks[due.task_name]
        loads_anyway = (task.controls.body_start or self._load.start) == "spawn"
        try:
            loaded = self._code.for_try(self._loaded, is_retry=due.retried_task_id is not None or loads_anyway)
        except TaskDefinitionError as exc:
            return exc
        if loaded is not self._loaded:
            self._loaded = loaded
            if self._load.targets:
                self._zygote.renew()
        return None

    def _attempt(
        self,
        task: TaskDefinition,
        due: Due,
        attempt: EngineTask,
        watch: RunObserver,
        observer: ObservedTry,
        is_cancelled: Callable[[], bool],
    ) -> RuntimeTaskResult:
        request = self._request
        invoke_body = self._invoke_body(task, due.reference_task_name, attempt, is_cancelled)
        series = SeriesRecorder(observer.metrics)
        context = RunContext(
            execution_id=observer.execution_id,
            metrics=series,
            failure_reason_max_length=request.config.failure_reason_max_length,
            status_of=lambda exc: status_to_report(exc, attempt, request.engine.load_record),
            on_failure=watch.fail,
            invoke_body=within_limit(invoke_body),
            invoke_guards=invoke_body,
            is_cancelled=is_cancelled,
            keep_failed_workspace=self._keep,
            observer=observer,
            trace=observer.trace,
            queue=queue_for(request.repository),
            sandbox=sandbox_of(task, request.config.sandbox, in_process=request.in_process(task)),
            cache=cache_of_run(
                task,
                request.repository,
                request.config,
                request.engine,
                AttemptIdentity.of(attempt),
                recomputes=request.recomputes,
            ),
            warm=self._warm if isinstance(invoke_body, BodyProcess) else None,
        )
        result = run_attempt(
            task,
            due.input_data,
            attempt,
            context,
            workspace_root=request.config.workspace_root,
            open_store=lambda: self.repository(task.controls.publish_seconds),
            engine=request.engine,
        )
        request.engine.note_series(AttemptIdentity.of(attempt), series.whole())
        return result

    def is_cancelled(self, attempt: EngineTask) -> bool:
        """Whether the run is cancelled, or the sub-workflow of a try has ended without it."""
        current = self._request.engine.load_current_attempt(attempt)
        return self._cancelled.is_set() or current.status == TryStatus.CANCELED

    def _invoke_body(
        self, task: TaskDefinition, reference_name: str, attempt: EngineTask, is_cancelled: Callable[[], bool]
    ) -> InvokeBody:
        if task.name not in self._request.loaded:
            return partial(self._have_called, is_cancelled=is_cancelled)
        return BodyProcess(
            self._zygote.start,
            self._load,
            timeout_seconds=body_timeout(task),
            grace_seconds=GRACE_SECONDS,
            cancelled=is_cancelled,
            on_print=lambda _call, line: self._printed(reference_name, attempt, line),
            on_log=partial(self._logged, reference_name, attempt),
            sandbox=self._request.config.sandbox,
            on_sandbox=lambda call, sandbox: self._request.engine.note_sandbox(call.context.identity, sandbox),
        )

    def _printed(self, reference_name: str, attempt: EngineTask, line: str) -> None:
        self._request.engine.note_line(attempt, line)
        self._view.printed(reference_name, line)

    def _logged(self, reference_name: str, attempt: EngineTask, message: Log) -> None:
        self._request.engine.note_line(attempt, log_line(message))
        self._view.logged(reference_name, message)

    def _have_called(self, call: BodyCall, /, *, is_cancelled: Callable[[], bool]) -> JsonObject:
        called = _Called(call)
        self._events.put(called)
        return called.result(is_cancelled)

    def _observe(self, event: Event) -> None:
        if self._observer is not None:
            self._observer(event)


@contextmanager
def begun(
    request: WorkflowRequest,
    view: WorkflowView,
    cancelled: threading.Event,
    *,
    jobs: int,
    fast: bool,
    keep: bool = False,
    reloads: bool = False,
) -> Iterator[WorkflowExecution]:
    """Open the repository and record the run. Afterwards, release both; an interrupted run is recorded as cancelled.

    Args:
        jobs: tasks to run at the same time.
        fast: retry without the delays of the tasks' policies.
        keep: keep the workspace of a try that fails.
        reloads: a retry loads modules anew that have changed, also in this process.

    Raises:
        RunArgumentError, RunNotFoundError, RunBusyError, EngineError, StoreError: nothing was begun.
    """
    with ExitStack() as stack:
        store = None if request.repository is None else request.repository.settings
        telemetry = stack.enter_context(open_telemetry(request.config, f"{platform.node()}-{os.getpid()}", store=store))
        events: queue.SimpleQueue[_Ended | _Called] = queue.SimpleQueue()
        tasks = request.workflow.tasks
        targets = {name: task.target for name, task in tasks.items()} if reloads else None
        code = RunCode(tasks, targets, view.line)
        slots = [_Slot(request, cancelled, view, events, stack, code, keep=keep) for _ in range(jobs)]
        repository = slots[0].repository() if request.repository is not None else None
        sweep_leftovers(request.config, repository, view, resumes=request.resumed is not None)
        run = stack.enter_context(request.begin())
        view.line(_beginning(request, run))
        try:
            yield WorkflowExecution(request, run, slots, events, view, telemetry, cancelled, fast=fast)
        except KeyboardInterrupt:
            run.cancel("interrupted")
            raise


class _Threads:
    """The crew of a run: each try in a thread, on a slot of its own.

    Attributes:
        kept: paths of kept workspaces, by the reference name of their task.
    """

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        slots: Sequence[_Slot],
        events: queue.SimpleQueue[_Ended | _Called],
        view: WorkflowView,
        telemetry: Telemetry,
    ) -> None:
        self._threads = threads
        self._free = list(slots)
        self._events = events
        self._view = view
        self._telemetry = telemetry
        self.kept: dict[str, list[str]] = {}

    @property
    def is_free(self) -> bool:
        return bool(self._free)

    def start(self, due: Due, attempt: EngineTask) -> None:
        self._threads.submit(self._try, self._free.pop(), due, attempt)

    def next_end(self, seconds: float) -> TryEnd | None:
        """Also runs a body in this thread if one is waiting. Tries that end meanwhile wait in the queue."""
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(event, _Called):
            event.run()
            return None
        self._free.append(event.slot)
        return event.end

    def _try(self, slot: _Slot, due: Due, attempt: EngineTask) -> None:
        """Run one try, in a thread."""
        try:
            result, watch = slot.run(due, attempt, self._telemetry)
            error, kept = watch.error, watch.kept
            status = TryStatus(result.status)
            if status is not TryStatus.COMPLETED and slot.is_cancelled(attempt):
                status = TryStatus.CANCELED
            reason = reason_within(due.task_name, result.reason_for_incompletion) or None
            self._view.end(due.reference_task_name, status, commit_of(result.output), reason)
        except BaseException as exc:  # noqa: BLE001 - what cannot be reported ends the run, in the thread that waits
            status, error, kept = TryStatus.FAILED, exc, None
            self._view.end(due.reference_task_name, status, None, mask_text(str(exc)))
        has_failed = status not in (TryStatus.COMPLETED, TryStatus.CANCELED)
        if kept is not None:
            self._view.line(
                f"{due.reference_task_name}: the workspace of try {attempt.retry_count + 1} was kept: {kept}"
            )
            self.kept.setdefault(due.reference_task_name, []).append(kept)
        self._events.put(_Ended(slot, TryEnd(attempt.task_id, error if has_failed else None)))


@dataclass
class WorkflowExecution:
    """The tries of one run, as many at a time as there are slots.

    Attributes:
        fast: retry without the delays of the tasks' policies.
        error: what failed the task that failed the workflow.
        was_cancelled: it was cancelled before it came to its end.
        kept: paths of kept workspaces, by the reference name of their task.
    """

    request: WorkflowRequest
    run: WorkflowRun
    slots: Sequence[_Slot]
    events: queue.SimpleQueue[_Ended | _Called]
    view: WorkflowView
    telemetry: Telemetry
    cancelled: threading.Event
    fast: bool
    error: BaseException | None = None
    was_cancelled: bool = False
    kept: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def go(self) -> Decision:
        """Run the workflow to its end; or, when it is cancelled, until nothing runs."""
        fact = WorkflowFact(workflow=self.run.record.name, run_id=self.run.run_id)
        ended = replace(fact, outcome=Outcome.CANCELLED, reason="it was interrupted")
        self.telemetry.workflow(fact)
        try:
            decision = self._go()
            ended = replace(fact, outcome=_OUTCOMES[decision.status], reason=decision.reason)
        finally:
            self.telemetry.workflow(ended)
        return decision

    def _go(self) -> Decision:
        with (
            ThreadPoolExecutor(len(self.slots), thread_name_prefix="perago-task") as threads,
            self._cancelling_at_an_error(),
        ):
            crew = _Threads(threads, self.slots, self.events, self.view, self.telemetry)
            loop = WorkflowLoop(
                self.request.workflow,
                self.run,
                crew,
                self.view,
                self.cancelled,
                SystemClock(),
                fast=self.fast,
                revives=self.request.again is None,  # else what failed before has been passed over
                retries=recorded_retries(self.run.options),
            )
            decision = loop.go()
            self.error, self.was_cancelled, self.kept = loop.error, loop.was_cancelled, crew.kept
        return decision

    def output_commit(self, decision: Decision) -> str | None:
        """The commit that the workflow has completed with; see `attempt.join.output_commit`."""
        if self.request.repository is None:
            return None
        return output_commit(decision.output, self.slots[0].repository().read_history)

    @contextmanager
    def _cancelling_at_an_error(self) -> Iterator[None]:
        """End what runs, so that its threads are not waited for."""
        try:
            yield
        except BaseException:
            self.cancelled.set()
            raise


def _beginning(request: WorkflowRequest, run: WorkflowRun) -> str:
    word = f"Resuming run {run.run_id} of" if request.resumed else f"Run {run.run_id}:"
    workspace = run.input_data.get("workspace")
    on = f" on commit {workspace['ref'][:12]} of branch {workspace['branch']}" if workspace else ""
    start = "" if request.again is None else f", from {request.again.tasks[0]} on"
    return f"{word} workflow {run.record.name}{on}{start}"
