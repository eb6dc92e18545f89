"""What a worker needs of an engine, on the in-memory one: leases, batches, task logs."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from perago.errors import EngineError, TaskNotFoundError
from perago.ports import HandedOut
from perago.testing.engine import MemoryAttempt, MemoryEngine
from perago.values.models import Attempt, RuntimeTaskResult
from perago.values.record import InstanceRecord, TryStatus


@dataclass
class MemoryLease:
    """A lease that a test can look at, and let be late."""

    is_late: bool = False
    is_retrying: bool = False
    is_stopped: bool = False
    began_at_once: bool = False

    def let_go(self) -> None:
        self.is_stopped = self.is_late = True

    def stop(self) -> None:
        self.let_go()


@dataclass
class MemoryWorkerEngine:
    """A `ports.WorkerEngine` on a `MemoryEngine`, which a test plays the person at. Safe to share between threads.

    Attributes:
        is_away: every call fails, as while a server restarts.
        leases: that were taken, newest last, by task id.
        logs: entries of the tasks' logs, by task id, without those that came with reports.
        report_lines: the line that came with a task's report, by task id.
        given_back: task ids, in order.
        polls: how many were made.
        taken_along: task ids that went along with a report, in order.
    """

    tasks: MemoryEngine = field(default_factory=MemoryEngine)
    is_away: bool = False
    leases: dict[str, list[MemoryLease]] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    report_lines: dict[str, str] = field(default_factory=dict)
    given_back: list[str] = field(default_factory=list)
    polls: int = 0
    taken_along: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # ---- what an attempt asks

    def load_current_attempt(self, attempt: Attempt, /) -> MemoryAttempt:
        self._expect_it_here()
        return self.tasks.load_current_attempt(attempt)

    def load_record(self, attempt: Attempt, paths: Collection[str] = (), /) -> InstanceRecord:
        self._expect_it_here()
        return self.tasks.load_record(attempt, paths)

    def report_result(self, attempt: Attempt, result: RuntimeTaskResult, /) -> None:
        self._expect_it_here()
        if result.log is not None:
            with self._lock:
                self.report_lines[attempt.task_id] = result.log
        self.tasks.report_result(attempt, result)

    # ---- what a worker does

    def poll(
        self,
        task_types: Sequence[str],
        count: int,
        worker_id: str,
        domain: str | None = None,
    ) -> Sequence[MemoryAttempt]:
        self._expect_it_here()
        with self._lock:
            self.polls += 1
        found: list[MemoryAttempt] = []
        for task_type in task_types:
            while len(found) < count and (attempt := self.tasks.poll(task_type)) is not None:
                found.append(attempt)
        return found

    def report_and_take(self, attempt: HandedOut, result: RuntimeTaskResult) -> MemoryAttempt | None:
        self.report_result(attempt, result)
        following = self.tasks.poll(attempt.task_def_name)
        if following is not None:
            with self._lock:
                self.taken_along.append(following.task_id)
        return following

    def hold(self, attempt: HandedOut, *, at_once: bool = False) -> MemoryLease:
        lease = MemoryLease(began_at_once=at_once)
        with self._lock:
            self.leases.setdefault(attempt.task_id, []).append(lease)
        return lease

    def give_back(self, attempt: Attempt) -> bool:
        self._expect_it_here()
        now = self.tasks.attempt(attempt.task_id)
        if now.status != TryStatus.IN_PROGRESS or now.poll_count != getattr(attempt, "poll_count", None):
            return False
        self.tasks.requeue(attempt.task_id)
        with self._lock:
            self.given_back.append(attempt.task_id)
        return True

    def current_of(self, attempts: Iterable[HandedOut]) -> Mapping[str, MemoryAttempt | None]:
        self._expect_it_here()
        found: dict[str, MemoryAttempt | None] = {}
        for attempt in attempts:
            try:
                found[attempt.task_id] = self.tasks.attempt(attempt.task_id)
            except TaskNotFoundError:
                found[attempt.task_id] = None
        return found

    def log(self, attempt: HandedOut, text: str) -> None:
        self._expect_it_here()
        with self._lock:
            self.logs.setdefault(attempt.task_id, []).append(text)

    def _expect_it_here(self) -> None:
        if self.is_away:
            raise EngineError("the engine is away; it was told to be")
