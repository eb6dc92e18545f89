"""Two attempts of a task with a cache on one input: the one that comes later takes the result that the other published.

The other's commit changes an output of it, which is a conflict for any attempt that would put something else there.
"""

from __future__ import annotations

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
    name="same_outputs.copy",
    owner_email="ada@example.org",
    workspace=WorkspaceSpec(include=["in/**"], outputs=["out/**"]),
    cache="trusted",
    cache_version="1",
)
def copy(workspace: Path, params: Params) -> Copied:
    RAN.append(1)
    for path in (workspace / "in").iterdir():
        (workspace / "out" / path.name).write_bytes(path.read_bytes())
    return Copied(files=1)


RAN: list[int] = []


class Busy(MemoryStore):
    """Something happens before the next listing, when an attempt has begun and does not know its key yet."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile = []

    def list_workspace(self, workspace_input, workspace_spec):
        while self.meanwhile:
            self.meanwhile.pop()()
        return super().list_workspace(workspace_input, workspace_spec)


@pytest.fixture
def store():
    RAN.clear()
    made = Busy()
    made.commit("main", {"in/a": "1", "out/old": "0", "other": "3"})
    return made


@pytest.fixture
def run(store, tmp_path):
    """Run the task on the commit that was the head of the branch at first."""
    cache = RunCache(results=IndexedResults(tmp_path / "index", "memory", is_server=False), mode="observed")
    engine, workspace = MemoryEngine(retries=0), store.input("main").model_dump()

    def once():
        """A try of a workflow of its own."""
        given = {"workspace": workspace, "params": {}}
        engine.schedule("t", given, reference_task_name="t", workflow=engine.start_workflow())
        attempt = engine.poll()
        return run_attempt(
            task_of(copy),
            attempt.input_data,
            attempt,
            RunContext(observer=ignore, cache=cache),
            workspace_root=tmp_path / "attempts",
            open_store=lambda: store,
            engine=engine,
        )

    return once


MADE = {"in/a": "1", "out/a": "1", "other": "3"}


def files(store):
    return {path: content.decode() for path, content in store.files("main").items()}


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_the_other_has_published_is_taken(store, run, when):
    if when == "before":
        assert run().status == "COMPLETED"
    else:
        store.meanwhile.append(run)
    later = run()
    assert later.status == "COMPLETED", later.reason_for_incompletion
    assert len(RAN) == 1
    assert files(store) == MADE
    assert later.output["workspace"]["ref"] == store.head("main")


@pytest.mark.parametrize(
    ("edit", "status"),
    [
        ({"other": "4"}, "COMPLETED"),
        ({"in/a": "2"}, "FAILED"),
        ({"in/b": "2"}, "FAILED"),
        ({"out/a": "by hand"}, "FAILED"),
        ({"out/a": None}, "FAILED"),
        ({"out/b": "by hand"}, "FAILED"),
        ({"out/old": "0"}, "FAILED"),
    ],
)
def test_only_if_its_outputs_are_still_there_and_its_inputs_are_as_they_were(store, run, edit, status):
    run()
    store.commit("main", edit)
    before = files(store)
    later = run()
    assert later.status.startswith(status), later.reason_for_incompletion
    assert files(store) == before


def test_what_somebody_else_put_there_is_a_conflict_as_for_any_task(store, run):
    store.commit("main", {"out/a": "by hand"})
    assert "could see, 'out/a'" in run().reason_for_incompletion
    assert RAN == [], "the body ran for nothing"
