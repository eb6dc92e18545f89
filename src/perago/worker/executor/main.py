"""The process of an executor: its main thread reads an order, runs the attempt and answers."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

from perago.attempt.body import BodyCall, invoke_in_process
from perago.attempt.context import RunContext
from perago.errors import PeragoError, required
from perago.tasks.caching import read_code
from perago.tasks.context import LOGGER_ROOT
from perago.tasks.declare import TaskDefinition
from perago.values import redaction
from perago.values.json_text import JsonObject
from perago.values.models import EngineTask, RuntimeTaskResult
from perago.values.sandbox import SandboxRecord
from perago.values.trace_context import trace_context_of
from perago.worker.body.environment import withhold, without_credentials
from perago.worker.body.main import OutboxMetrics, adopt_path, load
from perago.worker.body.printed import MAX_LINES, Printed, PrintedHere
from perago.worker.body.run import ORDERS, BodyProcess
from perago.worker.body.sandbox import expect_sandbox, sandbox_of
from perago.worker.executor.link import PhaseSender, SupervisorLink
from perago.worker.executor.process_state import ProcessState
from perago.worker.executor.runner import AttemptRunner
from perago.worker.executor.wire import (
    CANCEL_GRACE_SECONDS,
    Configure,
    Discard,
    Done,
    Look,
    Ready,
    Run,
    Sweep,
)
from perago.worker.process.child import Offspring
from perago.worker.process.messages import Log, clean_text
from perago.worker.process.outbox import (
    Outbox,
    Terminated,
    failure_of,
    have_plain_forks,
    raise_terminated,
    send_logs_to,
)
from perago.worker.process.reaper import adopt_orphans
from perago.workspace.warm.place import WarmPlace

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
                _Executor(link, outbox, runner, order, orders, withhold()).serve()
    except Terminated:
        _end_by_sigterm()


def _prepare(order: Configure, outbox: Outbox, tasks: Mapping[str, TaskDefinition] | None) -> AttemptRunner | None:
    """Report which tasks can run. None if their modules cannot be loaded, which the supervisor has been told."""
    redaction.learn([] if order.store is None else list(order.store.revealed().values()))
    try:
        if tasks is None:
            adopt_path(order.load)
            tasks = load(order.load, outbox)
        else:
            send_logs_to(outbox, {})  # with the levels that the modules have set
        expect_sandbox(tasks.values(), order.sandbox, Path(order.workspace_root))
        read_code(tasks.values())
    except Terminated:
        raise
    except BaseException as exc:  # noqa: BLE001 - a module may raise anything; the supervisor reports it
        outbox.send(failure_of(exc, _TERMINATED))
        return None
    runner = AttemptRunner.of(order, tasks)
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
        withheld: Mapping[str, str],
    ) -> None:
        self._link = link
        self._warm = WarmPlace(configuration.warm_max_size) if configuration.warm == "on" else None
        self._withheld = withheld
        self._outbox = outbox
        self._runner = runner
        self._runs_free_tasks_warm = configuration.free_tasks == "warm"
        self._sandbox = configuration.sandbox
        self._metrics = OutboxMetrics(outbox)
        self._observer = PhaseSender(outbox)
        self._state = ProcessState()
        self._last: EngineTask | None = None
        self._is_spent = False
        self._own_process = BodyProcess(
            partial(self._start, orders),
            configuration.load,
            grace_seconds=CANCEL_GRACE_SECONDS,
            cancelled=link.is_cancelled,
            on_log=outbox.send,
            on_print=self._tell_line,
            max_lines=MAX_LINES,
            sandbox=configuration.sandbox,
            on_sandbox=self._note_sandbox,
        )
        self._reached: SandboxRecord | None = None
        self._printed_here = PrintedHere(orders)
        self._body: Offspring | None = None

    def serve(self) -> None:
        with nullcontext() if self._warm is None else self._warm:
            self._serve()

    def _serve(self) -> None:
        while (order := self._link.take()) is not None:
            match order:
                case Run():
                    self._answer(self._run(order))
                case Look():
                    self._look()
                case Discard():
                    attempt = EngineTask(**order.attempt)
                    with suppress(PeragoError):  # best effort: the sweep by age comes later
                        self._runner.store.discard(attempt, order.execution_id, order.older_than_seconds)
                    self._answer(None)
                case Sweep():
                    with suppress(PeragoError):
                        self._runner.store.sweep(
                            order.repository, order.older_than_seconds, order.runs_older_than_seconds
                        )
                    self._answer(None)
                case _:
                    continue

    def _run(self, order: Run) -> RuntimeTaskResult:
        self._last = attempt = EngineTask(**order.attempt)
        context = RunContext(
            execution_id=order.execution_id,
            observer=self._observer,
            is_cancelled=self._link.is_cancelled,
            invoke_body=self._invoke_body,
            invoke_guards=self._invoke_body,
            metrics=self._metrics,
            trace=trace_context_of(order.trace),
            sandbox=sandbox_of(self._runner.tasks[attempt.task_def_name], self._sandbox),
            warm=self._warm,
        )
        self._reached = None
        try:
            return self._runner.run(attempt, context, self._link, lambda: self._reached)
        except Terminated:
            raise
        except KeyboardInterrupt:
            return RuntimeTaskResult("FAILED", reason_for_incompletion="the body raised KeyboardInterrupt")

    def _note_sandbox(self, _call: BodyCall, record: SandboxRecord) -> None:
        self._reached = record.after(self._reached)

    def _invoke_body(self, call: BodyCall) -> JsonObject:
        is_confined = sandbox_of(call.task, self._sandbox) != "off"
        if call.workspace is None and self._runs_free_tasks_warm and not is_confined:
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
                    with without_credentials(call.task, self._withheld):
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
        text = clean_text(line)
        self._outbox.send(
            Log(logger=logger, level=logging.INFO, text=text, created=time.time(), fields={"printed": True})
        )

    def _look(self) -> None:
        last = required(self._last, "an attempt was run before")
        try:
            result = self._runner.look(last, self._link.load_record)
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
