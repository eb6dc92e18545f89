"""The process of a body: load the modules, take the call, run the function, send the outcome, end as Python does.

A full end of the interpreter takes time (0.1 s with pandas loaded) and changes nothing where the body has left nothing
open: there it is cut short.
"""

from __future__ import annotations

import atexit
import gc
import os
import random
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perago.attempt.body import BodyCall, invoke_in_own_process, open_descriptors
from perago.errors import TaskDefinitionError
from perago.tasks.context import TaskContext
from perago.tasks.declare import TaskDefinition
from perago.tasks.load import load_module_tasks
from perago.tasks.metrics import Instrument, MetricRecorder
from perago.tasks.params import validate_params
from perago.tasks.secrets import secrets_of
from perago.values import redaction
from perago.values.models import AttemptIdentity
from perago.values.redaction import mask_text
from perago.values.trace_context import trace_context_of
from perago.worker.process.messages import Failure, Finishing, Load, Metric, Result, Start, read_message
from perago.worker.process.outbox import Outbox, failure_of, have_plain_forks, send_logs_to
from perago.worker.process.zygote import CancelFlag


def load(order: Load, outbox: Outbox) -> dict[str, TaskDefinition]:
    """Take the caller's place, and load the modules that it names; raises as `load_tasks`."""
    sys.path[:] = order.sys_path
    if order.cwd is not None:
        os.chdir(order.cwd)
    send_logs_to(outbox, order.log_levels)
    return load_tasks(order.targets)


def load_tasks(targets: list[str]) -> dict[str, TaskDefinition]:
    """All the tasks of some targets, by name.

    Raises:
        TaskDefinitionError: a module cannot be loaded or has no task, or two tasks have one name.
    """
    found: dict[str, TaskDefinition] = {}
    for target in targets:
        for task in load_module_tasks(target):
            other = found.setdefault(task.name, task)
            if other is not task:
                raise TaskDefinitionError(
                    f"{other.target} and {task.target} are both named {task.name!r}; one worker runs one task of a name"
                )
    return found


@dataclass
class Randomness:
    """The generators of random numbers that a process has one of: a fork must not repeat what another one draws.

    But where a module gave a seed when it was loaded, each fork begins with it, as each process would that loads it.
    """

    seeded: object = None

    @contextmanager
    def noting_seeds(self) -> Iterator[None]:
        """While modules are loaded."""
        seed: Callable[..., None] = random.seed

        def note(*args: Any, **named: Any) -> None:
            seed(*args, **named)
            self.seeded = args[0] if args else named.get("a")

        random.seed = note
        try:
            yield
        finally:
            random.seed = seed
            self._state = random.getstate()

    def begin_fork(self) -> None:
        """In a fork."""
        if self.seeded is not None:
            random.setstate(self._state)  # Python seeds anew at each fork
        generator = getattr(sys.modules.get("numpy.random"), "get_bit_generator", None)
        if generator is not None and generator().seed_seq is not None:  # None: it was given a seed
            sys.modules["numpy.random"].seed()


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
