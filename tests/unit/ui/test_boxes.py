"""A workflow as nested boxes, from its definition and the newest try of each task."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel

from perago import Flow, task, workflow
from perago.ui import boxes
from perago.ui.boxes import TryFacts, boxes_of, rows_in
from perago.workflows.definition import workflow_of
from perago.workflows.definition_json import from_json, to_json

AT = datetime(2026, 11, 29, tzinfo=UTC)


def facts(name, status="COMPLETED", result=None):
    return TryFacts(
        task=name,
        number=1,
        status=status,
        started=AT,
        duration=1.0,
        output_ref=None,
        result=result,
        reason=None,
        cached_from=None,
        code=None,
        worker="",
    )


def simple(name, **fields):
    return {"name": name, "taskReferenceName": name, "type": "SIMPLE", "inputParameters": {}, **fields}


def fork(name, *branches):
    ends = [branch[-1]["taskReferenceName"] for branch in branches]
    return [
        {"name": "FORK", "taskReferenceName": name, "type": "FORK_JOIN", "forkTasks": list(branches)},
        {"name": "JOIN", "taskReferenceName": f"{name}_join", "type": "JOIN", "joinOn": ends},
    ]


def graph(*tasks):
    document = {"name": "w", "version": 1, "tasks": list(tasks), "schemaVersion": 2}
    return from_json(document).nodes


def drawn(boxes):
    """Boxes as text, to compare: `a [b | c d]`."""

    def one(box):
        if box.kind == "task":
            return f"{box.name}:{box.status}"
        inner = (" | " if box.kind in ("parallel", "choice") else " ").join(map(one, box.parts))
        return inner if box.kind == "sequence" else f"{box.kind}[{inner}]"

    return " ".join(map(one, boxes))


def test_branches_are_side_by_side_and_the_rest_in_order():
    nodes = graph(simple("a"), *fork("f", [simple("b")], [simple("c"), simple("d")]), simple("e"))
    last = {"a": facts("a"), "b": facts("b", "FAILED"), "c": facts("c", "IN_PROGRESS")}
    boxes = boxes_of(nodes, last)
    assert drawn(boxes) == "a:COMPLETED parallel[b:FAILED | c:IN_PROGRESS d:waiting] e:waiting"
    assert boxes[1].status == "FAILED"
    assert [box.name for box in rows_in(boxes)] == ["a", "b", "c", "d", "e"]


def test_a_case_that_is_not_taken_says_so():
    switch = {
        "name": "SWITCH",
        "taskReferenceName": "s",
        "type": "SWITCH",
        "evaluatorType": "value-param",
        "expression": "v",
        "inputParameters": {"v": "x"},
        "decisionCases": {"x": [simple("a")], "y": [simple("b")]},
        "defaultCase": [],
    }
    assert drawn(boxes_of(graph(switch), {})) == "choice[a:waiting | b:waiting]"
    assert drawn(boxes_of(graph(switch), {"a": facts("a")})) == "choice[a:COMPLETED | b:not taken]"


def test_a_task_that_the_definition_does_not_name_comes_last():
    assert drawn(boxes_of(graph(simple("a")), {"z": facts("z"), "a": facts("a")})) == "a:COMPLETED z:COMPLETED"
    assert drawn(boxes_of((), {"z": facts("z")})) == "z:COMPLETED"


class One(BaseModel):
    n: int


class All(BaseModel):
    numbers: list[int]


@task(name="one", owner_email="a@example.org")
def one_task(params: One) -> One:
    return params


@workflow(name="each", owner_email="a@example.org")
def each(flow: Flow, params: All) -> None:
    flow.map(one_task, over=params.numbers, as_="n")


def test_a_map_is_one_box_and_knows_how_many_tasks_it_will_have():
    nodes = from_json(to_json(workflow_of(each).graph)).nodes
    lists = nodes[0].reference_name
    last = {
        lists: facts(lists, result={"tasks": [{}] * 12}),
        "one_10": facts("one_10", "FAILED"),
        "one_2": facts("one_2"),
    }
    (box,) = boxes_of(nodes, last)
    assert (box.kind, box.name, box.total, box.done, box.failed, box.status) == ("map", "one", 12, 1, 1, "FAILED")
    assert [part.name for part in box.parts] == ["one_2", "one_10"]


def test_of_a_large_map_what_failed_and_what_runs_is_shown_first(monkeypatch):
    monkeypatch.setattr(boxes, "MAX_ITEMS", 3)
    nodes = from_json(to_json(workflow_of(each).graph)).nodes
    last = {f"one_{number}": facts(f"one_{number}") for number in range(8)}
    last |= {"one_5": facts("one_5", "FAILED"), "one_7": facts("one_7", "IN_PROGRESS")}
    (box,) = boxes_of(nodes, last)
    assert [part.name for part in box.parts] == ["one_0", "one_5", "one_7"]
    assert (box.total, box.done, box.failed, box.running, box.left_out) == (8, 6, 1, 1, 5)
