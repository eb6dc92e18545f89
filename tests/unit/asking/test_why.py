"""Why an attempt ran, by what the stamps say."""

from __future__ import annotations

import pytest

from perago.asking import why
from perago.asking.why import Ran, why_ran
from perago.attempt.differences import OTHER_FILES, Difference
from perago.index.history import HistoryIndex
from tests.unit.asking.made_repository import MadeRepository
from tests.unit.index.made_history import stamp

PARTS = {
    "workspace": "w",
    "inputs": "i",
    "params": "p",
    "python": "3.13",
    "sources": {"app": "1"},
    "libraries": {},
    "variables": {},
}


@pytest.fixture
def index(tmp_path):
    with HistoryIndex(tmp_path / "a.sqlite", tell=pytest.fail) as opened:
        yield opened


class History(MadeRepository):
    """One branch, on which a task that reads `raw` publishes."""

    def __init__(self):
        super().__init__()
        self.tree_now = {"raw/a": 0, "other": 0}
        self.number = 0
        self.by_hand()

    def by_hand(self, **content):
        self.number += 1
        self.tree_now |= {name.replace("_", "/"): self.number for name in content}
        return self.commit("main", self.tree_now, author="Ada")

    def publish(self, key, params=None, **fields):
        """A publication of the task on what is there now."""
        self.number += 1
        parts = {**PARTS, **fields.pop("parts", {})}
        given = {
            "input_ref": self.heads["main"],
            "params": {"n": 1} if params is None else params,
            "cache_parts": None if key is None else parts,
            "selection": {"include": ["raw/**"], "outputs": ["out/**"]},
            "execution_id": f"execution-{self.number}",
            **fields,
        }
        self.tree_now |= {"out/x": self.number}
        return self.commit("main", self.tree_now, stamp=stamp(key, **given))


def asked(history, index, entry):
    return why_ran(history.past(index), entry)


def test_the_first_result_has_none_before_it(index):
    history = History()
    first = history.publish("k1")
    history.publish("k2", {"n": 2}, parts={"params": "p2"})
    assert asked(history, index, first) == Ran(kind="first")


def test_a_param_that_differs_from_the_nearest_result_of_before(index):
    history = History()
    near = history.publish("k1", {"n": 1})
    history.publish("far", {"n": 9}, parts={"params": "p9", "python": "3.11", "sources": {"app": "0"}})
    made = history.publish("k2", {"n": 2}, parts={"params": "p2"})
    history.publish("k3", {"n": 2}, parts={"params": "p2", "sources": {"app": "2"}})  # later, and nearer
    assert asked(history, index, made) == Ran(
        kind="differs", since=near.id, differences=[Difference("param", "n", "changed", "1", "2")]
    )


def test_files_that_the_task_reads_are_named(index):
    history = History()
    before = history.publish("k1")
    history.by_hand(raw_a=1, raw_b=1, other=1)
    made = history.publish("k2", parts={"inputs": "i2"})
    found = asked(history, index, made)
    assert found.differences == [Difference("file", "raw/a", "changed"), Difference("file", "raw/b", "added")]
    assert (found.since, found.inputs) == (before.id, (before.stamp.input_ref, made.stamp.input_ref))


@pytest.mark.parametrize("bound", ["MAX_STEPS", "MAX_CHANGED"])
def test_files_are_not_named_if_the_inputs_are_far_apart(index, monkeypatch, bound):
    monkeypatch.setattr(why, bound, 1)
    history = History()
    history.publish("k1")
    for _ in range(3):
        history.by_hand(raw_a=1, other=1)
    made = history.publish("k2", parts={"inputs": "i2"})
    assert asked(history, index, made).differences == [OTHER_FILES]


def test_what_was_computed_again_does_not_differ(index):
    history = History()
    before = history.publish("k1")
    assert asked(history, index, history.publish("k1")) == Ran(kind="again", since=before.id, differences=[])


def test_a_result_that_was_taken_says_from_where(index):
    history = History()
    before = history.publish("k1")
    taken = history.publish("k1", cached_from=before.id)
    assert asked(history, index, taken) == Ran(kind="taken", since=before.id)


def test_without_a_cache_each_run_computes(index):
    history = History()
    assert asked(history, index, history.publish(None)) == Ran(kind="no key")


def test_what_no_attempt_of_a_task_made_has_no_reason(index):
    history = History()
    assert asked(history, index, history.by_hand(raw_a=1)) is None
    assert asked(history, index, history.publish(None, reverts=("a" * 40,))) is None
    assert asked(history, index, history.publish(None, completes="a" * 40)) is None
