"""A Conductor task as an attempt, with all attributes that the core, a store or a worker uses."""

from __future__ import annotations

from dataclasses import dataclass, field

from perago.values.json_text import JsonObject


@dataclass(frozen=True, kw_only=True)
class ConductorAttempt:
    """One execution of a task, as read from the server. Times are milliseconds since the epoch.

    Attributes:
        status: Conductor's status, such as IN_PROGRESS.
        reference_task_name: unique in the workflow; `name__2` for the second iteration of a loop.
        poll_count: number of deliveries; with the scheduled time, it distinguishes executions of one task id.
        iteration: of a loop, from 1; 0 outside of loops.
        input_data: the task's input.
        response_timeout_seconds: seconds without a heartbeat after which the server gives up the execution; 0 if
            unknown.
        worker_id: the worker it was delivered to; "" before that.
        retried_task_id: the try that this one retries; None for a first try.
        domain: of its queue.
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
