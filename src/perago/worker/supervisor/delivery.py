"""Report results. Spool those that the engine does not take on disk, and retry them later."""

from __future__ import annotations

import enum
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from perago.attempt.output import reason_for_exception
from perago.attempt.phases import Phases
from perago.attempt.report import LastLook, Reported, has_taken, report_attempt
from perago.errors import EngineError, PeragoError, TaskNotFoundError
from perago.files.durable import record_errors, write_durably
from perago.files.private_directory import make_directory, make_private
from perago.files.storage import opened_file, sync_directory
from perago.ports import Clock, Engine, Observer, Phase, SystemClock, ignore
from perago.values.backoff import backoff
from perago.values.models import Attempt, AttemptIdentity, RuntimeTaskResult
from perago.values.record import TryStatus

_LOGGER = logging.getLogger("perago.worker")

VERSION: Final = 1
SPOOL_DIRECTORY = "undelivered"
"""In the supervisor's own directory."""

SUFFIX = ".json"
DAMAGED_SUFFIX = ".damaged"


@dataclass(frozen=True, kw_only=True)
class KeptAttempt(AttemptIdentity):
    """The execution of a kept result: an attempt with every attribute of its identity."""

    worker_id: str = ""

    @classmethod
    def of(cls, attempt: Attempt) -> KeptAttempt:
        return cls(**asdict(AttemptIdentity.of(attempt)), worker_id=getattr(attempt, "worker_id", ""))

    @property
    def status(self) -> str:
        """The status that the execution had when its result was made."""
        return TryStatus.IN_PROGRESS.value

    def fields(self) -> dict[str, Any]:
        """Fields that identify the execution in a log line; see `job.Job.fields`."""
        return {
            "workflow": self.workflow_instance_id,
            "task": self.task_def_name,
            "reference": self.reference_task_name,
            "task_id": self.task_id,
            "attempt": self.retry_count,
            "phase": Phase.REPORT.value,
        }

    @property
    def execution(self) -> tuple[str, int, int | None, int | None]:
        """Key of the execution: no two have the same."""
        return (self.task_id, self.retry_count, self.scheduled_time, self.poll_count)


@dataclass(frozen=True, kw_only=True)
class KeptResult:
    """A result that waits to be delivered.

    Attributes:
        kept_at: milliseconds since the epoch.
    """

    attempt: KeptAttempt
    result: RuntimeTaskResult
    kept_at: int
    version: Literal[1] = VERSION

    @classmethod
    def of(cls, attempt: Attempt, result: RuntimeTaskResult, now: datetime) -> KeptResult:
        return cls(attempt=KeptAttempt.of(attempt), result=result, kept_at=round(now.timestamp() * 1000))

    @property
    def file_name(self) -> str:
        identity = json.dumps(self.attempt.execution)
        return hashlib.sha256(identity.encode()).hexdigest()[:32] + SUFFIX


class ResultSpool:
    """A directory of results. Only one process may write to it.

    Args:
        directory: created with the first result.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def keep(self, kept: KeptResult) -> None:
        """Write a result durably. It replaces an earlier result of the same execution.

        Raises:
            EngineError: the result cannot be written, or is not JSON.
        """
        try:
            text = json.dumps(kept, default=_plain)
        except (TypeError, ValueError, RecursionError) as exc:
            raise EngineError(f"the result cannot be kept, because it is not JSON: {exc}") from exc
        with record_errors("cannot keep a result in", self.directory):
            if not self.directory.is_dir():
                make_directory(self.directory)
                sync_directory(self.directory.parent)
            write_durably(self.directory / kept.file_name, text)

    def forget(self, kept: KeptResult) -> None:
        """Remove a delivered or void result. If the disk refuses, the next worker finds that it is void."""
        with suppress(OSError):
            (self.directory / kept.file_name).unlink()

    def load(self) -> list[KeptResult]:
        """All kept results, oldest first.

        A file that is not a result is renamed to `*.damaged`. A file that cannot be read now stays as it is.

        Raises:
            EngineError: the directory cannot be read.
            RuntimeConfigError: another user can change it.
        """
        if not self.directory.exists():
            return []
        with record_errors("cannot list", self.directory):
            make_private(self.directory, "the directory of kept results")
            paths = list(self.directory.iterdir())
        for half_written in (path for path in paths if path.name.startswith(".")):
            with suppress(OSError):
                half_written.unlink()  # of a writer that was killed; no other process writes here
        found = [kept for path in paths if path.suffix == SUFFIX and (kept := _read(path)) is not None]
        return sorted(found, key=lambda entry: (entry.kept_at, entry.file_name))


def _read(path: Path) -> KeptResult | None:
    try:
        with opened_file(path) as file:
            text = file.readall()
    except FileNotFoundError:
        return None
    except OSError as exc:
        _LOGGER.warning("a kept result cannot be read now; the next start tries again: %s", exc)
        return None
    try:
        return _KEPT.validate_json(text)
    except ValueError:
        with suppress(OSError):
            path.rename(path.with_suffix(DAMAGED_SUFFIX))
        return None


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, KeptResult | KeptAttempt | RuntimeTaskResult):
        return vars(value)  # dataclasses.asdict would deep-copy the output, which not every mapping allows
    raise TypeError(f"a {type(value).__name__} is not JSON")


_KEPT = TypeAdapter(KeptResult)


FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
"""Pauses between two rounds. They are short because the response timeout is running: the lease has been stopped."""

CAUSE_SECONDS = 60.0
"""Minimum time between two log lines on why a result waits, however often the cause changes."""


class Delivered(enum.Enum):
    """Outcome of a delivery."""

    RECORDED = "recorded"
    VOID = "void"  # not reported: the execution is no longer current
    KEPT = "kept"  # spooled for the next round


LookFor = Callable[[KeptAttempt], LastLook | None]
"""Makes the last look for a kept result; None if its task or store is not known. See `report.last_look`."""

Tell = Callable[[str, Mapping[str, Any]], object]
"""Writes a line to the worker's log, with fields that identify the execution."""


def pause_before_round(rounds: int) -> float:
    """Seconds until the next round, after so many rounds that left results undelivered."""
    return backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, rounds)


@dataclass
class _SpoolEntry:
    """A result that waits.

    Attributes:
        execution_id: "" for a result of an earlier worker.
        cause: the last logged reason why it waits, logged at `told_at`.
    """

    kept: KeptResult
    look: LastLook | None
    execution_id: str = ""
    cause: str = ""
    told_at: float = float("-inf")

    def fields(self) -> dict[str, Any]:
        execution = {"execution": self.execution_id} if self.execution_id else {}
        return {**self.kept.attempt.fields(), **execution, "status": self.kept.result.status}


class Delivery:
    """Delivers results to an engine and keeps those that it cannot deliver now. For any number of threads.

    Args:
        spool: directory of kept results. Results that an earlier worker left there are delivered too.
        look_for: makes the last look for results of an earlier worker.
        tell: logs why a result waits, once and whenever the cause changes.

    Raises:
        EngineError: the spool cannot be read.
    """

    def __init__(
        self,
        engine: Engine,
        spool: ResultSpool,
        *,
        look_for: LookFor = lambda attempt: None,  # noqa: ARG005 - no last look
        observer: Observer = ignore,
        tell: Tell = lambda text, fields: None,  # noqa: ARG005 - no log
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine
        self._spool = spool
        self._look_for = look_for
        self._observer = observer
        self._tell = tell
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._round = threading.Lock()
        self._waiting = {kept.file_name: _SpoolEntry(kept, None) for kept in spool.load()}

    @property
    def waiting(self) -> int:
        """Number of results that wait to be delivered."""
        with self._lock:
            return len(self._waiting)

    def keeps(self, attempt: KeptAttempt) -> bool:
        """Whether a result of this execution waits to be delivered."""
        with self._lock:
            return any(entry.kept.attempt.execution == attempt.execution for entry in self._waiting.values())

    def deliver(
        self,
        attempt: Attempt,
        result: RuntimeTaskResult,
        *,
        last_look: LastLook | None = None,
        execution_id: str = "",
        reporter: Engine | None = None,
        is_just_seen: bool = False,
    ) -> Delivered:
        """Report a result. A result that cannot be delivered now is kept; `deliver_kept` retries it.

        Stop the attempt's lease first.

        Args:
            reporter: reports the result this time. Default: the engine.
            is_just_seen: see `report.report_attempt`.
        """
        try:
            return self._report(attempt, result, last_look, execution_id, reporter, is_just_seen=is_just_seen)
        except Exception as exc:  # noqa: BLE001 - no error may lose the result; the cause is logged
            entry = _SpoolEntry(KeptResult.of(attempt, result, self._clock.now()), last_look, execution_id)
            self._keep(entry)
            self._tell_cause(entry, exc)  # usually the engine is away, or the store that the last look asks
            return Delivered.KEPT

    def keep(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Keep a result for the next worker without waiting for its report, which may still arrive."""
        self._keep(_SpoolEntry(KeptResult.of(attempt, result, self._clock.now()), None))

    def deliver_kept(self, is_over: Callable[[], bool] = bool) -> list[tuple[KeptResult, Delivered]]:
        """Retry every kept result; returns the outcome of each. Returns [] if a round is already running.

        Args:
            is_over: asked before each result; if True, the others stay for a later round.
        """
        if not self._round.acquire(blocking=False):
            return []
        try:
            with self._lock:
                entries = list(self._waiting.values())
            return [(entry.kept, self._try_again(entry)) for entry in entries if not is_over()]
        finally:
            self._round.release()

    def _try_again(self, entry: _SpoolEntry) -> Delivered:
        kept = entry.kept
        try:
            look = entry.look or self._look_for(kept.attempt) or self._look_at_record(kept)
            outcome = self._report(kept.attempt, kept.result, look, "")
            if outcome is Delivered.VOID and self._was_recorded(kept):
                outcome = Delivered.RECORDED
        except Exception as exc:  # noqa: BLE001 - a result that always fails must not hold up the others
            self._keep(entry)  # a disk that was full before may have room now
            self._tell_cause(entry, exc)
            return Delivered.KEPT
        with self._lock:
            self._waiting.pop(kept.file_name, None)
        self._spool.forget(kept)
        return outcome

    def _report(
        self,
        attempt: Attempt,
        result: RuntimeTaskResult,
        look: LastLook | None,
        execution_id: str,
        reporter: Engine | None = None,
        *,
        is_just_seen: bool = False,
    ) -> Delivered:
        phases = Phases(self._observer, self._clock, execution_id=execution_id, task_id=attempt.task_id)
        try:
            reported = report_attempt(
                reporter or self._engine,
                attempt,
                result,
                phases,
                last_look=look or _no_look,
                is_just_seen=is_just_seen,
            )
        except TaskNotFoundError:
            return Delivered.VOID
        return Delivered.RECORDED if reported is Reported.RECORDED else Delivered.VOID

    def _look_at_record(self, kept: KeptResult) -> LastLook:
        """Last look without a store: if another try has completed, nothing is reported over it."""

        def look() -> None:
            attempt = kept.attempt
            record = self._engine.load_record(attempt)
            path = record.path_of(attempt.workflow_instance_id, attempt.reference_task_name or "")
            tries = record.of(path)
            if any(entry.status is TryStatus.COMPLETED and entry.task_id != attempt.task_id for entry in tries):
                raise EngineError(f"another try of {AttemptIdentity.of(attempt).label} has completed")

        return look

    def _was_recorded(self, kept: KeptResult) -> bool:
        """Whether an earlier report arrived although its answer was lost."""
        try:
            now = self._engine.load_current_attempt(kept.attempt)
        except TaskNotFoundError:
            return False
        return has_taken(now, kept.attempt, kept.result)

    def _tell_cause(self, entry: _SpoolEntry, exc: Exception) -> None:
        """Log why a result waits if the cause is new: no other line tells of a refusal that will not pass by itself."""
        cause, now = reason_for_exception(exc), self._clock.monotonic()
        if cause == entry.cause or now - entry.told_at < CAUSE_SECONDS:
            return
        entry.cause, entry.told_at = cause, now
        text = "the result cannot be reported now. It is retried while the execution is the current one"
        self._tell(f"{text}: {cause}", entry.fields())
        if not isinstance(exc, PeragoError):
            _LOGGER.error("internal error in reporting the result of task %s", entry.kept.attempt.task_id, exc_info=exc)

    def _keep(self, entry: _SpoolEntry) -> None:
        name = entry.kept.file_name
        with self._lock:
            is_new = name not in self._waiting
            self._waiting[name] = entry
        with suppress(EngineError, OSError):  # the result stays in memory
            if is_new or not (self._spool.directory / name).exists():
                self._spool.keep(entry.kept)


def _no_look() -> None:
    return None
