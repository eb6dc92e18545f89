"""What an attempt asks of the store before it takes an earlier result: one listing if the outputs are there."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import WorkspaceSpec, task
from perago.attempt.context import RunContext
from perago.attempt.reuse import RunCache
from perago.attempt.run import run_attempt
from perago.index.results import IndexedResults
from perago.ports import ignore
from perago.tasks.declare import task_of
from perago.testing import MemoryEngine, MemoryStore


class Params(BaseModel):
    pass


class Copied(BaseModel):
    files: int


@task(
    name="cached_listing.copy",
    owner_email="ada@example.org",
    workspace=WorkspaceSpec(include=["in/**"], outputs=["out/**"]),
    cache="trusted",
    cache_version="1",
)
def copy(workspace: Path, params: Params) -> Copied:
    paths = sorted((workspace / "in").iterdir())
    for path in paths:
        (workspace / "out" / path.name).write_bytes(path.read_bytes())
    return Copied(files=len(paths))


class Listed(MemoryStore):
    """Counts its listings, and comparisons of two commits."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def list_workspace(self, workspace_input, workspace_spec):
        self.asked.append("listing")
        return super().list_workspace(workspace_input, workspace_spec)

    def has_same_files(self, workspace_input, ref, workspace_spec):
        self.asked.append("comparison")
        return super().has_same_files(workspace_input, ref, workspace_spec)


@pytest.fixture
def store():
    made = Listed()
    made.commit("main", {"in/a": "1", "in/b": "2", "other": "3"})
    return made


@pytest.fixture
def run(store, tmp_path):
    """Run the task on the head of the main branch; returns what the store was asked meanwhile."""
    definition = task_of(copy)
    cache = RunCache(results=IndexedResults(tmp_path / "index", "memory", is_server=False), mode="observed")

    def once():
        store.asked.clear()
        engine = MemoryEngine()
        engine.schedule("t", {"workspace": store.input("main").model_dump(), "params": {}}, reference_task_name="t")
        attempt = engine.poll()
        result = run_attempt(
            definition,
            attempt.input_data,
            attempt,
            RunContext(observer=ignore, cache=cache),
            workspace_root=tmp_path / "attempts",
            open_store=lambda: store,
            engine=engine,
        )
        assert result.status == "COMPLETED", result.reason_for_incompletion
        return list(store.asked)

    return once


def test_a_result_whose_outputs_are_there_is_taken_after_one_listing(store, run):
    run()
    head = store.head("main")
    assert run() == ["listing", "comparison"]
    assert store.head("main") == head


def test_a_result_is_also_taken_there_after_a_change_elsewhere(store, run):
    run()
    head = store.commit("main", {"other": "4"})
    assert run() == ["listing", "comparison"]
    assert store.head("main") == head


@pytest.mark.parametrize("edit", [{"out/a": None}, {"out/a": "by hand"}, {"out/more": "by hand"}])
def test_outputs_that_differ_are_put_there_again(store, run, edit):
    run()
    made = store.files("main")
    store.commit("main", edit)
    assert run() == ["listing", "comparison", "listing", "listing"]
    assert store.files("main") == made
