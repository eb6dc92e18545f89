"""Two attempts of a task with a cache on one input: the one that comes later takes the result that the other published.

The other's commit changes an output of it, which is a conflict for any attempt that would put something else there.
"""

import pytest

from cached_task import CachedRuns
from perago.testing import MemoryStore


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
    made = Busy()
    made.commit("main", {"in/a": "1", "out/old": "0", "other": "3"})
    return made


@pytest.fixture
def runs(store, tmp_path):
    return CachedRuns(store, tmp_path)


@pytest.fixture
def run(store, runs):
    """Run the task on the commit that was the head of the branch at first."""
    workspace = store.input("main")
    return lambda: runs.attempt(workspace)


MADE = {"in/a": "1", "out/a": "1", "other": "3"}


def files(store):
    return {path: content.decode() for path, content in store.files("main").items()}


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_the_other_has_published_is_taken(store, runs, run, when):
    if when == "before":
        assert run().status == "COMPLETED"
    else:
        store.meanwhile.append(run)
    later = run()
    assert later.status == "COMPLETED", later.reason_for_incompletion
    assert runs.computed == 1
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


def test_what_somebody_else_put_there_is_a_conflict_as_for_any_task(store, runs, run):
    store.commit("main", {"out/a": "by hand"})
    assert "could see, 'out/a'" in run().reason_for_incompletion
    assert runs.computed == 0, "the body ran for nothing"
