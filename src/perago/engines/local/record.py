"""The record of a run of one task on disk: values and transitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal, Self

from pydantic import Field

from perago.engines.local.live import NO_NOTES, TryNotes
from perago.errors import EngineError
from perago.values.code import CodeVersion
from perago.values.joins import input_refs
from perago.values.json_text import JsonObject
from perago.values.record import InstanceRecord, TryRecord, TryStatus
from perago.values.redaction import masked_names
from perago.values.sandbox import SandboxRecord
from perago.values.workflow_params import params_in

RECORD_VERSION: Final = 1
POLL_COUNT = 1
"""Each try is delivered once. Resuming a run makes a new try."""

MAX_MILLISECONDS: Final = 253_402_300_799_999
"""The end of the year 9999, the last that a date can represent."""

Milliseconds = Annotated[int, Field(ge=0, le=MAX_MILLISECONDS)]


@dataclass(frozen=True, kw_only=True)
class TryEntry:
    """One try of a run.

    Attributes:
        scheduled_time, ended_time: milliseconds since the epoch, later than those of the try before.
        host, pid: the process that runs it.
        output: of a COMPLETED try; reason: of any other ended one.
        duration_ms: from start to end; None if the end was not observed.
        code: the git commit of the task's code; None if it is in no work tree, or for a sub-workflow.
        sandbox: of the body and its guards; None if it had none.
        phases, cached_from: see `live.TryNotes`; of one that has ended.
        lines: the same, of one that has ended without completing.
    """

    task_id: str
    retry_count: int
    scheduled_time: Milliseconds
    host: str
    pid: int
    status: TryStatus = TryStatus.IN_PROGRESS
    retried_task_id: str | None = None
    ended_time: Milliseconds | None = None
    duration_ms: Milliseconds | None = None
    output: JsonObject | None = None
    reason: str | None = None
    code: CodeVersion | None = None
    sandbox: SandboxRecord | None = None
    phases: Mapping[str, Milliseconds] = field(default_factory=dict)
    cached_from: str | None = None
    lines: tuple[str, ...] = ()

    def noted(self, notes: TryNotes) -> Self:
        """This try, which has ended, with what was noted of its work."""
        lines = () if self.status is TryStatus.COMPLETED else notes.lines
        return replace(self, phases=notes.phases, cached_from=notes.cached_from, lines=lines)

    def as_try(self, reference_task_name: str, input_data: JsonObject) -> TryRecord:
        """The try in the form of the engine's port."""
        return TryRecord(
            task_id=self.task_id,
            reference_task_name=reference_task_name,
            retry_count=self.retry_count,
            scheduled_time=self.scheduled_time,
            poll_count=POLL_COUNT,
            status=self.status,
            input_refs=input_refs(input_data),
            output=self.output,
            ended_time=self.ended_time,
            retried_task_id=self.retried_task_id,
        )


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run: one workflow instance with one logical task.

    Attributes:
        target: names the task's function.
        params_exact: `input_data` is the complete input; False if secrets in its params are masked.
        options: returned to the caller at a resume.
        tries: the first one first, never empty.
    """

    run_id: str
    target: str
    task_name: str
    input_data: JsonObject
    params_exact: bool
    tries: tuple[TryEntry, ...]
    options: JsonObject = field(default_factory=dict)
    version: Literal[1] = RECORD_VERSION

    @property
    def current(self) -> TryEntry:
        """The newest try."""
        return self.tries[-1]

    @property
    def params_to_give(self) -> list[str]:
        """The params that a resume needs again, because the record has them masked."""
        return params_to_give(self.input_data, exact=self.params_exact)

    def find(self, task_id: str) -> TryEntry | None:
        return next((entry for entry in self.tries if entry.task_id == task_id), None)

    def in_sandbox(self, task_id: str, sandbox: SandboxRecord) -> RunRecord:
        """This record with the sandbox of a body or guard of a try."""
        tries = tuple(
            replace(entry, sandbox=sandbox.after(entry.sandbox)) if entry.task_id == task_id else entry
            for entry in self.tries
        )
        return replace(self, tries=tries)

    def begun(self, *, now: int, host: str, pid: int, code: CodeVersion | None = None) -> RunRecord:
        """This record with a further try."""
        before = self.tries[-1] if self.tries else None
        times = (before.scheduled_time, before.ended_time or 0) if before else (0,)
        entry = TryEntry(
            task_id=f"{self.run_id}-{len(self.tries) + 1}",
            retry_count=len(self.tries),
            scheduled_time=max(now, max(times) + 1),
            host=host,
            pid=pid,
            retried_task_id=before.task_id if before else None,
            code=code,
        )
        return replace(self, tries=(*self.tries, entry))

    def ended(
        self,
        status: TryStatus,
        *,
        now: int,
        output: JsonObject | None = None,
        reason: str | None = None,
        duration_ms: int | None = None,
        notes: TryNotes = NO_NOTES,
    ) -> RunRecord:
        """This record with the newest try ended."""
        if self.current.status is not TryStatus.IN_PROGRESS:
            raise EngineError(
                f"try {self.current.task_id} of run {self.run_id} has ended, as {self.current.status.value}"
            )
        entry = replace(
            self.current,
            status=status,
            ended_time=max(now, self.current.scheduled_time),
            output=output,
            reason=reason,
            duration_ms=duration_ms,
        ).noted(notes)
        return replace(self, tries=(*self.tries[:-1], entry))

    def as_instance(self) -> InstanceRecord:
        """The record in the form of the engine's port."""
        return InstanceRecord(self.run_id, tuple(entry.as_try(self.task_name, self.input_data) for entry in self.tries))


def params_to_give(input_data: JsonObject, *, exact: bool) -> list[str]:
    """The params that a record has masked."""
    return [] if exact else masked_names(params_in(input_data) or {})


def workspace_field(data: JsonObject | None, name: str) -> str | None:
    """A field of the workspace in a task's input or output; None if missing."""
    workspace = (data or {}).get("workspace")
    value = workspace.get(name) if isinstance(workspace, Mapping) else None
    return value if isinstance(value, str) else None
