"""Executes a run of a workflow here: decides, starts what is due, and waits for what ends."""

from __future__ import annotations

import os
import platform
import queue
import random
import shlex
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from perago.attempt.context import RunContext
from perago.attempt.output import with_place
from perago.attempt.phases import Phases
from perago.attempt.report import report_attempt
from perago.attempt.run import run_attempt
from perago.cli.arguments import RunArguments
from perago.cli.failure import DONE, FENCE_REFUSED, INTERRUPTED, TASK_FAILED, before_start, exit_code_of
from perago.cli.output import note, print_json, reason_within, result_on_stdout, say
from perago.cli.progress import log_lines_on
from perago.cli.repos.address import queue_for
from perago.cli.run.request import learn_secrets
from perago.cli.run.runner import GRACE_SECONDS, body_timeout, observed_try, sweep_leftovers
from perago.cli.run.watch import Interrupts, RunObserver
from perago.cli.run.workflow_request import WorkflowRequest
from perago.cli.run.workflow_view import WorkflowView, open_view
from perago.cli.telemetry import open_telemetry
from perago.engines.local import LocalAttempt, WorkflowRun
from perago.ports import Event, Repository, SystemClock
from perago.telemetry.sink import Telemetry
from perago.values.json_text import JsonObject
from perago.values.models import RuntimeTaskResult
from perago.values.record import CAME_TO_NOTHING, TryStatus, WorkflowStatus
from perago.values.redaction import mask_json, mask_text
from perago.worker.body.run import BodyProcess, BodyZygote, load_order
from perago.worker.executor.runner import merge_seconds, status_to_report, within_limit
from perago.workflows.decide import Decision, Due, Instance, decide

WAIT_SECONDS = 0.2
"""How often a run that waits looks whether it is cancelled."""


@dataclass
class _Ended:
    """A try that has ended."""

    slot: _Slot
    reference_name: str
    status: TryStatus
    error: BaseException | None


class _Slot:
    """Runs one try after the other, with a store and a zygote of its own.

    Args:
        stack: ends the zygote, and closes the repositories.
    """

    def __init__(
        self, request: WorkflowRequest, cancelled: threading.Event, view: WorkflowView, stack: ExitStack
    ) -> None:
        self._request = request
        self._cancelled = cancelled
        self._view = view
        self._stack = stack
        self._load = load_order(
            sorted({task.target for task in request.workflow.tasks.values()}), request.config.body_start
        )
        self._zygote = stack.enter_context(BodyZygote(self._load))
        self._repositories: dict[float | None, Repository] = {}
        self._observer: RunObserver | None = None

    def repository(self, seconds: float | None = None) -> Repository:
        """The open repository with a limit for publications."""
        assert self._request.repository is not None, "a workflow with a workspace has a repository"
        if seconds not in self._repositories:
            opened = self._request.repository.open(self._observe, merge_seconds=seconds)
            self._repositories[seconds] = self._stack.enter_context(opened)
        return self._repositories[seconds]

    def run(
        self, due: Due, attempt: LocalAttempt, telemetry: Telemetry
    ) -> tuple[RuntimeTaskResult, BaseException | None]:
        """Run a try, and report it. Returns its result, and the error that failed it."""
        request = self._request
        task = request.workflow.tasks[due.task_name]
        watch = RunObserver(_TaskDisplay(self._view, due.reference_task_name), self._cancelled)
        self._observer = watch
        with observed_try(telemetry, task, attempt, watch) as observer:
            context = RunContext(
                execution_id=observer.execution_id,
                metrics=observer.metrics,
                failure_reason_max_length=request.config.failure_reason_max_length,
                status_of=lambda exc: status_to_report(exc, attempt, request.engine.load_record),
                invoke_body=within_limit(
                    BodyProcess(
                        self._zygote.start,
                        self._load,
                        timeout_seconds=body_timeout(task),
                        grace_seconds=GRACE_SECONDS,
                        cancelled=self._cancelled,
                        on_print=lambda _call, line: self._view.line(f"{due.reference_task_name}: {mask_text(line)}"),
                    )
                ),
                is_cancelled=self._cancelled.is_set,
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
            is_cancelled = self._cancelled.is_set() and result.status != "COMPLETED"
            observer.settle(result, cancelled=is_cancelled)
            if not is_cancelled:
                phases = Phases(observer, SystemClock(), execution_id="", task_id=attempt.task_id)
                report_attempt(request.engine, attempt, result, phases)
        return result, watch.error

    def _observe(self, event: Event) -> None:
        if self._observer is not None:
            self._observer(event)


class _TaskDisplay:
    """The part of the view that shows one task."""

    def __init__(self, view: WorkflowView, reference_name: str) -> None:
        self._view = view
        self._reference_name = reference_name

    def __call__(self, event: Event, /) -> None:
        self._view.show(self._reference_name, event)

    def line(self, text: str) -> None:
        self._view.line(f"{self._reference_name}: {text}")


def run_workflow(request: WorkflowRequest, arguments: RunArguments) -> int:
    """Execute a run and print its result; returns the exit code."""
    cancelled = threading.Event()
    with ExitStack() as stack:
        view = stack.enter_context(open_view(request.workflow.graph))
        stack.enter_context(log_lines_on(view))
        interrupts = stack.enter_context(Interrupts(cancelled.set))
        telemetry = stack.enter_context(open_telemetry(request.config, f"{platform.node()}-{os.getpid()}"))
        slots = [_Slot(request, cancelled, view, stack) for _ in range(arguments.jobs)]
        with before_start():
            repository = slots[0].repository() if request.repository is not None else None
        sweep_leftovers(request.config, repository, view)
        with before_start():
            run = stack.enter_context(request.begin())
        view.line(_beginning(request, run))
        execution = _Execution(request, run, view, telemetry, cancelled, fast=arguments.fast_retries)
        try:
            decision = execution.go(slots)
        except KeyboardInterrupt:
            run.cancel("interrupted")
            stack.close()  # the view first
            _tell_resume(f"Run {run.run_id} was interrupted.", run.run_id, arguments)
            raise
        finished = _Finished(run, decision, execution.error, is_interrupted=interrupts.count > 0)
    finished.print(arguments)
    return finished.exit_code


@dataclass
class _Execution:
    """The tries of one run, as many at a time as there are slots.

    Attributes:
        fast: retry without the delays of the tasks' policies.
        error: what failed the last try that failed.
    """

    request: WorkflowRequest
    run: WorkflowRun
    view: WorkflowView
    telemetry: Telemetry
    cancelled: threading.Event
    fast: bool
    error: BaseException | None = None
    _ended: queue.SimpleQueue[_Ended] = field(default_factory=queue.SimpleQueue)
    _not_before: dict[tuple[str, str | None], float] = field(default_factory=dict)

    def go(self, slots: list[_Slot]) -> Decision:
        """Run the workflow to its end; or, when it is cancelled, until nothing runs."""
        policies = {name: task.controls.retry for name, task in self.request.workflow.tasks.items()}
        instance = Instance(workflow_id=self.run.run_id, input_data=self.run.input_data)
        last = self.run.record.last_tries.values()
        revived = frozenset(entry.task_id for entry in last if entry.status in CAME_TO_NOTHING)
        free = list(slots)
        with (
            ThreadPoolExecutor(len(slots), thread_name_prefix="perago-task") as threads,
            self._cancelling_at_an_error(),
        ):
            while True:
                decision = decide(self.request.workflow.graph, instance, self.run.tries, policies, revived)
                if decision.status is not WorkflowStatus.RUNNING or self.cancelled.is_set():
                    break
                wait = self._start(decision, free, threads)
                self._take_ended(free, wait)
            if decision.status is WorkflowStatus.RUNNING:
                self.run.cancel("cancelled")
                decision = Decision(status=WorkflowStatus.TERMINATED, reason="it was cancelled")
            else:
                self.run.end(decision.status, output=decision.output, reason=decision.reason)
            self.cancelled.set()  # for what still runs beside a task that failed
            while len(free) < len(slots):
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
        for due in decision.due:
            left = self._due_at(due, now) - now
            if left > 0:
                wait = min(wait, left)
            elif free:
                slot = free.pop()
                # Before the record: of a param named otherwise, only its type tells that it is a secret.
                learn_secrets(self.request.workflow.tasks[due.task_name], due.input_data.get("params"))
                recorded = mask_json(due.input_data)
                attempt = self.run.begin(due.reference_task_name, due.task_name, recorded)
                self.view.begin(due.reference_task_name, attempt.retry_count + 1)
                threads.submit(self._try, slot, due, attempt)
        return wait

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
            if status is not TryStatus.COMPLETED and self.cancelled.is_set():
                status = TryStatus.CANCELED
            reason = reason_within(due.task_name, result.reason_for_incompletion) or None
            self.view.end(due.reference_task_name, status, _ref_of(result.output), reason)
        except BaseException as exc:  # noqa: BLE001 - what cannot be reported ends the run, in the thread that waits
            status, error = TryStatus.FAILED, exc
            self.view.end(due.reference_task_name, status, None, mask_text(str(exc)))
        self._ended.put(_Ended(slot, due.reference_task_name, status, error))

    def _take_ended(self, free: list[_Slot], seconds: float) -> None:
        """Wait for a try to end."""
        try:
            ended = self._ended.get(timeout=seconds)
        except queue.Empty:
            return
        free.append(ended.slot)
        if ended.status not in (TryStatus.COMPLETED, TryStatus.CANCELED):
            self.error = ended.error
        entry = self.run.record.last_tries[ended.reference_name]
        if entry.status.is_live and not self.cancelled.is_set():  # its report failed
            raise ended.error or AssertionError(f"the try {entry.task_id} ended without a report")


@dataclass(frozen=True)
class _Finished:
    """The end of a run."""

    run: WorkflowRun
    decision: Decision
    error: BaseException | None
    is_interrupted: bool

    @property
    def exit_code(self) -> int:
        if self.decision.status is WorkflowStatus.COMPLETED:
            return DONE
        if self.is_interrupted:
            return INTERRUPTED
        refused = self.error is not None and exit_code_of(self.error) == FENCE_REFUSED
        return FENCE_REFUSED if refused else TASK_FAILED

    def print(self, arguments: RunArguments) -> None:
        """Print the result on stdout, and what became of the run on stderr."""
        output = self.decision.output
        with result_on_stdout():
            if arguments.as_json:
                print_json(self.as_object())
            elif self.decision.status is WorkflowStatus.COMPLETED:
                print_json(output.get("result", output))
        name, ref = self.run.record.name, _ref_of(output)
        if self.exit_code == DONE:
            note(f"Workflow {name} is done, run {self.run.run_id}{f': commit {ref}' if ref else ''}.")
            return
        word = "was cancelled" if self.exit_code == INTERRUPTED else f"is {self.decision.status}"
        note(f"error: workflow {name} {word}: {self.decision.reason}")
        _tell_resume(f"Run {self.run.run_id} ended.", self.run.run_id, arguments)

    def as_object(self) -> dict[str, Any]:
        record = self.run.record
        return {
            "run_id": record.run_id,
            "workflow": record.name,
            "status": self.decision.status.value,
            "exit_code": self.exit_code,
            "output": self.decision.output or None,
            "reason": self.decision.reason,
            "tasks": [
                {
                    "reference_name": entry.reference_task_name,
                    "task": entry.task_name,
                    "status": entry.status.value,
                    "tries": entry.retry_count + 1,
                    "seconds": None if entry.duration_ms is None else entry.duration_ms / 1000,
                    "output": entry.output,
                    "reason": entry.reason,
                }
                for entry in record.last_tries.values()
            ],
        }


def _ref_of(output: JsonObject | None) -> str | None:
    workspace = (output or {}).get("workspace")
    ref = workspace.get("ref") if isinstance(workspace, dict) else None
    return ref if isinstance(ref, str) else None


def _beginning(request: WorkflowRequest, run: WorkflowRun) -> str:
    word = f"Resuming run {run.run_id} of" if request.resumed else f"Run {run.run_id}:"
    workspace = run.input_data.get("workspace")
    on = f" on commit {workspace['ref'][:12]} of branch {workspace['branch']}" if workspace else ""
    return f"{word} workflow {run.record.name}{on}"


def _tell_resume(how: str, run_id: str, arguments: RunArguments) -> None:
    note(f"{how} To go on after its completed tasks:")
    repo = f" --repo {shlex.quote(arguments.repo)}" if arguments.repo is not None else ""
    say(f"  perago run --resume {run_id}{repo}")
