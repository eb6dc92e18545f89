"""What happens in the process of a body: take the call, run the function, tell what comes of it, and end."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from perago import redaction
from perago.attempt.body import BodyCall, invoke_in_own_process
from perago.attempt.open_files import open_descriptors
from perago.models import AttemptIdentity
from perago.tasks.context import TaskContext
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import validate_params
from perago.tasks.secrets import secrets_of
from perago.trace_context import trace_context_of
from perago.worker.body.ending import end_process, waiting_threads
from perago.worker.body.loading import load
from perago.worker.process.messages import Failure, Finishing, Load, Result, Start, read_message
from perago.worker.process.outbox import Outbox, OutboxMetrics, failure_of, have_plain_forks, send_logs_to
from perago.worker.process.zygote import CancelFlag


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
