"""Findings: what killed processes left of runs."""

from __future__ import annotations

from collections.abc import Container, Iterator
from functools import partial
from pathlib import Path

from perago.engines.local.directory import RunsDirectory
from perago.engines.local.record import RunRecord
from perago.engines.local.summary import KILLED, UNREADABLE, RunSummary
from perago.engines.local.workflow_record import WorkflowRecord
from perago.errors import RunBusyError, RunNotFoundError
from perago.files.durable import record_errors
from perago.files.lock import is_held_by_anybody
from perago.ports import Clock
from perago.values.findings import Finding, Kind, size_below
from perago.values.record import TryStatus, WorkflowStatus

PROCESS_DIED = "its process died"
"""Reason of a try that did not end before its process died."""


def examine(directory: RunsDirectory, summaries: Iterator[RunSummary], clock: Clock) -> Iterator[Finding]:
    """Find runs recorded as running that no process holds, unreadable records, and leftovers.

    A kernel lock shows whether a process holds a run, so age does not matter here.

    Raises:
        EngineError: the directory cannot be read.
    """
    unreadable = set()
    for summary in summaries:
        if summary.status == KILLED:
            started = summary.started
            yield Finding(
                kind=Kind.KILLED_RUN,
                what=summary.run_id,
                why="it is recorded as running, but its process is dead",
                age_seconds=None if started is None else (clock.now() - started).total_seconds(),
                mend=partial(_end_killed, directory, summary.run_id, clock),
            )
        elif summary.status == UNREADABLE:
            unreadable.add(summary.run_id)
            yield Finding(kind=Kind.UNREADABLE_RUN, what=summary.run_id, why=(summary.reason or "").rstrip("."))
    yield from _half_made(directory, clock)
    yield from _in_runs(directory, unreadable, clock)


def died(record: RunRecord, clock: Clock) -> RunRecord:
    """The record of a run whose process is dead: a try without an end has failed."""
    if not record.current.status.is_live:
        return record
    return record.ended(TryStatus.FAILED, now=round(clock.now().timestamp() * 1000), reason=PROCESS_DIED)


def died_workflow(record: WorkflowRecord, clock: Clock) -> WorkflowRecord:
    """The same for a workflow: what was under way has failed, and with it the workflow."""
    if record.status is not WorkflowStatus.RUNNING:
        return record
    now = round(clock.now().timestamp() * 1000)
    ended = record.live_ended(TryStatus.FAILED, now=now, reason=PROCESS_DIED)
    return ended.ended(WorkflowStatus.FAILED, now=now, reason=PROCESS_DIED)


def _end_killed(directory: RunsDirectory, run_id: str, clock: Clock) -> bool:
    try:
        lock = directory.acquire(run_id)
    except RunBusyError:
        return False  # just resumed
    except RunNotFoundError:
        return True
    with lock:
        record = directory.read(run_id)
        directory.write(died_workflow(record, clock) if isinstance(record, WorkflowRecord) else died(record, clock))
    return True


def _half_made(directory: RunsDirectory, clock: Clock) -> Iterator[Finding]:
    """Directories of runs whose creation or removal did not finish."""
    with record_errors("cannot read", directory.path):
        found = directory.half_made()
    for path in found:
        yield _leftover(
            path, "the process that was creating or removing this record is dead", clock, partial(_sweep, directory)
        )


def _in_runs(directory: RunsDirectory, told: Container[str], clock: Clock) -> Iterator[Finding]:
    """Leftover files of runs that no process holds, and unreadable directories that are not in `told`."""
    for run_id in directory.ids():
        try:
            found = directory.half_written(run_id)
            is_held = is_held_by_anybody(directory.lock_path(run_id))
        except OSError as exc:
            if run_id not in told:
                yield Finding(kind=Kind.UNREADABLE_RUN, what=run_id, why=str(exc))
            continue
        for path in found:
            if not is_held and path.exists():
                mend = partial(_sweep_run, directory, run_id)
                yield _leftover(path, f"the process that was writing the record of run {run_id} is dead", clock, mend)


def _leftover(path: Path, why: str, clock: Clock, mend: partial[bool]) -> Finding:
    try:
        age = clock.now().timestamp() - path.lstat().st_mtime
    except OSError:
        age = None
    return Finding(kind=Kind.RUN_LEFTOVER, what=str(path), why=why, age_seconds=age, size=size_below(path), mend=mend)


def _sweep(directory: RunsDirectory) -> bool:
    with record_errors("cannot sweep", directory.path):
        return directory.sweep()


def _sweep_run(directory: RunsDirectory, run_id: str) -> bool:
    try:
        lock = directory.acquire(run_id)
    except RunBusyError:
        return False
    except RunNotFoundError:
        return True
    with lock:
        directory.sweep_run(run_id)
    return True
