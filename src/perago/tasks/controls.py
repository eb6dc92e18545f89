"""What a task asks of its engine: retries, timeouts, limits, and the time a publication may take. Values only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

MAX_RETRIES = 10
"""The most retries that a TaskDef may ask for; Conductor refuses to register more."""

RetryCount = Annotated[int, Field(ge=0, le=MAX_RETRIES)]


class _Controls(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetryPolicy(_Controls):
    """How often a failed task is tried again, and when.

    Attributes:
        count: tries after the first, 0 to 10.
        logic: how the delay grows from one try to the next.
        delay_seconds: delay before the first retry.
        max_delay_seconds: the most that the delay grows to; 0: no limit.
        jitter_ms: the most by which a delay is varied at random, milliseconds.
    """

    count: RetryCount = 3
    logic: Literal["FIXED", "EXPONENTIAL_BACKOFF", "LINEAR_BACKOFF"] = "FIXED"
    delay_seconds: NonNegativeInt = 60
    max_delay_seconds: NonNegativeInt = 0
    jitter_ms: NonNegativeInt = 0


class TimeoutPolicy(_Controls):
    """How long a task may take, in seconds, and what becomes of it then; 0: no limit.

    Attributes:
        policy: fail the workflow, retry the task, or only count it.
        seconds: one try, from its start to its end.
        response_seconds: one try without a sign of life from its worker.
        poll_seconds: waiting in the queue until a worker takes it.
        total_seconds: all tries together.
    """

    policy: Literal["TIME_OUT_WF", "RETRY", "ALERT_ONLY"] = "TIME_OUT_WF"
    seconds: NonNegativeInt = 0
    response_seconds: NonNegativeInt = 600
    poll_seconds: NonNegativeInt = 0
    total_seconds: NonNegativeInt = 0


class ExecutionLimits(_Controls):
    """How many executions of the task the engine lets run; None: no limit.

    Attributes:
        concurrent_exec_limit: at the same time.
        rate_limit_per_frequency: started within each `rate_limit_frequency_in_seconds`; both or neither are given.
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
    """The time that a publication may take, in whole seconds, measured where it is to run.

    `lakefs_merge_timeout_seconds` alone takes effect. The others say how long something takes that is set elsewhere, so
    that `response_timeout_seconds` can say how long an engine has to wait, and a TaskDef that is shorter warns.

    Attributes:
        observed_merge_p99_seconds: what 99 of 100 merges stay below.
        safety_margin_seconds: on top of it.
        lakefs_merge_timeout_seconds: when a merge is given up; at least the two above together.
        conductor_completion_timeout_seconds: what reporting the result may take; only enters the sum.
        worker_shutdown_grace_seconds: what a worker that is told to stop may still take; only enters the sum.
            `PERAGO_SHUTDOWN_FORCE_KILL_AFTER` is what ends it.
        heartbeat_interval_seconds: between two signs of life; only enters the sum. A worker sends one in each third of
            the response timeout.
    """

    observed_merge_p99_seconds: NonNegativeInt
    safety_margin_seconds: NonNegativeInt
    lakefs_merge_timeout_seconds: PositiveInt
    conductor_completion_timeout_seconds: PositiveInt
    worker_shutdown_grace_seconds: PositiveInt
    heartbeat_interval_seconds: PositiveInt

    @model_validator(mode="after")
    def _timeout_covers_what_was_observed(self) -> PublishBudget:
        needed = self.observed_merge_p99_seconds + self.safety_margin_seconds
        if self.lakefs_merge_timeout_seconds < needed:
            raise ValueError(
                f"lakefs_merge_timeout_seconds is {self.lakefs_merge_timeout_seconds}, and must be at least "
                f"observed_merge_p99_seconds + safety_margin_seconds = {needed}"
            )
        return self

    @property
    def response_timeout_seconds(self) -> int:
        """The response timeout that leaves room for a publication: the sum of the last four."""
        return (
            self.lakefs_merge_timeout_seconds
            + self.conductor_completion_timeout_seconds
            + self.worker_shutdown_grace_seconds
            + self.heartbeat_interval_seconds
        )


class TaskControls(_Controls):
    """All of it together; what is left out has its defaults.

    Attributes:
        publish_budget: only for a task with a workspace.
        body_start: how the body's process begins: forked from one that has loaded the task's module, or spawned to load
            it itself, for libraries that do not bear a fork. None: as `PERAGO_BODY_START` says.
    """

    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    timeout: TimeoutPolicy = Field(default_factory=TimeoutPolicy)
    limits: ExecutionLimits = Field(default_factory=ExecutionLimits)
    publish_budget: PublishBudget | None = None
    body_start: Literal["fork", "spawn"] | None = None

    @property
    def response_timeout_seconds(self) -> int:
        """`timeout.response_seconds`: seconds without a heartbeat after which Conductor hands the task out again."""
        return self.timeout.response_seconds
