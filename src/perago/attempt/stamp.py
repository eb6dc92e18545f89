"""Makes the stamp of an attempt's commit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from perago.attempt.body import BodyCall
from perago.attempt.context import RunContext
from perago.ports import Clock
from perago.tasks.code import code_digest
from perago.tasks.code_version import code_version
from perago.tasks.declare import TaskDefinition
from perago.tasks.secrets import mask_by_type
from perago.values.code import CodeVersion
from perago.values.history import Stamp
from perago.values.json_text import JsonObject, with_finite_numbers
from perago.values.models import Attempt, AttemptIdentity, TaskExecution, WorkspaceInput
from perago.values.redaction import mask_json_alike
from perago.values.spec import WorkspaceSpec
from perago.values.stamps import json_digest, storable


@dataclass(frozen=True, kw_only=True)
class StampDraft:
    """The part of a stamp that is known before the body runs.

    Attributes:
        reference_task_name: the engine's; if it has none, the task's name.
        params: as JSON, secret fields masked.
        params_digest: digest of the masked `params`, so that it reveals nothing about a secret.
        started: RFC 3339, UTC; started_monotonic: the same moment on the monotonic clock, in seconds.
        traceparent: the attempt's trace context, or None.
        selection: prefix and patterns of its workspace; None if they are too large for a stamp.
    """

    task: str
    identity: AttemptIdentity
    reference_task_name: str
    input_ref: str
    branch: str
    params: JsonObject
    params_digest: str
    code_digest: str
    code_version: CodeVersion | None
    started: str
    started_monotonic: float
    traceparent: str | None
    selection: JsonObject | None

    @classmethod
    def begin(
        cls,
        task: TaskDefinition,
        call: BodyCall,
        identity: AttemptIdentity,
        workspace_input: WorkspaceInput,
        spec: WorkspaceSpec,
        clock: Clock,
    ) -> StampDraft:
        """Args:
        spec: with the params' values in its patterns.
        """
        params = describe_params(call.params)
        return cls(
            task=task.name,
            identity=identity,
            reference_task_name=identity.reference_task_name or task.name,
            input_ref=workspace_input.ref,
            branch=workspace_input.branch,
            params=params,
            params_digest=json_digest(params),
            code_digest=code_digest(task),
            code_version=None if task.is_builtin else code_version(task),
            started=clock.now().isoformat(timespec="milliseconds"),
            started_monotonic=clock.monotonic(),
            traceparent=None if call.context.trace is None else call.context.trace.traceparent,
            selection=storable(selection_of(spec))[0],
        )

    def execution(self, attempt: Attempt, context: RunContext, result: JsonObject) -> TaskExecution:
        """The execution with this result, for a store. It has no changes yet."""
        return TaskExecution(
            attempt=attempt,
            identity=self.identity,
            execution_id=context.execution_id,
            stamp=replace(
                self.stamp(context.execution_id, context.worker_id, result, context.clock),
                sandbox=None if context.sandbox == "off" else context.sandbox,
            ),
        )

    def stamp(self, execution_id: str, worker_id: str, result: JsonObject, clock: Clock) -> Stamp:
        """The stamp of a commit with this result. The store adds the head."""
        stored_result, exact = storable(result)
        return Stamp(
            task=self.task,
            workflow_instance_id=self.identity.workflow_instance_id,
            reference_task_name=self.reference_task_name,
            task_id=self.identity.task_id,
            retry_count=self.identity.retry_count,
            scheduled_time=self.identity.scheduled_time,
            poll_count=self.identity.poll_count,
            execution_id=execution_id,
            input_ref=self.input_ref,
            branch=self.branch,
            params_digest=self.params_digest,
            code_digest=self.code_digest,
            code_commit=None if self.code_version is None else self.code_version.commit,
            code_dirty=None if self.code_version is None else self.code_version.is_dirty,
            result_digest=json_digest(mask_json_alike(result)),
            params=storable(self.params)[0],
            result=stored_result,
            result_exact=exact,
            started_at=self.started,
            duration_ms=round((clock.monotonic() - self.started_monotonic) * 1000),
            worker=worker_id,
            traceparent=self.traceparent,
            selection=self.selection,
        )


def selection_of(spec: WorkspaceSpec) -> JsonObject:
    """The prefix and the patterns of a workspace, without those that have their default."""
    return spec.model_dump(mode="json", include={"prefix", "include", "exclude", "outputs"}, exclude_defaults=True)


def of_workflow(stamp: Stamp, params: JsonObject | None) -> Stamp:
    """A stamp with the params of its workflow, which the engine's record has.

    Args:
        params: secrets masked; None or empty for none.
    """
    if not params:
        return stamp
    stored, _ = storable(params)
    return replace(stamp, workflow_params=stored, workflow_params_digest=json_digest(mask_json_alike(params)))


def of_run(stamp: Stamp, began: datetime, now: datetime) -> Stamp:
    """The stamp of a transactional run's commit, with the time of the whole run in place of that of its end.

    Args:
        began: by the engine's clock. A clock that is ahead of this host's does not make the run shorter than its end.
    """
    duration_ms = round((now - began).total_seconds() * 1000)
    if duration_ms <= stamp.duration_ms:
        return stamp
    return replace(stamp, started_at=began.isoformat(timespec="milliseconds"), duration_ms=duration_ms)


def describe_params(params: BaseModel) -> JsonObject:
    """The validated params as JSON, with secrets masked: pydantic's secret types and strings with secret-like names.

    Params without a JSON form are described by the `repr` of each field, which masks pydantic's secret types, too.
    """
    try:
        described: dict[str, Any] = params.model_dump(mode="json", by_alias=True, warnings=False)
    except PydanticSerializationError:
        described = {name: repr(value) for name, value in params}
    masked: dict[str, Any] = mask_json_alike(with_finite_numbers(mask_by_type(params, described)))
    return masked
