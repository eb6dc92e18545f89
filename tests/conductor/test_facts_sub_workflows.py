"""What a server does with SUB_WORKFLOW tasks, beside what `tests/workflows` compares with the decisions here."""

from __future__ import annotations

import pytest

from perago.engines.conductor.mapping import record_of
from servers.conductor_api import fresh, simple


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


def test_the_records_of_a_workflow_and_its_sub_workflow_name_each_other(conductor, task_name):
    inner = conductor.define_workflow(fresh("w"), [simple(task_name, "a")])
    outer = conductor.define_workflow(fresh("w"), [within("s", name=inner)])
    (task,) = ended(conductor, task_name, outer, "COMPLETED")
    around = record_of(conductor.workflow(task["workflowInstanceId"]))
    inside = record_of(conductor.workflow(task["subWorkflowId"]))
    assert (around.parent, around.has_sub_workflows) == (None, True)
    assert around.find(task["taskId"]).sub_workflow == inside.workflow_instance_id
    assert (inside.parent, inside.has_sub_workflows) == (around.workflow_instance_id, False)
