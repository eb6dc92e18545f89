"""The published function of one attempt. Store and engine are callables, of which some may be missing.

A missing one is replaced here by one that knows nothing, so that the attempt has one path.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from perago.attempt.body import InvokeBody, invoke_in_process
from perago.attempt.context import RunContext
from perago.attempt.output import FAILURE_REASON_MAX_LENGTH, status_for_exception
from perago.attempt.publication import AttemptPorts
from perago.attempt.run import AttemptRun
from perago.errors import PublishFenceError, TaskInputError
from perago.ports import (
    CleanupStaging,
    Clock,
    CompleteNoopWorkspace,
    DownloadWorkspace,
    ListedFile,
    ListWorkspace,
    LoadCurrentAttempt,
    LoadRecord,
    Observer,
    PublishWorkspace,
    ReadHistory,
    StageWorkspace,
    SystemClock,
    ValidateReads,
)
from perago.tasks.declare import TaskDefinition
from perago.tasks.metrics import MetricRecorder
from perago.telemetry.logs import log_event
from perago.values.history import Conflict, History, Merge, Refuse
from perago.values.models import (
    Attempt,
    ResultStatus,
    RuntimeTaskResult,
    StagedWorkspace,
    TaskExecution,
    WorkspaceInput,
)
from perago.values.plans import refusal
from perago.values.record import NO_RECORD, InstanceRecord
from perago.values.spec import WorkspaceSpec
from perago.values.trace_context import TraceContext


def run_workspace_task_attempt(  # noqa: PLR0913 - its keywords are the published contract
    task: TaskDefinition,
    input_data: Mapping[str, Any],
    attempt: Attempt,
    workspace_root: Path,
    *,
    download_workspace: DownloadWorkspace,
    load_current_attempt: LoadCurrentAttempt,
    stage_workspace: StageWorkspace,
    publish_workspace: PublishWorkspace,
    cleanup_staging: CleanupStaging,
    complete_noop_workspace: CompleteNoopWorkspace | None = None,
    owner_worker_id: str | None = None,
    execution_id: str | None = None,
    metrics: MetricRecorder | None = None,
    failure_reason_max_length: int = FAILURE_REASON_MAX_LENGTH,
    status_of: Callable[[BaseException], ResultStatus] = status_for_exception,
    read_history: ReadHistory | None = None,
    load_record: LoadRecord | None = None,
    validate_reads: ValidateReads | None = None,
    invoke_body: InvokeBody = invoke_in_process,
    is_cancelled: Callable[[], bool] = bool,
    keep_failed_workspace: bool = False,
    observer: Observer = log_event,
    clock: Clock | None = None,
    trace: TraceContext | None = None,
    list_workspace: ListWorkspace | None = None,
) -> RuntimeTaskResult:
    """Run one workspace task attempt.

    Args:
        task: a workspace task.
        input_data: the engine's task input: exactly `workspace` and `params`.
        attempt: the engine's task object; see `models.Attempt`.
        workspace_root: directory in which the attempt's own directory is created.
        download_workspace: downloads the input's files.
        load_current_attempt: reads the engine's present state of this task, for the attempt fence.
        stage_workspace: uploads the changes and commits them where nobody reads.
        publish_workspace: moves the target to the staged commit, or raises `HeadMovedError`.
        cleanup_staging: removes what staging left; called whenever staging returned.
        complete_noop_workspace: returns the commit that a writable task without changes completes with. Without it,
            such an attempt fails.
        owner_worker_id: worker id for the owner marker and the stamp. Default: `PERAGO_WORKER_ID` of the environment,
            or host and process id.
        execution_id: unique for this attempt, at most 64 characters. Default: the attempt's `execution_id` if it has
            one, or a fresh one.
        metrics: receives the body's metrics. Default: discard them.
        failure_reason_max_length: characters of a failure's reason that are kept, at least 1.
        status_of: the status of an attempt that raised. Default: FAILED_WITH_TERMINAL_ERROR for a violated pre guard
            and a `TaskTerminalError`, FAILED for everything else.
        read_history: reads head and history of the target from the store, for adoption. Without it, the store decides,
            nothing is adopted, and any commit since the input is refused.
        load_record: reads every try of the workflow instance from the engine, for the verdict on stamps. Without it,
            commits of other tasks and other tries are foreign. Not called without `read_history`.
        validate_reads: compares the input with the head where the task could see it, for `serializable` tasks.
            Without it, they are `exclusive`: any commit since the input is refused.
        invoke_body: runs the body. Default: in this process.
        is_cancelled: answers `TaskContext.cancelled`.
        keep_failed_workspace: keep the files of a failed attempt in `<workspace_root>/kept/`; the event of the clean
            phase has the path.
        observer: receives the events of every phase. Default: the standard library's logging.
        clock: source of time. Default: the machine's.
        trace: the trace context for the body and the stamp. Default: none.
        list_workspace: lists the input's files. Without it, a task with outputs fails.

    Returns:
        COMPLETED with `{"workspace": …, "result": …}`, or a failure with its reason. Every error in the attempt becomes
        a result, including a body's `sys.exit`; only KeyboardInterrupt passes through, after cleanup.

    Raises:
        TaskInputError: the task has no workspace.
        ValueError: the attempt failed, but `failure_reason_max_length` leaves no reason.
    """
    if task.workspace is None:
        raise TaskInputError(
            f"task {task.name!r} has no workspace; run it with run_workspace_free_task_attempt, or declare workspace="
        )
    decides_alone = read_history is None
    ports = AttemptPorts(
        download_workspace=download_workspace,
        list_workspace=list_workspace or _cannot_list,
        load_current_attempt=load_current_attempt,
        stage_workspace=_without_plan(stage_workspace) if decides_alone else stage_workspace,
        publish_workspace=publish_workspace,
        cleanup_staging=cleanup_staging,
        complete_noop_workspace=_noop(complete_noop_workspace, decides_alone=decides_alone),
        read_history=read_history or _unknown_history,
        load_record=_no_record if decides_alone or load_record is None else load_record,
        validate_reads=validate_reads or _cannot_validate,
    )
    context = RunContext(
        execution_id=execution_id or getattr(attempt, "execution_id", None) or uuid.uuid4().hex,
        worker_id=owner_worker_id or os.environ.get("PERAGO_WORKER_ID") or f"{platform.node()}-{os.getpid()}",
        metrics=metrics,
        failure_reason_max_length=failure_reason_max_length,
        status_of=status_of,
        invoke_body=invoke_body,
        is_cancelled=is_cancelled,
        keep_failed_workspace=keep_failed_workspace,
        observer=observer,
        clock=clock or SystemClock(),
        trace=trace,
    )
    run = AttemptRun(task, task.workspace, attempt, workspace_root, context)
    return context.result_of(lambda: run.complete(input_data, ports, only=True))


# ---------------------------------------------------------------- what stands in for a missing callable


def _unknown_history(workspace_input: WorkspaceInput) -> History:
    return History(workspace_input.ref, workspace_input.ref, is_known=False)


def _cannot_list(workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec) -> Mapping[str, ListedFile]:  # noqa: ARG001 - a port
    raise TaskInputError("a task with outputs needs list_workspace, to tell which of them it has not written again")


def _no_record(attempt: Attempt, paths: Collection[str] = ()) -> InstanceRecord:  # noqa: ARG001 - a port
    return NO_RECORD


def _cannot_validate(workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, merge: Merge) -> Conflict | None:  # noqa: ARG001 - a port
    """Without the means to tell, any commit may have changed what the task has read."""
    refuse = Refuse(merge.head, merge.commits, unsettled=merge.unsettled)
    raise refusal(refuse, workspace_input.branch, workspace_input.ref)


def _without_plan(stage_workspace: StageWorkspace) -> StageWorkspace:
    """Stages without the plan, which nobody has read a history for: the store decides."""

    def stage(
        workspace_dir: Path, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, execution: TaskExecution
    ) -> StagedWorkspace:
        return stage_workspace(workspace_dir, workspace_input, workspace_spec, replace(execution, plan=None))

    return stage


def _noop(given: CompleteNoopWorkspace | None, *, decides_alone: bool) -> CompleteNoopWorkspace:
    def noop(workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, execution: TaskExecution) -> str:
        if given is None:
            raise PublishFenceError(
                f"the body changed nothing, and without complete_noop_workspace it is unknown whether branch "
                f"{workspace_input.branch!r} still points at the input; pass the store's complete_noop_workspace"
            )
        return given(workspace_input, workspace_spec, replace(execution, plan=None) if decides_alone else execution)

    return noop
