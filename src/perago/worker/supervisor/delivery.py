"""Report results, spool on disk those that the engine does not take now, and retry them later."""

from __future__ import annotations

import enum
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from perago.attempt.output import reason_for_exception
from perago.attempt.phases import Phases
from perago.attempt.report import LastLook, Reported, report_attempt
from perago.errors import EngineError, PeragoError, TaskNotFoundError
from perago.files.durable import record_errors, write_durably
from perago.files.private_directory import make_directory, make_private
from perago.files.storage import opened_file, sync_directory
from perago.ports import Clock, Engine, Observer, Phase, SystemClock, ignore
from perago.values.models import Attempt, AttemptIdentity, RuntimeTaskResult
from perago.values.record import TryStatus

_LOGGER = logging.getLogger("perago.worker")

VERSION: Final = 1
SPOOL_DIRECTORY = "undelivered"
"""In the supervisor's own directory."""

SUFFIX = ".json"
DAMAGED_SUFFIX = ".damaged"


@dataclass(frozen=True, kw_only=True)
class KeptAttempt:
    """An execution as its result was kept: an attempt, with every attribute of its identity."""

    workflow_instance_id: str
    task_id: str
    retry_count: int
    reference_task_name: str | None = None
    task_def_name: str | None = None
    scheduled_time: int | None = None
    poll_count: int | None = None
    seq: int | None = None
    iteration: int | None = None
    worker_id: str = ""

    @classmethod
    def of(cls, attempt: Attempt) -> KeptAttempt:
        return cls(**asdict(AttemptIdentity.of(attempt)), worker_id=getattr(attempt, "worker_id", ""))

    @property
    def status(self) -> str:
        """As it was when its result was made."""
        return TryStatus.IN_PROGRESS.value

    def fields(self) -> dict[str, Any]:
        """Whose it is, for a log line; see `job.Job.fields`."""
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
        """What tells executions apart."""
        return (self.task_id, self.retry_count, self.scheduled_time, self.poll_count)


@dataclass(frozen=True, kw_only=True)
class KeptResult:
    """A result that is still to be delivered.

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
    """A directory of results. One process writes in it.

    Args:
        directory: made when something is kept.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def keep(self, kept: KeptResult) -> None:
        """Write a result, in the place of an earlier one of its execution; a crash of the machine does not undo it.

        Raises:
            EngineError: it cannot be written, or is no JSON.
        """
        try:
            text = json.dumps(kept, default=_plain)
        except (TypeError, ValueError, RecursionError) as exc:
            raise EngineError(f"a result that cannot be written as JSON cannot be kept: {exc}") from exc
        with record_errors("cannot keep a result in", self.directory):
            if not self.directory.is_dir():
                make_directory(self.directory)
                sync_directory(self.directory.parent)
            write_durably(self.directory / kept.file_name, text)

    def forget(self, kept: KeptResult) -> None:
        """Remove a result that was delivered, or is void; where the disk refuses, the next start finds it void."""
        with suppress(OSError):
            (self.directory / kept.file_name).unlink()

    def load(self) -> list[KeptResult]:
        """All results that are kept, oldest first.

        A file that holds no result is put aside as `*.damaged`. One that the disk does not give now stays as it is.

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
                half_written.unlink()  # a killed writer's; there is one writer, and this is it
        found = [kept for path in paths if path.suffix == SUFFIX and (kept := _read(path)) is not None]
        return sorted(found, key=lambda entry: (entry.kept_at, entry.file_name))


def _read(path: Path) -> KeptResult | None:
    try:
        with opened_file(path) as file:
            text = file.readall()
    except FileNotFoundError:
        return None
    except OSError as exc:
        _LOGGER.warning("a result that was kept cannot be read now, and is left for the next start: %s", exc)
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
        return vars(value)  # dataclasses.asdict would copy the output, all the way down, and not every mapping can be
    raise TypeError(f"a {type(value).__name__} is no JSON")


_KEPT = TypeAdapter(KeptResult)
assert {field.name for field in fields(AttemptIdentity)} < {field.name for field in fields(KeptAttempt)}


FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
"""Between two rounds: short against the response timeouts that run meanwhile, as nobody holds the lease any more."""

CAUSE_SECONDS = 60.0
"""Between two lines on why a result waits, however often the cause changes."""


class Delivered(enum.Enum):
    """What became of a result."""

    RECORDED = "recorded"
    VOID = "void"  # the execution is no longer current: nothing was reported
    KEPT = "kept"  # on disk, for the next round


LookFor = Callable[[KeptAttempt], LastLook | None]
"""Makes the last look for a result that was kept, where its task and store are known; see `report.last_look`."""

Tell = Callable[[str, Mapping[str, Any]], object]
"""Takes a line for the worker's log, and the fields that say whose result it is about."""


def pause_before_round(rounds: int) -> float:
    """Seconds to wait before results are tried again that so many rounds could not deliver."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(rounds, 10))


@dataclass
class _SpoolEntry:
    """A result that waits.

    Attributes:
        execution_id: "" for a result of an earlier worker.
        cause: why it waits, as told last, at `told_at`.
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
    """Delivers results to an engine, and keeps those that it cannot deliver now. For any number of threads.

    Args:
        spool: where they are kept; what an earlier worker left there is taken up.
        look_for: for results of an earlier worker; None where it cannot look.
        tell: is told why a result waits, once and when the cause changes.

    Raises:
        EngineError: the spool cannot be read.
    """

    def __init__(
        self,
        engine: Engine,
        spool: ResultSpool,
        *,
        look_for: LookFor = lambda attempt: None,  # noqa: ARG005 - nobody can look
        observer: Observer = ignore,
        tell: Tell = lambda text, fields: None,  # noqa: ARG005 - nobody listens
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
        """Results that are still to be delivered."""
        with self._lock:
            return len(self._waiting)

    def keeps(self, attempt: KeptAttempt) -> bool:
        """Whether a result of this execution is still to be delivered."""
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
        """Report a result. One that cannot be delivered now is kept, and tried again by `deliver_kept`.

        The attempt's lease is to be stopped before.

        Args:
            reporter: reports it now. Default: the engine.
            is_just_seen: see `report.report_attempt`.
        """
        try:
            return self._report(attempt, result, last_look, execution_id, reporter, is_just_seen=is_just_seen)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the result must not be lost; the cause is told
            entry = _SpoolEntry(KeptResult.of(attempt, result, self._clock.now()), last_look, execution_id)
            self._keep(entry)
            self._tell_cause(entry, exc)  # mostly the engine is away, or the store that the last look asks
            return Delivered.KEPT

    def keep(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Keep a result whose report nobody can wait for, for the next worker; it finds out what became of it."""
        self._keep(_SpoolEntry(KeptResult.of(attempt, result, self._clock.now()), None))

    def deliver_kept(self, is_over: Callable[[], bool] = bool) -> list[tuple[KeptResult, Delivered]]:
        """One round over all that waits; says what became of each. A round that is under way already has them.

        Args:
            is_over: asked before each; if so, the rest waits on.
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
        except Exception as exc:  # noqa: BLE001 - one that always fails must not hold up those behind it
            self._keep(entry)  # a disk that was full when it was kept may have room by now
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
        """Where nobody can tell how another try completed: nothing is reported over it."""

        def look() -> None:
            attempt = kept.attempt
            tries = self._engine.load_record(attempt).of(attempt.reference_task_name or "")
            if any(entry.status is TryStatus.COMPLETED and entry.task_id != attempt.task_id for entry in tries):
                raise EngineError(f"another try of task {attempt.task_id} completed meanwhile")

        return look

    def _was_recorded(self, kept: KeptResult) -> bool:
        """Whether an earlier report arrived all the same, whose answer was lost: this execution ended as it says."""
        try:
            now = self._engine.load_current_attempt(kept.attempt)
        except TaskNotFoundError:
            return False
        return now.status == kept.result.status and KeptAttempt.of(now).execution == kept.attempt.execution

    def _tell_cause(self, entry: _SpoolEntry, exc: Exception) -> None:
        """Say why a result waits, where that is news: nothing else tells a refusal that will not pass by itself."""
        cause, now = reason_for_exception(exc), self._clock.monotonic()
        if cause == entry.cause or now - entry.told_at < CAUSE_SECONDS:
            return
        entry.cause, entry.told_at = cause, now
        text = "the result cannot be reported now; it is tried again for as long as the execution is the current one"
        self._tell(f"{text}: {cause}", entry.fields())
        if not isinstance(exc, PeragoError):
            _LOGGER.error("a fault in reporting the result of task %s", entry.kept.attempt.task_id, exc_info=exc)

    def _keep(self, entry: _SpoolEntry) -> None:
        name = entry.kept.file_name
        with self._lock:
            is_new = name not in self._waiting
            self._waiting[name] = entry
        with suppress(EngineError, OSError):  # it is still in memory
            if is_new or not (self._spool.directory / name).exists():
                self._spool.keep(entry.kept)


def _no_look() -> None:
    return None
