"""A worker's executor. The supervisor's end is production's `AttemptUnderWay`, what runs is production's
`AttemptRunner`; here are the process that they are the two ends of, and the store behind the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from contextvars import Token
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeVar

from perago.attempt.body import BodyCall, invoke_in_process
from perago.attempt.context import RunContext
from perago.errors import StoreError, TaskExecutionError
from perago.ports import Event, Observer, PublishWorkspace, WorkerEngine, WorkspaceStore
from perago.values.models import (
    Attempt,
    AttemptIdentity,
    EngineTask,
    RuntimeTaskResult,
    StagedWorkspace,
    TaskExecution,
    WorkspaceInput,
    staging_branch_name,
)
from perago.values.record import InstanceRecord
from perago.values.spec import WorkspaceSpec
from perago.worker.attempts.in_process import AttemptUnderWay, describe_death
from perago.worker.attempts.job import Job
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import AttemptEnd, NotBegun
from perago.worker.executor.link import engine_error
from perago.worker.executor.runner import AttemptRunner, ExecutorStore
from perago.worker.executor.wire import (
    TO_EXECUTOR,
    Answer,
    Ask,
    DeclaredTask,
    Discard,
    Done,
    Sweep,
    attempt_to_json,
    record_from_json,
)
from perago.worker.process.messages import Decoder
from simulation.baton import Actor, Baton, Process, Signal, VirtualClock
from simulation.faults import InjectedError, Tap, ports_of
from simulation.network import Caller, Network
from simulation.results import MachineResults
from simulation.servers import SimulatedStore
from simulation.tasks import RUN, TASKS, BodyRun

T = TypeVar("T")

PUBLISH_TRIES = 3
"""Maximum requests to publish whose answer may be unclear."""

_SIGKILL, _SIGTERM = -9, -15


class SimulatedProcess:
    """An executor's process, as `in_process.RunningProcess`: its messages, its signals, its end."""

    def __init__(self, baton: Baton, process: Process, on_death: Callable[[], None]) -> None:
        self.process = process
        self.actor: Actor | None = None
        self.exit_code: int | None = None
        self.is_cancelled = False
        self._answered = Signal(baton)
        self._answers: dict[int, Answer] = {}
        self._baton = baton
        self._bell = Signal(baton)
        self._sent: list[object] = []
        self._decoder = Decoder()
        self._on_death = on_death
        self._numbers = 0

    def poll(self, seconds: float | None, /) -> list[object]:
        if not self._sent and self.exit_code is None:
            self._bell.wait(seconds)
        sent, self._sent = self._sent, []
        return sent

    def wake(self) -> None:
        self._bell.set()

    def send(self, data: bytes, /) -> None:
        for value in self._decoder.feed(data):
            message = TO_EXECUTOR.validate_python(value)
            if isinstance(message, Answer):
                self._answers[message.number] = message
                self._answered.set()
            else:
                self.is_cancelled = True

    def terminate(self) -> None:
        if self.actor is not None:
            self._baton.interrupt(self.actor, KeyboardInterrupt())

    def kill(self) -> None:
        self.end(_SIGKILL)

    def end(self, exit_code: int) -> None:
        """Let it die: its unfinished work stays as it is."""
        if self.exit_code is None:
            self.process.killed = True
            self.exit_code = exit_code
            self._on_death()
            self._bell.set()

    # ---- from within

    def post(self, message: Ask | Done) -> None:
        """Send something to the supervisor."""
        self._sent.append(json.loads(message.model_dump_json()))
        self._bell.set()

    def ask(self, what: Literal["current", "record"], paths: Collection[str] = ()) -> dict[str, Any]:
        """Ask the supervisor, which asks the engine; raises the engine's error."""
        self._numbers += 1
        number = self._numbers
        self.post(Ask(number=number, what=what, paths=tuple(paths)))
        while number not in self._answers:
            self._answered.wait()
        answer = self._answers.pop(number)
        if answer.value is None:
            raise engine_error(answer.failure)
        return answer.value


@dataclass(frozen=True)
class Line(Tap):
    """The network between one execution and its servers."""

    network: Network
    caller: Caller

    def meet(self, point: str, call: Callable[[], T]) -> T:
        return self.network.call("store", point, self.caller, call)


@dataclass(frozen=True)
class Settled:
    """Settles an unclear publication as the adapters of real stores do: by asking again, because the server finds what
    it has already published.

    Raises:
        StoreError: there was no clear answer.
    """

    publish: PublishWorkspace
    baton: Baton

    def __call__(
        self,
        staged: StagedWorkspace,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
        /,
    ) -> str:
        for _ in range(PUBLISH_TRIES):
            try:
                return self.publish(staged, workspace_input, workspace_spec, execution)
            except InjectedError:
                self.baton.pause(0.2)
        raise StoreError(
            f"whether branch {workspace_input.branch!r} was moved is not known; if it was, a retry finds it"
        )


Between = Callable[[WorkspaceStore], WorkspaceStore]


def nothing_between(store: WorkspaceStore) -> WorkspaceStore:
    """The store itself."""
    return store


@dataclass(frozen=True, kw_only=True)
class WorkerParts:
    """What all executors of a worker share.

    Attributes:
        results: earlier results, as the worker's machine knows them.
        make_body_run: makes the input of a body, in a process.
        note_phase: receives every event of an attempt.
        on_death: called with the last job of a process that died.
        at_server, at_client: wrap the store on the server's and on the attempt's side of the network.
    """

    baton: Baton
    network: Network
    worker: Process
    clock: VirtualClock
    store: SimulatedStore
    runner: AttemptRunner
    results: MachineResults
    engine: WorkerEngine
    journal: Journal
    make_body_run: Callable[[Job, Process], BodyRun]
    note_phase: Callable[[Job, Event], None]
    on_death: Callable[[Job], None]
    at_server: Between = nothing_between
    at_client: Between = nothing_between


_DECLARED: dict[str, DeclaredTask] = {}
"""What executors have declared, kept because it takes milliseconds and a simulation has many executors."""


class SimulatedExecutor(AbstractContextManager["SimulatedExecutor"]):
    """An `executor.Executor`: one attempt at a time, each an actor in the executor's process."""

    def __init__(self, name: str, parts: WorkerParts) -> None:
        self.attempts = 0
        self.memory_bytes = 0
        self.is_spent = False
        self.parts = parts
        self.job: Job | None = None
        self.process = SimulatedProcess(parts.baton, Process(name, parts.worker), self._die)
        results = parts.results.of(self.process.process)
        self._runner = replace(parts.runner, store=_Store(self), results=results)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.end(0)

    # ---- the supervisor's end

    @property
    def is_alive(self) -> bool:
        return self.process.exit_code is None

    def start(self) -> list[DeclaredTask]:
        if not _DECLARED.keys() >= self._runner.tasks.keys():
            _DECLARED.update((task.name, task) for task in self._runner.declared())
        return [_DECLARED[name] for name in self._runner.tasks]

    def abort_start(self) -> None:
        return None

    def wake(self) -> None:
        self.process.wake()

    def wait(self, seconds: float | None) -> None:
        self.process.poll(seconds)

    def run(self, job: Job) -> AttemptEnd:
        if not self.is_alive:
            return NotBegun()
        self.job = job
        job.on_ending(self.wake)
        self.process.is_cancelled = False
        name = f"{self.process.process.name}:{job.execution_id}"
        self.process.actor = self.parts.baton.spawn(name, self.process.process, lambda: self._serve(job))
        return AttemptUnderWay(self.process, self.parts.engine, self.parts.journal, job, self._note).go()

    def look(self, job: Job) -> RuntimeTaskResult | None:
        if not self.is_alive:
            raise TaskExecutionError(f"whether another try completed could not be seen: {self.death()}")
        return self._runner.look(job.attempt, self.parts.engine.load_record)

    def chore(self, order: Discard | Sweep) -> None:
        if isinstance(order, Discard):
            attempt = EngineTask(**order.attempt)
            self._runner.store.discard(attempt, order.execution_id, order.older_than_seconds)
        else:
            self._runner.store.sweep(order.repository, order.older_than_seconds, order.runs_older_than_seconds)

    def death(self) -> str:
        return describe_death(self.process.exit_code)

    def _note(self, done: Done) -> None:
        del done
        self.attempts += 1

    def _die(self) -> None:
        if self.job is not None:
            self.parts.on_death(self.job)

    # ---- within its process

    def _serve(self, job: Job) -> None:
        context = RunContext(
            execution_id=job.execution_id,
            observer=lambda event: self.parts.note_phase(job, event),
            is_cancelled=lambda: self.process.is_cancelled,
            invoke_body=lambda call: self._invoke(job, call),
            clock=self.parts.clock,
            sandbox="off" if TASKS[job.attempt.task_def_name].cache is None else "enforce",
        )
        attempt = EngineTask(**attempt_to_json(job.attempt))
        try:
            result = self._runner.run(attempt, context, self)
        except KeyboardInterrupt:
            self.process.end(_SIGTERM)
            return
        output = None if result.output is None else dict(result.output)
        self.process.post(Done(status=result.status, output=output, reason=result.reason_for_incompletion))

    def load_current_attempt(self, attempt: Attempt, /) -> Attempt:
        del attempt
        return EngineTask(**self.process.ask("current"))

    def load_record(self, attempt: Attempt, paths: Collection[str] = (), /) -> InstanceRecord:
        del attempt
        return record_from_json(self.process.ask("record", paths))

    def _invoke(self, job: Job, call: BodyCall) -> dict[str, Any]:
        run = self.parts.make_body_run(job, self.process.process)
        token: Token[BodyRun] = RUN.set(run)
        try:
            return dict(self.parts.network.body(self.caller, run.seconds, lambda: invoke_in_process(call)))
        finally:
            RUN.reset(token)

    @property
    def caller(self) -> Caller:
        job = self.job
        assert job is not None, "it runs one"
        return Caller(self.parts.worker, self.process.process, job.execution_id, job.attempt)

    @property
    def store(self) -> WorkspaceStore:
        """The store, behind the network."""
        line = Line(self.parts.network, self.caller)
        store = ports_of(self.parts.at_client(line.store(self.parts.at_server(self.parts.store.memory))))
        return replace(store, publish_workspace=Settled(store.publish_workspace, self.parts.baton))


class _Store(ExecutorStore):
    """The store of one executor."""

    def __init__(self, executor: SimulatedExecutor) -> None:
        super().__init__(None)
        self.executor = executor

    def open(self, observer: Observer, merge_seconds: float | None = None) -> WorkspaceStore:
        del observer, merge_seconds
        return self.executor.store

    def discard(self, attempt: Attempt, execution_id: str, older_than_seconds: float) -> None:
        del older_than_seconds
        execution = TaskExecution(attempt=attempt, identity=AttemptIdentity.of(attempt), execution_id=execution_id)
        self.executor.parts.store.drop(staging_branch_name(execution))

    def sweep(self, repository: str, older_than_seconds: float, runs_older_than_seconds: float) -> None:
        del repository
        parts = self.executor.parts
        parts.store.sweep(parts.clock.now().timestamp() - older_than_seconds)
        parts.store.sweep_runs(parts.clock.now(), runs_older_than_seconds)

    def close(self) -> None:
        return None
