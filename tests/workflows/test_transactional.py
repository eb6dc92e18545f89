"""A transactional workflow publishes all that its tasks do, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import Flow, TaskFailed, WorkspaceSpec, task, workflow
from perago.errors import WorkflowDefinitionError
from perago.testing import MemoryWorkflow
from perago.values.models import RUN_PREFIX


class Params(BaseModel):
    number: int = 1


class Result(BaseModel):
    number: int


@task(name="first", owner_email="team@example.org", workspace=WorkspaceSpec(prefix="first"))
def first(workspace: Path, params: Params) -> Result:
    (workspace / "number").write_text(str(params.number))
    return Result(number=params.number + 1)


@task(name="second", owner_email="team@example.org", workspace=WorkspaceSpec(prefix="second"))
def second(workspace: Path, params: Params) -> Result:
    if params.number < 0:
        raise TaskFailed("no numbers below 0")
    (workspace / "number").write_text(str(params.number))
    return Result(number=params.number + 1)


@workflow(name="both", owner_email="team@example.org", transactional=True)
def both(flow: Flow, params: Params) -> Result:
    return flow.run(second, number=flow.run(first, number=params.number).number)


def test_the_branch_moves_once():
    kit = MemoryWorkflow({"other": "o"})
    begun = kit.store.head("main")
    assert kit.run(both, {"number": 7}).status == "COMPLETED"
    head, *before = kit.store.history("main")
    assert before == [begun]
    assert kit.store.files("main") == {"other": b"o", "first/number": b"7", "second/number": b"8"}
    stamp = kit.store.stamp_of(head)
    assert stamp is not None
    assert stamp.result is not None
    assert [one["task"] for one in stamp.result["tasks"]] == ["first", "second"]


def test_a_run_that_fails_leaves_the_branch_untouched_and_its_own_in_place():
    kit = MemoryWorkflow({"other": "o"}, retries=0)
    begun = kit.store.head("main")
    assert kit.run(both, {"number": -5}).status == "FAILED"
    assert kit.store.history("main") == [begun]
    (kept,) = [name for name in kit.store.branches() if name.startswith(RUN_PREFIX)]
    assert kit.store.files(kept) == {"other": b"o", "first/number": b"-5"}


def test_a_workflow_without_workspaces_cannot_be_transactional():
    @task(name="free", owner_email="team@example.org")
    def free(params: Params) -> Result:
        return Result(number=params.number)

    with pytest.raises(WorkflowDefinitionError, match="no task has a workspace"):

        @workflow(name="none", owner_email="team@example.org", transactional=True)
        def none(flow: Flow) -> None:
            flow.run(free)
