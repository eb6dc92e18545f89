"""An executor's end of the channel: orders come in, questions go out, and whether the attempt is cancelled is seen.

Nobody listens: who waits for an order or an answer reads the channel, and who wants to know of a cancellation looks at
what lies in it. A thread that listened would be woken for each order only to wake the one that carries it out.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from itertools import count
from typing import Any, Literal

from perago import errors
from perago.errors import EngineError
from perago.models import Attempt
from perago.record import InstanceRecord
from perago.worker.executor_attempt import ExecutorAttempt, record_from_json
from perago.worker.executor_messages import TO_EXECUTOR, Answer, Ask, Configure, Discard, Look, Run, Sweep
from perago.worker.messages import CHUNK_BYTES, Cancel, Decoder, Failure, encode
from perago.worker.outbox import Outbox

LOOK_SECONDS = 0.01
"""Between two looks for a cancellation: a body may ask in its innermost loop."""

_CANCEL = encode(Cancel())  # no other message can hold it, as JSON has no zero bytes

Order = Configure | Run | Look | Discard | Sweep


class SupervisorLink:
    """Orders and answers are read by one thread at a time; `is_cancelled` is for any, and for forks of a body."""

    def __init__(self, channel: socket.socket, outbox: Outbox) -> None:
        self._channel = channel
        self._outbox = outbox
        self._decoder = Decoder()
        self._read: deque[Order | Cancel | Answer] = deque()
        self._asking = threading.Lock()
        self._numbers = count(1)
        self._attempt = 0
        self._cancelled_attempt = -1
        self._looked = float("-inf")

    def take(self) -> Order | None:
        """Wait for the next order; None: the supervisor has gone."""
        while (message := self._next()) is not None:
            if isinstance(message, Cancel | Answer):
                continue  # for an attempt that has ended
            if isinstance(message, Run):
                self._attempt += 1
            return message
        return None

    def is_cancelled(self) -> bool:
        """Whether the attempt under way is to end."""
        attempt = self._attempt  # by the time of an answer, a thread that a body left may be asking of another one
        now = time.monotonic()
        if self._cancelled_attempt != attempt and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            if self._holds_cancel():
                self._cancelled_attempt = attempt
        return self._cancelled_attempt == attempt

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
                self._cancelled_attempt = self._attempt
            elif isinstance(message, Answer) and message.number == number:
                return message
        raise EngineError("the supervisor has gone before it answered")

    def _next(self) -> Order | Cancel | Answer | None:
        """The next message; None: there will be none."""
        while not self._read:
            data = b""
            with suppress(OSError):
                data = self._channel.recv(CHUNK_BYTES)
            if not data:
                return None
            self._read.extend(map(TO_EXECUTOR.validate_python, self._decoder.feed(data)))
        return self._read.popleft()

    def _holds_cancel(self) -> bool:
        """Whether a cancellation lies in the channel. It stays there: whatever a body's signals raise in here, and
        whoever looks beside it, nothing is lost.
        """
        try:
            return _CANCEL in self._channel.recv(CHUNK_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError as exc:
            if exc.errno is None:  # the system said nothing: it is what a body's alarm raised
                raise
            return False


def error_of(failure: Failure | None) -> EngineError:
    """What the supervisor's engine raised."""
    if failure is None:
        return EngineError("the engine gave no answer")
    named = getattr(errors, failure.error, None)
    if isinstance(named, type) and issubclass(named, EngineError):
        return named(failure.reason)
    return EngineError(failure.reason)
