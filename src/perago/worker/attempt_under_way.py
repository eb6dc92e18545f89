"""The supervisor's side of one attempt in an executor process: its questions, its end, what it comes to."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from pydantic import ValidationError

from perago.errors import EngineError, TaskExecutionError
from perago.ports import WorkerEngine
from perago.worker.attempt_runner import result_from
from perago.worker.endings import Cause, Step, next_step
from perago.worker.executor_messages import FROM_EXECUTOR, Ask, Done, PhaseEvent
from perago.worker.job import Died, Ended, Finished, Job, Outcome
from perago.worker.journal import Journal
from perago.worker.process.messages import Cancel, Log, Message, Metric, encode
from perago.worker.questions import Question


class Process(Protocol):
    """An executor's process, as `ChildProcess` is one."""

    @property
    def exit_code(self) -> int | None: ...

    def poll(self, seconds: float | None, /) -> Iterable[object]:
        """What it sent, as soon as there is something; nothing when the seconds are over, or it has ended."""
        ...

    def send(self, data: bytes, /) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class AttemptUnderWay:
    """One attempt in an executor that has been told to run it.

    Args:
        on_done: gets what the executor tells at the end.
    """

    def __init__(
        self, process: Process, engine: WorkerEngine, journal: Journal, job: Job, on_done: Callable[[Done], None]
    ) -> None:
        self._process = process
        self._engine = engine
        self._journal = journal
        self._job = job
        self._on_done = on_done
        self._questions: list[Question] = []
        self._taken = Step.NONE
        self._done: Done | None = None

    def go(self) -> Outcome:
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
                raise TaskExecutionError("the executor sent what has no place in an attempt")

    def _hold_when_due(self) -> float | None:
        """Keep the lease from some moment on; the seconds until then. A question may take long: it comes before any."""
        if self._job.is_void:
            self._job.let_lease_go()  # it would keep the task from others; nobody waits here for one in flight
            return None
        if self._job.lease is not None:
            return None
        seconds = self._job.seconds_until_hold()
        if seconds > 0 and not self._questions:
            return seconds
        with suppress(EngineError):  # the watch tells of it, and tries again each second
            self._job.hold(self._engine)
        return None

    def _ask_what_is_due(self) -> float | None:
        """Put the questions that are due; the seconds until the next one is."""
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
        """Take the step that is due; the seconds until the next one is."""
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

    def _outcome(self) -> Outcome:
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
    """What an executor sent.

    Raises:
        TaskExecutionError: it is no message.
    """
    try:
        message: Message = FROM_EXECUTOR.validate_python(value)
    except ValidationError as exc:
        raise TaskExecutionError(f"the executor sent what is no message: {exc}") from None
    return message


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
