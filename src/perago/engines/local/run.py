"""A run that this process holds: its tries, and its lock."""

from __future__ import annotations

import os
import platform
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from perago.engines.local.directory import RunsDirectory
from perago.engines.local.live import LiveTries
from perago.engines.local.record import POLL_COUNT, RunRecord, TryEntry
from perago.engines.local.record_json import AnyRecord
from perago.engines.local.workflow_record import WorkflowRecord, WorkflowTry
from perago.errors import EngineError, required
from perago.files.lock import FileLock
from perago.ports import Clock
from perago.values.code import CodeVersion
from perago.values.json_text import JsonObject
from perago.values.models import EngineTask, RuntimeTaskResult
from perago.values.record import WITHIN, TryStatus, WorkflowStatus
from perago.values.redaction import mask_json
from perago.values.sandbox import SandboxRecord


def attempt_of(record: AnyRecord, entry: TryEntry, status: TryStatus) -> EngineTask:
    """A try of a run as an attempt. Its input is not part of it."""
    if isinstance(entry, WorkflowTry):
        names = (entry.reference_task_name, entry.task_name)
    else:
        task = required(record if isinstance(record, RunRecord) else None, "a try without a name is of a task")
        names = (task.task_name, task.task_name)
    return EngineTask(
        status=status.value,
        workflow_instance_id=record.run_id,
        task_id=entry.task_id,
        retry_count=entry.retry_count,
        reference_task_name=names[0],
        task_def_name=names[1],
        scheduled_time=entry.scheduled_time,
        poll_count=POLL_COUNT,
        seq=entry.retry_count + 1,
        iteration=0,
        workflow_type=record.name if isinstance(record, WorkflowRecord) else None,
    )


Record = TypeVar("Record", RunRecord, WorkflowRecord)


class HeldRun(ABC, Generic[Record]):
    """A run that this process holds. The receiver must close it, best as a context manager.

    Methods may be called from any thread, but not from a signal handler. A fork of the process does not hold the run.

    Attributes:
        input_data: the input of the task or workflow. What is masked in the record is masked here too, unless a resume
            was given it.
        live: the notes on the live tries.
    """

    def __init__(
        self,
        directory: RunsDirectory,
        lock: FileLock,
        record: Record,
        input_data: JsonObject,
        on_close: Callable[[Any], None],
    ) -> None:
        self.input_data = input_data
        self._directory = directory
        self._lock = lock
        self._record: Record = record
        self._on_close = on_close
        self._mutex = threading.RLock()
        self._cancelled = False
        self._is_settled = True
        self.live = LiveTries(lambda content: directory.write_live(record.run_id, content))

    @property
    def run_id(self) -> str:
        return self._record.run_id

    @property
    def target(self) -> str:
        return self._record.target

    @property
    def options(self) -> JsonObject:
        """The options that the run was started with."""
        return self._record.options

    @property
    def record(self) -> Record:
        """The record on disk."""
        return self._record

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def find_attempt(self, task_id: str) -> EngineTask | None:
        """The current state of a try; None if it does not belong to this run."""
        record = self._record
        entry = record.find(task_id)
        return None if entry is None else self._as_attempt(record, entry)

    def note_sandbox(self, task_id: str, sandbox: SandboxRecord) -> None:
        """Record what the body of a try could reach, and reached for.

        Raises:
            EngineError: it could not be recorded.
        """
        with self._mutex:
            self._settle()
            if self._lock.is_held and self._record.find(task_id) is not None:
                self._write(self._record.in_sandbox(task_id, sandbox))

    def note_series(self, task_id: str, series: JsonObject) -> None:
        """Keep the numbers that the body of a try has recorded.

        Raises:
            EngineError: they could not be kept.
        """
        with self._mutex:
            if self._lock.is_held and self._record.find(task_id) is not None:
                self._directory.write_series(self.run_id, task_id, series)

    def sandbox_of(self, task_id: str) -> SandboxRecord | None:
        """What was noted of the sandbox of a try; None if nothing was."""
        entry = self._record.find(task_id)
        return None if entry is None else entry.sandbox

    def cancel(self, reason: str = "cancelled") -> None:
        """Cancel the live tries, and any further try in this process. From now on they cannot publish.

        Raises:
            EngineError: it could not be recorded; it is cancelled anyway, and will be listed as killed.
        """
        self._cancelled = True
        with self._mutex:
            self._settle()
            if self._lock.is_held:
                self._end_live(TryStatus.CANCELED, reason)

    @abstractmethod
    def report(self, task_id: str, result: RuntimeTaskResult) -> None:
        """Record a result. One for a try that is not current, or has ended, is silently dropped.

        Raises:
            EngineError: it could not be recorded.
        """

    def close(self) -> None:
        """Release the run. A try that has not ended is recorded as failed, if possible. May be called twice."""
        with self._mutex:
            with suppress(EngineError):  # then it is listed as killed, which is as correct
                self._settle()
                if self._lock.is_held:
                    status = TryStatus.CANCELED if self._cancelled else TryStatus.FAILED
                    self._end_live(status, "it ended without a result")
                    self._directory.remove_live(self.run_id)
            self._lock.release()
        self._on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ---- internals

    @property
    def _clock(self) -> Clock:
        return self._directory.clock

    def _as_attempt(self, record: Record, entry: TryEntry) -> EngineTask:
        is_cancelled = self._cancelled and entry.status is TryStatus.IN_PROGRESS
        return attempt_of(record, entry, TryStatus.CANCELED if is_cancelled else entry.status)

    @abstractmethod
    def _end_live(self, status: TryStatus, reason: str) -> None:
        """Record the end of what is live, if anything is."""

    def _write(self, record: Record) -> None:
        """Write to disk first, so that this process's state is never ahead of what a resume will find."""
        self._is_settled = False
        self._directory.write(record)
        self._record = record
        self._is_settled = True

    def _settle(self) -> None:
        """Read the record again after a write that was interrupted, or whose last sync failed."""
        if not self._is_settled and self._lock.is_held:
            found = self._directory.read(self.run_id)
            if not isinstance(found, type(self._record)):
                raise EngineError(f"the record of run {self.run_id} was replaced by that of another kind of run")
            self._record = found
            self._is_settled = True

    def _expect_held(self) -> None:
        if not self._lock.is_held:
            raise EngineError(f"run {self.run_id} was closed, or belongs to the process that this one was forked from")

    def _now(self) -> int:
        return round(self._clock.now().timestamp() * 1000)


class LocalRun(HeldRun[RunRecord]):
    """A run of one task. `LocalEngine` creates it."""

    def __init__(
        self,
        directory: RunsDirectory,
        lock: FileLock,
        record: RunRecord,
        input_data: JsonObject,
        on_close: Callable[[Any], None],
    ) -> None:
        super().__init__(directory, lock, record, input_data, on_close)
        self._began = self._clock.monotonic()

    @property
    def task_name(self) -> str:
        return self._record.task_name

    @property
    def attempt(self) -> EngineTask:
        """The current try."""
        record = self._record
        return self._as_attempt(record, record.current)

    def next_try(self, reason: str) -> LocalRun:
        """Start another try of the same input. If the current one has not ended, it is recorded as FAILED.

        Raises:
            EngineError: the run is completed, cancelled or closed, or the try could not be recorded.
        """
        with self._mutex:
            self._expect_held()
            self._settle()
            if self._cancelled:
                raise EngineError(f"run {self.run_id} was cancelled; resume it for another try")
            if self._record.current.status is TryStatus.COMPLETED:
                raise EngineError(f"run {self.run_id} is COMPLETED; start another run")
            record = self._record
            if self._is_live:
                record = record.ended(TryStatus.FAILED, now=self._now(), reason=reason, duration_ms=self._duration())
            code = record.current.code  # a process reads the code of a task once
            self._write(record.begun(now=self._now(), host=platform.node(), pid=os.getpid(), code=code))
            self._began = self._clock.monotonic()
            return self

    def report(self, task_id: str, result: RuntimeTaskResult) -> None:
        with self._mutex:
            self._settle()
            if task_id != self._record.current.task_id or not self._is_live or self._cancelled:
                return
            self._expect_held()
            reason = result.reason_for_incompletion
            output = None if result.output is None else mask_json(result.output)
            self._end(TryStatus(result.status), output=output, reason=reason)

    # ---- internals

    @property
    def _is_live(self) -> bool:
        return self._record.current.status is TryStatus.IN_PROGRESS

    def _end_live(self, status: TryStatus, reason: str) -> None:
        if self._is_live:
            self._end(status, reason=reason)

    def _end(self, status: TryStatus, *, output: JsonObject | None = None, reason: str | None = None) -> None:
        notes = self.live.ended(self._record.current.task_id)
        now, duration = self._now(), self._duration()
        self._write(
            self._record.ended(status, now=now, output=output, reason=reason, duration_ms=duration, notes=notes)
        )

    def _duration(self) -> int:
        return round((self._clock.monotonic() - self._began) * 1000)


class WorkflowRun(HeldRun[WorkflowRecord]):
    """A run of a workflow, any number of whose tasks are tried at the same time. `LocalEngine` creates it."""

    def __init__(
        self,
        directory: RunsDirectory,
        lock: FileLock,
        record: WorkflowRecord,
        input_data: JsonObject,
        on_close: Callable[[Any], None],
    ) -> None:
        super().__init__(directory, lock, record, input_data, on_close)
        self._began: dict[str, float] = {}
        self._inputs: dict[str, JsonObject] = {}
        self._outputs: dict[str, JsonObject | None] = {}

    @property
    def tries(self) -> list[WorkflowTry]:
        """All tries, their inputs unmasked if they began in this process, their outputs if they ended in it."""
        inputs, outputs = self._inputs, self._outputs
        return [
            replace(
                entry,
                input_data=inputs.get(entry.task_id, entry.input_data),
                output=outputs.get(entry.task_id, entry.output),
            )
            for entry in self._record.tries
        ]

    def begin(
        self,
        reference_task_name: str,
        task_name: str,
        input_data: JsonObject,
        recorded_input: JsonObject | None = None,
        code: CodeVersion | None = None,
    ) -> EngineTask:
        """Record a further try of a task or sub-workflow.

        Args:
            recorded_input: the input with secrets masked. Default: the input, with only those secrets masked that the
                process knows or a name shows.
            code: the git commit of the task's code.

        Raises:
            EngineError: the run is cancelled or closed, or the try could not be recorded.
        """
        with self._mutex:
            self._expect_held()
            self._settle()
            if self._cancelled:
                raise EngineError(f"run {self.run_id} was cancelled; resume it for another try")
            record = self._record.begun(
                reference_task_name=reference_task_name,
                task_name=task_name,
                input_data=mask_json(input_data if recorded_input is None else recorded_input),
                now=self._now(),
                host=platform.node(),
                pid=os.getpid(),
                code=code,
            )
            self._write(record)
            begun = record.tries[-1]
            self._began[begun.task_id] = self._clock.monotonic()
            self._inputs[begun.task_id] = input_data
            return self._as_attempt(record, begun)

    def report(self, task_id: str, result: RuntimeTaskResult) -> None:
        with self._mutex:
            self._settle()
            entry = self._record.find(task_id)
            if entry is None or not entry.status.is_live or self._cancelled:
                return
            self._expect_held()
            self._end_try(
                self._record, task_id, TryStatus(result.status), result.output, result.reason_for_incompletion
            )

    def end_sub_workflow(self, task_id: str, status: TryStatus, output: JsonObject, reason: str | None) -> None:
        """Record the end of a sub-workflow. Its live tries become CANCELED, and can no longer publish.

        Raises:
            EngineError: it could not be recorded.
        """
        with self._mutex:
            self._expect_held()
            self._settle()
            entry = self._record.find(task_id)
            if entry is None:
                raise EngineError(f"run {self.run_id} has no sub-workflow {task_id}")
            record = self._record.live_ended(
                TryStatus.CANCELED,
                now=self._now(),
                reason="its workflow has ended",
                within=entry.reference_task_name + WITHIN,
            )
            self._end_try(record, task_id, status, output, reason)

    def end(self, status: WorkflowStatus, *, output: JsonObject | None = None, reason: str | None = None) -> None:
        """Record the end of the workflow. Its live tries become CANCELED.

        Raises:
            EngineError: it could not be recorded.
        """
        with self._mutex:
            self._expect_held()
            self._settle()
            record = self._record.live_ended(TryStatus.CANCELED, now=self._now(), reason="the workflow has ended")
            masked = None if output is None else mask_json(output)
            self._write(record.ended(status, now=self._now(), output=masked, reason=reason))

    # ---- internals

    def _end_try(
        self, record: WorkflowRecord, task_id: str, status: TryStatus, output: JsonObject | None, reason: str | None
    ) -> None:
        masked = None if output is None else mask_json(output)
        ended = record.try_ended(
            task_id,
            status,
            now=self._now(),
            output=masked,
            output_exact=masked == output,
            reason=reason,
            duration_ms=self._duration(task_id),
        )
        self._write(ended.noted(task_id, self.live.ended(task_id)))
        self._outputs[task_id] = output

    def _end_live(self, status: TryStatus, reason: str) -> None:
        record = self._record
        if record.status is not WorkflowStatus.RUNNING:
            return
        ended = record.live_ended(status, now=self._now(), reason=reason)
        how = WorkflowStatus.TERMINATED if status is TryStatus.CANCELED else WorkflowStatus.FAILED
        self._write(ended.ended(how, now=self._now(), reason=reason))

    def _duration(self, task_id: str) -> int | None:
        began = self._began.get(task_id)
        return None if began is None else round((self._clock.monotonic() - began) * 1000)
