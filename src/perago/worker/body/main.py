"""The process of a body: load the modules, take the call, run the function, send the result.

Its end is the interpreter's own, however long that takes. What is still to be written then (by `atexit` functions,
finalizers, buffers, C libraries) cannot be told from outside, and would be missing in what is published.
"""

from __future__ import annotations

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

from perago.attempt.body import BodyCall, invoke_in_own_process
from perago.errors import TaskDefinitionError
from perago.tasks.context import TaskContext
from perago.tasks.declare import TaskDefinition
from perago.tasks.import_path import prefer_installed
from perago.tasks.load import load_module_tasks
from perago.tasks.metrics import Instrument, MetricRecorder
from perago.tasks.params import validate_params
from perago.tasks.secrets import secrets_of
from perago.values import redaction
from perago.values.models import AttemptIdentity
from perago.values.redaction import mask_text
from perago.values.trace_context import trace_context_of
from perago.worker.body.confinement import Allowed, confine, source_modules
from perago.worker.body.environment import explained, withhold
from perago.worker.body.reach import Watch
from perago.worker.process.messages import (
    Failure,
    Finishing,
    Load,
    Metric,
    Outside,
    Result,
    Start,
    clean_text,
    read_message,
)
from perago.worker.process.outbox import Outbox, failure_of, have_plain_forks, send_logs_to
from perago.worker.process.shared_flag import SharedFlag


def adopt_path(order: Load) -> None:
    """Import from where the caller does."""
    sys.path[:] = order.sys_path


def load(order: Load, outbox: Outbox) -> dict[str, TaskDefinition]:
    """Adopt the caller's directory, and load the modules that it names; raises as `load_tasks`."""
    if order.cwd is not None:
        os.chdir(order.cwd)
        prefer_installed(order.cwd)
    send_logs_to(outbox, order.log_levels)
    return load_tasks(order.targets)


def load_tasks(targets: list[str]) -> dict[str, TaskDefinition]:
    """All the tasks of some targets, and those of their workflows, by name.

    Raises:
        TaskDefinitionError: a module cannot be loaded or has no task, or two tasks have the same name.
    """
    found: dict[str, TaskDefinition] = {}
    for target in targets:
        for task in _tasks_of(target):
            other = found.setdefault(task.name, task)
            if other is not task:
                raise TaskDefinitionError(
                    f"{other.target} and {task.target} are both named {task.name!r}; a worker runs one task per name"
                )
    return found


def _tasks_of(target: str) -> list[TaskDefinition]:
    """The tasks of a target, and those of its workflows but for Perago's own, which a worker serves anyway.

    Workflows are looked for only where a module has loaded what declares them: that takes 10 ms.
    """
    try:
        tasks = load_module_tasks(target)
    except TaskDefinitionError:
        if _DECLARES_WORKFLOWS not in sys.modules:
            raise
        tasks = []
    if _DECLARES_WORKFLOWS not in sys.modules:
        return tasks
    from perago.workflows.load import load_declared

    return [task for task in load_declared(target).all_tasks if task in tasks or not task.is_builtin]


_DECLARES_WORKFLOWS = "perago.workflows.declare"


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
        self._send(instrument, name, value, labels)

    def deliver_gauge(self, name: str, value: float, labels: Mapping[str, str], step: float | None) -> None:
        self._send("gauge", name, value, labels, step)

    def _send(
        self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str], step: float | None = None
    ) -> None:
        masked = {label: mask_text(text) for label, text in labels.items()}  # secrets of params are known only here
        self._outbox.send(Metric(instrument=instrument, name=name, value=value, labels=masked, step=step))


def run_body(
    channel: socket.socket,
    cancelled: SharedFlag,
    tasks: Mapping[str, TaskDefinition] | None = None,
    *,
    system: Allowed | None = None,
) -> None:
    """Take one call from the channel, run it, and send its result. The process has to end after that as Python does.

    A fork that leaves the body returns from here, too, or raises its error. The attempt belongs to its parent.

    Args:
        tasks: the loaded tasks by name. None loads them now, as the channel says.
        system: see `confine`.
    """
    owner = os.getpid()
    have_plain_forks(channel)
    redaction.learn(redaction.secrets_of_environment(os.environ))
    outbox = Outbox(channel)
    outcome: Result | Failure
    start, watch, loaded, has_key = None, Watch(), frozenset(sys.modules), False
    try:
        order = Load.model_validate(read_message(channel))
        start = Start.model_validate(read_message(channel))
        if tasks is None:
            adopt_path(order)
        watch = confine(start.confinement, order.targets, system)
        if tasks is None:
            tasks = load(order, outbox)
        else:
            send_logs_to(outbox, {})  # with the levels that the modules have set
        loaded = frozenset(sys.modules)
        watch.opened.clear()  # what modules read while they are imported is no part of a key
        task = tasks[start.task_name]
        has_key = task.cache is not None and not task.cache.is_trusted
        with explained(task, (*watch.withheld, *withhold(task.environment))):
            outcome = Result(result=dict(_invoke(start, task, outbox, cancelled)))
    except BaseException as exc:  # whatever ends a body is its failure
        if os.getpid() != owner:
            raise
        outcome = failure_of(exc, "the body's process received SIGTERM")
        if start is not None and start.confinement is not None and start.confinement.mode == "enforce":
            with suppress(Exception):  # an explanation is no reason to lose the outcome
                outcome = outcome.model_copy(
                    update={"reason": outcome.reason + mask_text(watch.explain(exc, has_key=has_key))}
                )
    if os.getpid() != owner:
        return
    if start is not None and start.confinement is not None:
        watch.tells_late = True  # what its threads do after this, and what it has registered with atexit
        reached = [clean_text(mask_text(str(one))) for one in list(watch.reached)]
        modules = source_modules(sys.modules.keys() - loaded)
        opened = [clean_text(mask_text(path)) for path in list(watch.opened)]
        if reached or modules or opened:
            outbox.send(Outside(reached=reached, more=watch.more, modules=modules, opened=opened))
    outbox.flush_progress()
    outbox.send_outcome(outcome)
    threads = waiting_threads()
    if threads:
        outbox.send(Finishing(threads=threads))


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
