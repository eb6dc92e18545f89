"""An executor's end of the channel: orders come in, questions go out, cancellation is a flag."""

from __future__ import annotations

import queue
import socket
import threading
from contextlib import suppress
from itertools import count
from typing import Any, Literal

from perago import errors
from perago.errors import EngineError
from perago.models import Attempt, InstanceRecord
from perago.worker.executor_attempt import ExecutorAttempt, record_from_json
from perago.worker.executor_messages import TO_EXECUTOR, Answer, Ask, Configure, Discard, Look, Run, Sweep
from perago.worker.messages import Cancel, Decoder, Failure
from perago.worker.outbox import Outbox

_CHUNK = 256 * 1024

Order = Configure | Run | Look | Discard | Sweep


class SupervisorLink:
    """Reads the channel in a thread that ends with the process.

    Attributes:
        cancelled: the attempt under way is to end; cleared when the next one comes.
    """

    def __init__(self, channel: socket.socket, outbox: Outbox) -> None:
        self.cancelled = threading.Event()
        self._channel = channel
        self._outbox = outbox
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._answers: dict[int, queue.SimpleQueue[Answer]] = {}
        self._numbers = count(1)

    def listen(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._listen, name="perago-orders", daemon=True).start()

    def take(self) -> Order | None:
        """The next order; None: the supervisor has gone."""
        return self._orders.get()

    def load_current_attempt(self, attempt: Attempt, /) -> Attempt:
        """The engine's present state of the attempt under way; raises what the supervisor's engine raised."""
        del attempt  # the supervisor knows which
        return ExecutorAttempt(**self._ask("current"))

    def load_record(self, attempt: Attempt, /) -> InstanceRecord:
        """The record of the attempt's workflow instance; raises as above."""
        del attempt
        return record_from_json(self._ask("record"))

    def _ask(self, what: Literal["current", "record"]) -> dict[str, Any]:
        number = next(self._numbers)
        inbox: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._answers[number] = inbox
        try:
            self._outbox.send(Ask(number=number, what=what))
            answer = inbox.get()  # comes for certain: when the supervisor goes, so does this process
        finally:
            del self._answers[number]
        if answer.value is None:
            raise error_of(answer.failure)
        return answer.value

    def _listen(self) -> None:
        decoder = Decoder()
        with suppress(OSError, EOFError):
            while True:
                data = self._channel.recv(_CHUNK)
                if not data:
                    break
                for value in decoder.feed(data):
                    self._dispatch(value)
        self._orders.put(None)

    def _dispatch(self, value: object) -> None:
        message = TO_EXECUTOR.validate_python(value)
        match message:
            case Cancel():
                self.cancelled.set()
            case Answer():
                inbox = self._answers.get(message.number)
                if inbox is not None:
                    inbox.put(message)
            case Run():
                self.cancelled.clear()
                self._orders.put(message)
            case _:
                self._orders.put(message)


def error_of(failure: Failure | None) -> EngineError:
    """What the supervisor's engine raised."""
    if failure is None:
        return EngineError("the engine gave no answer")
    named = getattr(errors, failure.error, None)
    if isinstance(named, type) and issubclass(named, EngineError):
        return named(failure.reason)
    return EngineError(failure.reason)
