"""The process of a body: load the modules, take the call, run the function, send the result, end as Python does.

A full shutdown of the interpreter takes time (0.1 s with pandas loaded). It is skipped if the body has left nothing
open.
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
from perago.worker.body.environment import explained, withhold
from perago.worker.process.messages import Failure, Finishing, Load, Metric, Result, Start, read_message
from perago.worker.process.outbox import Outbox, failure_of, have_plain_forks, send_logs_to
from perago.worker.process.shared_flag import SharedFlag


def load(order: Load, outbox: Outbox) -> dict[str, TaskDefinition]:
    """Adopt the caller's directory and paths, and load the modules that it names; raises as `load_tasks`."""
    sys.path[:] = order.sys_path
    if order.cwd is not None:
        os.chdir(order.cwd)
    send_logs_to(outbox, order.log_levels)
    return load_tasks(order.targets)


def load_tasks(targets: list[str]) -> dict[str, TaskDefinition]:
    """All the tasks of some targets, by name.

    Raises:
        TaskDefinitionError: a module cannot be loaded or has no task, or two tasks have the same name.
    """
    found: dict[str, TaskDefinition] = {}
    for target in targets:
        for task in load_module_tasks(target):
            other = found.setdefault(task.name, task)
            if other is not task:
                raise TaskDefinitionError(
                    f"{other.target} and {task.target} are both named {task.name!r}; a worker runs one task per name"
                )
    return found


@dataclass
class Randomness:
    """The global random number generators: a fork must not repeat the numbers of another one.

    But if a module set a seed on import, every fork starts with it, like every process that imports the module.
    """

    seeded: object = None

    @contextmanager
    def noting_seeds(self) -> Iterator[None]:
        """Note seeds that modules set while they are loaded."""
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
        """Reseed in a fork."""
        if self.seeded is not None:
            random.setstate(self._state)  # Python reseeds at each fork
        generator = getattr(sys.modules.get("numpy.random"), "get_bit_generator", None)
        if generator is not None and generator().seed_seq is not None:  # None if it was given a seed
            sys.modules["numpy.random"].seed()


class OutboxMetrics(MetricRecorder):
    """Sends a body's metrics to the caller's recorder."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:
        masked = {label: mask_text(text) for label, text in labels.items()}  # secrets of params are known only here
        self._outbox.send(Metric(instrument=instrument, name=name, value=value, labels=masked))


def run_body(channel: socket.socket, cancelled: SharedFlag, tasks: Mapping[str, TaskDefinition] | None = None) -> None:
    """Take one call from the channel, run it, send its result, and shut down as Python does.

    A fork that leaves the body returns from here at once, or raises its error. It ends like any program; the attempt
    belongs to its parent.

    Args:
        tasks: the loaded tasks by name. None loads them now, as the channel says.
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
            send_logs_to(outbox, {})  # with the levels that the modules have set
        start = Start.model_validate(read_message(channel))
        task = tasks[start.task_name]
        with explained(task, withhold(task.environment)):
            outcome = Result(result=dict(_invoke(start, task, outbox, cancelled)))
    except BaseException as exc:  # whatever ends a body is its failure
        if os.getpid() != owner:
            raise
        outcome = failure_of(exc, "the body's process received SIGTERM")
    if os.getpid() != owner:
        return
    outbox.flush_progress()
    outbox.send_outcome(outcome)
    threads = waiting_threads()
    if threads:
        outbox.send(Finishing(threads=threads))
    end_process(opened)


def _invoke(start: Start, task: TaskDefinition, outbox: Outbox, cancelled: SharedFlag) -> Mapping[str, object]:
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
            guards=start.guards,
        )
    )


def waiting_threads() -> list[str]:
    """Names of the threads that Python waits for at exit, except threads of pools, which end by themselves."""
    return [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread() and "ExecutorManagerThread" not in thread.name
    ]


def end_process(opened_before: frozenset[tuple[int, str]] | None) -> None:
    """Do what Python does at the end of a program. Returns only if a full shutdown is needed.

    Args:
        opened_before: the descriptors that were open before the body started; None if unknown.
    """
    threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001 - as the interpreter itself calls it
    atexit._run_exitfuncs()  # noqa: SLF001 - the same
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # the body closed it or set it to None, or nobody reads it
            stream.flush()
    opened = open_descriptors()
    if opened is not None and opened_before is not None and opened <= opened_before:
        os._exit(0)
    gc.unfreeze()  # the last collection must see the objects from before the fork
