"""What a server does with SUB_WORKFLOW tasks, beside what `tests/workflows` compares with the decisions here."""

from __future__ import annotations

from contextlib import suppress

import pytest

from perago.engines.conductor.mapping import instance_of
from servers.conductor_api import fresh, simple

MOST_WORKFLOWS, LOST_SECONDS = 3, 30.0
"""A retried workflow that hands out no task in so many seconds hands out none; so many are tried."""


@pytest.fixture
def task_name(conductor):
    return conductor.define_task(fresh("inner"), retryCount=0)


def within(reference: str, **param: object) -> dict[str, object]:
    return {
        "name": reference,
        "taskReferenceName": reference,
        "type": "SUB_WORKFLOW",
        "subWorkflowParam": param,
        "inputParameters": {},
    }


def ended(conductor, task_name: str, workflow: str, *statuses: str):
    """Starts a workflow, ends its tasks one after the other, and gives its own tasks."""
    workflow_id = conductor.start_workflow(workflow, {})
    for status in statuses:
        conductor.update(conductor.wait_for_task(task_name), status, outputData={"made": status})
    return conductor.wait_for_end(workflow_id)["tasks"]


def test_without_a_version_the_newest_runs_and_its_output_has_the_id_of_its_instance(conductor, task_name):
    inner = conductor.define_workflow(fresh("w"), [simple(task_name, "old")])
    conductor.define_workflow(inner, [simple(task_name, "new")], version=2)
    outer = conductor.define_workflow(fresh("w"), [within("s", name=inner)])
    (task,) = ended(conductor, task_name, outer, "COMPLETED")
    assert (task["status"], task["inputData"]["subWorkflowVersion"]) == ("COMPLETED", 2)
    assert task["outputData"] == {"subWorkflowId": task["subWorkflowId"], "made": "COMPLETED"}
    assert conductor.workflow(task["subWorkflowId"])["tasks"][0]["referenceTaskName"] == "new"


@pytest.mark.parametrize("retries", [0, 1])
def test_the_whole_is_retried_only_if_a_taskdef_has_its_name(conductor, task_name, retries):
    inner = conductor.define_workflow(fresh("w"), [simple(task_name, "a")])
    reference = conductor.define_task(fresh("s"), retryCount=retries)
    outer = conductor.define_workflow(fresh("w"), [within(reference, name=inner)])
    tries = ended(conductor, task_name, outer, *["FAILED"] * (1 + retries))
    assert [task["status"] for task in tries] == ["FAILED"] * (1 + retries)
    assert len({task["subWorkflowId"] for task in tries}) == 1 + retries


def test_a_workflow_that_contains_itself_is_registered(conductor):
    name = fresh("w")
    conductor.define_workflow(name, [within("s", name=name)])
    (task,) = conductor.expect("GET", f"/metadata/workflow/{name}")["tasks"]
    assert task["subWorkflowParam"]["name"] == name


def test_the_records_of_a_workflow_and_its_sub_workflow_name_each_other(conductor, task_name):
    inner = conductor.define_workflow(fresh("w"), [simple(task_name, "a")])
    outer = conductor.define_workflow(fresh("w"), [within("s", name=inner)])
    (task,) = ended(conductor, task_name, outer, "COMPLETED")
    around = instance_of(conductor.workflow(task["workflowInstanceId"]))
    inside = instance_of(conductor.workflow(task["subWorkflowId"]))
    (entry,) = around.tries
    assert (entry.task_id, entry.sub_workflow) == (task["taskId"], inside.workflow_id)
    assert (around.parent_id, around.parent_task_id) == (None, None)
    assert (inside.parent_id, inside.parent_task_id) == (around.workflow_id, task["taskId"])


def begun_anew(conductor, task_name: str):
    """A workflow whose sub-workflow of `a` and `b` was cancelled in `b` and begun anew: its id, and both instances.

    A busy server may lose what follows when a workflow is retried (docs/reliability.md): then with another workflow.
    """
    inner = conductor.define_workflow(fresh("w"), [simple(task_name, "a"), simple(task_name, "b")])
    outer = conductor.define_workflow(fresh("w"), [within("s", name=inner)])
    for _ in range(MOST_WORKFLOWS):
        workflow = conductor.start_workflow(outer, {})
        conductor.update(conductor.wait_for_task(task_name), "COMPLETED")
        before = conductor.wait_for_task(task_name)["workflowInstanceId"]
        conductor.terminate(workflow)
        conductor.retry(workflow)
        with suppress(AssertionError):
            return workflow, before, conductor.wait_for_task(task_name, LOST_SECONDS)["workflowInstanceId"]
        conductor.terminate(workflow)
    pytest.fail(f"the server has lost what follows {MOST_WORKFLOWS} retries")


def test_an_instance_names_its_parent_for_good_and_a_task_the_instance_that_it_waits_for(conductor, task_name):
    workflow, *both = begun_anew(conductor, task_name)
    older, newer = conductor.tasks(workflow)
    assert [task["subWorkflowId"] for task in (older, newer)] == both
    assert (newer["retriedTaskId"], older["retried"]) == (older["taskId"], True)
    shown = [conductor.workflow(instance) for instance in both]
    assert [one["parentWorkflowId"] for one in shown] == [workflow, workflow]
    assert [one["parentWorkflowTaskId"] for one in shown] == [older["taskId"], newer["taskId"]]
    assert [task["status"] for task in shown[0]["tasks"]] == ["COMPLETED", "CANCELED"]


def test_a_task_without_parent_says_so(conductor, task_name):
    workflow = conductor.start_workflow(conductor.define_workflow(fresh("w"), [simple(task_name, "a")]), {})
    assert "parentWorkflowId" not in conductor.workflow(workflow)
    conductor.terminate(workflow)


def test_a_retry_within_an_instance_takes_up_the_one_that_it_had_replaced_too(conductor, task_name):
    """Both are handed out, and the workflow waits for both; only the outcome of the last counts."""
    workflow, before, after = begun_anew(conductor, task_name)
    (task,) = conductor.tasks(after)
    conductor.update(task, "FAILED")
    conductor.wait_for_end(workflow)
    conductor.retry(after)
    assert {conductor.wait_for_task(task_name)["workflowInstanceId"] for _ in range(2)} == {before, after}
    older, newer = conductor.tasks(workflow)
    assert [task["status"] for task in (older, newer)] == ["IN_PROGRESS", "IN_PROGRESS"]
    conductor.terminate(workflow)


def test_resuming_sub_workflows_takes_up_a_replaced_instance_and_nothing_else(conductor, task_name):
    """It looks for the first task that came to nothing: the workflow stays FAILED beside the instance that runs."""
    workflow, before, after = begun_anew(conductor, task_name)
    (task,) = conductor.tasks(after)
    conductor.update(task, "FAILED")
    conductor.wait_for_end(workflow)
    conductor.expect("POST", f"/workflow/{workflow}/retry", query={"resumeSubworkflowTasks": True})
    assert conductor.wait_for_task(task_name)["workflowInstanceId"] == before
    assert conductor.workflow(workflow)["status"] == "FAILED"
    assert conductor.workflow(after)["status"] == "FAILED"
    conductor.terminate(before)
