"""Runs a task's body in a process of its own, which can always be ended, and forwards its output."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, Self

from pydantic import ValidationError

from perago.attempt.body import BodyCall
from perago.errors import (
    PeragoError,
    TaskCancelledError,
    TaskExecutionError,
    TaskInputError,
    TaskTimeoutError,
    required,
)
from perago.tasks.context import LOGGER_ROOT
from perago.values.json_text import JsonObject
from perago.values.redaction import mask_text
from perago.values.sandbox import SandboxMode, SandboxRecord
from perago.worker.body.printed import Printed
from perago.worker.body.reach import noted_late
from perago.worker.body.sandbox import confinement_of
from perago.worker.process.child import GONE_SECONDS, ChildProcess, Offspring
from perago.worker.process.messages import (
    CHANNEL_CLOSED,
    CLOSED_BY_BODY,
    FROM_BODY,
    Confinement,
    Failure,
    Finishing,
    Load,
    Log,
    Metric,
    Outside,
    Progress,
    Result,
    Start,
    clean_text,
    encode,
)
from perago.worker.process.outbox import is_received
from perago.worker.process.zygote import FORK, SPAWN

DEFAULT_GRACE_SECONDS = 5.0
"""Seconds that a cancelled body has to end by itself, and again after SIGTERM."""

END_SECONDS = 60.0
"""Seconds for the process to end after its body has returned: Python waits for threads and flushes files."""

STDOUT_NOT_WRITTEN = 120
"""Exit code of a Python process that could not flush its stdout because the reader is gone."""

ZYGOTE = "perago.worker.body.zygote"
ORDERS = {"fork": FORK, "spawn": SPAWN}

_SHOWN = 5
_TICK_SECONDS = 0.05  # interval of checks for cancellation: a body learns of it within 0.2 s

_Cause = Literal["cancelled", "timed out", "finished"]


class BodyZygote:
    """The zygote of this process, which starts its bodies. A context manager: it starts to load on entry, and ends on
    exit.

    Args:
        load: the modules to load.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._undo = ExitStack()
        self._process: ChildProcess | None = None
        self._orders: socket.socket | None = None

    def __enter__(self) -> Self:
        self.renew()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def renew(self) -> None:
        """Start to load the modules anew, from their present files. No body may be running."""
        with suppress(TaskExecutionError):  # the first body tries again and fails
            self._begin()

    def start(self, how: Literal["fork", "spawn"], on_output: Callable[[bytes], None]) -> Offspring:
        """Start a body's process, and the zygote if it is not running.

        Raises:
            TaskExecutionError: no process could be started.
        """
        if self._process is None or self._orders is None or self._process.exit_code is not None:
            self._begin()
        orders = required(self._orders, "the zygote was started")
        return Offspring(orders, ORDERS[how], self._process, on_output)

    def _begin(self) -> None:
        self._undo.close()
        self._process = None
        self._orders, far_orders = map(self._undo.enter_context, socket.socketpair())
        self._process = self._undo.enter_context(ChildProcess(ZYGOTE, [far_orders]))
        far_orders.close()
        self._process.send(encode(self._load))


class StartProcess(Protocol):
    """Starts a body's process and connects its output."""

    def __call__(self, how: Literal["fork", "spawn"], on_output: Callable[[bytes], None], /) -> Offspring: ...


class BodyProcess:
    """`InvokeBody` that runs bodies in processes of their own.

    A body that must end (cancelled, or timed out) learns it from its `TaskContext`. After a grace period its process
    group gets SIGTERM, which raises KeyboardInterrupt in the body's main thread, and after another one SIGKILL. When
    the body has returned, its process ends as Python does, and its descendants are killed.

    Args:
        start: starts a process from a zygote.
        load: the modules that the process loads if its zygote has not.
        timeout_seconds: time limit of a body's process from its start. Default: no limit.
        grace_seconds: see above.
        end_seconds: time limit for the process to end after its body has returned.
        cancelled: checked every 50 ms in the calling thread, like the call's context.
        on_log: receives the body's log records. Default: this process's logger of the same name.
        on_print: receives a line that the body prints. Default: this process's stderr.
        max_lines: maximum lines to forward. Default: all.
        sandbox: the mode of tasks that declare none.
        on_sandbox: receives what a body in a sandbox could reach and reached for, at its end.
    """

    def __init__(  # noqa: PLR0913 - the process is the caller's to shape
        self,
        start: StartProcess,
        load: Load,
        *,
        timeout_seconds: float | None = None,
        grace_seconds: float = DEFAULT_GRACE_SECONDS,
        end_seconds: float = END_SECONDS,
        cancelled: threading.Event | Callable[[], bool],
        on_log: Callable[[Log], None] | None = None,
        on_print: Callable[[BodyCall, str], None] | None = None,
        max_lines: int | None = None,
        sandbox: SandboxMode = "off",
        on_sandbox: Callable[[BodyCall, SandboxRecord], None] = lambda _call, _sandbox: None,
    ) -> None:
        self._sandbox = sandbox
        self._on_sandbox = on_sandbox
        self._start = start
        self._load = load
        self._timeout_seconds = timeout_seconds
        self._grace_seconds = grace_seconds
        self._end_seconds = end_seconds
        self._is_cancelled = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled
        self._on_log = on_log or log_here
        self._on_print = on_print or _print
        self._max_lines = max_lines

    def __call__(self, call: BodyCall, /) -> JsonObject:
        """Run the body of one call.

        An error of the receivers of progress, logs and metrics, or a KeyboardInterrupt, ends the body at once and is
        raised here.

        Returns:
            The validated result.

        Raises:
            TaskTimeoutError, TaskCancelledError: the body was ended.
            TaskExecutionError: it failed, its result does not validate, or its process did not end properly.
            PeragoError: another error of Perago that the body raised.
        """
        printed = Printed(partial(self._on_print, call), self._max_lines)
        how = call.task.controls.body_start or self._load.start
        with ExitStack() as stack:
            stack.callback(printed.end)
            confinement = confinement_of(call, self._sandbox, stack)
            start = _encode_start(call, confinement)
            process = stack.enter_context(self._start(how, printed.feed))
            process.send(encode(self._load) + start)
            ending = _Ending(process, self._grace_seconds, self._end_seconds)
            inbox = _Inbox(call, self._on_log)
            deadline = None if self._timeout_seconds is None else time.monotonic() + self._timeout_seconds
            while process.exit_code is None:
                self._look_for_cause(call, ending, inbox, deadline)
                ending.go_on()
                for value in process.poll(_TICK_SECONDS):
                    inbox.take(value)
            if confinement is not None:
                self._tell_sandbox(call, confinement, inbox.outside)
            return self._outcome(call, inbox, ending, process)

    def _tell_sandbox(self, call: BodyCall, confinement: Confinement, outside: Outside) -> None:
        """Log what the body reached for besides, and hand it on."""
        reached, opened = (list(map(clean_text, map(mask_text, noted))) for noted in noted_late(confinement.private))
        outside = outside.model_copy(
            update={
                "reached": [*dict.fromkeys((*outside.reached, *reached))],
                "opened": [*dict.fromkeys((*outside.opened, *opened))],
            }
        )
        if outside.reached:
            more = f", and {outside.more} more" if outside.more else ""
            text = f"the body reached for what was not laid out for it: {', '.join(outside.reached)}{more}"
            name = f"{LOGGER_ROOT}.{call.task.name}"
            self._on_log(Log(logger=name, level=logging.WARNING, text=text, created=time.time()))
        record = SandboxRecord(
            mode=confinement.mode,
            reads=confinement.reads,
            writes=confinement.writes,
            network=confinement.network,
            reached=tuple(outside.reached),
            more=outside.more,
            modules=tuple(outside.modules),
            opened=tuple(outside.opened),
        )
        self._on_sandbox(call, record)

    def _look_for_cause(self, call: BodyCall, ending: _Ending, inbox: _Inbox, deadline: float | None) -> None:
        if ending.cause not in (None, "finished"):
            return
        if self._is_cancelled() or call.context.cancelled:
            ending.begin("cancelled")
        elif deadline is not None and time.monotonic() >= deadline:
            ending.begin("timed out")
        elif inbox.outcome is not None and ending.cause is None:
            ending.begin("finished")

    def _outcome(self, call: BodyCall, inbox: _Inbox, ending: _Ending, process: Offspring) -> JsonObject:
        outcome, exit_code, task = inbox.outcome, process.exit_code or 0, f"task {call.task.name!r}"
        what = "the body" if call.guards is None else f"a {call.guards} guard"
        if ending.cause == "timed out":
            error = f"{task}: {what} took longer than {self._timeout_seconds:g} s and was stopped"
            raise _with_traceback(TaskTimeoutError(error), outcome)
        if ending.cause == "cancelled":
            ran = "its body" if call.guards is None else what
            raise _with_traceback(TaskCancelledError(f"{task}: cancelled while {ran} ran"), outcome)
        if outcome is None:
            raise TaskExecutionError(f"{task}: {_describe_death(exit_code, what)}")
        if isinstance(outcome, Failure):
            raise outcome.as_error(PeragoError, TaskExecutionError)
        if ending.is_overdue:
            waits = f": it waits for {', '.join(inbox.threads[:_SHOWN])}" if inbox.threads else ""
            raise TaskExecutionError(
                f"{task}: {what} returned, but its process was still running {self._end_seconds:g} s later{waits}. "
                f"Join threads and close files in {what}"
            )
        if exit_code not in (0, STDOUT_NOT_WRITTEN):
            raise TaskExecutionError(
                f"{task}: {what} returned, but then its process {_describe_exit(exit_code)}, so that files may be "
                f"incomplete"
            )
        if process.left_running:
            raise TaskExecutionError(f"{task}: {_describe_survivor(process.left_running, what)}")
        return outcome.result


class _Ending:
    """Ends a body step by step.

    Attributes:
        cause: why it is being ended; None if it is not.
        is_overdue: whether the process was killed because it did not end after its body had returned.
    """

    def __init__(self, process: Offspring, grace_seconds: float, end_seconds: float) -> None:
        self.cause: _Cause | None = None
        self.is_overdue = False
        self._process = process
        self._grace_seconds = grace_seconds
        self._end_seconds = end_seconds
        self._steps: list[tuple[float, Callable[[], None]]] = []

    def begin(self, cause: _Cause) -> None:
        self.cause = cause
        now = time.monotonic()
        if cause == "finished":
            kill_at = now + self._end_seconds
            self._steps = [(kill_at, self._kill_overdue)]
        else:
            self._process.cancel()
            kill_at = now + 2 * self._grace_seconds
            self._steps = [(now + self._grace_seconds, self._process.terminate), (kill_at, self._process.kill)]
        self._steps.append((kill_at + GONE_SECONDS, self._give_up))

    def go_on(self) -> None:
        """Take the next steps that are due."""
        while self._steps and time.monotonic() >= self._steps[0][0]:
            _, step = self._steps.pop(0)
            step()

    def _kill_overdue(self) -> None:
        self.is_overdue = True
        self._process.kill()

    def _give_up(self) -> None:
        raise TaskExecutionError("the body's process was killed, but has not ended")


class _Inbox:
    """Forwards the body's messages; keeps its result or failure, and the names of threads that it waits for."""

    def __init__(self, call: BodyCall, on_log: Callable[[Log], None]) -> None:
        self.outside = Outside(reached=[])
        self.outcome: Result | Failure | None = None
        self.threads: list[str] = []
        self._call = call
        self._on_log = on_log

    def take(self, value: object) -> None:
        try:
            message = FROM_BODY.validate_python(value)
        except ValidationError as exc:
            raise TaskExecutionError(f"the body's process sent an invalid message: {exc}") from None
        match message:
            case Progress():
                self._call.context.progress(message.done, message.total, message.message)
            case Log():
                self._on_log(message)
            case Metric():
                self._record(message)
            case Outside():
                self.outside = message
            case Finishing():
                self.threads = message.threads
            case Result() | Failure():
                self.outcome = self.outcome or message

    def _record(self, message: Metric) -> None:
        metrics = self._call.metrics
        if metrics is None:
            return
        if message.instrument == "histogram":
            metrics.histogram(message.name, message.value, labels=message.labels)
        elif message.step is None:
            metrics.gauge(message.name, message.value, labels=message.labels)
        else:
            metrics.gauge(message.name, message.value, labels=message.labels, step=message.step)


def load_order(
    targets: list[str],
    start: Literal["fork", "spawn"],
    log_levels: Mapping[str, int] | None = None,
    *,
    sandbox: SandboxMode = "off",
) -> Load:
    """The order to load tasks with this process's paths and directory.

    Args:
        log_levels: see `Load`. Default: the levels of this process.
        sandbox: the mode of tasks that declare none.
    """
    return Load(
        targets=targets,
        start=start,
        sys_path=list(sys.path),
        cwd=_working_directory(),
        log_levels=_log_levels() if log_levels is None else dict(log_levels),
        confines=sandbox != "off",
    )


def _encode_start(call: BodyCall, confinement: Confinement | None) -> bytes:
    start = Start(
        identity=asdict(call.context.identity),
        execution_id=call.context.execution_id,
        task_name=call.context.task_name,
        params=dict(call.raw_params),
        workspace=None if call.workspace is None else str(call.workspace.absolute()),
        metrics=call.metrics is not None,
        trace={} if call.context.trace is None else asdict(call.context.trace),
        guards=call.guards,
        confinement=confinement,
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
    """The log levels of this process, so that the body's process sends only wanted records."""
    named = {
        name: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET
    }
    return {"": logging.root.level, **named}


def _print(_call: BodyCall, line: str) -> None:
    print(line, file=sys.stderr)


def log_here(message: Log) -> None:
    """Log a body's record by this process's logger of the same name. What the body's process would have printed is
    printed on stderr if nothing takes it here."""
    logger = logging.getLogger(message.logger or None)
    is_unconfigured = not is_received(logger, message.level) and (
        message.is_printed or message.logger.startswith(LOGGER_ROOT)
    )
    if not message.is_printed and (is_unconfigured or not logger.isEnabledFor(message.level)):
        return
    record = logger.makeRecord(
        logger.name, message.level, message.path, message.line, message.text, (), None, message.function
    )
    record.created = message.created
    for name, value in message.fields.items():
        vars(record).setdefault(name, value)
    if is_unconfigured:
        print(logging.Formatter(logging.BASIC_FORMAT).format(record), file=sys.stderr)
    else:
        logger.handle(record)


def _with_traceback(error: PeragoError, outcome: Result | Failure | None) -> PeragoError:
    """Add the body's traceback as a note, which is not part of the reason."""
    if isinstance(outcome, Failure) and outcome.traceback:
        error.add_note(outcome.traceback)
    return error


def _describe_death(exit_code: int, what: str) -> str:
    if exit_code == CHANNEL_CLOSED:
        return f"{what} {CLOSED_BY_BODY}"
    if exit_code >= 0:
        one = "a body" if what == "the body" else "a guard"
        return f"{what}'s process exited with code {exit_code} before {what} returned; {one} must not end its process"
    hint = ", perhaps because the machine ran out of memory" if -exit_code == signal.SIGKILL else ""
    return f"{what}'s process {_describe_exit(exit_code)}{hint}"


def _describe_survivor(pid: int, what: str) -> str:
    """Of a process that could not be ended: it could still write into the workspace."""
    import psutil

    name, user = "unknown program", "another user"
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        name, user = process.name(), f"user {process.uids().effective}"
    return (
        f"{what} left process {pid} ({name}) running as {user}, and it could not be ended. It may still change files, "
        f"so nothing is published. End it; in {what}, wait for such programs"
    )


def _describe_exit(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exited with code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"was killed by {name}"
