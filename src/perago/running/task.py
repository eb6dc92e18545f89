"""Runs a task here: its tries one after the other, each reported to the engine."""

from __future__ import annotations

import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import NoReturn

from perago.attempt.body import BodyCall, InvokeBody, invoke_in_process, within_limit
from perago.attempt.context import RunContext
from perago.attempt.output import result_for_exception, with_place
from perago.attempt.phases import Phases
from perago.attempt.report import report_attempt
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine, LocalRun
from perago.errors import PeragoError, TaskDefinitionError, TaskExecutionError, required
from perago.ports import Event, Observer, Repository, SystemClock, ignore
from perago.running.cache import cache_of_run
from perago.running.code import RunCode
from perago.running.progress import Lines
from perago.running.recordable import learn_secrets
from perago.running.repos.address import queue_for
from perago.running.request import RunRequest
from perago.running.telemetry import open_telemetry
from perago.running.text import log_line, reason_within
from perago.running.watch import RunObserver
from perago.settings import RuntimeConfig
from perago.tasks.declare import TaskDefinition
from perago.tasks.metrics import Instrument, MetricRecorder, metric_groups
from perago.tasks.series import SeriesRecorder
from perago.tasks.task_source import task_source
from perago.telemetry.facts import Execution, Outcome, PhaseFact, TaskValue
from perago.telemetry.sink import OFF, Telemetry
from perago.values.json_text import JsonObject
from perago.values.models import AttemptIdentity, EngineTask, RuntimeTaskResult
from perago.values.trace_context import TraceContext, trace_context_of
from perago.worker.body.environment import without_credentials
from perago.worker.body.run import BodyProcess, BodyZygote, load_order, log_here
from perago.worker.body.sandbox import sandbox_of
from perago.worker.process.forks import keep_in_forks, undo_in_forks
from perago.worker.process.messages import Log
from perago.workspace import janitor
from perago.workspace.warm.place import WarmPlace

GRACE_SECONDS = 2.0
"""Seconds that a cancelled body has before it is interrupted, and again before it is killed. Short: a user waits."""


@contextmanager
def begun(
    job: RunRequest, watch: RunObserver, cancelled: threading.Event, *, reloads: bool = False
) -> Iterator[TaskRun]:
    """Open the repository and record the run. Afterwards, release both; an interrupted run is recorded as cancelled.

    Args:
        reloads: a retry loads modules anew that have changed, also in this process.

    Raises:
        RunArgumentError, RunNotFoundError, RunBusyError, EngineError, StoreError: nothing was begun.
    """
    with ExitStack() as stack:
        store = None if job.repository is None else job.repository.settings
        telemetry = stack.enter_context(open_telemetry(job.config, f"{platform.node()}-{os.getpid()}", store=store))
        repository = _open(job, stack, watch)
        sweep_leftovers(job.config, repository, watch)
        run, input_data = job.begin()
        stack.enter_context(run)
        learn_secrets(job.task.params_model, input_data["params"])
        watch.line(_beginning(job, run))
        warm = warm_place(job.config, stack)
        try:
            targets = {job.task.name: job.target} if reloads else None
            code = RunCode({job.task.name: job.task}, targets, watch.line)
            yield TaskRun(job, repository, run, input_data, watch, cancelled, telemetry, code, warm)
        except KeyboardInterrupt:
            run.cancel("interrupted")
            raise


@dataclass(frozen=True)
class TaskRun:
    """The tries of one run. `repository` is open; None for a free task."""

    job: RunRequest
    repository: Repository | None
    run: LocalRun
    input_data: JsonObject
    watch: RunObserver
    cancelled: threading.Event
    telemetry: Telemetry
    code: RunCode
    warm: WarmPlace | None

    def go(self, invoke_body: InvokeBody, *, retries: int = 0, keep: bool = False) -> RuntimeTaskResult:
        """Try until the task completes, is cancelled, fails for good, or has no retries left.

        Args:
            keep: keep the workspace of a try that failed.
        """
        first = self.run.attempt.retry_count
        last = first + retries
        loaded, max_length = self.code.current, self.job.config.failure_reason_max_length
        while True:
            task = loaded.tasks[self.job.task.name]
            note = partial(self.job.engine.note_event, self.run.attempt)
            with observed_try(self.telemetry, task, self.run.attempt, self.watch, note) as observer:
                try:
                    before, is_retry = loaded, self.run.attempt.retry_count > first
                    loaded = self.code.for_try(before, is_retry=is_retry)
                    if loaded is not before and isinstance(invoke_body, OwnProcess):
                        invoke_body.renew()
                    task = loaded.tasks[task.name]
                    result = self._try_once(task, observer, invoke_body, keep=keep)
                except TaskDefinitionError as exc:
                    self.watch.fail(exc)
                    result = result_for_exception(exc, max_length=max_length)
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

    def _try_once(
        self, task: TaskDefinition, observer: ObservedTry, invoke_body: InvokeBody, *, keep: bool
    ) -> RuntimeTaskResult:
        series = SeriesRecorder(observer.metrics)
        context = RunContext(
            execution_id=observer.execution_id,
            metrics=series,
            failure_reason_max_length=self.job.config.failure_reason_max_length,
            on_failure=self.watch.fail,
            invoke_body=within_limit(invoke_body),
            invoke_guards=invoke_body,
            is_cancelled=self.cancelled.is_set,
            keep_failed_workspace=keep,
            observer=observer,
            trace=observer.trace,
            queue=queue_for(self.job.repository),
            sandbox=sandbox_of(task, self.job.config.sandbox, in_process=self.job.in_process),
            cache=cache_of_run(
                task,
                self.job.repository,
                self.job.config,
                self.job.engine,
                AttemptIdentity.of(self.run.attempt),
                recomputes=self.job.recomputes,
            ),
            warm=self.warm if isinstance(invoke_body, OwnProcess) else None,
        )
        result = run_attempt(
            task,
            self.input_data,
            self.run.attempt,
            context,
            workspace_root=self.job.config.workspace_root,
            open_store=self._store,
            engine=self.job.engine,
        )
        self.job.engine.note_series(AttemptIdentity.of(self.run.attempt), series.whole())
        return result

    def _store(self) -> Repository:
        return required(self.repository, "a task with a workspace has a repository")

    def _report(self, result: RuntimeTaskResult, observer: ObservedTry) -> None:
        attempt = self.run.attempt
        phases = Phases(observer, SystemClock(), execution_id="", task_id=attempt.task_id)
        report_attempt(self.job.engine, attempt, result, phases)

    def _retry_can_help(self) -> bool:
        error = self.watch.error
        return not isinstance(error, PeragoError) or error.retry_can_help


class ObservedTry:
    """One try of a run: an observer that passes events on to another one, which may raise.

    Attributes:
        trace: its trace context, or None.
        metrics: receives the values that the body records; None if they are not wanted.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        task: TaskDefinition,
        attempt: EngineTask,
        observer: Observer,
        note: Observer = ignore,
    ) -> None:
        identity = AttemptIdentity.of(attempt)
        self.execution_id = uuid.uuid4().hex
        self.trace: TraceContext | None = telemetry.begin(
            Execution(
                task=task.name,
                workflow_instance_id=identity.workflow_instance_id,
                reference_task_name=identity.reference_task_name,
                task_id=identity.task_id,
                retry_count=identity.retry_count,
                execution_id=self.execution_id,
                workflow=attempt.workflow_type,
                is_whole=True,
                source=task_source(task) if telemetry.wants_source else None,
                trace=_trace_of_environment(os.environ),
                groups=frozenset(metric_groups(task.metrics)),
            )
        )
        self.metrics = None if telemetry is OFF else _Values(telemetry, self.execution_id)
        self._telemetry = telemetry
        self._observer = observer
        self._note = note
        self._outcome = (Outcome.FAILED, "it was interrupted")

    def __call__(self, event: Event, /) -> None:
        self._telemetry.phase(self.execution_id, PhaseFact.of(event))
        self._note(event)
        self._observer(event)

    def settle(self, result: RuntimeTaskResult, *, cancelled: bool) -> None:
        """Set the outcome of the try."""
        outcome = Outcome.CANCELLED if cancelled else Outcome(result.status.lower())
        self._outcome = (outcome, result.reason_for_incompletion or "")

    def end(self) -> None:
        self._telemetry.end(self.execution_id, *self._outcome)


@contextmanager
def observed_try(
    telemetry: Telemetry, task: TaskDefinition, attempt: EngineTask, observer: Observer, note: Observer = ignore
) -> Iterator[ObservedTry]:
    """Report the start and the end of one try to telemetry, whatever ends it.

    Args:
        note: gets each event as well. Does not raise.
    """
    told = ObservedTry(telemetry, task, attempt, observer, note)
    try:
        yield told
    finally:
        told.end()


class _Values(MetricRecorder):
    def __init__(self, telemetry: Telemetry, execution_id: str) -> None:
        self._telemetry = telemetry
        self._execution_id = execution_id

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:
        self._telemetry.value(
            self._execution_id, TaskValue(instrument=instrument, name=name, value=value, labels=labels)
        )


def _trace_of_environment(environment: Mapping[str, str]) -> TraceContext | None:
    """The trace context of the calling process."""
    found = {name: environment.get(name.upper()) for name in ("traceparent", "tracestate")}
    return trace_context_of(found)


@dataclass
class _Noted:
    """Notes the lines of bodies, which run one after the other.

    Attributes:
        on_log: gets the log records, too.
        identity: of the try whose body runs, or ran last; None before the first.
    """

    engine: LocalEngine
    on_log: Callable[[Log], None]
    identity: AttemptIdentity | None = None

    def line(self, text: str) -> None:
        if self.identity is not None:
            self.engine.note_line(self.identity, text)

    def log(self, message: Log) -> None:
        self.line(log_line(message))
        self.on_log(message)


class OwnProcess:
    """`InvokeBody` that runs the bodies of a job in processes of their own, forked from one that has loaded it."""

    def __init__(self, zygote: BodyZygote, body: BodyProcess, noted: _Noted) -> None:
        self._zygote = zygote
        self._body = body
        self._noted = noted

    def __call__(self, call: BodyCall, /) -> JsonObject:
        self._noted.identity = call.context.identity
        return self._body(call)

    def renew(self) -> None:
        """Load the modules anew."""
        self._zygote.renew()


def own_process(
    job: RunRequest,
    cancelled: threading.Event,
    stack: ExitStack,
    on_print: Callable[[str], None],
    *,
    on_log: Callable[[Log], None] = log_here,
    timeout_seconds: float | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> OwnProcess:
    """What runs the bodies of a job in processes of their own.

    Args:
        stack: ends the process that bodies are forked from.
        on_print: receives a line that a body prints.
        on_log: receives a body's log records.
        on_wait: called every 50 ms while a body runs.
        timeout_seconds: of a body. Default: the task's own.
    """

    def is_cancelled() -> bool:
        on_wait()
        job.engine.tell_live()
        return cancelled.is_set()

    noted = _Noted(job.engine, on_log)

    def printed(_call: BodyCall, line: str) -> None:
        noted.line(line)
        on_print(line)

    load = load_order([job.target], job.config.body_start, sandbox=job.config.sandbox)
    zygote = stack.enter_context(BodyZygote(load))
    body = BodyProcess(
        zygote.start,
        load,
        timeout_seconds=body_timeout(job.task) if timeout_seconds is None else timeout_seconds,
        grace_seconds=GRACE_SECONDS,
        cancelled=is_cancelled,
        on_print=printed,
        on_log=noted.log,
        sandbox=job.config.sandbox,
        on_sandbox=lambda call, sandbox: job.engine.note_sandbox(call.context.identity, sandbox),
    )
    return OwnProcess(zygote, body, noted)


class _Exited(BaseException):
    """The body tried to end this process."""


def invoke_here(call: BodyCall, /) -> JsonObject:
    """Run the body in this process. `os._exit` fails it, because it would end the command without a message."""
    with _ONE_AT_A_TIME:
        return _invoke_here(call)


_ONE_AT_A_TIME = threading.RLock()
"""A body here changes what belongs to the whole process: its environment, and how it ends."""


def _invoke_here(call: BodyCall) -> JsonObject:
    leave = os._exit

    def be_plain() -> None:
        os._exit = leave

    def refuse(status: int) -> NoReturn:
        raise _Exited(f"task {call.task.name!r}: the body called os._exit({status}); a body must not end its process")

    os._exit = refuse
    undo_in_forks(be_plain)
    try:
        with without_credentials(call.task):
            return invoke_in_process(call)
    except _Exited as exc:
        raise TaskExecutionError(str(exc)) from exc
    finally:
        keep_in_forks(be_plain)
        os._exit = leave


def _open(job: RunRequest, stack: ExitStack, watch: RunObserver) -> Repository | None:
    if job.repository is None or not job.task.has_workspace:
        return None
    return stack.enter_context(job.repository.open(watch, merge_seconds=job.task.controls.publish_seconds))


def sweep_leftovers(
    config: RuntimeConfig, repository: Repository | None, lines: Lines, *, resumes: bool = False
) -> None:
    """Remove the directories and staged work of killed runs, and branches of old transactional runs. Best effort.

    Args:
        lines: shows what was removed.
        resumes: a run goes on, which may be transactional and old. Keeps all branches of runs.
    """
    ttl_seconds = config.workspace_gc_ttl.total_seconds()
    run_branch_ttl_seconds = math.inf if resumes else config.run_branch_ttl.total_seconds()
    with suppress(PeragoError, OSError):
        removed = len(janitor.sweep(config.workspace_root, ttl_seconds, time.time()).removed)
        if removed:
            lines.line(f"Removed {removed} {'directory' if removed == 1 else 'directories'} that killed runs left.")
        if repository is not None:
            repository.sweep(ttl_seconds, runs_older_than_seconds=run_branch_ttl_seconds)


def warm_place(config: RuntimeConfig, stack: ExitStack) -> WarmPlace | None:
    """Where workspaces stay for later attempts; None if none stay.

    Args:
        stack: waits for what it removes.
    """
    if config.warm == "off":
        return None
    return stack.enter_context(WarmPlace(config.warm_max_size))


def body_timeout(task: TaskDefinition) -> float | None:
    """Seconds that the task's body may take, by its own controls; None for no limit."""
    own = task.controls.timeout
    return float(own.seconds) if own.seconds and own.policy != "ALERT_ONLY" else None


def _beginning(job: RunRequest, run: LocalRun) -> str:
    word = f"Resuming run {run.run_id} of" if job.resumed else f"Run {run.run_id}:"
    workspace = run.input_data.get("workspace")
    on = f" on commit {workspace['ref'][:12]} of branch {workspace['branch']}" if workspace else ""
    return f"{word} task {job.task.name}{on}"
