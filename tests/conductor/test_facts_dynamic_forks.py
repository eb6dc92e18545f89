"""What a dynamic fork does with expressions in the tasks that it is given. `flow.map` relies on it."""

from __future__ import annotations

import pytest

from servers.conductor_api import fresh, simple

SECRET = "open-sesame"
ITEMS = ["plain", "${workflow.input.secret}", "$${x}", {"k${a}": "v${b}", "n": None}, None, 2.5, [1, "${c}"]]


def fork(tasks):
    return [
        {
            "name": "fork",
            "taskReferenceName": "fork",
            "type": "FORK_JOIN_DYNAMIC",
            "inputParameters": {"tasks": tasks, "inputs": {}},
            "dynamicForkTasksParam": "tasks",
            "dynamicForkTasksInputParamName": "inputs",
        },
        {"name": "join", "taskReferenceName": "join", "type": "JOIN"},
    ]


def forked(name, number, **settings):
    inputs = {"item": f"${{workflow.input.items[{number - 1}]}}", "shared": ["${workflow.input.secret}", "$${x}"]}
    return {"name": name, "taskReferenceName": f"m_{number}", "type": "SIMPLE", "inputParameters": inputs, **settings}


@pytest.fixture
def name(conductor):
    return conductor.define_task(fresh("forked"), retryCount=1)


@pytest.fixture
def ran(conductor, name):
    """Runs a workflow whose tasks are answered by the given functions, by the beginnings of their reference names."""

    def run(tasks, answers, items=ITEMS):
        workflow = conductor.define_workflow(fresh("flow"), tasks)
        workflow_id = conductor.start_workflow(workflow, {"secret": SECRET, "items": items})
        seen = {}

        def look():
            for task in conductor.poll_many(name, 50):
                seen[task["referenceTaskName"]] = task["inputData"]
                result = answers[task["referenceTaskName"].partition("_")[0]](task)
                conductor.update(task, "COMPLETED", outputData={"result": result})
            found = conductor.workflow(workflow_id)
            return None if found["status"] == "RUNNING" else found

        return conductor.wait_while_none(look), seen

    return run


@pytest.mark.parametrize("items", [ITEMS, []], ids=["some", "none"])
def test_expressions_of_listed_tasks_are_evaluated_for_each_of_them_and_once(ran, name, items):
    listing = {"template": {"a": "$${workflow.input.secret}", "b": "$$${x}"}}
    gathering = {"names": "${join.input.joinOn}", "outputs": "${join.output}"}
    names = [f"m_{number}" for number in range(1, len(items) + 1)]
    found, seen = ran(
        [simple(name, "list", listing), *fork("${list.output.result}"), simple(name, "gather", gathering)],
        {
            "list": lambda _task: [forked(name, number) for number in range(1, len(items) + 1)],
            "m": lambda task: task["inputData"]["item"],
            "gather": lambda _task: None,
        },
        items,
    )
    assert found["status"] == "COMPLETED"
    assert seen["list"]["template"] == {"a": "${workflow.input.secret}", "b": "$${x}"}
    assert [seen[one] for one in names] == [{"item": item, "shared": [SECRET, "${x}"]} for item in items]
    assert seen["gather"] == {
        "names": names,
        "outputs": {one: {"result": item} for one, item in zip(names, items, strict=True)},
    }
    told = {task["referenceTaskName"]: str([task["inputData"], task["outputData"]]) for task in found["tasks"]}
    assert SECRET not in told["list"] + told["fork"]


def test_tasks_in_the_definition_are_evaluated_twice(ran, name):
    inputs = {"item": "$${workflow.input.items[1]}", "text": "$$${x}"}
    listed = [{**forked(name, 1), "inputParameters": inputs}]
    found, seen = ran(fork(listed), {"m": lambda _task: None})
    assert found["status"] == "COMPLETED"
    assert seen["m_1"] == {"item": ITEMS[1], "text": "${x}"}
