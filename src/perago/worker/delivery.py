"""Delivering results: at once, or as soon as the engine takes them, for as long as the execution is the current one."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from perago.attempt.output import reason_for_exception
from perago.attempt.phases import Phases
from perago.attempt.report import LastLook, Reported, report_attempt
from perago.errors import EngineError, PeragoError, TaskNotFoundError
from perago.models import Attempt, RuntimeTaskResult
from perago.ports import Clock, Engine, Observer, SystemClock, ignore
from perago.record import TryStatus
from perago.worker.spool import KeptAttempt, KeptResult, ResultSpool

_LOGGER = logging.getLogger("perago.worker")

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
class _Entry:
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
        self._waiting = {kept.file_name: _Entry(kept, None) for kept in spool.load()}

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
            entry = _Entry(KeptResult.of(attempt, result, self._clock.now()), last_look, execution_id)
            self._keep(entry)
            self._tell_cause(entry, exc)  # mostly the engine is away, or the store that the last look asks
            return Delivered.KEPT

    def keep(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Keep a result whose report nobody can wait for, for the next worker; it finds out what became of it."""
        self._keep(_Entry(KeptResult.of(attempt, result, self._clock.now()), None))

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

    def _try_again(self, entry: _Entry) -> Delivered:
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

    def _tell_cause(self, entry: _Entry, exc: Exception) -> None:
        """Say why a result waits, where that is news: nothing else tells a refusal that will not pass by itself."""
        cause, now = reason_for_exception(exc), self._clock.monotonic()
        if cause == entry.cause or now - entry.told_at < CAUSE_SECONDS:
            return
        entry.cause, entry.told_at = cause, now
        text = "the result cannot be reported now; it is tried again for as long as the execution is the current one"
        self._tell(f"{text}: {cause}", entry.fields())
        if not isinstance(exc, PeragoError):
            _LOGGER.error("a fault in reporting the result of task %s", entry.kept.attempt.task_id, exc_info=exc)

    def _keep(self, entry: _Entry) -> None:
        name = entry.kept.file_name
        with self._lock:
            is_new = name not in self._waiting
            self._waiting[name] = entry
        with suppress(EngineError, OSError):  # it is still in memory
            if is_new or not (self._spool.directory / name).exists():
                self._spool.keep(entry.kept)


def _no_look() -> None:
    return None
