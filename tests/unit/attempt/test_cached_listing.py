"""What an attempt asks of the store before it takes an earlier result: one listing if the outputs are there."""

import pytest

from cached_task import CachedRuns
from perago.testing import MemoryStore


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
    made.commit("main", {"in/a": "1", "other": "3"})
    return made


@pytest.fixture
def run(store, tmp_path):
    """Run the task on the head of the main branch; returns what the store was asked meanwhile."""
    runs = CachedRuns(store, tmp_path)

    def once():
        store.asked.clear()
        runs.run(store.input("main"))
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
