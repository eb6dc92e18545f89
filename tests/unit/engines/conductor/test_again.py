"""What is recommended for a workflow on Conductor that has ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conductor_tasks import conductor_task
from perago.attempt.output import reason_for_exception
from perago.engines.conductor import ConductorWorkflow
from perago.engines.conductor.again import advice, cannot_retry, expect_retry
from perago.errors import WorkflowStateError
from perago.values.plans import input_not_on_branch

REFUSED = reason_for_exception(input_not_on_branch("main", "0" * 40, "1" * 40))


@pytest.fixture
def failed():
    """A workflow whose second task has failed for good."""
    first = conductor_task(1, "first", "COMPLETED")
    second = conductor_task(2, "second", "FAILED_WITH_TERMINAL_ERROR", "TaskFailed: no")
    workflow = ConductorWorkflow.of({"workflowId": "w", "workflowName": "flow", "status": "FAILED"})
    return replace(workflow, tasks=(first, second), steps=(first, second))


def test_a_task_that_failed_is_retried(failed):
    assert advice(failed, {}.get).startswith("`perago retry w`")


def test_a_workflow_that_a_join_has_ended_for_cancelled_tries_is_not_retried(failed):
    """The server would end it again, whatever it retries."""
    first, _ = failed.tasks
    cancelled = conductor_task(2, "second", "CANCELED")
    ended = replace(failed, tasks=(first, cancelled), steps=(first, cancelled), status="TERMINATED")
    by_server = replace(ended, reason="Task 1234 failed with status: TERMINATED and reason: 'null'")
    assert advice(by_server, {}.get).startswith("`perago rerun w`")
    assert "a JOIN took tries that were cancelled" in cannot_retry(by_server, {}.get)
    with pytest.raises(WorkflowStateError, match="a JOIN took tries"):
        expect_retry(by_server, {}.get)
    by_person = replace(ended, reason="cancelled by a person")
    assert advice(by_person, {}.get).startswith("`perago retry w`")
    expect_retry(by_person, {}.get)


def test_a_task_that_was_refused_begins_anew_because_a_retry_would_start_from_the_same_commit(failed):
    first, second = failed.tasks
    refused = replace(second, reason=REFUSED)
    said = advice(replace(failed, tasks=(first, refused), steps=(first, refused)), {}.get)
    assert said.startswith("`perago submit` starts it anew")
    assert "'second'" in said
