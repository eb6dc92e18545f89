"""A run on one line of a list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from perago.engines.local.record import RunRecord, workspace_field
from perago.values.record import TryStatus

RUNNING = "running"
KILLED = "killed"
UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run as `LocalEngine.runs` lists it.

    Attributes:
        status: of the newest try, as `TryStatus` names it once it has ended; "running" while a process has it,
            "killed" where that process is gone and the try has no end; "unreadable": the record is damaged.
        tries: how many there were.
        output_ref: the commit that a COMPLETED run of a workspace task ended with.
        reason: why the newest try ended without a result, or what is wrong with the record.
        started: when the first try began.
        duration: seconds that the newest try took, or takes so far; None where nobody saw its end.
    """

    run_id: str
    status: str
    target: str = ""
    task_name: str = ""
    repository: str | None = None
    branch: str | None = None
    input_ref: str | None = None
    tries: int = 0
    output_ref: str | None = None
    reason: str | None = None
    started: datetime | None = None
    duration: float | None = None

    @classmethod
    def of(cls, record: RunRecord, *, is_held: bool, now: datetime) -> Self:
        """A readable record. `is_held`: a living process has the run."""
        newest = record.current
        if newest.status is not TryStatus.IN_PROGRESS:
            status = newest.status.value
            duration = None if newest.duration_ms is None else newest.duration_ms / 1000
        else:
            status = RUNNING if is_held else KILLED
            duration = max(now.timestamp() - newest.scheduled_time / 1000, 0.0) if is_held else None
        return cls(
            run_id=record.run_id,
            status=status,
            target=record.target,
            task_name=record.task_name,
            repository=workspace_field(record.input_data, "repository"),
            branch=workspace_field(record.input_data, "branch"),
            input_ref=workspace_field(record.input_data, "ref"),
            tries=len(record.tries),
            output_ref=workspace_field(newest.output, "ref"),
            reason=newest.reason,
            started=datetime.fromtimestamp(record.tries[0].scheduled_time / 1000, UTC),
            duration=duration,
        )

    @classmethod
    def unreadable(cls, run_id: str, why: str) -> Self:
        """A record that cannot be read; the rest of the list can."""
        return cls(run_id=run_id, status=UNREADABLE, reason=why)
