"""What happens in the process of a body: take the call, run the function, tell what comes of it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from perago import redaction
from perago.attempt.body import BodyCall, invoke_in_process
from perago.models import AttemptIdentity
from perago.tasks.context import TaskContext
from perago.tasks.load import load_module_task
from perago.tasks.params import validate_params
from perago.tasks.secrets import secrets_of
from perago.trace_context import trace_context_of
from perago.worker.messages import CHUNK_BYTES, TO_BODY, Decoder, Failure, Result, Start
from perago.worker.outbox import Outbox, OutboxMetrics, failure_of, raise_terminated, send_logs_to


def run_body(channel: socket.socket) -> None:
    """Take one call from the channel, run it, and send its outcome."""
    signal.signal(signal.SIGTERM, raise_terminated)
    redaction.learn(redaction.secrets_of_environment(os.environ))
    outbox = Outbox(channel)
    cancelled = threading.Event()
    calls = _Calls(channel, cancelled)
    outcome: Result | Failure
    try:
        outcome = Result(result=dict(_invoke(calls.take_start(), outbox, cancelled)))
    except BaseException as exc:  # noqa: BLE001 - whatever ends a body is its outcome
        outcome = failure_of(exc, "the body's process was sent SIGTERM")
    outbox.flush_progress()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed by the body, or by the reader
            stream.flush()
    outbox.send_outcome(outcome)


def _invoke(start: Start, outbox: Outbox, cancelled: threading.Event) -> Mapping[str, object]:
    sys.path[:] = start.sys_path
    if start.cwd is not None:
        os.chdir(start.cwd)
    send_logs_to(outbox, start.log_levels)
    trace = trace_context_of(start.trace)
    os.environ.update({} if trace is None else trace.as_environment())
    task = load_module_task(start.target)
    context = TaskContext(
        identity=AttemptIdentity(**start.identity),
        execution_id=start.execution_id,
        task_name=start.task_name,
        is_cancelled=cancelled.is_set,
        trace=trace,
    ).reporting_to(outbox.report_progress)
    params = validate_params(task, start.params)
    redaction.learn_of(start.execution_id, secrets_of(params))
    return invoke_in_process(
        BodyCall(
            task=task,
            params=params,
            raw_params=start.params,
            context=context,
            workspace=None if start.workspace is None else Path(start.workspace),
            metrics=OutboxMetrics(outbox) if start.metrics else None,
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
        data = self._channel.recv(CHUNK_BYTES)
        if not data:
            raise EOFError("the attempt's process has gone")
        return data
