"""The sending side of a process that runs bodies: messages, logs, metrics and failures."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from types import FrameType

from perago.attempt.output import reason_for_exception
from perago.errors import TaskExecutionError, nearest_class
from perago.values.json_text import encodable
from perago.values.redaction import mask_json, mask_text, traceback_of
from perago.worker.process.forks import OwnHandlers, undo_in_forks
from perago.worker.process.messages import (
    CHANNEL_CLOSED,
    MAX_TEXT_LENGTH,
    Failure,
    Log,
    Message,
    Progress,
    Result,
    clean_text,
    encode,
)

# Formatting sets `message` and `asctime`.
_PRINTED = "perago_printed"
"""Attribute of a record that a handler of the process would have printed."""
_STANDARD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime", _PRINTED}
_STANDARD_DESCRIPTORS = (1, 2)
_MAX_WAITING_BYTES = 64 * 1024
_PROGRESS_SECONDS = 0.1  # nobody looks more often


class Terminated(KeyboardInterrupt):
    """SIGTERM was received. A KeyboardInterrupt, so that a body's `except Exception` does not catch it."""


class Outbox:
    """Sends messages from any thread of this process. A fork sends nothing: it could cut into a message.

    If the body has closed the channel, the process exits with `CHANNEL_CLOSED`.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._waiting = b""
        self._progress: tuple[float, float | None, str | None] | None = None
        self._progress_sent = float("-inf")

    def send(self, message: Message, *, with_next: bool = False) -> None:
        """Send a message; raises as `encode`.

        Args:
            with_next: send it together with the next message, which follows at once: every send wakes the other side.
        """
        if os.getpid() != self._owner:
            return
        data = encode(message)
        with self._lock:
            self._waiting += data
            if with_next and len(self._waiting) < _MAX_WAITING_BYTES:
                return
            waiting, self._waiting = self._waiting, b""
            try:
                self._channel.sendall(waiting)
            except OSError as exc:  # the attempt's process has ended, and this one will
                if exc.errno in (errno.EBADF, errno.ENOTSOCK):
                    os._exit(CHANNEL_CLOSED)

    def send_outcome(self, outcome: Result | Failure) -> None:
        """Send the body's result or failure. A result that cannot be sent becomes a failure."""
        try:
            self.send(outcome)
        except ValueError as exc:
            self.send(Failure(error=TaskExecutionError.__name__, reason=f"the result cannot be sent: {exc}"))

    def report_progress(self, done: float, total: float | None, message: str | None) -> None:
        """Send progress at a limited rate; the latest one is kept for later."""
        self._progress = (done, total, message)
        if time.monotonic() - self._progress_sent >= _PROGRESS_SECONDS:
            self.flush_progress()

    def flush_progress(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None:
            self._progress_sent = time.monotonic()
            done, total, message = progress
            masked = None if message is None else clean_text(mask_text(message))
            self.send(Progress(done=done, total=total, message=masked))


class OutboxHandler(logging.Handler):
    """Sends log records to the caller's loggers of the same names."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._outbox.send(
                Log(
                    logger="" if record.name == "root" else record.name,
                    level=record.levelno,
                    text=clean_text(mask_text(self.format(record))),  # secrets of params are known only here
                    created=record.created,
                    path=record.pathname,
                    line=record.lineno,
                    function=record.funcName or "",
                    is_printed=hasattr(record, _PRINTED),
                    fields=json_fields(record),
                )
            )
        except Exception:  # noqa: BLE001 - a log call never fails its caller
            self.handleError(record)


def json_fields(record: logging.LogRecord) -> dict[str, object]:
    """The fields of `extra`, as text if they are not JSON."""
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
    text = json.dumps(extra, default=str)
    fields: dict[str, object] = mask_json(json.loads(text)) if len(text) <= MAX_TEXT_LENGTH else {}
    return fields


_receiver: logging.Handler | None = None
_call_handlers = logging.Logger.callHandlers


def send_logs_to(outbox: Outbox, levels: Mapping[str, int]) -> None:
    """Send the log records of this process, from these levels on (logger name, "" is the root -> level)."""
    receive_logs(OutboxHandler(outbox))
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)


def receive_logs(receiver: logging.Handler | None) -> logging.Handler | None:
    """Give a handler every log record of this process that reaches the root. Returns the handler that had them before.

    It is added to no logger: `logging.basicConfig` works as in any program, and its handlers get the records, too. Only
    those that print (`prints`) do not get what the receiver gets, because all that is printed is shown beside it.
    """
    global _receiver
    before, _receiver = _receiver, receiver
    setattr(logging.Logger, "callHandlers", _call_handlers_and_send)  # noqa: B010 - no hook sees every record
    return before


def is_received(logger: logging.Logger, level: int) -> bool:
    """Whether anything takes the logger's records of a level: the receiver, or a handler that does something."""
    if _receiver is not None and _reaches_root(logger):
        return True
    handlers = (handler for handler in _handlers_of(logger) if not isinstance(handler, logging.NullHandler))
    return any(level >= handler.level for handler in handlers)


def prints(handler: logging.Handler) -> bool:
    """Whether a handler writes to stdout or stderr: the standard library's, rich's, or a subclass of these."""
    try:
        stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
        return stream is not None and stream.fileno() in _STANDARD_DESCRIPTORS
    except Exception:  # noqa: BLE001 - a foreign stream, or one that is closed
        return False


def _call_handlers_and_send(logger: logging.Logger, record: logging.LogRecord) -> None:
    receiver = _receiver
    if receiver is None:
        _call_handlers(logger, record)
        return
    is_sent = _reaches_root(logger)
    printed: logging.LogRecord | None = None
    for handler in _handlers_of(logger):
        if record.levelno < handler.level:
            continue
        if not (is_sent and prints(handler)):
            handler.handle(record)
            continue
        kept: object = handler.filter(record)  # as of Python 3.12 perhaps another record, without what nobody is to see
        if kept:
            printed = kept if isinstance(kept, logging.LogRecord) else record
    if is_sent:
        if printed is not None:
            setattr(printed, _PRINTED, True)  # last, as formatters of handlers may show every attribute
        receiver.handle(printed or record)


def _handlers_of(logger: logging.Logger) -> Iterator[logging.Handler]:
    at: logging.Logger | None = logger
    while at is not None:
        yield from at.handlers
        at = at.parent if at.propagate else None


def _reaches_root(logger: logging.Logger) -> bool:
    while logger.parent is not None:
        if not logger.propagate:
            return False
        logger = logger.parent
    return True


def failure_of(exc: BaseException, terminated: str) -> Failure:
    """The message for an error; `terminated` is the reason if the error is SIGTERM."""
    reason = terminated if isinstance(exc, Terminated) else reason_for_exception(exc)
    bounded = encodable(reason)[:MAX_TEXT_LENGTH]
    return Failure(error=nearest_class(exc).__name__, reason=bounded, traceback=clean_text(traceback_of(exc)))


def raise_terminated(number: int, _frame: FrameType | None) -> None:
    """Handler of SIGTERM in a process that runs a body. A fork that the body made ends by it, like any program."""
    if os.getpid() == _owner:
        signal.signal(number, signal.SIG_IGN)  # the body is already ending; SIGKILL follows
        raise Terminated
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


_owner = 0


def have_plain_forks(channel: socket.socket | None = None) -> None:
    """Raise `Terminated` on SIGTERM in this process, but not in its forks. These send nothing.

    Args:
        channel: closed in forks. None keeps it open there.
    """
    global _owner  # noqa: PLW0603 - the id of this process
    _owner = os.getpid()

    def be_plain() -> None:
        global _receiver  # noqa: PLW0603 - logging is global
        _receiver = None
        if channel is not None:
            channel.close()

    undo_in_forks(be_plain)
    OwnHandlers(raise_terminated, [signal.SIGTERM]).install()
