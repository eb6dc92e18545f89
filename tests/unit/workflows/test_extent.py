"""What a workflow expands to: each definition is read once however often it is named, and the whole is bounded."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from perago import Flow, WorkflowDefinitionError, workflow
from perago.workflows.definition_json import MAX_DEPTH, from_json
from perago.workflows.extent import MAX_TASKS, check_extent
from perago.workflows.load import load_workflow, with_sub_workflows
from workflow_pipeline import OWNER, look


def task(number):
    return {"name": "pipe.look", "taskReferenceName": f"t{number}", "type": "SIMPLE", "inputParameters": INPUTS}


def named(name, number=1):
    param = {"name": name, "version": 1}
    return {"name": name, "taskReferenceName": f"s{number}", "type": "SUB_WORKFLOW", "subWorkflowParam": param}


def chain(length, times):
    """Definitions of which each names the next some times; the last has one task."""
    inner = {f"w{n}": [named(f"w{n + 1}", k) for k in range(times)] for n in range(length - 1)}
    return {name: {"name": name, "tasks": tasks} for name, tasks in (inner | {f"w{length - 1}": [task(1)]}).items()}


INPUTS = {"workspace": "${workflow.input.workspace}", "params": {}}


def whole(definitions, first="w0"):
    asked = Counter()

    def find(node):
        asked[node.workflow_name] += 1
        return from_json(definitions[node.workflow_name])

    return with_sub_workflows(from_json(definitions[first]), find), asked


def test_each_definition_is_found_once_and_visited_once_however_often_it_is_named():
    graph, asked = whole(chain(5, 7))
    assert asked == {"w1": 1, "w2": 1, "w3": 1, "w4": 1}
    assert [one.name for one in graph.with_sub_workflows()] == ["w0", "w1", "w2", "w3", "w4"]
    assert [one.name for one in graph.named_sub_workflows()] == ["w4", "w3", "w2", "w1"]


def test_nine_files_that_name_each_other_many_times_are_refused_with_the_definition_and_the_count(tmp_path):
    files = []
    for name, document in chain(9, 10).items():
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(document))
    with pytest.raises(WorkflowDefinitionError, match=r"workflow 'w4' expands to 21,110 tasks.* at most 10,000"):
        load_workflow(str(files[0]), ["workflow_pipeline"], [str(file) for file in files[1:]])


def test_as_many_tasks_as_the_bound_are_taken():
    tasks = [{**task(number), "taskReferenceName": f"t{number}"} for number in range(MAX_TASKS)]
    check_extent(from_json({"name": "flat", "tasks": tasks}))
    fork = {
        "name": "fork",
        "taskReferenceName": "fork",
        "type": "FORK_JOIN_DYNAMIC",
        "inputParameters": {"tasks": [{**task(0), "taskReferenceName": "f"}], "inputs": {}},
        "dynamicForkTasksParam": "tasks",
        "dynamicForkTasksInputParamName": "inputs",
    }
    join = {"name": "join", "taskReferenceName": "join", "type": "JOIN"}
    check_extent(from_json({"name": "forked", "tasks": [*tasks[:-3], fork, join]}))
    with pytest.raises(WorkflowDefinitionError, match="workflow 'forked' expands to 10,001 tasks"):
        check_extent(from_json({"name": "forked", "tasks": [*tasks[:-2], fork, join]}))


@pytest.mark.parametrize("length", [MAX_DEPTH + 2, 1000])
def test_sub_workflows_nested_too_deeply_are_refused(length):
    graph, _ = whole(chain(MAX_DEPTH + 1, 1))
    assert len(graph.with_sub_workflows()) == MAX_DEPTH + 1
    with pytest.raises(WorkflowDefinitionError, match=r"workflow 'w0'.* nested .*fewer levels"):
        whole(chain(length, 1))


def test_a_workflow_of_python_that_expands_to_too_much_is_refused_where_it_is_declared():
    inner = look
    for level in range(3):
        inner = ten_times(inner, f"p{level}")
    with pytest.raises(WorkflowDefinitionError, match="workflow 'p3' expands to 11,110 tasks"):
        ten_times(inner, "p3")


def ten_times(inner, name):
    def declared(flow: Flow) -> None:
        for _ in range(10):
            flow.run(inner)

    return workflow(name=name, owner_email=OWNER)(declared)
