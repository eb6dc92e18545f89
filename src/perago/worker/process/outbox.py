"""The sending end in a process that runs bodies: messages, logs, metrics, and failures in a form that can be sent."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType

from perago.attempt.output import reason_for_exception
from perago.errors import TaskExecutionError, nearest_class
from perago.values.json_text import encodable
from perago.values.redaction import mask_json, mask_text, traceback_of
from perago.worker.process.messages import (
    MAX_TEXT_LENGTH,
    Failure,
    Log,
    Message,
    Progress,
    Result,
    clean_text,
    encode,
)

# `message` and `asctime` are set by formatting.
_STANDARD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime"}
_MAX_WAITING_BYTES = 64 * 1024
_PROGRESS_SECONDS = 0.1  # ten times a second is as fast as anyone looks


class Terminated(KeyboardInterrupt):
    """SIGTERM came. A KeyboardInterrupt, so that a body's `except Exception` lets it through."""


class Outbox:
    """Sends messages from any thread of this process. A fork of it is mute: it would cut into messages under way."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._waiting = b""
        self._progress: Progress | None = None
        self._progress_sent = float("-inf")

    def send(self, message: Message, *, with_next: bool = False) -> None:
        """Send a message; raises as `encode`.

        Args:
            with_next: another one comes at once, with which it goes: each that goes alone wakes the other side.
        """
        if os.getpid() != self._owner:
            return
        data = encode(message)
        with self._lock:
            self._waiting += data
            if with_next and len(self._waiting) < _MAX_WAITING_BYTES:
                return
            waiting, self._waiting = self._waiting, b""
            with suppress(OSError):  # the attempt's process has gone, and this one is about to
                self._channel.sendall(waiting)

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


class OutboxHandler(logging.Handler):
    """Hands log records to the caller's loggers of the same names."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._outbox.send(
                Log(
                    logger="" if record.name == "root" else record.name,
                    level=record.levelno,
                    text=clean_text(mask_text(self.format(record))),  # here, where the secrets of the params are known
                    created=record.created,
                    path=record.pathname,
                    line=record.lineno,
                    function=record.funcName or "",
                    fields=json_fields(record),
                )
            )
        except Exception:  # noqa: BLE001 - as every handler does: a log call never fails its caller
            self.handleError(record)


def json_fields(record: logging.LogRecord) -> dict[str, object]:
    """What came as `extra`; what is no JSON, as text."""
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
    text = json.dumps(extra, default=str)
    fields: dict[str, object] = mask_json(json.loads(text)) if len(text) <= MAX_TEXT_LENGTH else {}
    return fields


_receiver: OutboxHandler | None = None
_call_handlers = logging.Logger.callHandlers


def send_logs_to(outbox: Outbox, levels: Mapping[str, int]) -> None:
    """Send what is logged here, from these levels on (logger name, "" is the root -> level).

    No handler is added for it: `logging.basicConfig` and its like work as in any program, and a record goes to the
    handlers that they set as well. One that has no handler goes to the outbox alone.
    """
    global _receiver  # noqa: PLW0603 - a process has one logging
    _receiver = OutboxHandler(outbox)
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    setattr(logging.Logger, "callHandlers", _call_handlers_and_send)  # noqa: B010 - no hook sees each record


def _call_handlers_and_send(logger: logging.Logger, record: logging.LogRecord) -> None:
    receiver = _receiver
    if receiver is None or logger.hasHandlers():
        _call_handlers(logger, record)
    if receiver is not None and _reaches_root(logger):
        receiver.handle(record)


def _reaches_root(logger: logging.Logger) -> bool:
    while logger.parent is not None:
        if not logger.propagate:
            return False
        logger = logger.parent
    return True


def failure_of(exc: BaseException, terminated: str) -> Failure:
    """What was raised, as it can be sent; `terminated` is the reason where that was SIGTERM."""
    reason = terminated if isinstance(exc, Terminated) else reason_for_exception(exc)
    bounded = encodable(reason)[:MAX_TEXT_LENGTH]
    return Failure(error=nearest_class(exc).__name__, reason=bounded, traceback=clean_text(traceback_of(exc)))


def raise_terminated(number: int, _frame: FrameType | None) -> None:
    """The handler of SIGTERM in a process that runs a body; a fork that the body makes ends of it as any program."""
    if os.getpid() == _owner:
        signal.signal(number, signal.SIG_IGN)  # the body is on its way out; what does not help is SIGKILL
        raise Terminated
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


_owner = 0
_channels: list[socket.socket] = []
_masks: dict[int, set[int | signal.Signals]] = {}


def have_plain_forks(channel: socket.socket | None = None) -> None:
    """Take SIGTERM as `Terminated` in this process, and have the forks of it begin as those of any program.

    Args:
        channel: closed in forks. None: they may look at it.
    """
    global _owner  # noqa: PLW0603 - which process this is
    _owner = os.getpid()
    _channels.extend([] if channel is None else [channel])
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_be_plain)
    signal.signal(signal.SIGTERM, raise_terminated)


def _block() -> None:
    """A SIGTERM that comes to a fork in its first moment waits: Python would drop it, as it has a handler there."""
    _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop(threading.get_ident()))


def _be_plain() -> None:
    global _receiver  # noqa: PLW0603 - a process has one logging
    _receiver = None
    for channel in _channels:
        channel.close()
    if signal.getsignal(signal.SIGTERM) is raise_terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _unblock()
