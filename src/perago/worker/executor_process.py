"""A supervisor's end of one executor process: start it, have it run attempts, end them, see it gone."""

from __future__ import annotations

import signal
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from perago import errors
from perago.errors import PeragoError, TaskExecutionError
from perago.models import RuntimeTaskResult
from perago.ports import Engine
from perago.worker.attempt_runner import result_from
from perago.worker.child_process import EXECUTOR, ChildProcess
from perago.worker.endings import Cause, Step, next_step
from perago.worker.executor_attempt import attempt_to_json
from perago.worker.executor_messages import (
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
)
from perago.worker.job import Died, Ended, Finished, Job, NotBegun, Outcome
from perago.worker.journal import Journal
from perago.worker.messages import Cancel, Failure, Log, Message, Metric, encode
from perago.worker.questions import Question

START_SECONDS = 300.0
"""How long loading the modules may take: large ones, on a cold disk."""

CHORE_SECONDS = 60.0
"""How long a look, a discard or a sweep may take."""


class ExecutorProcess(AbstractContextManager["ExecutorProcess"]):
    """One executor. What is not said to be for other threads is for the one that made it.

    Attributes:
        attempts: that it has ended by itself.
        memory_bytes: of its process, after the last one.
        leaves_processes: its last body left some running.
    """

    def __init__(self, configuration: Configure, engine: Engine, journal: Journal) -> None:
        self.attempts = 0
        self.memory_bytes = 0
        self.leaves_processes = False
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
        """Let `start` fail, if it is under way; for other threads."""
        self._is_aborted = True
        self._process.wake()

    def wake(self) -> None:
        """Let `wait` return, or an attempt's end be looked at; for other threads."""
        self._process.wake()

    def wait(self) -> None:
        """Wait until it dies, or somebody calls `wake`."""
        for value in self._process.poll(None):
            self._take_idle(value)

    def start(self) -> list[DeclaredTask]:
        """Have it load the modules; returns their tasks.

        Raises:
            PeragoError: it could not, as the error says.
        """
        self._process.send(encode(self._configuration))
        answer = self._await(START_SECONDS)
        self._is_aborted = False
        if isinstance(answer, Ready):
            return answer.tasks
        if isinstance(answer, Failure):
            raise _error_of(answer)
        raise TaskExecutionError(self.death() if answer is None else "the executor began with something else")

    def run(self, job: Job) -> Outcome:
        """Run one attempt to its end, or to the executor's."""
        self._process.poll(0)
        if not self.is_alive:
            return NotBegun()
        order = Run(attempt=attempt_to_json(job.attempt), execution_id=job.execution_id)
        try:
            self._process.send(encode(order))
        except ValueError as exc:
            reason = f"the task's input cannot be passed to the executor: {exc}"
            return Finished(RuntimeTaskResult("FAILED", reason_for_incompletion=reason))
        job.on_ending(self.wake)
        try:
            return _Attempt(self._process, self._engine, self._journal, job, self).go()
        except TaskExecutionError as exc:
            self._process.kill()
            self._await(CHORE_SECONDS)
            return Died(str(exc))

    def look(self, job: Job) -> RuntimeTaskResult | None:
        """See `attempt.report.last_look`, for the attempt that was run last.

        Raises:
            TaskExecutionError: the executor has died.
        """
        self._process.send(encode(Look()))
        done = self._await(CHORE_SECONDS, job)
        if not isinstance(done, Done):
            raise TaskExecutionError(f"whether another try completed could not be seen: {self.death()}")
        return result_from(done.status, done.output, done.reason)

    def chore(self, order: Discard | Sweep) -> None:
        """Have what dead attempts left removed; best effort."""
        self._process.send(encode(order))
        self._await(CHORE_SECONDS)

    def note(self, done: Done) -> None:
        """Take down what is told after an attempt."""
        self.attempts += 1
        self.memory_bytes = done.memory_bytes
        self.leaves_processes = done.leaves_processes

    def death(self, phase: str = "") -> str:
        """What ended it, for people."""
        return describe_death(self._process.exit_code, phase)

    def _await(self, seconds: float, job: Job | None = None) -> Ready | Failure | Done | None:
        """The next message that answers; None: it died, or took too long and was killed."""
        deadline = time.monotonic() + seconds
        while self.is_alive:
            for value in self._process.poll(max(0.0, deadline - time.monotonic())):
                message = _parsed(value)
                if isinstance(message, Ask) and job is not None:
                    answer = Question(message).put(self._engine, job.attempt, patient=False)
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
        message = _parsed(value)
        if isinstance(message, Log):  # of a thread that a body left
            self._journal.log(None, message)


class _Attempt:
    """One attempt under way in an executor."""

    def __init__(
        self, process: ChildProcess, engine: Engine, journal: Journal, job: Job, executor: ExecutorProcess
    ) -> None:
        self._process = process
        self._engine = engine
        self._journal = journal
        self._job = job
        self._executor = executor
        self._questions: list[Question] = []
        self._taken = Step.NONE
        self._done: Done | None = None

    def go(self) -> Outcome:
        while self._process.exit_code is None and self._done is None:
            seconds = self._shortest(self._end_what_is_to_end(), self._ask_what_is_due())
            for value in self._process.poll(seconds):
                self._take(_parsed(value))
        return self._outcome()

    def _take(self, message: Message) -> None:
        match message:
            case Done():
                self._done = message
                self._executor.note(message)
            case PhaseEvent():
                self._journal.phase(self._job, message)
            case Log():
                self._journal.log(self._job, message)
            case Metric():
                self._journal.metric(self._job, message)
            case Ask():
                self._questions.append(Question(message))
            case _:
                raise TaskExecutionError("the executor sent what has no place in an attempt")

    def _ask_what_is_due(self) -> float | None:
        """Put the questions that are due; the seconds until the next one is."""
        for question in list(self._questions):
            if question.due > time.monotonic():
                continue
            answer = question.put(self._engine, self._job.attempt, patient=self._job.ending is None)
            if answer is not None:
                self._questions.remove(question)
                self._process.send(encode(answer))
        if not self._questions:
            return None
        return max(0.0, min(question.due for question in self._questions) - time.monotonic())

    def _end_what_is_to_end(self) -> float | None:
        """Take the step that is due; the seconds until the next one is."""
        while self._job.ending is not None:
            cause, since = self._job.ending
            step, seconds = next_step(cause, self._job.phase, self._taken, time.monotonic() - since)
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

    def _outcome(self) -> Outcome:
        result = None
        if self._done is not None:
            result = result_from(self._done.status, self._done.output, self._done.reason)
        ending = self._job.ending
        if ending is not None and (result is None or ending[0] is Cause.CANCELLED or result.status != "COMPLETED"):
            return Ended(ending[0])
        if result is None:
            return Died(self._executor.death(self._job.phase))
        return Finished(result)

    @staticmethod
    def _shortest(*seconds: float | None) -> float | None:
        return min((each for each in seconds if each is not None), default=None)


def _parsed(value: object) -> Message:
    try:
        message: Message = FROM_EXECUTOR.validate_python(value)
    except ValidationError as exc:
        raise TaskExecutionError(f"the executor sent what is no message: {exc}") from None
    return message


def _error_of(failure: Failure) -> PeragoError:
    named = getattr(errors, failure.error, None)
    error = named(failure.reason) if isinstance(named, type) and issubclass(named, PeragoError) else None
    error = error or TaskExecutionError(failure.reason)
    if failure.traceback:
        error.add_note(failure.traceback)
    return error


def describe_death(exit_code: int | None, phase: str = "") -> str:
    """What ended an executor's process.

    Args:
        phase: that its attempt was in.
    """
    where = f" in phase {phase}" if phase else ""
    if exit_code is None:
        return f"the executor's process did not answer{where}"
    if exit_code >= 0:
        return f"the executor's process exited with code {exit_code}{where}; a body must not end its process"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = "; if nobody did that, the machine ran out of memory" if -exit_code == signal.SIGKILL else ""
    return f"the executor's process was ended by {name}{where}{hint}"
