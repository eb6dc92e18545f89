"""A Conductor task as an attempt: every attribute that the core, a store or a worker asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perago.values.json_text import JsonObject


@dataclass(frozen=True, kw_only=True)
class ConductorAttempt:
    """One execution of a task, as the server had it when it was read. Times are milliseconds since the epoch.

    Attributes:
        status: Conductor's word for it, such as IN_PROGRESS.
        reference_task_name: unique in the workflow; `name__2` for the second round of a loop.
        poll_count: how often it was handed out; with the scheduled time it tells executions of one task id apart.
        iteration: of a loop, from 1; 0 outside of one.
        input_data: the task's input.
        response_timeout_seconds: without a sign of life from the worker, until the server gives the execution up;
            0: the server does not say.
        worker_id: who it was handed out to; "" before.
        retried_task_id: the try that this one retries; None on a first try.
        domain: of the queue that it came from.
    """

    status: str
    workflow_instance_id: str
    task_id: str
    retry_count: int
    reference_task_name: str
    task_def_name: str
    scheduled_time: int
    poll_count: int
    seq: int
    iteration: int
    input_data: JsonObject = field(default_factory=dict, repr=False, hash=False)
    response_timeout_seconds: int = 0
    start_time: int | None = None
    worker_id: str = ""
    retried_task_id: str | None = None
    correlation_id: str | None = None
    domain: str | None = None
    workflow_type: str | None = None
    reason_for_incompletion: str | None = None
    output_data: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False)
