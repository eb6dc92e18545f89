"""An executor in a thread of the supervisor, for light tasks. It starts no process, so a body cannot be killed."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

from perago.attempt.body import BodyCall, invoke_in_process, refuse_open_files
from perago.attempt.context import RunContext
from perago.errors import EngineError, PeragoError, TaskCancelledError, TaskExecutionError, required
from perago.http.loop import LoopThread
from perago.ports import Engine, Event, WorkerEngine
from perago.tasks.metrics import Instrument, MetricRecorder
from perago.tasks.params import validate_result
from perago.telemetry.json_lines import FIELDS_ATTRIBUTE
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, RuntimeTaskResult
from perago.values.record import InstanceRecord
from perago.values.redaction import mask_json, mask_text
from perago.worker.attempts.job import Cause, Job
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import AttemptEnd, Ended, Finished, ask_patiently
from perago.worker.executor.runner import AttemptRunner
from perago.worker.executor.wire import CANCEL_GRACE_SECONDS, DeclaredTask, Discard, PhaseEvent, Sweep
from perago.worker.process.messages import Log, Metric, clean_text
from perago.worker.process.outbox import json_fields

JOB: ContextVar[Job | None] = ContextVar("perago_job", default=None)
"""The job whose attempt runs the current code."""

LEFT_TO_WATCH_SECONDS = 12.0
"""From this response timeout on, `supervisor.watchdog` takes up the lease. It looks each second, so the lease is held
within two seconds of the beginning. Most light attempts have ended by then."""

TICK_SECONDS = 0.2
"""How often a body on the event loop is checked for a request to end."""


class ExecutorThread(AbstractContextManager["ExecutorThread"]):
    """Runs attempts in the thread that made it. `async def` bodies run on an event loop that all slots share.

    A body learns through its `TaskContext` that it is to end. One on the loop is cancelled after a grace period. A
    thread cannot be ended.

    Args:
        loop: the event loop of all slots.
    """

    def __init__(self, runner: AttemptRunner, engine: WorkerEngine, journal: Journal, loop: LoopThread) -> None:
        self.attempts = 0
        self.memory_bytes = 0
        self.is_spent = False
        self._runner = runner
        self._engine = engine
        self._journal = journal
        self._loop = loop
        self._awake = threading.Event()
        self._handler = JobHandler(journal)

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._handler)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self._handler)
        self._runner.store.close()

    @property
    def is_alive(self) -> bool:
        return True

    def start(self) -> list[DeclaredTask]:
        return self._runner.declared()

    def abort_start(self) -> None:
        return None  # starting takes no time

    def wake(self) -> None:
        self._awake.set()

    def wait(self, seconds: float | None) -> None:
        self._awake.wait(seconds)
        self._awake.clear()

    def run(self, job: Job) -> AttemptEnd:
        if 0 < job.attempt.response_timeout_seconds < LEFT_TO_WATCH_SECONDS:
            with suppress(EngineError):  # the watchdog logs it, and retries each second
                job.hold(self._engine)
        job.on_ending(self.wake)
        questions = _Questions(self._engine, job, self._awake)
        context = RunContext(
            execution_id=job.execution_id,
            observer=JobObserver(self._journal, job),
            is_cancelled=lambda: job.is_cancelled,
            invoke_body=lambda call: _invoke(call, job, self._loop),
            invoke_guards=lambda call: _invoke(call, job, self._loop),
            metrics=JobMetrics(self._journal, job),
            trace=job.trace,
        )
        self._handler.job = job
        token = JOB.set(job)  # the event loop copies it with the body
        try:
            result = self._runner.run(job.attempt, context, questions)
        except KeyboardInterrupt:  # only a body can have raised it: signals go to the main thread
            result = RuntimeTaskResult("FAILED", reason_for_incompletion="the body raised KeyboardInterrupt")
        finally:
            JOB.reset(token)
            self._handler.job = None
        self.attempts += 1
        ending = job.ending
        if ending is not None and (ending[0] is Cause.CANCELLED or result.status != "COMPLETED"):
            return Ended(ending[0])
        return Finished(result)

    def look(self, job: Job) -> RuntimeTaskResult | None:
        return self._runner.look(job.attempt, self._engine.load_record)

    def chore(self, order: Discard | Sweep) -> None:
        try:
            if isinstance(order, Sweep):
                self._runner.store.sweep(order.repository, order.older_than_seconds, order.runs_older_than_seconds)
        except PeragoError as exc:
            self._journal.tell(logging.WARNING, f"staged work of killed attempts could not be removed: {exc}")

    def death(self) -> str:
        return "a thread does not die"


class JobObserver:
    """Records what happens in a job's phases."""

    def __init__(self, journal: Journal, job: Job) -> None:
        self._journal = journal
        self._job = job

    def __call__(self, event: Event, /) -> None:
        if not _is_fork():
            self._journal.phase(self._job, PhaseEvent.of(event, mask_json(dict(event.attributes))))


class JobHandler(logging.Handler):
    """Records the log lines of a job's body, in the slot's thread or on the event loop."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.job: Job | None = None
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        job = self.job
        if job is None or JOB.get() is not job or hasattr(record, FIELDS_ATTRIBUTE) or _is_fork():
            return
        try:
            message = Log(
                logger="" if record.name == "root" else record.name,
                level=record.levelno,
                text=clean_text(mask_text(self.format(record))),
                created=record.created,
                fields=json_fields(record),
            )
            self._journal.log(job, message)
        except Exception:  # noqa: BLE001 - a log call must never fail its caller
            self.handleError(record)


@dataclass(frozen=True)
class _Questions:
    """Asks the engine an attempt's questions, and waits while the engine is away."""

    engine: Engine
    job: Job
    awake: threading.Event

    def load_current_attempt(self, attempt: Attempt, /) -> Attempt:
        return ask_patiently(lambda: self.engine.load_current_attempt(attempt), self._is_over, self._wait)

    def load_record(self, attempt: Attempt, paths: Collection[str] = (), /) -> InstanceRecord:
        return ask_patiently(lambda: self.engine.load_record(attempt, paths), self._is_over, self._wait)

    def _is_over(self) -> bool:
        return self.job.ending is not None

    def _wait(self, seconds: float) -> None:
        self.awake.wait(seconds)
        self.awake.clear()


class JobMetrics(MetricRecorder):
    def __init__(self, journal: Journal, job: Job) -> None:
        self._journal = journal
        self._job = job

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:
        if _is_fork():
            return
        self._journal.metric(self._job, Metric(instrument=instrument, name=name, value=value, labels=dict(labels)))


_process = os.getpid()


def _is_fork() -> bool:
    """Whether this process is a fork made by a body. Nothing reads its output, and it could wait forever for locks held
    by threads that the fork does not have."""
    return os.getpid() != _process


def _invoke(call: BodyCall, job: Job, loop: LoopThread) -> JsonObject:
    if not call.task.is_async or call.guards is not None:
        return invoke_in_process(call)
    returned = loop.run(_watched(call, job))
    refuse_open_files(call.task.name, call.workspace)
    return validate_result(call.task, returned)


async def _watched(call: BodyCall, job: Job) -> object:
    """Run an `async def` body. Cancel it if it does not end in time after a request to end."""
    body = call.task.fn(*call.task.arguments(call.workspace, call.params, call.metrics, call.context))
    coroutine = required(body if inspect.iscoroutine(body) else None, "an async body is a coroutine")
    running = asyncio.ensure_future(coroutine)
    try:
        while not running.done():
            await asyncio.wait([running], timeout=TICK_SECONDS)
            ending = job.ending
            if ending is not None and time.monotonic() - ending[1] >= CANCEL_GRACE_SECONDS:
                running.cancel()
    finally:
        running.cancel()
    try:
        return running.result()
    except asyncio.CancelledError:
        raise TaskCancelledError(f"task {call.task.name!r}: cancelled while its body ran") from None
    except SystemExit as exc:
        raise TaskExecutionError(f"task {call.task.name!r}: the body called sys.exit({exc.code!r})") from exc
