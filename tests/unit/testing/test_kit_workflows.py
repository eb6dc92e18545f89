"""Declared workflows in memory: order, neighbours, cases, retries, failures."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import Flow, RetryPolicy, TaskControls, TaskFailed, WorkspaceSpec, task, workflow
from perago.errors import TaskInputError, WorkflowDefinitionError
from perago.testing import FinishedWorkflow, MemoryWorkflow

OWNER = "tests@example.org"
TWICE = TaskControls(retry=RetryPolicy(count=1, delay_seconds=3600))


class Name(BaseModel):
    name: str = "a"


class Size(BaseModel):
    files: int


@task(name="write", owner_email=OWNER, workspace=WorkspaceSpec())
def write(workspace: Path, params: Name) -> Size:
    (workspace / f"{params.name}.txt").write_text(params.name)
    return Size(files=len(list(workspace.iterdir())))


@task(name="merge", owner_email=OWNER, workspace=WorkspaceSpec(isolation="snapshot"))
def merge(workspace: Path, params: Name) -> Size:
    return write(workspace, params)


@task(name="flaky", owner_email=OWNER, controls=TWICE)
def flaky(params: Name) -> Size:
    TRIES.append(params.name)
    if len(TRIES) % 2 or params.name == "never":
        raise TaskFailed(f"not {params.name}")
    return Size(files=len(TRIES))


TRIES: list[str] = []


@pytest.fixture(autouse=True)
def no_tries():
    TRIES.clear()


@workflow(name="chain", owner_email=OWNER)
def chain(flow: Flow, params: Name) -> Size:
    flow.run(write, name=params.name)
    return flow.run(write, name="second")


@workflow(name="beside", owner_email=OWNER)
def beside(flow: Flow) -> None:
    with flow.parallel():
        flow.run(merge, name="one")
        flow.run(merge, name="other")


@workflow(name="choice", owner_email=OWNER)
def choice(flow: Flow, params: Name) -> None:
    with flow.when(params.name) as name:
        with name.case("a"):
            flow.run(write, name="chosen")
        with name.otherwise():
            flow.run(flaky, name=params.name)


def test_a_task_takes_what_the_one_before_it_left():
    kit = MemoryWorkflow({"zero.txt": ""})
    run = kit.run(chain)
    assert isinstance(run, FinishedWorkflow)
    assert run.result == Size(files=3)
    assert sorted(run.files) == ["a.txt", "second.txt", "zero.txt"]
    assert run.ref == kit.head == run.attempts["write_2"].ref
    assert run.attempts["write_2"].input_ref == run.attempts["write"].ref
    assert len(kit.history) == 2


def test_neighbours_begin_from_one_input():
    run = MemoryWorkflow({"zero.txt": ""}).run(beside)
    assert run.result is None
    assert run.ref == list(run.attempts.values())[1].ref
    first, second = run.attempts.values()
    assert first.input_ref == second.input_ref
    assert sorted(run.files) == ["one.txt", "other.txt", "zero.txt"]
    assert first.result == second.result == Size(files=2)


def test_a_case_of_a_switch_and_a_retry_without_its_delay():
    kit = MemoryWorkflow()
    assert list(kit.run(choice).attempts) == ["write"]
    run = kit.run(choice, Name(name="b"))
    assert (list(run.attempts), TRIES) == (["flaky"], ["b", "b"])
    assert run.status == "COMPLETED"


def test_a_workflow_that_failed_says_why_and_has_no_result():
    run = MemoryWorkflow().run(choice, {"name": "never"})
    assert (run.status, TRIES) == ("FAILED", ["never", "never"])
    assert run.reason == "task 'flaky' is FAILED: not never"
    assert isinstance(run.error, TaskFailed)
    with pytest.raises(AssertionError, match="did not complete but is FAILED: task 'flaky'"):
        _ = run.result


def test_each_run_is_an_instance_of_its_own_beside_single_tasks():
    kit = MemoryWorkflow()
    assert kit.run(write).status == "COMPLETED"
    assert [kit.run(chain, {"name": name}).result.files for name in ("a", "b")] == [2, 3]
    assert kit.run(write, {"name": "last"}).status == "COMPLETED"
    assert kit.status == "COMPLETED"


def test_what_is_not_for_a_workflow_is_refused():
    with pytest.raises(TaskInputError, match="'chain' is a workflow"):
        MemoryWorkflow().run(chain, at={"body": TRIES.clear})
    with pytest.raises(WorkflowDefinitionError, match=r"params\.name"):
        MemoryWorkflow().run(chain, {"name": 1})


@workflow(name="outer", owner_email=OWNER)
def outer(flow: Flow) -> Size:
    flow.run(write, name="before")
    inner = flow.run(chain, name="inner")
    flow.run(write, name="after")
    return inner


@workflow(name="outer_of_a_failure", owner_email=OWNER)
def outer_of_a_failure(flow: Flow) -> None:
    flow.run(choice, name="never")


def test_a_workflow_within_another_takes_and_leaves_the_workspace():
    run = MemoryWorkflow().run(outer)
    assert run.result == Size(files=3)
    assert sorted(run.files) == ["after.txt", "before.txt", "inner.txt", "second.txt"]
    assert list(run.attempts) == ["write", "chain/write", "chain/write_2", "write_2"]


def test_a_workflow_within_another_that_fails_fails_that():
    run = MemoryWorkflow().run(outer_of_a_failure)
    assert run.status == "FAILED"
    assert "'choice' is FAILED: task 'flaky' is FAILED: not never" in run.reason


class Names(BaseModel):
    names: list[str]


class Sizes(BaseModel):
    sizes: list[Size]


@workflow(name="each", owner_email=OWNER)
def each(flow: Flow, params: Names) -> Sizes:
    made = flow.map(merge, over=params.names, as_="name")
    flow.run(write, name="last")
    return flow.output(Sizes, sizes=made)


def test_a_map_runs_its_task_for_each_item_and_what_follows_has_the_files_of_all():
    run = MemoryWorkflow().run(each, {"names": ["one", "two"]})
    assert [size.files for size in run.result.sizes] == [1, 1]
    assert list(run.attempts) == ["merge_1", "merge_2", "write"]
    assert run.attempts["write"].result.files == 3
