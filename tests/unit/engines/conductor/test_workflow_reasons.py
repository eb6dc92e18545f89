"""Why a workflow on Conductor failed: the server wraps a reason once for each workflow around the task."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conductor_tasks import conductor_task
from perago.engines.conductor import ConductorWorkflow

INNERMOST = "ValueError: no luck"
OF_STEP = f"Task id-3 failed with status: FAILED and reason: '{INNERMOST}'"
OF_MIDDLE = f"Sub workflow middle.1/w-2 failure reason: {OF_STEP}"
OF_ROOT = f"Task id-1 failed with status: FAILED and reason: '{OF_MIDDLE}'"


@pytest.fixture
def failed():
    workflow = ConductorWorkflow.of({"workflowId": "w-1", "workflowName": "root", "status": "FAILED"})
    tasks = (
        conductor_task(1, "middle", "FAILED", OF_MIDDLE),
        conductor_task(2, "middle/a", "COMPLETED"),
        conductor_task(3, "middle/b", "FAILED", INNERMOST),
    )
    return replace(workflow, reason=OF_ROOT, tasks=tasks)


def test_the_reason_is_that_of_the_task_and_names_it_once(failed):
    assert failed.named_reason == f"task 'middle/b' (id-3) is FAILED: {INNERMOST}"


def test_a_sub_workflow_s_reason_is_that_of_its_task(failed):
    middle, _, step = failed.tasks
    assert failed.reason_of(middle) == f"task 'middle/b' (id-3) is FAILED: {INNERMOST}"
    assert failed.reason_of(step) == INNERMOST


def test_a_reason_of_no_task_stays_as_it_is(failed):
    assert replace(failed, reason="cancelled by a person").named_reason == "cancelled by a person"
    assert replace(failed, reason=None).named_reason is None
