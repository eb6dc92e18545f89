"""The process of an executor: its main loop, and its end of the channel to the supervisor.

The main thread reads an order, runs the attempt and answers. No thread listens on the channel: a thread that waits for
an order or an answer reads it, and a body that asks whether it is cancelled checks the received data. A listening
thread would wake for each order only to wake the main thread.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal, NoReturn

from perago.attempt.body import BodyCall, invoke_in_process
from perago.attempt.context import RunContext
from perago.errors import EngineError, PeragoError, TaskExecutionError
from perago.ports import Event, Phase
from perago.tasks.context import LOGGER_ROOT
from perago.tasks.declare import TaskDefinition
from perago.telemetry.logs import warning_for
from perago.values import redaction
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, RuntimeTaskResult
from perago.values.record import InstanceRecord
from perago.values.redaction import mask_json, mask_text
from perago.values.trace_context import trace_context_of
from perago.worker.body.main import OutboxMetrics, load
from perago.worker.body.run import MAX_LINES, ORDERS, BodyProcess, Printed, PrintedHere
from perago.worker.executor.process_state import ProcessState
from perago.worker.executor.runner import AttemptRunner, ExecutorStore
from perago.worker.executor.wire import (
    CANCEL_GRACE_SECONDS,
    TO_EXECUTOR,
    Answer,
    Ask,
    Configure,
    Discard,
    Done,
    ExecutorAttempt,
    Look,
    PhaseEvent,
    Ready,
    Run,
    Sweep,
    record_from_json,
)
from perago.worker.process.child import Offspring
from perago.worker.process.messages import CHUNK_BYTES, Cancel, Decoder, Failure, Log, clean_text, encode
from perago.worker.process.outbox import (
    Outbox,
    Terminated,
    failure_of,
    have_plain_forks,
    raise_terminated,
    send_logs_to,
)
from perago.worker.process.reaper import adopt_orphans

_LOGGER = logging.getLogger("perago.worker")

_TERMINATED = "the executor received SIGTERM"


def run_executor(channel: socket.socket, orders: socket.socket, tasks: Mapping[str, TaskDefinition] | None) -> None:
    """Serve one supervisor until it ends, or until SIGTERM.

    Args:
        orders: to the zygote, which starts bodies.
        tasks: the tasks that the zygote has loaded, by name. None loads them here.
    """
    have_plain_forks()
    adopt_orphans()  # so that the children of this process include what a warm body left behind
    redaction.learn(redaction.secrets_of_environment(os.environ))
    outbox = Outbox(channel)
    link = SupervisorLink(channel, outbox)
    try:
        order = link.take()
        if isinstance(order, Configure):
            runner = _prepare(order, outbox, tasks)
            if runner is not None:
                _Executor(link, outbox, runner, order, orders).serve()
    except Terminated:
        _end_by_sigterm()


def _prepare(order: Configure, outbox: Outbox, tasks: Mapping[str, TaskDefinition] | None) -> AttemptRunner | None:
    """Report which tasks can run. None if their modules cannot be loaded, which the supervisor has been told."""
    redaction.learn([] if order.store is None else order.store.secrets())
    try:
        if tasks is None:
            tasks = load(order.load, outbox)
        else:
            send_logs_to(outbox, {})  # with the levels that the modules have set
    except Terminated:
        raise
    except BaseException as exc:  # noqa: BLE001 - a module may raise anything; the supervisor reports it
        outbox.send(failure_of(exc, _TERMINATED))
        return None
    runner = AttemptRunner(
        tasks=tasks,
        store=ExecutorStore(order.store),
        workspace_root=Path(order.workspace_root),
        worker_id=order.worker_id,
        failure_reason_max_length=order.failure_reason_max_length,
    )
    outbox.send(Ready(tasks=runner.declared()))
    return runner


class _Executor:
    """Carries out orders in the main thread, where SIGTERM interrupts a warm body."""

    def __init__(
        self,
        link: SupervisorLink,
        outbox: Outbox,
        runner: AttemptRunner,
        configuration: Configure,
        orders: socket.socket,
    ) -> None:
        self._link = link
        self._outbox = outbox
        self._runner = runner
        self._runs_free_tasks_warm = configuration.free_tasks == "warm"
        self._metrics = OutboxMetrics(outbox)
        self._observer = PhaseSender(outbox)
        self._state = ProcessState()
        self._last: ExecutorAttempt | None = None
        self._is_spent = False
        self._own_process = BodyProcess(
            partial(self._start, orders),
            configuration.load,
            grace_seconds=CANCEL_GRACE_SECONDS,
            cancelled=link.is_cancelled,
            on_log=outbox.send,
            on_print=self._tell_line,
            max_lines=MAX_LINES,
        )
        self._printed_here = PrintedHere()
        self._body: Offspring | None = None

    def serve(self) -> None:
        while (order := self._link.take()) is not None:
            match order:
                case Run():
                    self._answer(self._run(order))
                case Look():
                    self._look()
                case Discard():
                    attempt = ExecutorAttempt(**order.attempt)
                    with suppress(PeragoError):  # best effort: the sweep by age comes later
                        self._runner.store.discard(attempt, order.execution_id, order.older_than_seconds)
                    self._answer(None)
                case Sweep():
                    with suppress(PeragoError):
                        self._runner.store.sweep(order.repository, order.older_than_seconds)
                    self._answer(None)
                case _:
                    continue

    def _run(self, order: Run) -> RuntimeTaskResult:
        self._last = attempt = ExecutorAttempt(**order.attempt)
        context = RunContext(
            execution_id=order.execution_id,
            observer=self._observer,
            is_cancelled=self._link.is_cancelled,
            invoke_body=self._invoke_body,
            metrics=self._metrics,
            trace=trace_context_of(order.trace),
        )
        try:
            return self._runner.run(attempt, context, self._link)
        except Terminated:
            raise
        except KeyboardInterrupt:
            return RuntimeTaskResult("FAILED", reason_for_incompletion="the body raised KeyboardInterrupt")

    def _invoke_body(self, call: BodyCall) -> JsonObject:
        if call.workspace is None and self._runs_free_tasks_warm:
            return self._run_warm(call)
        return self._run_in_own_process(call)

    def _run_warm(self, call: BodyCall) -> JsonObject:
        """Run a body in this process, then restore the state of the process."""
        trace = call.context.trace
        left: list[str] = []
        try:
            with self._printed_here.to(Printed(partial(self._tell_line, call), MAX_LINES)):
                try:
                    os.environ.update({} if trace is None else trace.as_environment())
                    return invoke_in_process(call)
                finally:
                    left = self._state.restore()
        finally:
            if left:
                self._is_spent = True
                _LOGGER.warning(
                    "the body of task %s left %s, which cannot be restored: the next task gets a new executor",
                    call.task.name,
                    " and ".join(left),
                )

    def _run_in_own_process(self, call: BodyCall) -> JsonObject:
        """Run a body in a process of its own, which gets SIGTERM first."""
        terminated = False

        def pass_on(*_: object) -> None:
            nonlocal terminated
            terminated = True
            if self._body is not None:
                self._body.terminate()

        signal.signal(signal.SIGTERM, pass_on)
        try:
            return self._own_process(call)
        finally:
            self._body = None
            signal.signal(signal.SIGTERM, raise_terminated)
            if terminated:
                raise_terminated(signal.SIGTERM, None)

    def _start(
        self, orders: socket.socket, how: Literal["fork", "spawn"], on_output: Callable[[bytes], None]
    ) -> Offspring:
        self._body = Offspring(orders, ORDERS[how], None, on_output)
        return self._body

    def _tell_line(self, call: BodyCall, line: str) -> None:
        """Forward a line that a body prints as a log line."""
        logger = f"{LOGGER_ROOT}.{call.task.name}"
        text = clean_text(mask_text(line))
        self._outbox.send(
            Log(logger=logger, level=logging.INFO, text=text, created=time.time(), fields={"printed": True})
        )

    def _look(self) -> None:
        assert self._last is not None, "an attempt was run before"
        try:
            result = self._runner.look(self._last, self._link.load_record)
        except PeragoError as exc:  # store or engine cannot be reached: no reason to end
            self._outbox.send(failure_of(exc, _TERMINATED))
        else:
            self._answer(result)

    def _answer(self, result: RuntimeTaskResult | None) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed or set to None by a body, or not read
                stream.flush()
        facts: dict[str, Any] = {"memory_bytes": memory_bytes(), "is_spent": self._is_spent}
        if result is None:
            self._outbox.send(Done(**facts))
            return
        reason = result.reason_for_incompletion
        output = None if result.output is None else dict(result.output)
        try:
            self._outbox.send(Done(status=result.status, output=output, reason=reason, **facts))
        except ValueError as exc:
            fault = f"the result cannot be sent: {exc}"
            self._outbox.send(Done(status="FAILED", reason=fault, **facts))


def _end_by_sigterm() -> NoReturn:
    """End by SIGTERM, after everything is cleaned up."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(1)  # pragma: no cover - the signal comes first


def memory_bytes() -> int:
    """Resident memory in bytes."""
    if sys.platform == "linux":
        handle = os.open("/proc/self/statm", os.O_RDONLY)
        try:
            _, resident, *_ = os.read(handle, 256).split()
        finally:
            os.close(handle)
        return int(resident) * os.sysconf("SC_PAGE_SIZE")
    import psutil

    size: int = psutil.Process().memory_info().rss
    return size


LOOK_SECONDS = 0.01
"""Seconds between two checks for a cancellation: a body may ask in its innermost loop."""

_CANCEL = encode(Cancel())  # no other message can contain it: JSON has no zero bytes

Order = Configure | Run | Look | Discard | Sweep


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
        return ExecutorAttempt(**self._ask("current"))

    def load_record(self, attempt: Attempt, /) -> InstanceRecord:
        """The record of the attempt's workflow instance; raises as `load_current_attempt`."""
        del attempt
        return record_from_json(self._ask("record"))

    def _ask(self, what: Literal["current", "record"]) -> dict[str, Any]:
        with self._asking:
            number = next(self._numbers)
            self._outbox.send(Ask(number=number, what=what))
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
