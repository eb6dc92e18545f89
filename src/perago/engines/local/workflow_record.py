"""The record of a workflow's run on disk: its definition, its tries, and their transitions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from perago.engines.local.live import TryNotes
from perago.engines.local.record import Milliseconds, TryEntry, params_to_give, workspace_field
from perago.values.code import CodeVersion
from perago.values.joins import input_refs
from perago.values.json_text import JsonObject
from perago.values.models import RUN_PREFIX
from perago.values.record import WITHIN, InstanceRecord, TryStatus, WorkflowStatus
from perago.values.sandbox import SandboxRecord
from perago.values.workflow_params import params_in

WORKFLOW_RECORD_VERSION: Final = 2
"""Versions of Perago that know no workflows call such a record one of a later version."""


@dataclass(frozen=True, kw_only=True)
class WorkflowTry(TryEntry):
    """One try of a task of a workflow, or of a sub-workflow.

    Attributes:
        reference_task_name: of a task in a sub-workflow with that of the sub-workflow before it, `features/clean`.
        input_data: of the task, secrets masked.
        output_exact: nothing in the output was masked.
    """

    reference_task_name: str
    task_name: str
    input_data: JsonObject
    output_exact: bool = True

    @property
    def published(self) -> tuple[str, str] | None:
        """Branch and commit of its publication; None if it has not completed, or with a commit that it was given."""
        branch, ref = workspace_field(self.output, "branch"), workspace_field(self.output, "ref")
        given = input_refs(self.input_data)
        if self.status is not TryStatus.COMPLETED or branch is None or ref is None or not given or ref in given:
            return None
        return branch, ref


@dataclass(frozen=True, kw_only=True)
class WorkflowRecord:
    """A run of a workflow.

    Attributes:
        target: names the workflow's function, or the file of its definition.
        definition: as Conductor's JSON; the run keeps it, whatever becomes of the code.
        input_data: of the workflow, secrets masked.
        params_exact: nothing was masked.
        options: returned to the caller at a resume.
        tries: those that count, in the order of scheduling.
        replaced: those that no longer count, because the run has begun again before them.
        started_time, ended_time: milliseconds since the epoch.
        output: of a run that has ended; reason: why it did not complete.
    """

    run_id: str
    target: str
    name: str
    definition: JsonObject
    input_data: JsonObject
    params_exact: bool
    started_time: Milliseconds
    status: WorkflowStatus = WorkflowStatus.RUNNING
    tries: tuple[WorkflowTry, ...] = ()
    replaced: tuple[WorkflowTry, ...] = ()
    options: JsonObject = field(default_factory=dict)
    output: JsonObject | None = None
    reason: str | None = None
    ended_time: Milliseconds | None = None
    version: Literal[2] = WORKFLOW_RECORD_VERSION

    @property
    def current(self) -> WorkflowTry | None:
        """The newest try."""
        return self.tries[-1] if self.tries else None

    @property
    def params_to_give(self) -> list[str]:
        """The params that a resume needs again, because the record has them masked."""
        return params_to_give(self.input_data, exact=self.params_exact)

    @property
    def last_tries(self) -> dict[str, WorkflowTry]:
        """The newest try of each task, by its reference name."""
        return {entry.reference_task_name: entry for entry in self.tries}

    @property
    def tasks(self) -> list[WorkflowTry]:
        """The newest try of each task, in the order of their beginning, those of a sub-workflow right after it."""
        last = self.last_tries
        begun = {name: index for index, name in enumerate(last)}

        def place(name: str) -> list[int]:
            around = name.rpartition(WITHIN)[0]
            return [*(place(around) if around in begun else ()), begun[name]]

        return [last[name] for name in sorted(last, key=place)]

    @property
    def run_branch(self) -> str | None:
        """The branch of a transactional run that has begun; None for others."""
        outputs = (workspace_field(entry.output, "branch") for entry in self.tries)
        return next((branch for branch in outputs if branch is not None and branch.startswith(RUN_PREFIX)), None)

    def find(self, task_id: str) -> WorkflowTry | None:
        return next((entry for entry in self.tries if entry.task_id == task_id), None)

    def in_sandbox(self, task_id: str, sandbox: SandboxRecord) -> WorkflowRecord:
        """This record with the sandbox of a body or guard of a try."""
        tries = tuple(
            replace(entry, sandbox=sandbox.after(entry.sandbox)) if entry.task_id == task_id else entry
            for entry in self.tries
        )
        return replace(self, tries=tries)

    def begun(
        self,
        *,
        reference_task_name: str,
        task_name: str,
        input_data: JsonObject,
        now: int,
        host: str,
        pid: int,
        code: CodeVersion | None = None,
    ) -> WorkflowRecord:
        """This record with a further try of a task."""
        before = self.last_tries.get(reference_task_name)
        known = (*self.replaced, *self.tries)
        latest = max((max(entry.scheduled_time, entry.ended_time or 0) for entry in known), default=0)
        entry = WorkflowTry(
            task_id=f"{self.run_id}-{len(known) + 1}",
            retry_count=0 if before is None else before.retry_count + 1,
            scheduled_time=max(now, latest + 1),
            host=host,
            pid=pid,
            retried_task_id=None if before is None else before.task_id,
            reference_task_name=reference_task_name,
            task_name=task_name,
            input_data=input_data,
            code=code,
        )
        return replace(self, tries=(*self.tries, entry))

    def try_ended(
        self,
        task_id: str,
        status: TryStatus,
        *,
        now: int,
        output: JsonObject | None = None,
        output_exact: bool = True,
        reason: str | None = None,
        duration_ms: int | None = None,
    ) -> WorkflowRecord:
        """This record with one try ended."""

        def ended(entry: WorkflowTry) -> WorkflowTry:
            if entry.task_id != task_id:
                return entry
            return replace(
                entry,
                status=status,
                ended_time=max(now, entry.scheduled_time),
                output=output,
                output_exact=output_exact,
                reason=reason,
                duration_ms=duration_ms,
            )

        return replace(self, tries=tuple(map(ended, self.tries)))

    def noted(self, task_id: str, notes: TryNotes) -> WorkflowRecord:
        """This record with what was noted of a try that has ended."""
        tries = (entry.noted(notes) if entry.task_id == task_id else entry for entry in self.tries)
        return replace(self, tries=tuple(tries))

    def live_ended(self, status: TryStatus, *, now: int, reason: str, within: str = "") -> WorkflowRecord:
        """This record with all live tries ended whose names begin with `within`."""
        record = self
        for entry in self.tries:
            if entry.status.is_live and entry.reference_task_name.startswith(within):
                record = record.try_ended(entry.task_id, status, now=now, reason=reason)
        return record

    def ended(
        self, status: WorkflowStatus, *, now: int, output: JsonObject | None = None, reason: str | None = None
    ) -> WorkflowRecord:
        """This record with the workflow ended."""
        return replace(self, status=status, output=output, reason=reason, ended_time=max(now, self.started_time))

    def resumed(self, options: JsonObject | None = None) -> WorkflowRecord:
        """This record with the workflow running again, and some of its options changed."""
        running = replace(self, status=WorkflowStatus.RUNNING, output=None, reason=None, ended_time=None)
        return replace(running, options={**self.options, **(options or {})})

    def again(self, tasks: Collection[str], around: Collection[str], *, host: str, pid: int) -> WorkflowRecord:
        """This record without the results of some tasks, and with the sub-workflows around them running again."""
        last = {self.last_tries[name].task_id for name in around}

        def running(entry: WorkflowTry) -> WorkflowTry:
            if entry.task_id not in last:
                return entry
            begun = replace(entry, status=TryStatus.IN_PROGRESS, host=host, pid=pid, ended_time=None, duration_ms=None)
            return replace(begun, output=None, output_exact=True, reason=None)

        return replace(
            self,
            tries=tuple(running(entry) for entry in self.tries if entry.reference_task_name not in tasks),
            replaced=(*self.replaced, *(entry for entry in self.tries if entry.reference_task_name in tasks)),
        )

    def as_instance(self) -> InstanceRecord:
        """The record in the form of the engine's port."""
        tries = (entry.as_try(entry.reference_task_name, entry.input_data) for entry in self.tries)
        return InstanceRecord(self.run_id, tuple(tries), params=params_in(self.input_data))


def is_workflow(document: object) -> bool:
    """Whether a parsed record is that of a workflow."""
    return isinstance(document, Mapping) and "definition" in document
