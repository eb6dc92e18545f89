"""What happens in an executor: load the modules once, then run one attempt after the other, as ordered."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from perago import redaction
from perago.attempt.body import BodyCall, invoke_in_process
from perago.errors import PeragoError
from perago.json_text import JsonObject
from perago.models import RuntimeTaskResult
from perago.trace_context import trace_context_of
from perago.worker.attempt_runner import AttemptRunner, Surroundings, load_tasks
from perago.worker.executor_attempt import ExecutorAttempt
from perago.worker.executor_messages import Configure, Discard, Done, Look, Ready, Run, Sweep
from perago.worker.executor_store import ExecutorStore
from perago.worker.memory import memory_bytes
from perago.worker.outbox import Outbox, OutboxMetrics, Terminated, failure_of, raise_terminated, send_logs_to
from perago.worker.phase_sender import PhaseSender
from perago.worker.reaper import adopt_orphans, children, end_children
from perago.worker.supervisor_link import SupervisorLink

_TERMINATED = "the executor was sent SIGTERM"


def run_executor(channel: socket.socket) -> None:
    """Serve one supervisor until it goes, or SIGTERM comes."""
    signal.signal(signal.SIGTERM, raise_terminated)
    adopt_orphans()  # so that a look at this process's children tells what a body left behind
    redaction.learn(redaction.secrets_of_environment(os.environ))
    outbox = Outbox(channel)
    link = SupervisorLink(channel, outbox)
    try:
        runner = _prepare(link, outbox)
        if runner is not None:
            _Executor(link, outbox, runner).serve()
    except Terminated:
        _end_by_sigterm()


def _prepare(link: SupervisorLink, outbox: Outbox) -> AttemptRunner | None:
    """Load the modules, and say so; None: it failed, or the supervisor has gone."""
    order = link.take()
    if not isinstance(order, Configure):
        return None
    try:
        redaction.learn([] if order.store is None else order.store.secrets())
        sys.path[:] = order.sys_path
        if order.cwd is not None:
            os.chdir(order.cwd)
        send_logs_to(outbox, order.log_levels)
        runner = AttemptRunner(
            tasks=load_tasks(order.targets),
            store=ExecutorStore(order.store),
            workspace_root=Path(order.workspace_root),
            worker_id=order.worker_id,
            failure_reason_max_length=order.failure_reason_max_length,
        )
        outbox.send(Ready(tasks=runner.declared()))
    except Terminated:
        raise
    except BaseException as exc:  # noqa: BLE001 - a module may raise anything; the supervisor tells it
        outbox.send(failure_of(exc, _TERMINATED))
        return None
    return runner


class _Executor:
    """Carries out orders in the main thread, where SIGTERM interrupts a body."""

    def __init__(self, link: SupervisorLink, outbox: Outbox, runner: AttemptRunner) -> None:
        self._link = link
        self._outbox = outbox
        self._runner = runner
        self._metrics = OutboxMetrics(outbox)
        self._observer = PhaseSender(outbox)
        self._unchanged = _UnchangedProcess()
        self._last: ExecutorAttempt | None = None
        self._left_processes = False
        self._of_modules = frozenset(children())

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
        around = Surroundings(
            load_current_attempt=self._link.load_current_attempt,
            load_record=self._link.load_record,
            observer=self._observer,
            is_cancelled=self._link.is_cancelled,
            invoke_body=self._invoke_body,
            metrics=self._metrics,
            trace=trace_context_of(order.trace),
        )
        try:
            with self._unchanged:
                os.environ.update({} if around.trace is None else around.trace.as_environment())
                return self._runner.run(attempt, order.execution_id, around)
        except Terminated:
            raise
        except KeyboardInterrupt:
            return RuntimeTaskResult("FAILED", reason_for_incompletion="the body raised KeyboardInterrupt")

    def _invoke_body(self, call: BodyCall) -> JsonObject:
        """Run a body, and end what it leaves running: that would write on while its workspace is compared and sent."""
        try:
            return invoke_in_process(call)
        finally:
            self._end_children()

    def _end_children(self) -> None:
        """Those that a body left, not those that its module started when it was loaded."""
        self._left_processes |= end_children(self._of_modules | _resource_tracker())

    def _look(self) -> None:
        assert self._last is not None, "an attempt was run before"
        try:
            result = self._runner.look(self._last, self._link.load_record)
        except PeragoError as exc:  # the store is away, or the engine: no reason to end
            self._outbox.send(failure_of(exc, _TERMINATED))
        else:
            self._answer(result)

    def _answer(self, result: RuntimeTaskResult | None) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # closed by the body, or by the reader
                stream.flush()
        facts: dict[str, Any] = {"memory_bytes": memory_bytes(), "leaves_processes": self._left_processes}
        if result is None:
            self._outbox.send(Done(**facts))
            return
        reason = result.reason_for_incompletion
        output = None if result.output is None else dict(result.output)
        try:
            self._outbox.send(Done(status=result.status, output=output, reason=reason, **facts))
        except ValueError as exc:
            fault = f"the result cannot be passed on: {exc}"
            self._outbox.send(Done(status="FAILED", reason=fault, **facts))


class _UnchangedProcess:
    """What a body may change of its process, and the next one must not find changed: it is after each as it is now."""

    def __init__(self) -> None:
        self._cwd = os.getcwd()  # noqa: PTH109 - goes back to chdir as it is
        self._environment = _environment()
        self._path = list(sys.path)

    def __enter__(self) -> None:
        """Nothing to be done: nobody else runs here between two bodies."""

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            os.chdir(self._cwd)
        if _environment() != self._environment:
            os.environ.clear()
            os.environb.update(self._environment)
        sys.path[:] = self._path
        signal.signal(signal.SIGTERM, raise_terminated)


def _environment() -> dict[bytes, bytes]:
    """What the process's environment is now, as bytes: nothing is decoded to see that nothing has changed."""
    # Python keeps a plain dictionary below: to copy that takes a fortieth of the time. Without it the rest is as good.
    return {**getattr(os.environb, "_data", os.environb)}


def _resource_tracker() -> set[int]:
    """The process that multiprocessing starts once, and keeps for as long as this one: no body leaves it."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    pid = getattr(getattr(module, "_resource_tracker", None), "_pid", None)
    return {pid} if isinstance(pid, int) else set()


def _end_by_sigterm() -> NoReturn:
    """End as SIGTERM ends a process, now that everything is cleaned up."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(1)  # pragma: no cover - the signal was faster
