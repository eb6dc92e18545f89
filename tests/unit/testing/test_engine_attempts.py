"""Whole attempts on the in-memory store and engine, as a task author's tests run them."""

from functools import partial
from pathlib import Path

import pytest
from pydantic import BaseModel

from attempt_ports import ports_of
from perago import TaskFailed, run_workspace_task_attempt, task
from perago.testing import MemoryEngine, MemoryStore
from perago.values.spec import WorkspaceSpec


class Params(BaseModel):
    text: str = "hello"


class Result(BaseModel):
    size: int


@task(name="write", owner_email="ada@example.org", workspace=WorkspaceSpec())
def write(workspace: Path, params: Params) -> Result:
    (workspace / "out.txt").write_text(params.text)
    return Result(size=len(params.text))


@task(name="give_up", owner_email="ada@example.org", workspace=WorkspaceSpec())
def give_up(workspace: Path, params: Params) -> Result:
    raise TaskFailed("not today")


class World:
    def __init__(self, root):
        self.store, self.engine = MemoryStore(), MemoryEngine()
        self.root = root
        self.base = self.store.commit("main", {"in.txt": "x"})

    def schedule(self, task_definition, **params):
        workspace = self.store.input().model_dump()
        self.engine.schedule(task_definition.__perago_task__.name, {"workspace": workspace, "params": params})

    def run(self, task_definition, attempt, *, report=True, **replaced):
        definition, ports = task_definition.__perago_task__, ports_of(self.store, self.engine)
        result = run_workspace_task_attempt(definition, attempt.input_data, attempt, self.root, **ports | replaced)
        if report:
            self.engine.report_result(attempt, result)
        return result


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_an_attempt_publishes_and_the_engine_has_its_output(world):
    world.schedule(write)
    result = world.run(write, world.engine.poll())
    head = world.store.head("main")
    assert result.output["workspace"]["ref"] == head
    assert world.store.files("main") == {"in.txt": b"x", "out.txt": b"hello"}
    assert world.store.history("main") == [head, world.base]
    assert world.store.stamp_of(head).result == {"size": 5}
    assert world.store.staged() == []
    assert world.engine.record().tries[0].output_ref == head


def test_a_failed_body_leaves_the_branch_and_is_tried_again(world):
    world.schedule(give_up)
    first = world.engine.poll()
    world.run(give_up, first)
    assert world.engine.reason(first.task_id) == "not today"
    assert world.store.history("main") == [world.base]
    assert world.engine.poll().retry_count == 1


def test_the_next_try_adopts_what_a_lost_one_published(world):
    world.schedule(write)
    first = world.engine.poll()
    published = world.run(write, first, report=False).output["workspace"]["ref"]
    world.engine.timeout(first.task_id)
    result = world.run(write, world.engine.poll())
    assert result.output["workspace"]["ref"] == published
    assert world.store.history("main")[1:] == [published, world.base]


def test_an_attempt_that_lost_its_task_publishes_nothing(world):
    world.schedule(write)
    first = world.engine.poll()
    world.engine.requeue(first.task_id)
    world.engine.poll()
    result = world.run(write, first, report=False)
    assert "no longer belongs to this attempt" in result.reason_for_incompletion
    assert world.store.history("main") == [world.base]


def test_a_commit_that_comes_between_is_met_at_the_swap_and_kept(world):
    world.schedule(write)

    def while_another_commits(publish, *arguments):
        world.store.commit("main", {"theirs": "1"}, "Grace", subject="mend")
        return publish(*arguments)

    publish = partial(while_another_commits, world.store.publish_workspace)
    result = world.run(write, world.engine.poll(), publish_workspace=publish)
    assert "by Grace (mend)" in result.reason_for_incompletion
    assert world.store.files("main") == {"in.txt": b"x", "theirs": b"1"}
    assert world.store.staged() == []
