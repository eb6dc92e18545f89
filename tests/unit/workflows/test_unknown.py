"""Values that only a run can tell: what they leave open, and what is decided all the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from perago import RetryPolicy
from perago.values.record import TryStatus, WorkflowStatus
from perago.workflows.decide import Instance, decide
from perago.workflows.definition_json import from_json
from perago.workflows.expressions import replaced, value_at
from perago.workflows.unknown import Unknown, unknowns_in

DOCUMENT = {"a": {"x": Unknown(["a"]), "y": 1}, "b": {"x": {"z": Unknown(["b", "a"])}}}


def test_the_tasks_that_a_value_depends_on():
    assert unknowns_in({"x": [1, Unknown(["a"])], "y": (Unknown(["b", "a"]),), "z": "text"}) == ("a", "b")
    assert unknowns_in({"x": [1, None]}) == ()


@pytest.mark.parametrize(
    ("text", "of"),
    [
        ("${a.x}", ("a",)),
        ("${a.x.further[0]}", ("a",)),
        ("<${a.y}, ${a.x}>", ("a",)),
        ("<${b.x}>", ("b", "a")),
        ({"k": ["${a.y}", "${b.x.z}"]}, ("b", "a")),
        ("<${a.y}>", ()),
    ],
)
def test_what_is_made_of_it_is_unknown(text, of):
    assert unknowns_in(replaced(text, lambda found: value_at(DOCUMENT, found.path))) == of


@dataclass
class Entry:
    reference_task_name: str
    output: Any
    status: TryStatus = TryStatus.COMPLETED
    retry_count: int = 0
    task_id: str = "id"
    input_data: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


def simple(reference, **inputs):
    return {"name": "t", "taskReferenceName": reference, "type": "SIMPLE", "inputParameters": inputs}


def switch(*cases, default=()):
    return {
        "name": "s",
        "taskReferenceName": "s",
        "type": "SWITCH",
        "evaluatorType": "value-param",
        "expression": "case",
        "inputParameters": {"case": "${a.output.result.x}"},
        "decisionCases": {"1": list(cases)},
        "defaultCase": list(default),
    }


def decided(tasks, *entries):
    graph = from_json({"name": "w", "tasks": tasks})
    return decide(graph, Instance(workflow_id="i", input_data={}), entries, {"t": RetryPolicy(count=1)})


OPEN = Entry("a", {"result": {"x": Unknown(["a"])}})


def test_a_switch_by_an_unknown_value_is_left_open_and_what_follows_is_due():
    variable = {
        "name": "v",
        "taskReferenceName": "v",
        "type": "SET_VARIABLE",
        "inputParameters": {"made": "${b.output.made}"},
    }
    after = simple("c", made="${workflow.variables.made}", known="${workflow.workflowId}")
    found = decided([simple("a"), switch(simple("b"), variable), after], OPEN)
    assert (found.status, found.left_open, found.taken) == (WorkflowStatus.RUNNING, {"s": ("a",)}, {})
    (due,) = found.due
    assert (due.reference_task_name, due.input_data["known"]) == ("c", "i")
    assert unknowns_in(due.input_data["made"]) == ("a",)
    known = decided([simple("a"), switch(simple("b"), variable), after], Entry("a", {"result": {"x": 1}}))
    assert ([each.reference_task_name for each in known.due], known.left_open) == (["b"], {})


def test_behind_a_case_that_may_end_the_workflow_nothing_is_due():
    end = {
        "name": "e",
        "taskReferenceName": "e",
        "type": "TERMINATE",
        "inputParameters": {"terminationStatus": "COMPLETED"},
    }
    found = decided([simple("a"), switch(end), simple("c")], OPEN)
    assert (found.status, found.due, found.left_open) == (WorkflowStatus.RUNNING, (), {"s": ("a",)})


FORK = [
    {
        "name": "f",
        "taskReferenceName": "f",
        "type": "FORK_JOIN_DYNAMIC",
        "inputParameters": {"tasks": "${a.output.result.x}", "inputs": {}},
        "dynamicForkTasksParam": "tasks",
        "dynamicForkTasksInputParamName": "inputs",
    },
    {"name": "j", "taskReferenceName": "j", "type": "JOIN"},
    simple("c", joined="${j.output}"),
]


def test_a_fork_of_unknown_tasks_is_left_open_with_what_it_leaves():
    found = decided([simple("a"), *FORK], OPEN)
    assert found.left_open == {"f": ("a",)}
    (due,) = found.due
    assert unknowns_in(due.input_data) == ("a",)
    task = {"name": "t", "taskReferenceName": "t_1", "type": "SIMPLE", "inputParameters": {"x": Unknown(["a"])}}
    found = decided([simple("a"), *FORK], Entry("a", {"result": {"x": [task]}}))  # only its input is unknown
    (due,) = found.due
    assert (due.reference_task_name, unknowns_in(due.input_data), due.branches) == ("t_1", ("a",), (("f", 1),))
    assert found.left_open == {}
