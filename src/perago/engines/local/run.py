"""A run that this process holds: its current try, and its lock."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from perago.engines.local.directory import RunsDirectory
from perago.engines.local.record import POLL_COUNT, RunRecord, TryEntry
from perago.errors import EngineError
from perago.files.lock import FileLock
from perago.ports import Clock
from perago.values.json_text import JsonObject
from perago.values.models import RuntimeTaskResult
from perago.values.record import TryStatus
from perago.values.redaction import mask_json


@dataclass(frozen=True, kw_only=True)
class LocalAttempt:
    """A try of a run, with all attributes of `models.AttemptIdentity`, its status, and its process."""

    status: str
    workflow_instance_id: str
    task_id: str
    retry_count: int
    reference_task_name: str
    task_def_name: str
    scheduled_time: int
    poll_count: int
    seq: int
    iteration: int
    worker_host: str
    worker_pid: int

    @classmethod
    def of(cls, record: RunRecord, entry: TryEntry, status: TryStatus) -> Self:
        return cls(
            status=status.value,
            workflow_instance_id=record.run_id,
            task_id=entry.task_id,
            retry_count=entry.retry_count,
            reference_task_name=record.task_name,
            task_def_name=record.task_name,
            scheduled_time=entry.scheduled_time,
            poll_count=POLL_COUNT,
            seq=entry.retry_count + 1,
            iteration=0,
            worker_host=entry.host,
            worker_pid=entry.pid,
        )


class LocalRun:
    """A run that this process holds. `LocalEngine` creates it; the receiver must close it, best as a context manager.

    Methods may be called from any thread, but not from a signal handler. A fork of the process does not hold the run.

    Attributes:
        input_data: the task's input. What is masked in the record is masked here too, unless a resume was given it.
    """

    def __init__(
        self,
        directory: RunsDirectory,
        lock: FileLock,
        record: RunRecord,
        input_data: JsonObject,
        on_close: Callable[[LocalRun], None],
    ) -> None:
        self.input_data = input_data
        self._directory = directory
        self._lock = lock
        self._record = record
        self._on_close = on_close
        self._mutex = threading.RLock()
        self._cancelled = False
        self._is_settled = True
        self._began = self._clock.monotonic()

    @property
    def run_id(self) -> str:
        return self._record.run_id

    @property
    def target(self) -> str:
        return self._record.target

    @property
    def task_name(self) -> str:
        return self._record.task_name

    @property
    def options(self) -> JsonObject:
        """The options passed to `LocalEngine.start_run`."""
        return self._record.options

    @property
    def record(self) -> RunRecord:
        """The record on disk."""
        return self._record

    @property
    def attempt(self) -> LocalAttempt:
        """The current try."""
        record = self._record
        return self._as_attempt(record, record.current)

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def find_attempt(self, task_id: str) -> LocalAttempt | None:
        """The current state of a try; None if it does not belong to this run."""
        record = self._record
        entry = record.find(task_id)
        return None if entry is None else self._as_attempt(record, entry)

    def cancel(self, reason: str = "cancelled") -> None:
        """Cancel the current try, and any further try in this process. No fence lets them pass from now on.

        Raises:
            EngineError: it could not be recorded; it is cancelled anyway, and will be listed as killed.
        """
        self._cancelled = True
        with self._mutex:
            self._settle()
            if self._is_live and self._lock.is_held:
                self._end(TryStatus.CANCELED, reason=reason)

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
            self._write(record.begun(now=self._now(), host=platform.node(), pid=os.getpid()))
            self._began = self._clock.monotonic()
            return self

    def report(self, task_id: str, result: RuntimeTaskResult) -> None:
        """Record a result. One for a try that is not current, or has ended, is silently dropped.

        Raises:
            EngineError: it could not be recorded.
        """
        with self._mutex:
            self._settle()
            if task_id != self._record.current.task_id or not self._is_live or self._cancelled:
                return
            self._expect_held()
            reason = result.reason_for_incompletion
            output = None if result.output is None else mask_json(result.output)
            self._end(TryStatus(result.status), output=output, reason=reason)

    def close(self) -> None:
        """Release the run. A try that has not ended is recorded as failed, if possible. May be called twice."""
        with self._mutex:
            with suppress(EngineError):  # then it is listed as killed, which is as correct
                self._settle()
                if self._is_live and self._lock.is_held:
                    status = TryStatus.CANCELED if self._cancelled else TryStatus.FAILED
                    self._end(status, reason="it ended without a result")
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

    @property
    def _is_live(self) -> bool:
        return self._record.current.status is TryStatus.IN_PROGRESS

    def _as_attempt(self, record: RunRecord, entry: TryEntry) -> LocalAttempt:
        is_cancelled = self._cancelled and entry.status is TryStatus.IN_PROGRESS
        return LocalAttempt.of(record, entry, TryStatus.CANCELED if is_cancelled else entry.status)

    def _end(self, status: TryStatus, *, output: JsonObject | None = None, reason: str | None = None) -> None:
        self._write(
            self._record.ended(status, now=self._now(), output=output, reason=reason, duration_ms=self._duration())
        )

    def _write(self, record: RunRecord) -> None:
        """Write to disk first, so that this process's state is never ahead of what a resume will find."""
        self._is_settled = False
        self._directory.write(record)
        self._record = record
        self._is_settled = True

    def _settle(self) -> None:
        """Read the record again after a write that was interrupted, or whose last sync failed."""
        if not self._is_settled and self._lock.is_held:
            self._record = self._directory.read(self.run_id)
            self._is_settled = True

    def _expect_held(self) -> None:
        if not self._lock.is_held:
            raise EngineError(f"run {self.run_id} was closed, or belongs to the process that this one was forked from")

    def _now(self) -> int:
        return round(self._clock.now().timestamp() * 1000)

    def _duration(self) -> int:
        return round((self._clock.monotonic() - self._began) * 1000)
