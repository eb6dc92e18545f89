"""Attempts of tasks without a workspace, and calls of a body alone."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from perago.attempt.body import BodyCall, InvokeBody, invoke_in_process
from perago.attempt.context import RunContext
from perago.attempt.output import FAILURE_REASON_MAX_LENGTH, completed, status_for_exception
from perago.attempt.outputs import make_output_directories
from perago.attempt.parse import (
    FREE_FIELDS,
    WORKSPACE_FIELDS,
    expect_fields,
    of_unknown_fields,
    of_unknown_params,
    parse_params,
    parse_workspace_input,
)
from perago.errors import TaskInputError
from perago.ports import Clock, Observer, Phase, SystemClock
from perago.tasks.context import TaskContext
from perago.tasks.declare import TaskDefinition
from perago.tasks.guards import check_guardrails
from perago.tasks.metrics import MetricRecorder
from perago.tasks.patterns import filled
from perago.tasks.secrets import secrets_of
from perago.telemetry.logs import log_event
from perago.values import redaction
from perago.values.models import Attempt, AttemptIdentity, ResultStatus, RuntimeTaskResult
from perago.values.trace_context import TraceContext

_NOBODY = AttemptIdentity(workflow_instance_id="", task_id="", retry_count=0)


def run_workspace_free_task_attempt(  # noqa: PLR0913 - its keywords are the published contract
    task: TaskDefinition,
    input_data: Mapping[str, Any],
    *,
    attempt: Attempt | None = None,
    execution_id: str | None = None,
    metrics: MetricRecorder | None = None,
    failure_reason_max_length: int = FAILURE_REASON_MAX_LENGTH,
    status_of: Callable[[BaseException], ResultStatus] = status_for_exception,
    invoke_body: InvokeBody = invoke_in_process,
    is_cancelled: Callable[[], bool] = bool,
    observer: Observer = log_event,
    clock: Clock | None = None,
    trace: TraceContext | None = None,
) -> RuntimeTaskResult:
    """Run one attempt of a task without a workspace.

    Args:
        input_data: the engine's task input: at least `params`; other top-level fields are ignored.
        attempt: the engine's task object, for the body's `TaskContext`. Default: an empty identity.
        execution_id: unique for this attempt. Default: a fresh one.

    See `run_workspace_task_attempt` for the other arguments.

    Returns:
        COMPLETED with `{"result": …}`, or a failure with its reason.

    Raises:
        TaskInputError: the task has a workspace.
    """
    context = RunContext(
        execution_id=execution_id or uuid.uuid4().hex,
        metrics=metrics,
        failure_reason_max_length=failure_reason_max_length,
        status_of=status_of,
        invoke_body=invoke_body,
        is_cancelled=is_cancelled,
        observer=observer,
        clock=clock or SystemClock(),
        trace=trace,
    )
    return run_free_attempt(task, input_data, attempt, context)


def run_free_attempt(
    task: TaskDefinition, input_data: Mapping[str, Any], attempt: Attempt | None, context: RunContext
) -> RuntimeTaskResult:
    """As `run_workspace_free_task_attempt`.

    Raises:
        TaskInputError: the task has a workspace.
    """
    if task.has_workspace:
        raise TaskInputError(f"task {task.name!r} has a workspace; run it with run_workspace_task_attempt")
    identity = _NOBODY if attempt is None else AttemptIdentity.of(attempt)
    phases = context.phases(identity)

    def run() -> RuntimeTaskResult:
        with phases(Phase.PARSE) as span:
            expect_fields(task, input_data, FREE_FIELDS, only=False)
            span.caution(of_unknown_fields(input_data, FREE_FIELDS))
            call = _call(task, input_data, context.metrics, context.of_task(task, identity))
            redaction.learn_of(context.execution_id, secrets_of(call.params))
            span.caution(of_unknown_params(task, call.raw_params))
        with phases(Phase.BODY) as span:
            reporting = call.context.reporting_to(span.report_progress)
            return completed({"result": dict(context.invoke_body(replace(call, context=reporting)))})

    return context.result_of(run)


def invoke_workspace_task_body(
    task: TaskDefinition,
    input_data: Mapping[str, Any],
    workspace_dir: Path,
    *,
    metrics: MetricRecorder | None = None,
) -> dict[str, Any]:
    """Validate and invoke only the body of a workspace task, with its guards, on an existing directory.

    Args:
        input_data: at least `workspace` and `params`; other top-level fields are ignored.
        workspace_dir: the workspace of the body and its guards. Changes are not compared, and nothing is published.

    Returns:
        `{"result": …}`.

    Raises:
        TaskInputError: the task has no workspace, or its input does not validate.
        PreGuardrailViolation, PostGuardrailViolation: a guard is violated, before the body or after it.
        TaskExecutionError: the result does not validate. Errors of the body pass through.
    """
    if task.workspace is None:
        raise TaskInputError(f"task {task.name!r} has no workspace; use invoke_workspace_free_task")
    expect_fields(task, input_data, WORKSPACE_FIELDS, only=False)
    parse_workspace_input(task, input_data["workspace"])
    call = _call(task, input_data, metrics, _no_context(task))
    spec = filled(task.workspace, task.name, call.params)
    make_output_directories(workspace_dir, spec.outputs)
    check_guardrails(workspace_dir, spec.pre, "pre")
    result = dict(invoke_in_process(replace(call, workspace=workspace_dir)))
    check_guardrails(workspace_dir, spec.post, "post")
    return {"result": result}


def invoke_workspace_free_task(
    task: TaskDefinition, input_data: Mapping[str, Any], *, metrics: MetricRecorder | None = None
) -> dict[str, Any]:
    """Validate and invoke only the body of a task without a workspace.

    Args:
        input_data: at least `params`; other top-level fields are ignored.

    Returns:
        `{"result": …}`.

    Raises:
        TaskInputError: the task has a workspace, or its input does not validate.
        TaskExecutionError: the result does not validate. Errors of the body pass through.
    """
    if task.has_workspace:
        raise TaskInputError(f"task {task.name!r} has a workspace; use invoke_workspace_task_body")
    expect_fields(task, input_data, FREE_FIELDS, only=False)
    return {"result": dict(invoke_in_process(_call(task, input_data, metrics, _no_context(task))))}


def _call(
    task: TaskDefinition, input_data: Mapping[str, Any], metrics: MetricRecorder | None, context: TaskContext
) -> BodyCall:
    params, raw_params = parse_params(task, input_data)
    return BodyCall(task=task, params=params, raw_params=raw_params, metrics=metrics, context=context)


def _no_context(task: TaskDefinition) -> TaskContext:
    return TaskContext(identity=_NOBODY, execution_id=uuid.uuid4().hex, task_name=task.name)
