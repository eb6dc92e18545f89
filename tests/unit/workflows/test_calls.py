"""A workflow's function that calls a task is refused before anything runs; elsewhere a task is called as ever."""

import asyncio
import functools
from pathlib import Path

import pytest
from pydantic import BaseModel

import workflow_pipeline
from perago import Flow, WorkflowDefinitionError, WorkspaceSpec, task, workflow
from workflow_pipeline import OWNER, count, look


class Shard(BaseModel):
    shard: str
    limit: int = 3


RAN = []


@task(name="calls.free", owner_email=OWNER)
def free(params: Shard) -> Shard:
    RAN.append(params.shard)
    return params


@task(name="calls.clean", owner_email=OWNER, workspace=WorkspaceSpec(isolation="snapshot"))
def clean_shard(workspace: Path, params: Shard) -> Shard:
    return params


class Kept:
    @task(name="calls.kept", owner_email=OWNER)
    @staticmethod
    def free(params: Shard) -> Shard:
        return params


def awaited(flow: Flow) -> None:
    count(workflow_pipeline.CountParams())


def baked(flow: Flow) -> None:
    made = free(Shard(shard="a"))
    flow.run(free, shard=made.shard)


def by_keyword(flow: Flow, params: Shard) -> None:
    clean_shard(shard=params.shard, limit=params.limit)


def of_a_class(flow: Flow) -> None:
    flow.run(free, shard=Kept.free(Shard(shard="a")).shard)


def of_a_module(flow: Flow) -> None:
    workflow_pipeline.look(Path(), workflow_pipeline.CountParams())


def in_a_block(flow: Flow) -> None:
    with flow.parallel():
        flow.run(look)
        [free(Shard(shard=each)) for each in "ab"]


def helper(flow: Flow, shard: str) -> Shard:
    return free(Shard(shard=shard))


def by_a_helper(flow: Flow) -> None:
    flow.run(free, shard=helper(flow, "a").shard)


@pytest.mark.parametrize(
    ("fn", "line", "instead"),
    [
        (awaited, 1, "count(...) write flow.run(count)"),
        (baked, 1, "free(...) write flow.run(free, shard=...)"),
        (by_keyword, 1, "clean_shard(...) write flow.run(clean_shard, shard=..., limit=...)"),
        (of_a_class, 1, "Kept.free(...) write flow.run(Kept.free, shard=...)"),
        (of_a_module, 1, "workflow_pipeline.look(...) write flow.run(workflow_pipeline.look)"),
        (in_a_block, 3, "free(...) write flow.run(free, shard=...)"),
        (by_a_helper, None, "free(...) write flow.run(free, shard=...)"),
    ],
)
def test_a_call_of_a_task_is_refused_and_nothing_runs(fn, line, instead):
    RAN.clear()
    with pytest.raises(WorkflowDefinitionError) as caught:
        workflow(name="calls", owner_email=OWNER)(fn)
    at = helper.__code__.co_firstlineno + 1 if line is None else fn.__code__.co_firstlineno + line
    assert f"test_calls.py:{at}: a workflow does not call its tasks" in str(caught.value)
    assert instead in str(caught.value)
    assert RAN == []


def test_a_decorated_workflow_of_a_closure_is_read_too():
    @task(name="calls.inner", owner_email=OWNER)
    def inner(params: Shard) -> Shard: ...

    def noted(fn):
        @functools.wraps(fn)
        def around(flow: Flow) -> None:
            return fn(flow)

        return around

    with pytest.raises(WorkflowDefinitionError, match=r"flow\.run\(inner, shard="):

        @workflow(name="calls", owner_email=OWNER)
        @noted
        def whole(flow: Flow) -> None:
            inner(Shard(shard="a"))


def test_a_name_that_the_function_binds_itself_is_not_the_task():
    @workflow(name="calls", owner_email=OWNER)
    def whole(flow: Flow) -> None:
        free = str.upper
        flow.run(clean_shard, shard=free("a"))

    assert whole.__perago_workflow__.graph.nodes[0].inputs["params"] == {"shard": "A"}


def test_a_name_that_an_inner_function_binds_is_not_the_task():
    @workflow(name="calls", owner_email=OWNER)
    def whole(flow: Flow) -> None:
        def upper(free):
            return free("a")

        flow.run(clean_shard, shard=upper(str.upper))

    assert whole.__perago_workflow__.graph.nodes[0].inputs["params"] == {"shard": "A"}


def test_a_function_without_source_is_declared():
    names = {"Flow": Flow, "free": free}
    exec("def whole(flow: Flow) -> None:\n    flow.run(free, shard='a')\n", names)
    assert workflow(name="calls", owner_email=OWNER)(names["whole"]) is names["whole"]


def test_elsewhere_a_task_is_called_as_a_function():
    @task(name="calls.outer", owner_email=OWNER)
    def outer(params: Shard) -> Shard:
        return free(params)

    @workflow(name="calls", owner_email=OWNER)
    def whole(flow: Flow) -> None:
        flow.run(outer, shard="a")

    assert outer(Shard(shard="b")) == Shard(shard="b")
    assert asyncio.run(count(workflow_pipeline.CountParams(kept=2))).mean == 2
