"""A result that the engine could not keep fails its attempt, and nothing is published."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import WorkspaceSpec, task
from perago.attempt.body import MAX_RESULT_BYTES
from perago.attempt.context import RunContext
from perago.ports import ignore
from perago.testing import MemoryEngine, MemoryStore
from perago.worker.executor.runner import AttemptRunner


class Params(BaseModel):
    length: int


class Result(BaseModel):
    text: str


@task(name="large", owner_email="a@example.org", workspace=WorkspaceSpec())
def large(workspace: Path, params: Params) -> Result:
    (workspace / "out").write_text("written")
    return Result(text="x" * params.length)


@task(name="free", owner_email="a@example.org")
def free(params: Params) -> Result:
    return Result(text="x" * params.length)


class OneStore:
    def __init__(self, store):
        self.store = store

    def open(self, observer, merge_seconds=None):
        return self.store


@pytest.fixture
def attempt_of(tmp_path):
    """Runs an attempt of a task; returns its result, and what the branch then holds."""
    store, engine = MemoryStore(), MemoryEngine()
    store.commit("main", {"in": b"in"})
    workspace = store.input().model_dump()
    runner = AttemptRunner(
        tasks={definition.name: definition for definition in (large.__perago_task__, free.__perago_task__)},
        store=OneStore(store),
        workspace_root=tmp_path,
        worker_id="a-test",
        failure_reason_max_length=500,
    )
    context = RunContext(execution_id="execution", observer=ignore)

    def run(name, length):
        given = {"params": {"length": length}} | ({"workspace": workspace} if name == "large" else {})
        engine.schedule(name, given)
        return runner.run(engine.poll(), context, engine), set(store.files("main"))

    return run


FRAME = len('{"text":""}')


@pytest.mark.parametrize("name", ["large", "free"])
def test_a_result_at_the_limit_is_taken(attempt_of, name):
    result, _ = attempt_of(name, MAX_RESULT_BYTES - FRAME)
    assert result.status == "COMPLETED"


@pytest.mark.parametrize("name", ["large", "free"])
def test_a_larger_one_fails_for_good_and_nothing_is_published(attempt_of, name):
    result, files = attempt_of(name, MAX_RESULT_BYTES - FRAME + 1)
    assert result.status == "FAILED_WITH_TERMINAL_ERROR"
    assert f"{MAX_RESULT_BYTES + 1} bytes of JSON" in result.reason_for_incompletion
    assert files == {"in"}
