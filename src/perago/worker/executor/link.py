"""The executor's end of the channel to its supervisor: orders, questions, phases.

No thread listens on the channel: a thread that waits for an order or an answer reads it, and a body that asks whether
it is cancelled checks the received data. A listening thread would wake for each order only to wake the main thread.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from perago.errors import EngineError, TaskExecutionError
from perago.ports import Event, Phase
from perago.telemetry.logs import warning_for
from perago.values.models import Attempt, EngineTask
from perago.values.record import InstanceRecord
from perago.values.redaction import mask_json
from perago.worker.executor.wire import (
    TO_EXECUTOR,
    Answer,
    Ask,
    Configure,
    Discard,
    Look,
    PhaseEvent,
    Run,
    Sweep,
    record_from_json,
)
from perago.worker.process.messages import CHUNK_BYTES, Cancel, Decoder, Failure, encode
from perago.worker.process.outbox import (
    Outbox,
)

Order = Configure | Run | Look | Discard | Sweep

LOOK_SECONDS = 0.01
"""Seconds between two checks for a cancellation: a body may ask in its innermost loop."""


_CANCEL = encode(Cancel())  # no other message can contain it: JSON has no zero bytes


@dataclass
class _Cancellation:
    """Whether one attempt is cancelled. Not an Event, whose lock another thread may hold during a fork."""

    is_asked: bool = False


class SupervisorLink:
    """The channel to the supervisor. One thread at a time reads orders and answers; any thread, and any fork of a body,
    may call `is_cancelled`."""

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
        """Wait for the next order; None if the supervisor has ended.

        Raises:
            TaskExecutionError: the channel can no longer be read.
        """
        while (message := self._next()) is not None:
            if isinstance(message, Cancel | Answer):
                continue  # of an attempt that has ended
            if isinstance(message, Run):
                self._cancellation = _Cancellation()  # an earlier body's thread may still set the previous one
                self._note_cancel()
            return message
        return None

    def is_cancelled(self) -> bool:
        """Whether the running attempt is cancelled."""
        cancellation = self._cancellation
        now = time.monotonic()
        if not cancellation.is_asked and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            if self._holds_cancel():
                cancellation.is_asked = True
        return cancellation.is_asked

    def load_current_attempt(self, attempt: Attempt, /) -> Attempt:
        """The engine's present state of the running attempt; raises the error of the supervisor's engine."""
        del attempt  # the supervisor knows which
        return EngineTask(**self._ask("current"))

    def load_record(self, attempt: Attempt, paths: Collection[str] = (), /) -> InstanceRecord:
        """The record of the attempt's workflow; raises as `load_current_attempt`."""
        del attempt
        return record_from_json(self._ask("record", paths))

    def _ask(self, what: Literal["current", "record"], paths: Collection[str] = ()) -> dict[str, Any]:
        with self._asking:
            number = next(self._numbers)
            self._outbox.send(Ask(number=number, what=what, paths=tuple(paths)))
            answer = self._answer(number)
        if answer.value is None:
            raise engine_error(answer.failure)
        return answer.value

    def _answer(self, number: int) -> Answer:
        """Wait for the answer to a question; other answers belong to abandoned questions."""
        while (message := self._next()) is not None:
            if isinstance(message, Cancel):
                self._cancellation.is_asked = True
            elif isinstance(message, Answer) and message.number == number:
                self._note_cancel()
                return message
        raise EngineError("the supervisor ended before it answered")

    def _next(self) -> Order | Cancel | Answer | None:
        """The next message; None at the end."""
        while not self._read:
            data = self._receive()
            if not data:
                return None
        return self._read.popleft()

    def _receive(self) -> bytes:
        """Wait for data and read it.

        An interruption of the wait, such as by a body's alarm, is harmless. During the read it may lose part of a
        message, and waiting for the rest would never end while the supervisor keeps the lease.
        """
        if self._is_reading:
            raise TaskExecutionError("the executor's channel was interrupted, perhaps by an alarm that a body has set")
        data = b""
        with suppress(ConnectionError):
            self._channel.recv(1, socket.MSG_PEEK)
            self._is_reading = True
            data = self._channel.recv(CHUNK_BYTES)
        self._read.extend(map(TO_EXECUTOR.validate_python, self._decoder.feed(data)))
        self._is_reading = False
        return data

    def _note_cancel(self) -> None:
        """Check whether the data read so far holds the cancellation of the running attempt."""
        if any(isinstance(message, Cancel) for message in self._read):
            self._cancellation.is_asked = True

    def _holds_cancel(self) -> bool:
        """Whether a cancellation is in the channel. It stays there, so that signals of a body and concurrent checks
        lose nothing.
        """
        try:
            data = self._channel.recv(CHUNK_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionError):
            return False
        except OSError as exc:
            if exc.errno == errno.EBADF:  # a fork of the body has closed its descriptors
                return False
            raise  # the body's own alarm
        return _CANCEL in self._decoder.rest + data


def engine_error(failure: Failure | None) -> EngineError:
    """The error of the supervisor's engine."""
    if failure is None:
        return EngineError("the engine did not answer")
    return failure.as_error(EngineError, EngineError)


PROGRESS_SECONDS = 0.1
"""Seconds between two progress messages: nobody looks more often."""


_MAX_ATTRIBUTES_LENGTH = 16 * 1024


class PhaseSender:
    """Observer for any thread. A background thread sends delayed progress, because a body may send no more for long. A
    fork sends nothing, as with `Outbox`.
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
            return  # a thread that the fork does not have may hold the lock
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
        """Send an event. The end of a phase goes with the next message; some starts follow from the order to run."""
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
