"""The engine and the store of a simulation: the in-memory ones, with time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from perago.errors import EngineError, TaskNotFoundError
from perago.ports import HandedOut
from perago.testing.engine import MemoryAttempt, MemoryEngine
from perago.testing.store import MemoryStore
from perago.values.models import (
    RUN_BRANCH_TTL_SECONDS,
    Attempt,
    RuntimeTaskResult,
    StagedWorkspace,
    run_branch_age,
    run_branch_time,
)
from perago.values.record import TryRecord, TryStatus
from simulation.baton import Baton, VirtualClock
from simulation.network import IN_SERVER_SECONDS

RESPONSE_SECONDS = 10
"""Response timeout of every task."""

SWEEP_SECONDS = 2.0
"""Seconds between two sweeps of the engine for timed out tasks."""


class SimulatedEngine:
    """A `MemoryEngine` with response timeouts, and with delayed writes of reports and heartbeats.

    Attributes:
        polled_at: virtual seconds, by task id and poll count.
        check: called after each report.
    """

    def __init__(self, baton: Baton, clock: VirtualClock, counts: Counter[str]) -> None:
        self.tasks = MemoryEngine(clock, retries=2)
        self.polled_at: dict[tuple[str, int | None, int | None], float] = {}
        self.check: Callable[[Attempt, RuntimeTaskResult], None] = lambda *_: None
        self._baton = baton
        self._counts = counts
        self._signs: dict[str, float] = {}

    def poll(self, task_types: Iterable[str], count: int) -> list[MemoryAttempt]:
        found: list[MemoryAttempt] = []
        for task_type in task_types:
            while len(found) < count and (attempt := self.tasks.poll(task_type)) is not None:
                self._signs[attempt.task_id] = self._baton.now
                self.polled_at[attempt.task_id, attempt.scheduled_time, attempt.poll_count] = self._baton.now
                found.append(replace(attempt, response_timeout_seconds=RESPONSE_SECONDS))
        return found

    def report(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Read the row and write it a moment later, whatever happened in between."""
        before = self._status(attempt.task_id)
        write = self.tasks.slow_report(attempt, result)
        if not self._linger():
            write = self.tasks.slow_report(attempt, result)
        write()
        if before == TryStatus.IN_PROGRESS:
            self.check(attempt, result)
        else:
            self._counts["late reports dropped"] += 1

    def report_and_take(self, attempt: HandedOut, result: RuntimeTaskResult) -> MemoryAttempt | None:
        """Report, and hand out the longest waiting task of the same type, even if the report is dropped."""
        is_dropped = self._status(attempt.task_id) != TryStatus.IN_PROGRESS
        self.report(attempt, result)
        found = self.poll([attempt.task_def_name], 1)
        if not found:
            return None
        self._counts["tasks taken along with a report"] += 1
        self._counts["tasks taken along with a report that was dropped"] += is_dropped
        return found[0]

    def heartbeat(self, attempt: Attempt) -> None:
        """Read the row and write it a moment later, which undoes a result in between."""
        before = self.tasks.attempt(attempt.task_id)
        if before.status != TryStatus.IN_PROGRESS:
            return
        if not self._linger():
            return
        with suppress(TaskNotFoundError):
            now = self.tasks.attempt(attempt.task_id)
            if now.status == TryStatus.IN_PROGRESS:
                self._signs[attempt.task_id] = self._baton.now
            elif now.status == TryStatus.COMPLETED and now.scheduled_time == before.scheduled_time:
                with suppress(EngineError):  # its workflow has ended
                    self.tasks.revert(attempt.task_id)
                    self._signs[attempt.task_id] = self._baton.now
                    self._counts["results undone by heartbeats"] += 1

    def give_back(self, attempt: Attempt) -> bool:
        now = self.tasks.attempt(attempt.task_id)
        if now.status != TryStatus.IN_PROGRESS or now.poll_count != getattr(attempt, "poll_count", None):
            return False
        self.tasks.requeue(attempt.task_id)
        return True

    def current_of(self, attempts: Iterable[Attempt]) -> Mapping[str, Attempt | None]:
        found: dict[str, Attempt | None] = {}
        for attempt in attempts:
            try:
                found[attempt.task_id] = self.tasks.attempt(attempt.task_id)
            except TaskNotFoundError:
                found[attempt.task_id] = None
        return found

    def rerun(self, task_id: str) -> None:
        """Rerun an ended workflow from a task, and count the other tries that are handed out again."""
        self.tasks.rerun(task_id)
        for entry in self.tasks.record(self.tasks.attempt(task_id).workflow_instance_id).tries:
            if entry.task_id != task_id and entry.status is TryStatus.SCHEDULED:
                had_its_retry = self.tasks.has_been_retried(entry.task_id)
                self._counts["failed tries handed out again" if had_its_retry else "ended tries taken up again"] += 1

    def is_stranded(self, entry: TryRecord) -> bool:
        """Whether the engine never ends an abandoned try, because a rerun handed it out after its retry."""
        return entry.status is TryStatus.IN_PROGRESS and self.tasks.has_been_retried(entry.task_id)

    def sweep(self, workflows: Iterable[str]) -> None:
        """Time out tasks without a heartbeat."""
        instances = [name for workflow in workflows for name in self.tasks.instances(workflow)]
        for instance in instances:
            for entry in self.tasks.record(instance).tries:
                silent = self._baton.now - self._signs.get(entry.task_id, self._baton.now)
                if entry.status is TryStatus.IN_PROGRESS and silent > RESPONSE_SECONDS:
                    with suppress(EngineError):
                        self.tasks.timeout(entry.task_id)
                        self._counts["timeouts"] += 1
                        self._baton.tell(f"{entry.task_id} timed out")

    def is_current(self, attempt: Attempt) -> bool:
        """Whether an execution is the current one."""
        try:
            now = self.tasks.attempt(attempt.task_id)
        except EngineError:
            return False
        mine = (getattr(attempt, "scheduled_time", None), getattr(attempt, "poll_count", None))
        return (now.scheduled_time, now.poll_count) == mine and now.status == TryStatus.IN_PROGRESS

    def _status(self, task_id: str) -> str:
        try:
            return self.tasks.attempt(task_id).status
        except TaskNotFoundError:
            return ""

    def _linger(self) -> bool:
        """Let some time pass in the server. Returns False if the caller was paused meanwhile, which lasts longer."""
        began = self._baton.now
        if self._baton.random.random() < 0.3:
            self._baton.pause(IN_SERVER_SECONDS * self._baton.random.random())
        return self._baton.now - began <= IN_SERVER_SECONDS


class SimulatedStore:
    """A `MemoryStore` that records times.

    Attributes:
        heads: every observed head, by branch.
        begun: the commit that each run's branch was created at, oldest branch first.
        made_at: when each commit was first seen.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.memory = MemoryStore()
        self.heads: dict[str, set[str]] = {}
        self.begun: dict[str, str] = {}
        self.made_at: dict[str, datetime] = {}
        self._clock = clock
        self._staged_at: dict[str, float] = {}

    def look(self) -> None:
        """Observe all heads and staged work."""
        for branch in self.memory.branches():
            head = self.memory.head(branch)
            self.heads.setdefault(branch, set()).add(head)
            self.made_at.setdefault(head, self._clock.now())
            if run_branch_time(branch) is not None:
                self.begun.setdefault(branch, head)
        for name in self.memory.staged():
            self._staged_at.setdefault(name, self._clock.now().timestamp())

    def sweep(self, before: float) -> int:
        """Remove work staged before a time in seconds since the epoch; returns the number removed."""
        old = [name for name in self.memory.staged() if self._staged_at.get(name, before) < before]
        for name in old:
            self.drop(name)
        return len(old)

    def sweep_runs(self, now: datetime, older_than_seconds: float = RUN_BRANCH_TTL_SECONDS) -> None:
        """Delete the branches of old runs."""
        for name in self.memory.branches():
            if self.is_old_run(name, now, older_than_seconds):
                self.memory.delete_branch(name)

    def is_old_run(self, branch: str, now: datetime, older_than_seconds: float = RUN_BRANCH_TTL_SECONDS) -> bool:
        age = run_branch_age(branch, self.made_at[self.memory.head(branch)], now)
        return age is not None and age > older_than_seconds

    def drop(self, name: str) -> None:
        """Remove a staging reference, if it exists."""
        self.memory.cleanup_staging(StagedWorkspace(repository=self.memory.repository, branch=name, commit=""))
