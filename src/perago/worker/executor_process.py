"""A supervisor's end of one executor process: start it, have it run attempts, end them, see it gone."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from types import TracebackType
from typing import Self

from perago import errors
from perago.errors import PeragoError, TaskExecutionError
from perago.models import RuntimeTaskResult
from perago.ports import Phase, WorkerEngine
from perago.worker.attempt_runner import result_from
from perago.worker.attempt_under_way import AttemptUnderWay, describe_death, parse_message
from perago.worker.executor_attempt import attempt_to_json
from perago.worker.executor_messages import (
    Ask,
    Configure,
    DeclaredTask,
    Discard,
    Done,
    Look,
    Ready,
    Run,
    Sweep,
)
from perago.worker.job import Died, Finished, Job, NotBegun, Outcome
from perago.worker.journal import Journal
from perago.worker.process.child import GONE_SECONDS, ChildProcess
from perago.worker.process.messages import Failure, Log, encode
from perago.worker.questions import Question

EXECUTOR = "perago.worker.executor_child"

START_SECONDS = 300.0
"""How long loading the modules may take: large ones, on a cold disk."""

CHORE_SECONDS = 60.0
"""How long a look, a discard or a sweep may take."""


class ExecutorProcess(AbstractContextManager["ExecutorProcess"]):
    """One executor. What is not said to be for other threads is for the one that made it.

    Attributes:
        attempts: that it has ended by itself.
        memory_bytes: of its process, after the last one.
        is_spent: a body left what cannot be put back.
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
        """Let `start` fail, if it is under way; for other threads."""
        self._is_aborted = True
        self._process.wake()

    def wake(self) -> None:
        """Let `wait` return, or an attempt's end be looked at; for other threads."""
        self._process.wake()

    def wait(self, seconds: float | None) -> None:
        """Wait until it dies, or somebody calls `wake`, at most that long; None: no bound."""
        for value in self._process.poll(seconds):
            self._take_idle(value)

    def start(self) -> list[DeclaredTask]:
        """Have it load the modules; returns their tasks.

        Raises:
            PeragoError: it could not, as the error says.
        """
        self._process.send(encode(self._configuration.load) + encode(self._configuration))
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
        """See `attempt.report.last_look`, for the attempt that was run last.

        Raises:
            PeragoError: the store or the engine did not answer, or the executor has died.
        """
        self._process.send(encode(Look()))
        done = self._await(CHORE_SECONDS, job)
        if isinstance(done, Failure):
            raise _error_of(done)
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
        self.is_spent = done.is_spent

    def death(self, phase: str = "") -> str:
        """What ended it, for people."""
        return describe_death(self._process.exit_code, phase)

    def _end(self) -> None:
        """Kill it, whatever it still sends, and see it gone."""
        self._process.kill()
        deadline = time.monotonic() + GONE_SECONDS
        while self.is_alive and time.monotonic() < deadline:
            with suppress(TaskExecutionError):
                self._process.poll(max(0.0, deadline - time.monotonic()))

    def _await(self, seconds: float, job: Job | None = None) -> Ready | Failure | Done | None:
        """The next message that answers; None: it died, or took too long and was killed."""
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
        if isinstance(message, Log):  # of a thread that a body left
            self._journal.log(None, message)


def _error_of(failure: Failure) -> PeragoError:
    named = getattr(errors, failure.error, None)
    error = named(failure.reason) if isinstance(named, type) and issubclass(named, PeragoError) else None
    error = error or TaskExecutionError(failure.reason)
    if failure.traceback:
        error.add_note(failure.traceback)
    return error
