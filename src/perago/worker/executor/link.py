"""The executor's end of the channel to its supervisor: orders, questions, cancellation, and the observer's events.

No thread listens on the channel. The thread that waits for an order or an answer reads it, and a body that asks
whether it is cancelled looks at what has arrived. A listening thread would be woken for each
order only to wake the main thread.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from perago import errors
from perago.errors import EngineError, TaskExecutionError
from perago.ports import Event, Phase
from perago.telemetry.logs import warning_for
from perago.values.models import Attempt
from perago.values.record import InstanceRecord
from perago.values.redaction import mask_json
from perago.worker.executor.wire import (
    TO_EXECUTOR,
    Answer,
    Ask,
    Configure,
    Discard,
    ExecutorAttempt,
    Look,
    PhaseEvent,
    Run,
    Sweep,
    record_from_json,
)
from perago.worker.process.messages import CHUNK_BYTES, Cancel, Decoder, Failure, encode
from perago.worker.process.outbox import Outbox

LOOK_SECONDS = 0.01
"""Between two looks for a cancellation: a body may ask in its innermost loop."""

_CANCEL = encode(Cancel())  # no other message can hold it, as JSON has no zero bytes

Order = Configure | Run | Look | Discard | Sweep


@dataclass
class _Cancellation:
    """Whether one attempt is to end. No Event: a fork may be made while another thread holds its lock."""

    is_asked: bool = False


class SupervisorLink:
    """Orders and answers are read by one thread at a time; `is_cancelled` is for any, and for forks of a body."""

    def __init__(self, channel: socket.socket, outbox: Outbox) -> None:
        self._channel = channel
        self._outbox = outbox
        self._decoder = Decoder()
        self._read: deque[Order | Cancel | Answer] = deque()
        self._is_reading = False
        self._asking = threading.Lock()
        self._numbers = count(1)
        self._cancellation = _Cancellation()
        self._looked = float("-inf")

    def take(self) -> Order | None:
        """Wait for the next order; None: the supervisor has gone.

        Raises:
            TaskExecutionError: the channel cannot be read any further.
        """
        while (message := self._next()) is not None:
            if isinstance(message, Cancel | Answer):
                continue  # for an attempt that has ended
            if isinstance(message, Run):
                self._cancellation = _Cancellation()  # a thread that an earlier body left may still set the one before
                self._note_cancel()
            return message
        return None

    def is_cancelled(self) -> bool:
        """Whether the attempt under way is to end."""
        cancellation = self._cancellation
        now = time.monotonic()
        if not cancellation.is_asked and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            if self._holds_cancel():
                cancellation.is_asked = True
        return cancellation.is_asked

    def load_current_attempt(self, attempt: Attempt, /) -> Attempt:
        """The engine's present state of the attempt under way; raises what the supervisor's engine raised."""
        del attempt  # the supervisor knows which
        return ExecutorAttempt(**self._ask("current"))

    def load_record(self, attempt: Attempt, /) -> InstanceRecord:
        """The record of the attempt's workflow instance; raises as above."""
        del attempt
        return record_from_json(self._ask("record"))

    def _ask(self, what: Literal["current", "record"]) -> dict[str, Any]:
        with self._asking:
            number = next(self._numbers)
            self._outbox.send(Ask(number=number, what=what))
            answer = self._answer(number)
        if answer.value is None:
            raise error_of(answer.failure)
        return answer.value

    def _answer(self, number: int) -> Answer:
        """Wait for the answer to a question; others are to questions that were given up."""
        while (message := self._next()) is not None:
            if isinstance(message, Cancel):
                self._cancellation.is_asked = True
            elif isinstance(message, Answer) and message.number == number:
                self._note_cancel()
                return message
        raise EngineError("the supervisor has gone before it answered")

    def _next(self) -> Order | Cancel | Answer | None:
        """The next message; None: there will be none."""
        while not self._read:
            data = self._receive()
            if not data:
                return None
        return self._read.popleft()

    def _receive(self) -> bytes:
        """Wait for more, and read it.

        What interrupts the wait, an alarm that a body has set perhaps, costs nothing. But in the moment of reading a
        part of a message may be lost by it: to wait for its rest would be for ever, while the supervisor keeps the
        lease.
        """
        if self._is_reading:
            raise TaskExecutionError("the executor's channel was interrupted, by an alarm that a body has set perhaps")
        data = b""
        with suppress(ConnectionError):
            self._channel.recv(1, socket.MSG_PEEK)
            self._is_reading = True
            data = self._channel.recv(CHUNK_BYTES)
        self._read.extend(map(TO_EXECUTOR.validate_python, self._decoder.feed(data)))
        self._is_reading = False
        return data

    def _note_cancel(self) -> None:
        """What was read already, and comes next, is the cancellation of the attempt under way."""
        if any(isinstance(message, Cancel) for message in self._read):
            self._cancellation.is_asked = True

    def _holds_cancel(self) -> bool:
        """Whether a cancellation lies in the channel. It stays there: whatever a body's signals raise in here, and
        whoever looks beside it, nothing is lost.
        """
        try:
            data = self._channel.recv(CHUNK_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionError):
            return False
        except OSError as exc:
            if exc.errno == errno.EBADF:  # a fork of the body has closed all it had
                return False
            raise  # the body's own alarm
        return _CANCEL in self._decoder.rest + data


def error_of(failure: Failure | None) -> EngineError:
    """What the supervisor's engine raised."""
    if failure is None:
        return EngineError("the engine gave no answer")
    named = getattr(errors, failure.error, None)
    if isinstance(named, type) and issubclass(named, EngineError):
        return named(failure.reason)
    return EngineError(failure.reason)


PROGRESS_SECONDS = 0.1
"""Between two messages of progress: ten times a second is as fast as anyone looks."""

_MAX_ATTRIBUTES_LENGTH = 16 * 1024


class PhaseSender:
    """An observer for any thread. Progress that is held back is sent a moment later: a body may tell no more for
    long. A fork is mute, as with `Outbox`.

    One thread sees to that, and ends with the process.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._held: Event | None = None
        self._is_held = threading.Event()
        self._sent = float("-inf")
        threading.Thread(target=self._send_what_is_held, name="perago-progress", daemon=True).start()

    def __call__(self, event: Event) -> None:
        if os.getpid() != self._owner:
            return  # the lock may be held for ever here: by a thread that the fork does not have
        with self._lock:
            if event.kind != "progress" or warning_for(event.phase, event.attributes) is not None:
                self._flush()
                self._send(event)
                return
            self._held = event
            if time.monotonic() - self._sent >= PROGRESS_SECONDS:
                self._flush()
            else:
                self._is_held.set()

    def _send_what_is_held(self) -> None:
        while self._is_held.wait():
            time.sleep(PROGRESS_SECONDS)
            with self._lock:
                self._flush()

    def _flush(self) -> None:
        event, self._held = self._held, None
        if event is not None:
            self._is_held.clear()
            self._sent = time.monotonic()
            self._send(event)

    def _send(self, event: Event) -> None:
        """Send an event: a phase's end with what comes next, and its begin if that is known from the order to run."""
        self._outbox.send(
            PhaseEvent.of(event, _json_attributes(event)),
            with_next=event.kind == "completed" or (event.phase is Phase.PARSE and event.kind == "started"),
        )


def _json_attributes(event: Event) -> dict[str, Any]:
    if not event.attributes:
        return {}
    text = json.dumps(mask_json(dict(event.attributes)), default=str)
    attributes: dict[str, Any] = json.loads(text) if len(text) <= _MAX_ATTRIBUTES_LENGTH else {}
    return attributes
