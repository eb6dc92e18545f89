"""An executor in its own process: start it, run attempts in it, end them, and wait for its end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from types import TracebackType
from typing import Protocol, Self

from pydantic import ValidationError

from perago.errors import EngineError, PeragoError, TaskExecutionError
from perago.ports import Phase, WorkerEngine
from perago.values.models import RuntimeTaskResult
from perago.worker.attempts.job import Cause, Job, Step, next_step
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import AttemptEnd, Died, Ended, Finished, NotBegun, Question
from perago.worker.executor.wire import (
    FROM_EXECUTOR,
    Ask,
    Configure,
    DeclaredTask,
    Discard,
    Done,
    Look,
    PhaseEvent,
    Ready,
    Run,
    Sweep,
    attempt_to_json,
    result_from,
)
from perago.worker.process.child import GONE_SECONDS, ChildProcess
from perago.worker.process.messages import (
    CHANNEL_CLOSED,
    CLOSED_BY_BODY,
    Cancel,
    Failure,
    Log,
    Message,
    Metric,
    encode,
)

EXECUTOR = "perago.worker.executor.zygote"

START_SECONDS = 300.0
"""Time limit for loading the modules: enough for large ones on a cold disk."""

CHORE_SECONDS = 60.0
"""Time limit for a look, a discard or a sweep."""


class ExecutorProcess(AbstractContextManager["ExecutorProcess"]):
    """One executor. Only the thread that made it may call it, except where a method says otherwise.

    Attributes:
        attempts: number of attempts that ended by themselves.
        memory_bytes: memory of the process after the last attempt.
        is_spent: a body has changed process state that cannot be restored.
    """

    def __init__(self, configuration: Configure, engine: WorkerEngine, journal: Journal) -> None:
        self.attempts = 0
        self.memory_bytes = 0
        self.is_spent = False
        self._is_aborted = False
        self._configuration = configuration
        self._engine = engine
        self._journal = journal
        self._process = ChildProcess(EXECUTOR)

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self._process.__exit__(kind, error, traceback)

    @property
    def is_alive(self) -> bool:
        return self._process.exit_code is None

    def abort_start(self) -> None:
        """Make a running `start` fail. For any thread."""
        self._is_aborted = True
        self._process.wake()

    def wake(self) -> None:
        """Make `wait` return, or a running attempt check whether it must end. For any thread."""
        self._process.wake()

    def wait(self, seconds: float | None) -> None:
        """Wait until the process dies or `wake` is called, at most that long; None: no limit."""
        for value in self._process.poll(seconds):
            self._take_idle(value)

    def start(self) -> list[DeclaredTask]:
        """Load the modules in the process; returns their tasks.

        Raises:
            PeragoError: the modules could not be loaded.
        """
        self._process.send(encode(self._configuration.load) + encode(self._configuration))
        answer = self._await(START_SECONDS)
        self._is_aborted = False
        if isinstance(answer, Ready):
            return answer.tasks
        if isinstance(answer, Failure):
            raise answer.as_error(PeragoError, TaskExecutionError)
        raise TaskExecutionError(self.death() if answer is None else "the executor did not begin with an answer")

    def run(self, job: Job) -> AttemptEnd:
        """Run one attempt until it ends, or the process dies."""
        self._process.poll(0)
        if not self.is_alive:
            return NotBegun()
        trace = {} if job.trace is None else asdict(job.trace)
        order = Run(attempt=attempt_to_json(job.attempt), execution_id=job.execution_id, trace=trace)
        try:
            self._process.send(encode(order))
        except ValueError as exc:
            reason = f"the task's input cannot be passed to the executor: {exc}"
            return Finished(RuntimeTaskResult("FAILED", reason_for_incompletion=reason))
        job.phase = Phase.PARSE.value
        job.on_ending(self.wake)
        try:
            return AttemptUnderWay(self._process, self._engine, self._journal, job, self.note).go()
        except TaskExecutionError as exc:
            self._end()
            return Died(str(exc))

    def look(self, job: Job) -> RuntimeTaskResult | None:
        """The last look of `attempt.report.last_look`, for the attempt that ran last.

        Raises:
            PeragoError: the store or the engine did not answer, or the executor died.
        """
        self._process.send(encode(Look()))
        done = self._await(CHORE_SECONDS, job)
        if isinstance(done, Failure):
            raise done.as_error(PeragoError, TaskExecutionError)
        if not isinstance(done, Done):
            raise TaskExecutionError(f"cannot tell whether another try has completed: {self.death()}")
        return result_from(done.status, done.output, done.reason)

    def chore(self, order: Discard | Sweep) -> None:
        """Remove what dead attempts have staged; best effort."""
        self._process.send(encode(order))
        self._await(CHORE_SECONDS)

    def note(self, done: Done) -> None:
        """Note the figures that come with the end of an attempt."""
        self.attempts += 1
        self.memory_bytes = done.memory_bytes
        self.is_spent = done.is_spent

    def death(self) -> str:
        """What ended the process, in words."""
        return describe_death(self._process.exit_code)

    def _end(self) -> None:
        """Kill the process and wait for its end; ignore what it still sends."""
        self._process.kill()
        deadline = time.monotonic() + GONE_SECONDS
        while self.is_alive and time.monotonic() < deadline:
            with suppress(TaskExecutionError):
                self._process.poll(max(0.0, deadline - time.monotonic()))

    def _await(self, seconds: float, job: Job | None = None) -> Ready | Failure | Done | None:
        """The next answer. Returns None if the process died, or took too long and was killed."""
        deadline = time.monotonic() + seconds
        while self.is_alive:
            for value in self._process.poll(max(0.0, deadline - time.monotonic())):
                message = parse_message(value)
                if isinstance(message, Ask) and job is not None:
                    answer = Question(message, job.clock).put(self._engine, job.attempt, patient=False)
                    if answer is not None:
                        self._process.send(encode(answer))
                elif isinstance(message, Ready | Failure | Done):
                    return message
                elif isinstance(message, Log):
                    self._journal.log(job, message)
            if time.monotonic() >= deadline or self._is_aborted:
                self._process.kill()
        return None

    def _take_idle(self, value: object) -> None:
        message = parse_message(value)
        if isinstance(message, Log):  # from a thread that a body left behind
            self._journal.log(None, message)


class RunningProcess(Protocol):
    """An executor's process; `ChildProcess` is one."""

    @property
    def exit_code(self) -> int | None: ...

    def poll(self, seconds: float | None, /) -> Iterable[object]:
        """Wait for messages and return them. Returns none when the time is over or the process has ended."""
        ...

    def send(self, data: bytes, /) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class AttemptUnderWay:
    """One attempt in an executor that has been ordered to run it.

    Args:
        on_done: called with the executor's last message.
    """

    def __init__(
        self, process: RunningProcess, engine: WorkerEngine, journal: Journal, job: Job, on_done: Callable[[Done], None]
    ) -> None:
        self._process = process
        self._engine = engine
        self._journal = journal
        self._job = job
        self._on_done = on_done
        self._questions: list[Question] = []
        self._taken = Step.NONE
        self._done: Done | None = None

    def go(self) -> AttemptEnd:
        while self._process.exit_code is None and self._done is None:
            seconds = self._shortest(self._end_what_is_to_end(), self._hold_when_due(), self._ask_what_is_due())
            for value in self._process.poll(seconds):
                self._take(parse_message(value))
        return self._outcome()

    def _take(self, message: Message) -> None:
        match message:
            case Done():
                self._done = message
                self._on_done(message)
            case PhaseEvent():
                self._journal.phase(self._job, message)
            case Log():
                self._journal.log(self._job, message)
            case Metric():
                self._journal.metric(self._job, message)
            case Ask():
                self._questions.append(Question(message, self._job.clock))
            case _:
                raise TaskExecutionError("the executor sent a message that does not belong to an attempt")

    def _hold_when_due(self) -> float | None:
        """Hold the lease when it is due, and before a question, which may take long. Returns the seconds until then."""
        if self._job.is_void:
            self._job.let_lease_go()  # it would keep the task from others; do not wait for the heartbeat in flight
            return None
        if self._job.lease is not None:
            return None
        seconds = self._job.seconds_until_hold()
        if seconds > 0 and not self._questions:
            return seconds
        with suppress(EngineError):  # the watchdog logs it, and retries each second
            self._job.hold(self._engine)
        return None

    def _ask_what_is_due(self) -> float | None:
        """Ask the questions that are due; returns the seconds until the next one is due."""
        for question in list(self._questions):
            if question.due > self._job.clock.monotonic():
                continue
            answer = question.put(self._engine, self._job.attempt, patient=self._job.ending is None)
            if answer is not None:
                self._questions.remove(question)
                self._process.send(encode(answer))
        if not self._questions:
            return None
        return max(0.0, min(question.due for question in self._questions) - self._job.clock.monotonic())

    def _end_what_is_to_end(self) -> float | None:
        """Take the steps that are due; returns the seconds until the next one is due."""
        while self._job.ending is not None:
            cause, since = self._job.ending
            step, seconds = next_step(cause, self._job.phase, self._taken, self._job.clock.monotonic() - since)
            if step is Step.NONE:
                return seconds
            self._taken = step
            if step is Step.TELL:
                self._process.send(encode(Cancel()))
            elif step is Step.TERMINATE:
                self._process.terminate()
            else:
                self._process.kill()
        return None

    def _outcome(self) -> AttemptEnd:
        result = None
        if self._done is not None:
            result = result_from(self._done.status, self._done.output, self._done.reason)
        ending = self._job.ending
        if ending is not None and (result is None or ending[0] is Cause.CANCELLED or result.status != "COMPLETED"):
            return Ended(ending[0], was_signalled=self._taken >= Step.TERMINATE)
        if result is None:
            return Died(describe_death(self._process.exit_code, self._job.phase))
        return Finished(result)

    @staticmethod
    def _shortest(*seconds: float | None) -> float | None:
        return min((each for each in seconds if each is not None), default=None)


def parse_message(value: object) -> Message:
    """Parse a message of an executor.

    Raises:
        TaskExecutionError: it is not a valid message.
    """
    try:
        message: Message = FROM_EXECUTOR.validate_python(value)
    except ValidationError as exc:
        raise TaskExecutionError(f"the executor sent an invalid message: {exc}") from None
    return message


def describe_death(exit_code: int | None, phase: str = "") -> str:
    """What ended an executor's process, in words.

    Args:
        phase: phase of its attempt at that time.
    """
    where = f" in phase {phase}" if phase else ""
    if exit_code is None:
        return f"the executor's process did not answer{where}"
    if exit_code == CHANNEL_CLOSED:
        return f"the body {CLOSED_BY_BODY}"
    if exit_code >= 0:
        return f"the executor's process exited with code {exit_code}{where}; a body must not end its process"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = "; if nobody did that, the machine ran out of memory" if -exit_code == signal.SIGKILL else ""
    return f"the executor's process was ended by {name}{where}{hint}"
