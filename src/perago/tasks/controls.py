"""A task's retries, timeouts, limits and publish budget. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

MAX_RETRIES = 10
"""Maximum retries in a TaskDef; Conductor refuses more."""

RetryCount = Annotated[int, Field(ge=0, le=MAX_RETRIES)]


_TIMEOUT_NAMES = ("publish_timeout_seconds", "lakefs_merge_timeout_seconds")


class _Controls(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetryPolicy(_Controls):
    """Number and delays of retries of a failed task.

    Attributes:
        count: number of retries, 0 to 10.
        logic: growth of the delay from one retry to the next.
        delay_seconds: delay before the first retry.
        max_delay_seconds: upper limit of the delay; 0 means no limit.
        jitter_ms: maximum random change of a delay, in milliseconds.
    """

    count: RetryCount = 3
    logic: Literal["FIXED", "EXPONENTIAL_BACKOFF", "LINEAR_BACKOFF"] = "FIXED"
    delay_seconds: NonNegativeInt = 60
    max_delay_seconds: NonNegativeInt = 0
    jitter_ms: NonNegativeInt = 0


class TimeoutPolicy(_Controls):
    """Timeouts of a task in seconds, and what happens then; 0 means no limit.

    Attributes:
        policy: fail the workflow, retry the task, or only count the timeout.
        seconds: for one try, from start to end.
        response_seconds: for one try without a heartbeat of its worker.
        poll_seconds: for the time in the queue until a worker takes the task.
        total_seconds: for all tries together.
    """

    policy: Literal["TIME_OUT_WF", "RETRY", "ALERT_ONLY"] = "TIME_OUT_WF"
    seconds: NonNegativeInt = 0
    response_seconds: NonNegativeInt = 600
    poll_seconds: NonNegativeInt = 0
    total_seconds: NonNegativeInt = 0


class ExecutionLimits(_Controls):
    """Limits on the task's executions in the engine; None means no limit.

    Attributes:
        concurrent_exec_limit: at the same time.
        rate_limit_per_frequency: started within each `rate_limit_frequency_in_seconds`; give both or neither.
    """

    concurrent_exec_limit: NonNegativeInt | None = None
    rate_limit_frequency_in_seconds: NonNegativeInt | None = None
    rate_limit_per_frequency: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _rate_is_whole(self) -> ExecutionLimits:
        if (self.rate_limit_frequency_in_seconds is None) != (self.rate_limit_per_frequency is None):
            raise ValueError("give rate_limit_frequency_in_seconds and rate_limit_per_frequency together, or neither")
        return self


class PublishBudget(_Controls):
    """Time that a publication may take, in whole seconds, as measured in production.

    Only `publish_timeout_seconds` takes effect. The others repeat durations that are set elsewhere; their sum,
    `response_timeout_seconds`, is the time that an engine must wait. A TaskDef with a shorter timeout warns.

    Attributes:
        observed_merge_p99_seconds: 99th percentile of the duration of merges.
        safety_margin_seconds: added to it.
        publish_timeout_seconds: limit for moving the branch, such as by a merge on lakeFS; at least the sum of the two
            above. Required.
        lakefs_merge_timeout_seconds: another name for it. Give one of the two.
        conductor_completion_timeout_seconds: time to report the result. Only part of the sum.
        worker_shutdown_grace_seconds: time that a stopped worker may still take. Only part of the sum; the limit itself
            is `PERAGO_SHUTDOWN_FORCE_KILL_AFTER`.
        heartbeat_interval_seconds: time between two heartbeats. Only part of the sum; a worker sends one in each third
            of the response timeout.
    """

    observed_merge_p99_seconds: NonNegativeInt
    safety_margin_seconds: NonNegativeInt
    publish_timeout_seconds: PositiveInt = 0  # required, by either name
    lakefs_merge_timeout_seconds: PositiveInt = 0
    conductor_completion_timeout_seconds: PositiveInt
    worker_shutdown_grace_seconds: PositiveInt
    heartbeat_interval_seconds: PositiveInt

    @model_validator(mode="before")
    @classmethod
    def _timeout_has_two_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        given = [data[name] for name in _TIMEOUT_NAMES if name in data]
        if len(given) == len(_TIMEOUT_NAMES) and given[0] != given[1]:
            raise ValueError(f"{' and '.join(_TIMEOUT_NAMES)} are two names of one limit; give one of them")
        return {**data, **dict.fromkeys(_TIMEOUT_NAMES, given[0])} if given else data

    @model_validator(mode="after")
    def _timeout_covers_what_was_observed(self) -> PublishBudget:
        needed = self.observed_merge_p99_seconds + self.safety_margin_seconds
        if not self.publish_timeout_seconds:
            raise ValueError(f"give {' or '.join(_TIMEOUT_NAMES)}, the limit for a publication")
        if self.publish_timeout_seconds < needed:
            raise ValueError(
                f"publish_timeout_seconds is {self.publish_timeout_seconds}, but must be at least "
                f"observed_merge_p99_seconds + safety_margin_seconds = {needed}"
            )
        return self

    @property
    def response_timeout_seconds(self) -> int:
        """The response timeout that leaves time for a publication: the sum of the last four."""
        return (
            self.publish_timeout_seconds
            + self.conductor_completion_timeout_seconds
            + self.worker_shutdown_grace_seconds
            + self.heartbeat_interval_seconds
        )


class TaskControls(_Controls):
    """All controls of a task, each with a default.

    Attributes:
        publish_budget: only for a task with a workspace.
        body_start: how the body's process starts: `fork` from a process that has loaded the task's module, or `spawn` a
            fresh one, for libraries that do not survive a fork. Default: `PERAGO_BODY_START`.
    """

    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    timeout: TimeoutPolicy = Field(default_factory=TimeoutPolicy)
    limits: ExecutionLimits = Field(default_factory=ExecutionLimits)
    publish_budget: PublishBudget | None = None
    body_start: Literal["fork", "spawn"] | None = None

    @property
    def publish_seconds(self) -> float | None:
        """Seconds that a publication may take, by the budget; None for the store's own limit."""
        return None if self.publish_budget is None else float(self.publish_budget.publish_timeout_seconds)

    @property
    def response_timeout_seconds(self) -> int:
        """`timeout.response_seconds`: seconds without a heartbeat after which Conductor hands the task out again."""
        return self.timeout.response_seconds
