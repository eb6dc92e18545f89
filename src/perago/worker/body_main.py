"""What happens in the process of a body: take the call, run the function, tell what comes of it."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

from perago import errors
from perago.attempt.body import BodyCall, invoke_in_process
from perago.attempt.output import reason_for_exception
from perago.errors import PeragoError, TaskExecutionError
from perago.models import AttemptIdentity
from perago.redaction import mask_text
from perago.tasks.context import TaskContext
from perago.tasks.load import load_module_task
from perago.tasks.metrics import Instrument, MetricRecorder
from perago.tasks.params import validate_params
from perago.worker.messages import (
    MAX_TEXT_LENGTH,
    TO_BODY,
    Decoder,
    Failure,
    Log,
    Metric,
    Progress,
    Result,
    Start,
    clean_text,
    encode,
)

# `message` and `asctime` are set by formatting.
_STANDARD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime"}
_CHUNK = 256 * 1024
_PROGRESS_SECONDS = 0.1  # ten times a second is as fast as anyone looks


class _Terminated(KeyboardInterrupt):
    """SIGTERM came. A KeyboardInterrupt, so that a body's `except Exception` lets it through."""


def run_body(channel: socket.socket) -> None:
    """Take one call from the channel, run it, and send its outcome."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    outbox = _Outbox(channel)
    cancelled = threading.Event()
    calls = _Calls(channel, cancelled)
    outcome: Result | Failure
    try:
        outcome = Result(result=dict(_invoke(calls.take_start(), outbox, cancelled)))
    except BaseException as exc:  # noqa: BLE001 - whatever ends a body is its outcome
        outcome = _failure(exc)
    outbox.flush_progress()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed by the body, or by the reader
            stream.flush()
    outbox.send_outcome(outcome)


def _invoke(start: Start, outbox: _Outbox, cancelled: threading.Event) -> Mapping[str, object]:
    sys.path[:] = start.sys_path
    if start.cwd is not None:
        os.chdir(start.cwd)
    _send_logs_to(outbox, start.log_levels)
    task = load_module_task(start.target)
    context = TaskContext(
        identity=AttemptIdentity(**start.identity),
        execution_id=start.execution_id,
        task_name=start.task_name,
        is_cancelled=cancelled.is_set,
    ).reporting_to(outbox.report_progress)
    return invoke_in_process(
        BodyCall(
            task=task,
            params=validate_params(task, start.params),
            raw_params=start.params,
            context=context,
            workspace=None if start.workspace is None else Path(start.workspace),
            metrics=_Metrics(outbox) if start.metrics else None,
        )
    )


class _Calls:
    """What the caller sends: the call, then perhaps that it is cancelled."""

    def __init__(self, channel: socket.socket, cancelled: threading.Event) -> None:
        self._channel = channel
        self._cancelled = cancelled
        self._decoder = Decoder()

    def take_start(self) -> Start:
        """Wait for the call; a thread then listens on, and ends with the process."""
        while True:
            for value in self._decoder.feed(self._receive()):
                message = TO_BODY.validate_python(value)
                if isinstance(message, Start):
                    threading.Thread(target=self._listen, name="perago-cancellation", daemon=True).start()
                    return message

    def _listen(self) -> None:
        with suppress(OSError, EOFError):
            while not self._cancelled.is_set():
                for _ in self._decoder.feed(self._receive()):
                    self._cancelled.set()

    def _receive(self) -> bytes:
        data = self._channel.recv(_CHUNK)
        if not data:
            raise EOFError("the attempt's process has gone")
        return data


class _Outbox:
    """Sends messages from any thread of this process. A fork of it is mute: it would cut into messages under way."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._progress: Progress | None = None
        self._progress_sent = float("-inf")

    def send(self, message: Progress | Log | Metric | Result | Failure) -> None:
        if os.getpid() != self._owner:
            return
        data = encode(message)
        with self._lock, suppress(OSError):  # the attempt's process has gone, and this one is about to
            self._channel.sendall(data)

    def send_outcome(self, outcome: Result | Failure) -> None:
        """Send what the body came to; a result that cannot be sent is a failure."""
        try:
            self.send(outcome)
        except ValueError as exc:
            self.send(Failure(error=TaskExecutionError.__name__, reason=f"the result cannot be passed on: {exc}"))

    def report_progress(self, done: float, total: float | None, message: str | None) -> None:
        """Send progress, but not more often than anyone looks; the newest is kept for later."""
        self._progress = Progress(done=done, total=total, message=None if message is None else clean_text(message))
        if time.monotonic() - self._progress_sent >= _PROGRESS_SECONDS:
            self.flush_progress()

    def flush_progress(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None:
            self._progress_sent = time.monotonic()
            self.send(progress)


class _Metrics(MetricRecorder):
    """Hands a body's metrics to the caller's recorder."""

    def __init__(self, outbox: _Outbox) -> None:
        self._outbox = outbox

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:
        self._outbox.send(Metric(instrument=instrument, name=name, value=value, labels=dict(labels)))


class _LogHandler(logging.Handler):
    """Hands log records to the caller's loggers of the same names."""

    def __init__(self, outbox: _Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._outbox.send(
                Log(
                    logger="" if record.name == "root" else record.name,
                    level=record.levelno,
                    text=clean_text(self.format(record)),
                    created=record.created,
                    path=record.pathname,
                    line=record.lineno,
                    function=record.funcName or "",
                    fields=_json_fields(record),
                )
            )
        except Exception:  # noqa: BLE001 - as every handler does: a log call never fails its caller
            self.handleError(record)


def _json_fields(record: logging.LogRecord) -> dict[str, object]:
    """What came as `extra`; what is no JSON, as text."""
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
    text = json.dumps(extra, default=str)
    fields: dict[str, object] = json.loads(text) if len(text) <= MAX_TEXT_LENGTH else {}
    return fields


def _send_logs_to(outbox: _Outbox, levels: Mapping[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    logging.getLogger().addHandler(_LogHandler(outbox))


def _failure(exc: BaseException) -> Failure:
    own = next((base for base in type(exc).__mro__ if _is_own(base)), TaskExecutionError)
    reason = "the body's process was sent SIGTERM" if isinstance(exc, _Terminated) else reason_for_exception(exc)
    text = "".join(traceback.format_exception(exc))
    return Failure(error=own.__name__, reason=clean_text(reason), traceback=clean_text(mask_text(text)))


def _is_own(cls: type) -> bool:
    return issubclass(cls, PeragoError) and getattr(errors, cls.__name__, None) is cls


def _raise_terminated(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # the body is on its way out; what does not help is SIGKILL
    raise _Terminated
