"""Where a run of a workflow can begin again."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import Flow, WorkspaceSpec, task, workflow
from perago.errors import WorkflowStateError
from perago.workflows.again import Again, plan_again
from perago.workflows.definition import workflow_of

OWNER = "a@example.org"


class Number(BaseModel):
    number: int = 0


class Numbers(BaseModel):
    numbers: list[int]


@task(name="step", owner_email=OWNER, workspace=WorkspaceSpec())
def step(workspace: Path, params: Number) -> Number:
    raise NotImplementedError


@workflow(name="inner", owner_email=OWNER)
def inner(flow: Flow) -> Number:
    flow.run(step, ref_="one")
    return flow.run(step, ref_="two")


@workflow(name="outer", owner_email=OWNER)
def outer(flow: Flow) -> None:
    first = flow.run(step, ref_="first")
    with flow.parallel():
        flow.run(step, ref_="left")
        flow.run(inner, ref_="right")
    flow.run(inner, ref_="sub")
    with flow.when(first.number) as it:
        with it.case(1):
            flow.run(step, ref_="case")
        with it.otherwise():
            flow.run(step, ref_="other")
    flow.run(step, ref_="last")


GRAPH = workflow_of(outer).graph
TRIED = ["first", "left", "right", "right/one", "left", "right/two", "sub", "sub/one", "sub/two", "case", "last"]
ORDER = list(dict.fromkeys(TRIED))


@pytest.mark.parametrize(
    ("start", "first", "around"),
    [
        ("first", "first", ()),
        ("parallel", "left", ()),
        ("sub", "sub", ()),
        ("sub/one", "sub/one", ("sub",)),
        ("sub/two", "sub/two", ("sub",)),
        ("case", "case", ()),
        ("last", "last", ()),
    ],
)
def test_all_that_was_first_tried_from_there_on_runs_again(start, first, around):
    tasks = tuple(ORDER[ORDER.index(first) :])
    assert plan_again(GRAPH, TRIED, start) == Again(tasks=tasks, around=around, tries=len(TRIED))


@pytest.mark.parametrize("start", ["left", "right", "right/one", "right/two"])
def test_what_others_run_beside_is_refused_with_its_fork(start):
    with pytest.raises(WorkflowStateError, match="--from parallel runs all of them again"):
        plan_again(GRAPH, TRIED, start)


@pytest.mark.parametrize("start", ["other", "last", "sub/three", "nothing"])
def test_what_was_not_tried_is_refused(start):
    with pytest.raises(
        WorkflowStateError, match=f"has not reached task '{start}'. It can begin again from first, parallel, sub"
    ):
        plan_again(GRAPH, TRIED[:-1], start)


def test_a_task_that_was_tried_again_later_does_not_run_again_for_that():
    again = plan_again(GRAPH, ["first", "left", "right", "first", "right/one"], "parallel")
    assert again.tasks == ("left", "right", "right/one")


@workflow(name="mapped", owner_email=OWNER)
def mapped(flow: Flow, params: Numbers) -> None:
    flow.map(step, over=params.numbers, as_="number", ref_="each")


def test_a_map_is_named_as_it_is_written():
    graph, tried = workflow_of(mapped).graph, ["each_items", "each_1", "each_2"]
    assert plan_again(graph, tried, "each") == plan_again(graph, tried, "each_items")
    with pytest.raises(WorkflowStateError, match="--from each runs all of them again"):
        plan_again(graph, tried, "each_2")
    with pytest.raises(WorkflowStateError, match=r"It can begin again from each$"):
        plan_again(graph, tried, "nothing")
