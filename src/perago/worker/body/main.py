"""The process of a body: take the call, run the function, send the outcome, and end as Python does.

A full end of the interpreter takes time (0.1 s with pandas loaded) and changes nothing where the body has left nothing
open: there it is cut short.
"""

from __future__ import annotations

import atexit
import gc
import os
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from perago.attempt.body import BodyCall, invoke_in_own_process, open_descriptors
from perago.tasks.context import TaskContext
from perago.tasks.declare import TaskDefinition
from perago.tasks.metrics import Instrument, MetricRecorder
from perago.tasks.params import validate_params
from perago.tasks.secrets import secrets_of
from perago.values import redaction
from perago.values.models import AttemptIdentity
from perago.values.redaction import mask_text
from perago.values.trace_context import trace_context_of
from perago.worker.body.loading import load
from perago.worker.process.messages import Failure, Finishing, Load, Metric, Result, Start, read_message
from perago.worker.process.outbox import Outbox, failure_of, have_plain_forks, send_logs_to
from perago.worker.process.zygote import CancelFlag


class OutboxMetrics(MetricRecorder):
    """Hands a body's metrics to the caller's recorder."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:
        masked = {label: mask_text(text) for label, text in labels.items()}  # here, as in logs
        self._outbox.send(Metric(instrument=instrument, name=name, value=value, labels=masked))


def run_body(channel: socket.socket, cancelled: CancelFlag, tasks: Mapping[str, TaskDefinition] | None = None) -> None:
    """Take one call from the channel, run it, send its outcome, and end what Python ends.

    A fork that the body makes, and that comes out of it, returns from here at once, or with what was raised in it: it
    ends as any program, and the attempt stays its parent's.

    Args:
        tasks: that are loaded, by name. None: they are loaded now, as the channel says.
    """
    owner = os.getpid()
    have_plain_forks(channel)
    opened = open_descriptors()
    redaction.learn(redaction.secrets_of_environment(os.environ))
    outbox = Outbox(channel)
    outcome: Result | Failure
    try:
        order = Load.model_validate(read_message(channel))
        if tasks is None:
            tasks = load(order, outbox)
        else:
            send_logs_to(outbox, {})  # the levels are as the modules have set them
        start = Start.model_validate(read_message(channel))
        outcome = Result(result=dict(_invoke(start, tasks[start.task_name], outbox, cancelled)))
    except BaseException as exc:  # whatever ends a body is its outcome
        if os.getpid() != owner:
            raise
        outcome = failure_of(exc, "the body's process was sent SIGTERM")
    if os.getpid() != owner:
        return
    outbox.flush_progress()
    outbox.send_outcome(outcome)
    threads = waiting_threads()
    if threads:
        outbox.send(Finishing(threads=threads))
    end_process(opened)


def _invoke(start: Start, task: TaskDefinition, outbox: Outbox, cancelled: CancelFlag) -> Mapping[str, object]:
    trace = trace_context_of(start.trace)
    os.environ.update({} if trace is None else trace.as_environment())
    context = TaskContext(
        identity=AttemptIdentity(**start.identity),
        execution_id=start.execution_id,
        task_name=start.task_name,
        is_cancelled=cancelled.is_set,
        trace=trace,
    ).reporting_to(outbox.report_progress)
    params = validate_params(task, start.params)
    redaction.learn_of(start.execution_id, secrets_of(params))
    return invoke_in_own_process(
        BodyCall(
            task=task,
            params=params,
            raw_params=start.params,
            context=context,
            workspace=None if start.workspace is None else Path(start.workspace),
            metrics=OutboxMetrics(outbox) if start.metrics else None,
        )
    )


def waiting_threads() -> list[str]:
    """The names of the threads that Python waits for at its end, those of pools that end by themselves left out."""
    return [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread() and "ExecutorManagerThread" not in thread.name
    ]


def end_process(opened_before: frozenset[tuple[int, str]] | None) -> None:
    """Do what Python does when a program ends; returns where the interpreter has to end in full for that.

    Args:
        opened_before: what the process had open before the body began; None: not known.
    """
    threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001 - as the interpreter itself calls it
    atexit._run_exitfuncs()  # noqa: SLF001 - the same
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or set to None by the body; or nobody reads
            stream.flush()
    opened = open_descriptors()
    if opened is not None and opened_before is not None and opened <= opened_before:
        os._exit(0)
    gc.unfreeze()  # so that the last collection sees what was there when the process was forked
