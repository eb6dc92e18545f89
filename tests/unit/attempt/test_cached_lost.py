"""A result is found however far behind it lies: in a branch that a person merged, or before 1,000 newer results.

For each place a bug is planted that loses it there.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from cached_task import TASK, CachedRuns
from perago.index.history import HistoryIndex
from perago.testing import MemoryStore
from perago.testing.commits import Commit

MANY = 1_000
MADE = {"in/a": b"one", "out/a": b"ONE"}


@pytest.fixture
def runs(tmp_path):
    return CachedRuns(MemoryStore(), tmp_path)


def behind_a_merge(runs):
    """Only the second parent of a person's merge leads to it."""
    store = runs.store
    store.commit("main", {"other": "o"})
    store.commit("feature", {"in/a": "one"})
    made = runs.run(store.input("feature"))
    store.merge("feature", "main")
    store.delete_branch("feature")
    return made


def behind_other_keys(runs):
    """The items of a map were published since."""
    store = runs.store
    store.commit("main", {"in/a": "one"})
    made = runs.run(store.input())
    for number in range(MANY):
        publish(store, made, cache_key=f"sha256:{number:064}")
    return made


def behind_what_counts_no_more(runs):
    """Newer results have the same key, and were all replaced."""
    store = runs.store
    store.commit("main", {"in/a": "one"})
    made = runs.run(store.input())
    replaced = tuple(publish(store, made) for _ in range(MANY))
    publish(store, made, cache_key=None, abandoned=replaced)
    return made


def publish(store, like, **stamped):
    """One more publication on the main branch, with the stamp of another one."""
    stamp = store.stamp_of(like)
    head = store.head("main")
    return store.commit("main", {"out/a": head}, stamp=replace(stamp, **{"expected_head": head, **stamped}))


def expect_taken(runs, made):
    """A run whose outputs somebody has changed meanwhile takes the result that was made then."""
    store = runs.store
    store.commit("main", {"out/a": "by hand"})
    ref = runs.run(store.input())
    assert runs.computed == 1
    assert store.stamp_of(ref).cached_from == made
    assert MADE.items() <= store.files(ref).items()


PLACES = [behind_a_merge, behind_other_keys, behind_what_counts_no_more]


@pytest.mark.parametrize("place", PLACES)
def test_a_result_is_taken_from_wherever_it_lies(runs, place):
    expect_taken(runs, place(runs))


def follow_first_parents_alone(monkeypatch):
    monkeypatch.setattr(Commit, "parents", property(lambda commit: () if commit.parent is None else (commit.parent,)))


def look_at_the_newest_of_the_task_alone(monkeypatch):
    honest = HistoryIndex.with_key

    def with_key(index, key, *, limit):
        newest = {entry.id for entry in index.of_task(TASK, limit=limit)}
        return [entry for entry in honest(index, key, limit=limit) if entry.id in newest]

    monkeypatch.setattr(HistoryIndex, "with_key", with_key)


def look_at_the_newest_with_the_key_alone(monkeypatch):
    def with_key(index, key, *, limit):
        newest = [entry for entry in index.of_task(TASK, limit=2 * MANY) if entry.stamp.cache_key == key][:limit]
        return [entry for entry in newest if index.standing(entry.id) == "effective"]

    monkeypatch.setattr(HistoryIndex, "with_key", with_key)


@pytest.mark.parametrize(
    ("place", "plant"),
    [
        (behind_a_merge, follow_first_parents_alone),
        (behind_other_keys, look_at_the_newest_of_the_task_alone),
        (behind_what_counts_no_more, look_at_the_newest_with_the_key_alone),
    ],
)
def test_a_bug_that_loses_it_is_caught(runs, monkeypatch, place, plant):
    plant(monkeypatch)
    made = place(runs)
    with pytest.raises(AssertionError, match=r"assert 2 == 1"):
        expect_taken(runs, made)
