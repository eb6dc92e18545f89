"""The engine of `perago run`: starts, resumes and lists runs, and implements the engine's ports."""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import string
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

from perago.engines.local.directory import REMOVAL_ERRORS, RUN_ID, RunsDirectory, Series
from perago.engines.local.examine import died, died_workflow, examine
from perago.engines.local.live import TryNotes, parse_live
from perago.engines.local.record import RunRecord, TryEntry, workspace_field
from perago.engines.local.record_json import AnyRecord
from perago.engines.local.run import LocalRun, Record, WorkflowRun, attempt_of
from perago.engines.local.summary import RUNNING, RunSummary
from perago.engines.local.workflow_record import WorkflowRecord
from perago.errors import EngineError, RunNotFoundError
from perago.files.lock import FileLock, is_held_by_anybody
from perago.ports import Clock, Event, SystemClock
from perago.values.code import CodeVersion
from perago.values.findings import Finding
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, AttemptIdentity, EngineTask, RuntimeTaskResult
from perago.values.record import InstanceRecord, TryStatus, WorkflowStatus
from perago.values.sandbox import SandboxRecord
from perago.workspace.owner import Liveness


class Again(Protocol):
    """What runs again in a run that has begun again.

    Attributes:
        tasks: reference names.
        around: those of the sub-workflows that go on because one of these tasks is in them.
        tries: how many the run had when this was planned.
    """

    @property
    def tasks(self) -> Sequence[str]: ...
    @property
    def around(self) -> Sequence[str]: ...
    @property
    def tries(self) -> int: ...


DEFAULT_KEPT_RUNS = 1_000
"""Records to keep. Starting a run removes the oldest. A record has a few KiB, plus the task's input and output."""

_LOGGER = logging.getLogger(__name__)

Held = TypeVar("Held", LocalRun, WorkflowRun)

_ID_CHARACTERS = string.digits + string.ascii_lowercase
_ID_LENGTH = 6
"""Two billion names per second. A workflow instance id must be unique, also between machines: stamps of two runs with
one id in one repository would differ only by their scheduled times."""

_NAME_TRIES = 10
_SECOND = len("20260101-000000")

_SHOWN_CHARACTERS = 100
"""Limit for a recorded param in an error."""


class LocalEngine:
    """Runs with records in a directory, each in one process.

    A run is one workflow instance: of one logical task, tried one try at a time, or of a workflow, whose tasks may be
    tried at the same time. Any number of processes may share the directory. Records survive a kill at any moment.

    Args:
        directory: contains the records; created when a run is started.
        clock: source of time. Default: the machine's.
        keep: number of records to keep. Starting a run removes the oldest ones that no process holds.
    """

    def __init__(self, directory: Path, clock: Clock | None = None, *, keep: int = DEFAULT_KEPT_RUNS) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}; give at least 1, because a run needs its record")
        self._clock = clock or SystemClock()
        self._directory = RunsDirectory(directory.absolute(), self._clock)
        self._keep = keep
        self._mutex = threading.Lock()
        self._open: dict[str, LocalRun | WorkflowRun] = {}

    # ---- runs

    def start_run(
        self,
        *,
        target: str,
        task_name: str,
        input_data: JsonObject,
        params_exact: bool = True,
        options: JsonObject | None = None,
        code: CodeVersion | None = None,
    ) -> LocalRun:
        """Start a run with its first try.

        Args:
            target: names the task's function, `pkg.module:function`.
            task_name: of the definition; also the logical task's reference name.
            input_data: the task's input, as JSON; secrets in its params masked.
            params_exact: nothing was masked. If False, a resume needs the params again.
            options: JSON that a resume returns to the caller.
            code: the git commit of the task's code.

        Raises:
            EngineError: the record cannot be written.
        """
        draft = RunRecord(
            run_id="",
            target=target,
            task_name=task_name,
            input_data=input_data,
            params_exact=params_exact,
            tries=(),
            options=options or {},
        )
        record, lock = self._create(lambda run_id: self._begin_try(replace(draft, run_id=run_id), code))
        return self._hold(LocalRun(self._directory, lock, record, input_data, self._let_go))

    def start_workflow(
        self,
        *,
        target: str,
        name: str,
        definition: JsonObject,
        input_data: JsonObject,
        recorded_input: JsonObject | None = None,
        options: JsonObject | None = None,
    ) -> WorkflowRun:
        """Start a run of a workflow, without a try.

        Args:
            target: names the workflow's function or file.
            definition: as Conductor's JSON.
            input_data: of the workflow, as JSON.
            recorded_input: the same with secrets masked. Default: there are none.
            options: JSON that a resume returns to the caller.

        Raises:
            EngineError: the record cannot be written.
        """
        recorded = input_data if recorded_input is None else recorded_input
        draft = WorkflowRecord(
            run_id="",
            target=target,
            name=name,
            definition=definition,
            input_data=recorded,
            params_exact=recorded == input_data,
            started_time=self._now(),
            options=options or {},
        )
        record, lock = self._create(lambda run_id: replace(draft, run_id=run_id))
        return self._hold(WorkflowRun(self._directory, lock, record, input_data, self._let_go))

    def resume_run(
        self,
        run_id: str,
        *,
        input_params: JsonObject | None = None,
        masked_params: JsonObject | None = None,
        code: CodeVersion | None = None,
    ) -> LocalRun:
        """Start the next try of a run that was killed, failed or was cancelled, with the same input.

        Args:
            input_params: the params; required if those in the record are masked.
            masked_params: the params with secrets masked, to compare with a masked record. Default: `input_params`.
            code: the git commit of the task's code.

        Raises:
            RunNotFoundError: there is no such run.
            RunBusyError: a live process holds it.
            EngineError: it is completed, the params are missing or differ, or the record is damaged or cannot be
                written.
        """
        lock = self._directory.acquire(run_id)
        try:
            record, input_data = self._resumable(run_id, input_params, masked_params)
            self._directory.sweep_run(run_id)
            record = self._begin_try(died(record, self._clock), code)
            self._directory.write(record)
            return self._hold(LocalRun(self._directory, lock, record, input_data, self._let_go))
        except BaseException:
            lock.release()
            raise

    def input_of(
        self, run_id: str, *, input_params: JsonObject | None = None, masked_params: JsonObject | None = None
    ) -> JsonObject:
        """The input of a run that could be resumed, for another run.

        Args:
            input_params, masked_params: as in `resume_run`.

        Raises:
            As `resume_run`.
        """
        with self._directory.acquire(run_id):
            record = self._directory.read(run_id)
            expect = _expect_resumable_workflow if isinstance(record, WorkflowRecord) else _expect_resumable
            return _resumed_input(expect(record), input_params, masked_params or input_params)

    def resume_workflow(
        self,
        run_id: str,
        *,
        input_params: JsonObject | None = None,
        masked_params: JsonObject | None = None,
        options: JsonObject | None = None,
        again: Again | None = None,
    ) -> WorkflowRun:
        """Go on with a workflow that was killed, failed or was cancelled. Its completed tasks stay.

        Args:
            input_params, masked_params: as in `resume_run`.
            options: those that change. Default: none.
            again: tasks that run again, also if the workflow has completed. Their tries no longer count.

        Raises:
            As `resume_run`.
        """
        lock = self._directory.acquire(run_id)
        try:
            record = _expect_resumable_workflow(self._directory.read(run_id), again)
            input_data = _resumed_input(record, input_params, masked_params or input_params)
            self._directory.sweep_run(run_id)
            record = died_workflow(record, self._clock).resumed(options)
            if again is not None:
                record = record.again(again.tasks, again.around, host=platform.node(), pid=os.getpid())
            self._directory.write(record)
            return self._hold(WorkflowRun(self._directory, lock, record, input_data, self._let_go))
        except BaseException:
            lock.release()
            raise

    def workflow_record(self, run_id: str) -> WorkflowRecord:
        """The record of a workflow's run.

        Raises:
            RunNotFoundError, EngineError: there is none, or it is of a task or damaged.
        """
        record = self._directory.read(run_id)
        if not isinstance(record, WorkflowRecord):
            raise EngineError(f"run {run_id} is of a task, not of a workflow")
        return record

    def runs(self) -> Iterator[RunSummary]:
        """All runs, newest first, including those with an unreadable record.

        Raises:
            EngineError: the directory cannot be read.
        """
        for _, names in groupby(self._directory.ids(), key=lambda name: name[:_SECOND]):
            summaries = [summary for name in names if (summary := self._summary(name)) is not None]
            yield from sorted(summaries, key=lambda summary: summary.started or self._clock.now(), reverse=True)

    def record(self, run_id: str) -> AnyRecord:
        """The record of a run.

        Raises:
            RunNotFoundError, EngineError: there is none, or it is damaged.
        """
        return self._directory.read(run_id)

    def run_ids(self) -> list[str]:
        """The ids of all runs, newest first.

        Raises:
            EngineError: the directory cannot be read.
        """
        return self._directory.ids()

    def summary(self, run_id: str) -> RunSummary | None:
        """A run as `runs` lists it; None if there is none by now."""
        return self._summary(run_id)

    def version(self, run_id: str) -> tuple[int, int] | None:
        """Changes with each change of a run's record; None if there is none. Reads no content."""
        try:
            found = self._directory.record_path(run_id).stat() if RUN_ID.fullmatch(run_id) else None
        except OSError:
            return None
        return None if found is None else (found.st_ino, found.st_mtime_ns)

    # ---- maintenance

    def examine(self) -> Iterator[Finding]:
        """Leftovers of killed processes: runs recorded as running, unreadable records, incomplete files.

        Raises:
            EngineError: the directory cannot be read.
        """
        return examine(self._directory, self.runs(), self._clock)

    def liveness_of(self, run_id: str) -> Liveness:
        """Whether a process holds a run; "unknown" if it has no readable record."""
        try:
            if not RUN_ID.fullmatch(run_id) or not self._directory.record_path(run_id).exists():
                return "unknown"
            return "alive" if is_held_by_anybody(self._directory.lock_path(run_id)) else "dead"
        except OSError:
            return "unknown"

    def running_since(self) -> datetime | None:
        """Start of the oldest run that a process holds; None if there is none."""
        begun = [summary.started for summary in self.runs() if summary.status == RUNNING]
        return min((started for started in begun if started is not None), default=None)

    def note_sandbox(self, identity: AttemptIdentity, sandbox: SandboxRecord) -> None:
        """See `HeldRun.note_sandbox`, for a run that this engine holds."""
        run = self._held(identity.workflow_instance_id)
        if run is not None:
            run.note_sandbox(identity.task_id, sandbox)

    def note_series(self, identity: AttemptIdentity, series: JsonObject) -> None:
        """Keep the numbers that a body has recorded, for a run that this engine holds. A disk that refuses is warned
        of: an attempt does not fail because of them.
        """
        run = self._held(identity.workflow_instance_id)
        try:
            if run is not None and series:
                run.note_series(identity.task_id, series)
        except EngineError as exc:
            _LOGGER.warning("the numbers that the body recorded are not kept on this host: %s", exc)

    def has_series(self, run_id: str) -> bool:
        """Whether the bodies of a run have recorded numbers."""
        return self._directory.has_series(run_id)

    def series_of(self, run_id: str) -> dict[str, Series]:
        """The numbers that the bodies of a run have recorded, by the id of the try, and by their name.

        Raises:
            RunNotFoundError, EngineError: there is no such run, or they are damaged.
        """
        return self._directory.read_series(run_id)

    def sandbox_of(self, identity: AttemptIdentity) -> SandboxRecord | None:
        """What was noted of the sandbox of a try; None if nothing was."""
        run = self._held(identity.workflow_instance_id)
        return None if run is None else run.sandbox_of(identity.task_id)

    def note_event(self, attempt: Attempt, event: Event) -> None:
        """Something happened in a try of a run that this engine holds. Never raises."""
        run = self._held(attempt.workflow_instance_id)
        if run is not None:
            run.live.event(attempt.task_id, event)

    def note_line(self, attempt: Attempt | AttemptIdentity, text: str) -> None:
        """The body of such a try has printed or logged a line. Never raises."""
        run = self._held(attempt.workflow_instance_id)
        if run is not None:
            run.live.line(attempt.task_id, text)

    def tell_live(self) -> None:
        """Write what the runs that this engine holds do now, if that is due. Never raises."""
        with self._mutex:
            runs = list(self._open.values())
        for run in runs:
            run.live.tell()

    def live(self, run_id: str) -> Mapping[str, TryNotes]:
        """What the live tries of a run that a process holds do, by their ids; of one that was killed, what they did."""
        return parse_live(self._directory.read_live(run_id))

    # ---- the ports; see `perago.ports` for their contract

    def load_current_attempt(self, attempt: Attempt) -> EngineTask:
        """The current state of the attempt's try.

        Raises:
            RunNotFoundError, EngineError: there is no such run, or it has no such try.
        """
        run = self._held(attempt.workflow_instance_id)
        if run is not None:
            found = run.find_attempt(attempt.task_id)
        else:
            record = self._directory.read(attempt.workflow_instance_id)
            entry: TryEntry | None = record.find(attempt.task_id)
            found = None if entry is None else attempt_of(record, entry, entry.status)
        if found is None:
            raise EngineError(f"run {attempt.workflow_instance_id} has no try {attempt.task_id!r}")
        return found

    def load_record(self, attempt: Attempt, paths: Collection[str] = ()) -> InstanceRecord:
        """All tries of the attempt's run, those of its sub-workflows included.

        Raises:
            RunNotFoundError, EngineError: there is no such run, or its record is damaged.
        """
        del paths  # a run's record has all of them
        run = self._held(attempt.workflow_instance_id)
        record = self._directory.read(attempt.workflow_instance_id) if run is None else run.record
        return record.as_instance()

    def report_result(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Record a result. One for a try that is not current, or has ended, is silently dropped.

        Raises:
            RunNotFoundError, EngineError: there is no such run or try, another process holds it, or the record cannot
                be written.
        """
        is_live = self.load_current_attempt(attempt).status == TryStatus.IN_PROGRESS
        run = self._held(attempt.workflow_instance_id)
        if run is not None:
            run.report(attempt.task_id, result)
        elif is_live:
            raise EngineError(
                f"run {attempt.workflow_instance_id} belongs to another process, and only that may report its result"
            )

    # ---- internals

    def _create(self, record_of: Callable[[str], Record]) -> tuple[Record, FileLock]:
        """Create a record under an unused id, and take its lock."""
        for _ in range(_NAME_TRIES):
            record = record_of(self._new_id())
            lock = self._directory.create(record)
            if lock is not None:
                self._trim(self._keep)
                return record, lock
        raise EngineError(f"no unused run id was found in {self._directory.path} in {_NAME_TRIES} tries; try again")

    def _hold(self, run: Held) -> Held:
        with self._mutex:
            self._open[run.run_id] = run
        return run

    def _let_go(self, run: LocalRun | WorkflowRun) -> None:
        with self._mutex:
            if self._open.get(run.run_id) is run:
                del self._open[run.run_id]

    def _held(self, run_id: str) -> LocalRun | WorkflowRun | None:
        with self._mutex:
            return self._open.get(run_id)

    def _resumable(
        self, run_id: str, input_params: JsonObject | None, masked_params: JsonObject | None
    ) -> tuple[RunRecord, JsonObject]:
        """The record of a run that can be resumed, and its complete input."""
        record = _expect_resumable(self._directory.read(run_id))
        return record, _resumed_input(record, input_params, masked_params or input_params)

    def _begin_try(self, record: RunRecord, code: CodeVersion | None) -> RunRecord:
        return record.begun(now=self._now(), host=platform.node(), pid=os.getpid(), code=code)

    def _summary(self, run_id: str) -> RunSummary | None:
        try:
            is_held = is_held_by_anybody(self._directory.lock_path(run_id))
            return RunSummary.of(self._directory.read(run_id), is_held=is_held, now=self._clock.now())
        except RunNotFoundError:
            return None  # just pruned
        except (EngineError, OSError) as exc:
            return RunSummary.unreadable(run_id, str(exc))

    def _trim(self, keep: int) -> None:
        """Remove all but the newest `keep` records, and leftovers of killed processes."""
        with suppress(EngineError, *REMOVAL_ERRORS):  # a run must not fail because an old one cannot be removed
            self._directory.sweep()
            for run_id in self._directory.ids()[keep:]:
                self._directory.remove(run_id)

    def _new_id(self) -> str:
        rest = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
        return f"{self._clock.now():%Y%m%d-%H%M%S}-{rest}"

    def _now(self) -> int:
        return round(self._clock.now().timestamp() * 1000)


def _resumed_input(record: AnyRecord, input_params: JsonObject | None, masked_params: JsonObject | None) -> JsonObject:
    stored = record.input_data
    if input_params is None or masked_params is None:
        if record.params_exact:
            return stored
        raise EngineError(
            f"the params of run {record.run_id} contain secrets, which are not stored: "
            f"{', '.join(record.params_to_give)}. To resume it, give them again, as with --params @FILE"
        )
    if record.params_exact and dict(input_params) != stored.get("params"):
        raise EngineError(
            f"these are not the original params of run {record.run_id}. Leave them out to resume it, or start another "
            f"run with them"
        )
    if not record.params_exact and (others := _others_than(masked_params, stored.get("params") or {})):
        raise EngineError(
            f"these are not the original params of run {record.run_id}: {', '.join(others)}. To resume it, give all "
            f"original params, secrets included; or start another run"
        )
    return {**stored, "params": input_params}


def _others_than(given: JsonObject, recorded: JsonObject) -> list[str]:
    """The original value of each param that differs."""
    told = []
    for name in dict.fromkeys([*recorded, *given]):
        if name not in recorded:
            told.append(f"{name} was not given")
        elif name not in given or given[name] != recorded[name]:
            told.append(f"{name} was {json.dumps(recorded[name])[:_SHOWN_CHARACTERS]}")
    return told


def _expect_resumable_workflow(record: AnyRecord, again: Again | None = None) -> WorkflowRecord:
    if not isinstance(record, WorkflowRecord):
        raise EngineError(f"run {record.run_id} is of a task, not of a workflow")
    if record.status is WorkflowStatus.COMPLETED and again is None:
        raise EngineError(
            f"run {record.run_id} is COMPLETED already; start another run, or run it again --from one of its tasks on"
        )
    if again is not None and again.tries != len(record.tries):
        raise EngineError(f"run {record.run_id} went on in another process meanwhile; look at it with `perago runs`")
    repeated = () if again is None else (*again.tasks, *again.around)
    for name, entry in record.last_tries.items():
        if not entry.output_exact and name not in repeated:
            raise EngineError(
                f"run {record.run_id}: the result of task {entry.reference_task_name!r} contains secrets, which are "
                f"not stored, so that the tasks after it cannot get it; start another run"
            )
    return record


def _expect_resumable(record: AnyRecord) -> RunRecord:
    if not isinstance(record, RunRecord):
        raise EngineError(f"run {record.run_id} is of a workflow, not of a task")
    if record.current.status is TryStatus.COMPLETED:
        ref = workspace_field(record.current.output, "ref")
        outcome = f"with commit {ref}" if ref else "with a result"
        raise EngineError(f"run {record.run_id} is COMPLETED already, {outcome}; start another run")
    return record
