"""Bounds and defaults of what a task asks of its engine."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from perago import ExecutionLimits, MetricSpec, PublishBudget, RetryPolicy, TaskControls, TimeoutPolicy

BUDGET = {
    "observed_merge_p99_seconds": 10,
    "safety_margin_seconds": 5,
    "lakefs_merge_timeout_seconds": 20,
    "conductor_completion_timeout_seconds": 30,
    "worker_shutdown_grace_seconds": 40,
    "heartbeat_interval_seconds": 11,
}


def test_the_defaults_are_the_published_ones():
    assert TaskControls().model_dump() == {
        "retry": {"count": 3, "logic": "FIXED", "delay_seconds": 60, "max_delay_seconds": 0, "jitter_ms": 0},
        "timeout": {
            "policy": "TIME_OUT_WF", "seconds": 0, "response_seconds": 600, "poll_seconds": 0, "total_seconds": 0,
        },
        "limits": {
            "concurrent_exec_limit": None, "rate_limit_frequency_in_seconds": None, "rate_limit_per_frequency": None,
        },
        "publish_budget": None,
        "body_start": None,
    }  # fmt: skip
    assert MetricSpec().model_dump() == {"attempts": True, "workspace_io": True, "worker_capacity": True}


@pytest.mark.parametrize(
    "values",
    [
        {"count": 0}, {"count": 10}, {"logic": "EXPONENTIAL_BACKOFF"}, {"logic": "LINEAR_BACKOFF"},
        {"delay_seconds": 0}, {"delay_seconds": 100, "max_delay_seconds": 1}, {"jitter_ms": 10**9},
    ],
)  # fmt: skip
def test_retries_within_the_bounds(values):
    assert RetryPolicy(**values).model_dump() == {**RetryPolicy().model_dump(), **values}


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (RetryPolicy, {"count": -1}), (RetryPolicy, {"count": 11}), (RetryPolicy, {"logic": "NEVER"}),
        (RetryPolicy, {"delay_seconds": -1}), (RetryPolicy, {"delay_seconds": 1.5}),
        (RetryPolicy, {"max_delay_seconds": -1}), (RetryPolicy, {"jitter_ms": -1}), (RetryPolicy, {"unknown": 1}),
        (TimeoutPolicy, {"policy": "GIVE_UP"}), (TimeoutPolicy, {"seconds": -1}),
        (TimeoutPolicy, {"response_seconds": -1}), (TimeoutPolicy, {"poll_seconds": -1}),
        (TimeoutPolicy, {"total_seconds": -1}), (TimeoutPolicy, {"unknown": 1}),
        (ExecutionLimits, {"concurrent_exec_limit": -1}), (ExecutionLimits, {"rate_limit_per_frequency": 1}),
        (ExecutionLimits, {"rate_limit_frequency_in_seconds": 1}), (ExecutionLimits, {"unknown": 1}),
        (TaskControls, {"unknown": 1}), (TaskControls, {"retry": {"count": 11}}), (MetricSpec, {"unknown": True}),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_or_unknown_is_refused(model, values):
    with pytest.raises(ValidationError):
        model(**values)


def test_a_rate_is_given_whole():
    limits = ExecutionLimits(rate_limit_frequency_in_seconds=0, rate_limit_per_frequency=5)
    assert (limits.rate_limit_frequency_in_seconds, limits.rate_limit_per_frequency) == (0, 5)
    with pytest.raises(ValidationError, match="together, or neither"):
        ExecutionLimits(rate_limit_per_frequency=5)


def test_a_budget_s_response_timeout_is_the_sum_of_its_last_four():
    assert PublishBudget(**BUDGET).response_timeout_seconds == 20 + 30 + 40 + 11


@pytest.mark.parametrize(
    "changed",
    [
        {"lakefs_merge_timeout_seconds": 14}, {"observed_merge_p99_seconds": -1}, {"safety_margin_seconds": -1},
        {"lakefs_merge_timeout_seconds": 0, "observed_merge_p99_seconds": 0, "safety_margin_seconds": 0},
        {"conductor_completion_timeout_seconds": 0}, {"worker_shutdown_grace_seconds": 0},
        {"heartbeat_interval_seconds": 0}, {"heartbeat_interval_seconds": 0.5}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_budget_that_cannot_be_is_refused(changed):
    with pytest.raises(ValidationError):
        PublishBudget(**{**BUDGET, **changed})


def test_the_timeout_of_a_budget_has_two_names():
    others = {name: value for name, value in BUDGET.items() if name != "lakefs_merge_timeout_seconds"}
    general, published = PublishBudget(**others, publish_timeout_seconds=20), PublishBudget(**BUDGET)
    assert general == published
    assert (general.publish_timeout_seconds, general.lakefs_merge_timeout_seconds) == (20, 20)
    with pytest.raises(ValidationError, match="two names of one limit"):
        PublishBudget(**BUDGET, publish_timeout_seconds=21)


def test_a_budget_at_its_bounds_is_taken():
    assert PublishBudget(**{**BUDGET, "lakefs_merge_timeout_seconds": 15}).lakefs_merge_timeout_seconds == 15


@pytest.mark.parametrize("missing", BUDGET)
def test_a_budget_is_given_whole(missing):
    with pytest.raises(ValidationError, match=missing):
        PublishBudget(**{name: value for name, value in BUDGET.items() if name != missing})


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (RetryPolicy(), "count"), (TimeoutPolicy(), "seconds"), (ExecutionLimits(), "concurrent_exec_limit"),
        (PublishBudget(**BUDGET), "safety_margin_seconds"), (TaskControls(), "retry"), (MetricSpec(), "attempts"),
    ],
)  # fmt: skip
def test_all_of_it_is_frozen(value, field):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(value, field, getattr(value, field))


def test_the_response_timeout_of_controls_is_that_of_their_timeout():
    assert TaskControls().response_timeout_seconds == 600
    assert TaskControls(timeout=TimeoutPolicy(response_seconds=30)).response_timeout_seconds == 30
