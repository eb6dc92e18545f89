"""Attempts and records as they travel between a supervisor and an executor, which loads no engine's client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from perago.json_text import JsonObject
from perago.models import Attempt
from perago.record import InstanceRecord, TryRecord, TryStatus


@dataclass(frozen=True, kw_only=True)
class ExecutorAttempt:
    """An engine's task object on the executor's side: what engines say of a task; None: this one does not.

    Times are milliseconds since the epoch.
    """

    status: str
    workflow_instance_id: str
    task_id: str
    retry_count: int
    task_def_name: str
    reference_task_name: str | None = None
    scheduled_time: int | None = None
    poll_count: int | None = None
    seq: int | None = None
    iteration: int | None = None
    input_data: JsonObject = field(default_factory=dict, repr=False)
    response_timeout_seconds: int = 0
    start_time: int | None = None
    worker_id: str | None = None
    retried_task_id: str | None = None
    correlation_id: str | None = None
    domain: str | None = None
    workflow_type: str | None = None


_FIELDS = tuple(entry.name for entry in fields(ExecutorAttempt))
_TRY_FIELDS = tuple(entry.name for entry in fields(TryRecord))


def attempt_to_json(attempt: Attempt, *, with_input: bool = True) -> dict[str, Any]:
    """The fields of `ExecutorAttempt`, as far as the engine's object has them.

    Args:
        with_input: the input goes with it; the attempt fence needs none.
    """
    names = _FIELDS if with_input else [name for name in _FIELDS if name != "input_data"]
    values = {name: getattr(attempt, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def record_to_json(record: InstanceRecord) -> dict[str, Any]:
    """An engine's record as a JSON value."""
    return {
        "workflow_instance_id": record.workflow_instance_id,
        # dataclasses.asdict would copy each output, all the way down, only to have it encoded
        "tries": [{name: getattr(entry, name) for name in _TRY_FIELDS} for entry in record.tries],
    }


def record_from_json(value: Mapping[str, Any]) -> InstanceRecord:
    """The record of `record_to_json`."""
    tries = (TryRecord(**{**entry, "status": TryStatus(entry["status"])}) for entry in value["tries"])
    return InstanceRecord(value["workflow_instance_id"], tuple(tries))
