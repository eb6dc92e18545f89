"""Conductor's JSON: what is understood whole, and what is refused by name."""

from __future__ import annotations

import copy

import pytest

from perago import WorkflowDefinitionError
from perago.workflows.definition_json import from_json, to_json


def simple(reference, **others):
    return {"name": "t", "taskReferenceName": reference, "type": "SIMPLE", "inputParameters": {}, **others}


def workflow(*tasks, **others):
    return {"name": "w", "version": 2, "schemaVersion": 2, "tasks": list(tasks), **others}


def switch(**others):
    cases = {"decisionCases": {"a": [simple("a")]}, "defaultCase": [simple("b")]}
    inputs = {"inputParameters": {"v": "${workflow.input.mode}"}, "expression": "v", "evaluatorType": "value-param"}
    return {"name": "s", "taskReferenceName": "s", "type": "SWITCH", **inputs, **cases, **others}


FORK = {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": [[simple("a")], [simple("b")]]}
JOIN = {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["a", "b"]}
END = {
    "name": "e",
    "taskReferenceName": "e",
    "type": "TERMINATE",
    "inputParameters": {"terminationStatus": "FAILED", "terminationReason": "no"},
}
DYNAMIC = {
    "name": "d",
    "taskReferenceName": "d",
    "type": "FORK_JOIN_DYNAMIC",
    "inputParameters": {"tasks": "${a.output.result.tasks}", "inputs": "${a.output.result.inputs}"},
    "dynamicForkTasksParam": "tasks",
    "dynamicForkTasksInputParamName": "inputs",
}
OF_A_SERVER = {
    "asyncComplete": False,
    "startDelay": 0,
    "optional": False,
    "loopOver": [],
    "defaultCase": [],
    "forkTasks": [],
    "joinOn": [],
    "onStateChange": {},
    "permissive": False,
    "retryCount": None,
    "description": "what it is for",
}
"""Fields as a server adds them."""

SUB = {
    "name": "s",
    "taskReferenceName": "s",
    "type": "SUB_WORKFLOW",
    "subWorkflowParam": {"name": "inner", "version": 2},
    "inputParameters": {"x": 1},
}
WHOLE = [
    workflow(simple("a", **OF_A_SERVER), simple("b", inputParameters={"x": "${a.output}"})),
    workflow(FORK, JOIN),
    workflow(switch()),
    workflow(simple("a"), DYNAMIC, {**JOIN, "joinOn": []}),
    workflow({"name": "v", "taskReferenceName": "v", "type": "SET_VARIABLE", "inputParameters": {"x": 1}}, END),
    workflow(SUB, {**SUB, "taskReferenceName": "t", "subWorkflowParam": {"name": "x"}, "optional": True}),
    workflow({**SUB, "subWorkflowParam": {"workflowDefinition": workflow(simple("a"), outputParameters={"y": 1})}}),
    workflow(simple("a"), inputParameters=["x"], outputParameters={"y": "${a.output.z}"}, timeoutSeconds=3),
]


@pytest.mark.parametrize("document", WHOLE, ids=str)
def test_what_is_understood_is_written_again_as_the_same(document):
    graph = from_json(document)
    assert from_json(to_json(graph)) == graph
    assert len(list(graph.all_nodes())) >= len(document["tasks"])


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "the definition is a list; give one object"),
        ("x", "the definition is no JSON object"),
        ({"name": "a", "retryCount": 3, "ownerEmail": "a@example.org"}, "'a' has no tasks"),
        (workflow(), "has no tasks"),
        (
            workflow(simple("a", type="HTTP")),
            r"tasks\[0\] \(a\): Perago does not run tasks of type HTTP; it runs SIMPLE",
        ),
        (workflow(simple("a", type="DO_WHILE")), "type DO_WHILE"),
        (workflow(simple("a"), simple("a")), "2 tasks have the reference name 'a'"),
        (workflow(simple("a", startDelay=3)), "does not know what startDelay does"),
        (workflow(simple("a", asyncComplete=True)), "does not know what asyncComplete does"),
        (workflow(simple("a"), failureWorkflow="x"), "does not know what failureWorkflow does"),
        (workflow(switch(evaluatorType="graaljs")), "evaluatorType 'graaljs' runs a script"),
        (workflow(FORK), "fork 'f' has no JOIN right after it"),
        (workflow(FORK, {**JOIN, "joinOn": ["c"]}), "join 'j' waits for 'c', which is no task"),
        (workflow({**FORK, "forkTasks": [[]]}, JOIN), "has no branches, or an empty one"),
        (workflow(simple("clean"), simple("b", inputParameters={"p": ["${claen.output}"]})), r"'b', p\[0\]: .*'clean'"),
        (workflow(simple("a"), outputParameters={"x": "${b.output}"}), "outputParameters, x: .* names no task"),
        (
            workflow(simple("a"), simple("b", inputParameters={"p": "${a.outptu.x}"})),
            r"'b', p: \$\{a.outptu.x\}: Perago does not know 'outptu' of 'a'; did you mean 'output'\?",
        ),
        (
            workflow(simple("a"), outputParameters={"x": "${workflow.correlationId}"}),
            "does not know 'correlationId' of 'workflow'; it knows input, variables, workflowId, workflowType, version",
        ),
        (workflow(simple("a"), outputParameters={"x": "${a}"}), "does not know 'a' as a whole"),
        (workflow({**END, "inputParameters": {}}), "terminationStatus is None"),
        (workflow({**SUB, "subWorkflowParam": {}}), "subWorkflowParam has no name and no workflowDefinition"),
        (workflow({**SUB, "subWorkflowParam": {"name": "${a.output.x}"}}), "known only when the workflow runs"),
        (workflow({**SUB, "subWorkflowParam": {"name": "x", "version": "2"}}), "version is str, not a whole number"),
        (
            workflow({**SUB, "subWorkflowParam": {"name": "x", "taskToDomain": {"a": "b"}}}),
            r"tasks\[0\] \(s\).subWorkflowParam: Perago does not know what taskToDomain does",
        ),
        (
            workflow({**SUB, "subWorkflowParam": {"workflowDefinition": workflow(simple("a", type="HTTP"))}}),
            r"tasks\[0\] \(s\).subWorkflowParam.workflowDefinition.tasks\[0\] \(a\): .* type HTTP",
        ),
        (
            workflow({**SUB, "subWorkflowParam": {"workflowDefinition": workflow(simple("a"), simple("a"))}}),
            r"workflowDefinition: 2 tasks have the reference name 'a'",
        ),
        (workflow(SUB, simple("s/a")), "reference name 's/a' has a '/'"),
        (workflow(simple("", name="x")), "has no taskReferenceName"),
        (workflow(simple("a"), version="2"), "version is str, not a whole number"),
        (workflow(simple("a"), schemaVersion=1), "schemaVersion is 1"),
        (workflow(simple("a"), timeoutPolicy="RETRY"), "timeoutPolicy is 'RETRY'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_understood_is_refused_by_name(document, said):
    before = copy.deepcopy(document)
    with pytest.raises(WorkflowDefinitionError, match=said):
        from_json(document)
    assert document == before


def test_endless_nesting_is_refused():
    task = simple("a")
    for number in range(60):
        task = {**switch(decisionCases={"a": [task]}, defaultCase=[]), "taskReferenceName": f"s{number}"}
    with pytest.raises(WorkflowDefinitionError, match="nested more than"):
        from_json(workflow(task))
