"""Running a task's body in a process of its own, so that it can be ended whatever it does."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from perago import errors
from perago.attempt.body import BodyCall
from perago.errors import PeragoError, TaskCancelledError, TaskExecutionError, TaskInputError, TaskTimeoutError
from perago.json_text import JsonObject
from perago.tasks.context import LOGGER_ROOT
from perago.worker.child_process import GONE_SECONDS, ChildProcess
from perago.worker.messages import FROM_BODY, Cancel, Failure, Log, Metric, Progress, Result, Start, encode

DEFAULT_GRACE_SECONDS = 5.0
"""How long a body may take to end by itself once it is told to, and again once it has been sent SIGTERM."""

_TICK_SECONDS = 0.05  # cancellation is asked for at this pace: a body learns of it well within 0.2 s

_Cause = Literal["cancelled", "timed out", "finished"]


class BodyProcess:
    """Runs bodies in processes of their own; an `InvokeBody`.

    A body that is to end (cancelled, or out of time) is told through its `TaskContext`; a grace later its process group
    gets SIGTERM, which raises KeyboardInterrupt in the body's main thread; another grace later SIGKILL. Whatever the
    body has started is killed when it has ended, and all of it when this process dies.

    Args:
        target: `pkg.module:function` of the task; the body's process imports it.
        timeout_seconds: how long a body may take, from the start of its process. None: no limit.
        grace_seconds: see above. A process that lingers after its body has returned is killed after it, too.
        cancelled: asked every 50 ms, in the calling thread, as is the call's context.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout_seconds: float | None = None,
        grace_seconds: float = DEFAULT_GRACE_SECONDS,
        cancelled: threading.Event | Callable[[], bool],
    ) -> None:
        self._target = target
        self._timeout_seconds = timeout_seconds
        self._grace_seconds = grace_seconds
        self._is_cancelled = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled

    def __call__(self, call: BodyCall, /) -> JsonObject:
        """Run the body of one call.

        What the receivers of progress, logs and metrics raise ends the body at once and is raised here; so is
        KeyboardInterrupt.

        Returns:
            The validated result.

        Raises:
            TaskTimeoutError, TaskCancelledError: it was ended.
            TaskExecutionError: it failed, its result does not validate, or its process died.
            PeragoError: another of Perago's errors that the body raised.
        """
        start = _encode_start(self._target, call)
        with ChildProcess() as process:
            process.send(start)
            ending = _Ending(process, self._grace_seconds)
            inbox = _Inbox(call)
            deadline = None if self._timeout_seconds is None else time.monotonic() + self._timeout_seconds
            while process.exit_code is None:
                if ending.cause is None:
                    self._look_for_cause(call, ending, inbox, deadline)
                ending.go_on()
                for value in process.poll(_TICK_SECONDS):
                    inbox.take(value)
            return self._outcome(call, inbox.outcome, ending, process.exit_code)

    def _look_for_cause(self, call: BodyCall, ending: _Ending, inbox: _Inbox, deadline: float | None) -> None:
        if inbox.outcome is not None:
            ending.begin("finished")
        elif self._is_cancelled() or call.context.cancelled:
            ending.begin("cancelled")
        elif deadline is not None and time.monotonic() >= deadline:
            ending.begin("timed out")

    def _outcome(self, call: BodyCall, outcome: Result | Failure | None, ending: _Ending, exit_code: int) -> JsonObject:
        if ending.cause == "timed out":
            raise _with_traceback(
                TaskTimeoutError(
                    f"task {call.task.name!r}: the body took longer than {self._timeout_seconds:g} s and was ended"
                ),
                outcome,
            )
        if ending.cause == "cancelled":
            raise _with_traceback(TaskCancelledError(f"task {call.task.name!r}: cancelled while its body ran"), outcome)
        if outcome is None:
            raise TaskExecutionError(f"task {call.task.name!r}: {_describe_death(exit_code)}")
        if isinstance(outcome, Failure):
            raise _with_traceback(_error_of(outcome), outcome)
        return outcome.result


class _Ending:
    """How a body is ended, one step after the other.

    Attributes:
        cause: why. None: it is not being ended.
    """

    def __init__(self, process: ChildProcess, grace_seconds: float) -> None:
        self.cause: _Cause | None = None
        self._process = process
        self._grace_seconds = grace_seconds
        self._steps: list[tuple[float, Callable[[], None]]] = []

    def begin(self, cause: _Cause) -> None:
        self.cause = cause
        now = time.monotonic()
        grace = self._grace_seconds
        if cause == "finished":
            self._steps = [(now + grace, self._process.kill)]
        else:
            self._process.send(encode(Cancel()))
            self._steps = [(now + grace, self._process.terminate), (now + 2 * grace, self._process.kill)]
        self._steps.append((now + 2 * grace + GONE_SECONDS, self._give_up))

    def go_on(self) -> None:
        """Take the steps that are due."""
        while self._steps and time.monotonic() >= self._steps[0][0]:
            _, step = self._steps.pop(0)
            step()

    def _give_up(self) -> None:
        raise TaskExecutionError("the body's process was killed, but the machine has not let go of it")


class _Inbox:
    """Hands on what comes from the body; keeps its outcome."""

    def __init__(self, call: BodyCall) -> None:
        self.outcome: Result | Failure | None = None
        self._call = call

    def take(self, value: object) -> None:
        if self.outcome is not None:  # threads that the body left behind may still send
            return
        try:
            message = FROM_BODY.validate_python(value)
        except ValidationError as exc:
            raise TaskExecutionError(f"the body's process sent what is no message: {exc}") from None
        match message:
            case Progress():
                self._call.context.progress(message.done, message.total, message.message)
            case Log():
                _log(message)
            case Metric():
                self._record(message)
            case Result() | Failure():
                self.outcome = message

    def _record(self, message: Metric) -> None:
        metrics = self._call.metrics
        if metrics is None:
            return
        record = metrics.gauge if message.instrument == "gauge" else metrics.histogram
        record(message.name, message.value, labels=message.labels)


def _encode_start(target: str, call: BodyCall) -> bytes:
    start = Start(
        target=target,
        sys_path=list(sys.path),
        cwd=_working_directory(),
        identity=asdict(call.context.identity),
        execution_id=call.context.execution_id,
        task_name=call.context.task_name,
        params=dict(call.raw_params),
        workspace=None if call.workspace is None else str(call.workspace.absolute()),
        metrics=call.metrics is not None,
        log_levels=_log_levels(),
        trace={} if call.context.trace is None else asdict(call.context.trace),
    )
    try:
        return encode(start)
    except ValueError as exc:
        raise TaskInputError(f"task {call.task.name!r}: the params cannot be passed to the body: {exc}") from None


def _working_directory() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def _log_levels() -> dict[str, int]:
    """The levels that are set in this process, so that the body's process does not send what nobody wants."""
    named = {
        name: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET
    }
    return {"": logging.root.level, **named}


def _log(message: Log) -> None:
    logger = logging.getLogger(message.logger or None)
    if not logger.isEnabledFor(message.level) or (message.logger.startswith(LOGGER_ROOT) and not logger.hasHandlers()):
        return
    record = logger.makeRecord(
        logger.name, message.level, message.path, message.line, message.text, (), None, message.function
    )
    record.created = message.created
    for name, value in message.fields.items():
        vars(record).setdefault(name, value)
    logger.handle(record)


def _error_of(failure: Failure) -> PeragoError:
    named = getattr(errors, failure.error, None)
    if isinstance(named, type) and issubclass(named, PeragoError):
        return named(failure.reason)
    return TaskExecutionError(failure.reason)


def _with_traceback(error: PeragoError, outcome: Result | Failure | None) -> PeragoError:
    """Note where in the body it came from; a note stays out of the reason."""
    if isinstance(outcome, Failure) and outcome.traceback:
        error.add_note(outcome.traceback)
    return error


def _describe_death(exit_code: int) -> str:
    if exit_code >= 0:
        return (
            f"the body's process exited with code {exit_code} before the body returned; a body must not end its process"
        )
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = "; if nobody did that, the machine ran out of memory" if -exit_code == signal.SIGKILL else ""
    return f"the body's process was ended by {name}{hint}"
