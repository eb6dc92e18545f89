"""Doing a job: its tries one after the other, each reported to the engine, until one completes or none can help."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import NoReturn

from perago.attempt.body import BodyCall, InvokeBody, invoke_in_process
from perago.attempt.breakpoints import is_quit
from perago.attempt.free import run_workspace_free_task_attempt
from perago.attempt.phases import Phases
from perago.attempt.place import with_place
from perago.attempt.report import report_attempt
from perago.attempt.run import run_workspace_task_attempt
from perago.cli.arguments import RunArguments
from perago.cli.failure import nothing_begun, wants_traceback
from perago.cli.interrupts import Interrupts
from perago.cli.job import Job
from perago.cli.log_lines import log_lines_on
from perago.cli.observed import ObservedTry, observed_try
from perago.cli.outcome import Outcome, tell_next_try
from perago.cli.output import printable_lines, reason_within, say, stdout_to_stderr
from perago.cli.params import learn_secrets
from perago.cli.progress import open_display
from perago.cli.telemetry import open_telemetry
from perago.cli.watch import Watch
from perago.engines.local import LocalRun
from perago.errors import PeragoError, TaskExecutionError
from perago.json_text import JsonObject
from perago.models import RuntimeTaskResult
from perago.ports import SystemClock
from perago.redaction import mask_text, traceback_of
from perago.repositories import Repository
from perago.telemetry.sink import Telemetry
from perago.worker.body.run import BodyProcess, Zygote, load_order
from perago.worker.executor.runner import within_limit
from perago.workspace import janitor

GRACE_SECONDS = 2.0
"""How long a cancelled body may take before it is interrupted, and again before it is killed: somebody is waiting."""

_DEBUG_DIFFERS = (
    "--debug: the body runs in this process, without a timeout. Unlike in a run, functions registered with atexit are "
    "called, and threads waited for, only after its files have been published; files that it leaves open fail it."
)


def run_job(job: Job, arguments: RunArguments) -> int:
    """Do a job and tell what came of it; returns the exit code."""
    cancelled = threading.Event()
    with ExitStack() as stack:
        display = stack.enter_context(open_display(still=arguments.debug))
        stack.enter_context(log_lines_on(display))
        stack.enter_context(Interrupts(cancelled.set, at_once=arguments.debug))
        watch = Watch(display, cancelled)
        telemetry = stack.enter_context(open_telemetry(job.config, f"{platform.node()}-{os.getpid()}"))
        with nothing_begun():
            repository = _open(job, stack, watch)
        sweep_leftovers(job, repository, watch)
        with nothing_begun():
            run, input_data = job.begin()
        stack.enter_context(run)
        with stdout_for_the_result(arguments):
            learn_secrets(job.task, input_data["params"])
        watch.line(_beginning(job, run))
        try:
            invoke_body = choose_body(job, arguments, cancelled, stack, watch)
            result = _Tries(job, arguments, repository, run, input_data, watch, cancelled, telemetry, invoke_body).go()
        except KeyboardInterrupt:
            run.cancel("interrupted")
            stack.close()  # the display first
            tell_next_try(f"Run {run.run_id} was interrupted.", run.run_id, arguments)
            raise
        outcome = Outcome.of(job, run, result, watch, cancelled=cancelled.is_set())
    show_traceback(watch.error, arguments)
    outcome.print(arguments)
    return outcome.exit_code


@dataclass(frozen=True)
class _Tries:
    """The tries of one run. The repository is open; None: a free task needs none."""

    job: Job
    arguments: RunArguments
    repository: Repository | None
    run: LocalRun
    input_data: JsonObject
    watch: Watch
    cancelled: threading.Event
    telemetry: Telemetry
    invoke_body: InvokeBody

    def go(self) -> RuntimeTaskResult:
        """Try until it completes, is cancelled, cannot be helped by another try, or was tried often enough."""
        last = self.run.attempt.retry_count + self.arguments.retries
        while True:
            with observed_try(self.telemetry, self.job.task, self.run, self.watch) as observer:
                result = self._try_once(observer)
                max_length = self.job.config.failure_reason_max_length
                reason = with_place(result.reason_for_incompletion, self.watch.error, max_length=max_length)
                result = replace(result, reason_for_incompletion=reason)
                is_cancelled = self.cancelled.is_set() and result.status != "COMPLETED"
                observer.settle(result, cancelled=is_cancelled)
                if is_cancelled:
                    self.run.cancel(result.reason_for_incompletion or "cancelled")
                    return result
                self._report(result, observer)
            if result.status != "FAILED" or not self._retry_can_help() or self.run.attempt.retry_count >= last:
                return result
            reason = reason_within(self.job.task.name, result.reason_for_incompletion)
            self.watch.line(f"try {self.run.attempt.retry_count + 1} failed: {reason}")
            self.run.next_try(result.reason_for_incompletion or "it failed")
            self.watch.begin()

    def _try_once(self, observer: ObservedTry) -> RuntimeTaskResult:
        job, run = self.job, self.run
        max_length = job.config.failure_reason_max_length
        with stdout_for_the_result(self.arguments):
            if not job.task.has_workspace:
                return run_workspace_free_task_attempt(
                    job.task,
                    self.input_data,
                    attempt=run.attempt,
                    failure_reason_max_length=max_length,
                    invoke_body=self.invoke_body,
                    is_cancelled=self.cancelled.is_set,
                    execution_id=observer.execution_id,
                    metrics=observer.metrics,
                    observer=observer,
                    trace=observer.trace,
                )
            assert self.repository is not None, "a workspace task has a repository"
            store = self.repository
            return run_workspace_task_attempt(
                job.task,
                self.input_data,
                run.attempt,
                job.config.workspace_root,
                download_workspace=store.download_workspace,
                load_current_attempt=job.engine.load_current_attempt,
                stage_workspace=store.stage_workspace,
                publish_workspace=store.publish_workspace,
                cleanup_staging=store.cleanup_staging,
                complete_noop_workspace=store.complete_noop_workspace,
                failure_reason_max_length=max_length,
                read_history=store.read_history,
                load_record=job.engine.load_record,
                invoke_body=self.invoke_body,
                is_cancelled=self.cancelled.is_set,
                keep_failed_workspace=self.arguments.keep,
                execution_id=observer.execution_id,
                metrics=observer.metrics,
                observer=observer,
                trace=observer.trace,
            )

    def _report(self, result: RuntimeTaskResult, observer: ObservedTry) -> None:
        attempt = self.run.attempt
        phases = Phases(observer, SystemClock(), execution_id="", task_id=attempt.task_id)
        report_attempt(self.job.engine, attempt, result, phases)

    def _retry_can_help(self) -> bool:
        error = self.watch.error
        return not isinstance(error, PeragoError) or error.retry_can_help


def choose_body(
    job: Job, arguments: RunArguments, cancelled: threading.Event, stack: ExitStack, watch: Watch
) -> InvokeBody:
    """Where the body runs: in a process of its own, or here for a debugger.

    Its result is held to Conductor's limit, whatever the engine: else it would fail first where it is in earnest.

    Args:
        stack: ends the process that bodies are forked from.
        watch: shows what the body prints.
    """
    if arguments.debug:
        say(_DEBUG_DIFFERS)
        return within_limit(_invoke_debugged)
    load = load_order([job.target], job.config.body_start)
    zygote = stack.enter_context(Zygote(load))
    return within_limit(
        BodyProcess(
            zygote.start,
            load,
            timeout_seconds=_timeout(job, arguments),
            grace_seconds=GRACE_SECONDS,
            cancelled=cancelled,
            on_print=lambda _call, line: watch.line(mask_text(line)),
        )
    )


class _Exited(BaseException):
    """The body would have ended this process."""


def _invoke_debugged(call: BodyCall, /) -> JsonObject:
    """Run the body in this process; `os._exit` fails it, as it would end the command without a word on the run."""
    this, leave = os.getpid(), os._exit

    def refuse(status: int) -> NoReturn:
        if os.getpid() != this:  # a fork of the body
            leave(status)
        raise _Exited(f"task {call.task.name!r}: the body called os._exit({status}); a body must not end its process")

    os._exit = refuse
    try:
        return invoke_in_process(call)
    except _Exited as exc:
        raise TaskExecutionError(str(exc)) from exc
    finally:
        os._exit = leave


@contextmanager
def stdout_for_the_result(arguments: RunArguments) -> Iterator[None]:
    """A body in this process prints to stderr, unless stdout is the terminal that a debugger needs."""
    if not arguments.debug or sys.stdout.isatty():
        yield
        return
    with stdout_to_stderr():
        yield


def _open(job: Job, stack: ExitStack, watch: Watch) -> Repository | None:
    if job.repository is None or not job.task.has_workspace:
        return None
    budget = job.task.controls.publish_budget
    merge_seconds = None if budget is None else float(budget.lakefs_merge_timeout_seconds)
    return stack.enter_context(job.repository.open(watch, merge_seconds=merge_seconds))


def sweep_leftovers(job: Job, repository: Repository | None, watch: Watch) -> None:
    """Remove what killed runs left: their directories, and what they staged. Best effort."""
    ttl_seconds = job.config.workspace_gc_ttl.total_seconds()
    with suppress(PeragoError, OSError):
        removed = len(janitor.sweep(job.config.workspace_root, ttl_seconds, time.time()).removed)
        if removed:
            watch.line(f"Removed {removed} {'directory' if removed == 1 else 'directories'} that killed runs left.")
        if repository is not None:
            repository.sweep(ttl_seconds)


def show_traceback(error: BaseException | None, arguments: RunArguments) -> None:
    """Print where a failure came from, for those who asked for it."""
    if error is not None and not is_quit(error) and (arguments.debug or wants_traceback()):
        say(printable_lines(traceback_of(error)))


def _timeout(job: Job, arguments: RunArguments) -> float | None:
    if arguments.timeout is not None:
        return arguments.timeout
    own = job.task.controls.timeout
    return float(own.seconds) if own.seconds and own.policy != "ALERT_ONLY" else None


def _beginning(job: Job, run: LocalRun) -> str:
    word = f"Resuming run {run.run_id} of" if job.resumed else f"Run {run.run_id}:"
    workspace = run.input_data.get("workspace")
    on = f" on commit {workspace['ref'][:12]} of branch {workspace['branch']}" if workspace else ""
    return f"{word} task {job.task.name}{on}"
