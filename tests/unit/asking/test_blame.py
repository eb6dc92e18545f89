"""Which commit made each file of a commit, compared with a search by hand."""

from __future__ import annotations

import pytest

from perago.asking.blame import origins
from perago.index.history import HistoryIndex
from tests.unit.asking.made_repository import PATHS, MadeRepository, made_at_random
from tests.unit.index.made_history import stamp


@pytest.fixture
def index(tmp_path):
    with HistoryIndex(tmp_path / "a.sqlite", tell=pytest.fail) as opened:
        yield opened


def maker(made: MadeRepository, ref: str, path: str) -> str:
    """The commit that made a file: from each commit to the first parent that has the same, where somebody merged; and
    from a revert to what was there before what it undoes."""
    entries = {each.id: each for each in made.entries}
    while True:
        at = entries[ref]
        parents = list(at.parents if at.stamp is None else at.parents[:1])
        parents += [] if at.stamp is None else [entries[undone].parents[0] for undone in at.stamp.reverts[-1:]]
        same = [parent for parent in parents if made.trees[parent].get(path) == made.trees[ref][path]]
        if not same:
            return ref
        ref = same[0]


@pytest.mark.property
@pytest.mark.parametrize("seed", range(25))
def test_each_file_is_of_the_newest_commit_that_changed_it(index, seed):
    made = made_at_random(seed, 80)
    past = made.past(index)
    for branch in made.heads:
        ref = past.head(branch)
        found = origins(past, ref, made.trees[ref])
        assert {origin.path: origin.entry.id for origin in found} == {
            path: maker(made, ref, path) for path in made.trees[ref]
        }


@pytest.mark.property
@pytest.mark.parametrize("commits", [1, 3, 20])
@pytest.mark.parametrize("seed", range(5))
def test_a_search_that_is_bounded_finds_the_same_or_nothing(index, seed, commits):
    made = made_at_random(seed, 80)
    past = made.past(index)
    ref = past.head("main")
    found = {origin.path: origin.entry.id for origin in origins(past, ref, made.trees[ref], commits=commits)}
    makers = {path: maker(made, ref, path) for path in made.trees[ref]}
    assert found.items() <= makers.items()
    assert {path for path in makers if makers[path] == ref} <= found.keys()
    assert made.asked < len(made.entries)


def test_a_file_that_somebody_merged_is_of_who_made_it(index):
    made = MadeRepository()
    made.commit("main", {"a": 1})
    made.heads["side"] = made.heads["main"]
    theirs = made.commit("side", {"a": 1, "b": 2})
    merge = made.commit("main", {"a": 1, "b": 2, "c": 3}, theirs.id)
    [_, b, c] = origins(made.past(index), merge.id, ["a", "b", "c"])
    assert (b.entry.id, b.whole and b.whole.id) == (theirs.id, merge.id)
    assert (c.entry.id, c.whole) == (merge.id, None)


def test_a_file_that_a_revert_gave_back_is_of_who_made_it(index):
    made = MadeRepository()
    first = made.commit("main", {"a": 1})
    run = [made.commit("main", {"a": 2}, stamp=stamp()), made.commit("main", {"a": 3, "b": 1}, stamp=stamp())]
    undone = made.revert("main", run[1], run[0])
    redone = made.revert("main", undone)
    past = made.past(index)
    [a] = origins(past, undone.id, ["a"])
    assert (a.entry.id, a.whole and a.whole.id) == (first.id, undone.id)
    for origin in origins(past, redone.id, ["a", "b"]):
        assert (origin.entry.id, origin.whole and origin.whole.id) == (run[1].id, redone.id)


@pytest.mark.property
@pytest.mark.parametrize("seed", range(10))
def test_for_a_single_file_only_changes_of_names_that_begin_alike_are_read(index, seed):
    made = made_at_random(seed, 80)
    past = made.past(index)
    ref = past.head("main")
    for path in made.trees[ref]:
        assert [origin.entry.id for origin in origins(past, ref, [path])] == [maker(made, ref, path)]
    assert made.asked > 0
    assert made.asked_whole == 0
    entry = made.entries[-1]
    before = made.trees[entry.parents[0]]
    assert {*past.stepped([entry])[0].changes.paths} == {
        path for path in PATHS if before.get(path) != made.trees[entry.id].get(path)
    }, "what was read for some names is kept as if it were for all"


def test_what_a_commit_changed_is_asked_of_the_store_once(index):
    made = made_at_random(1, 300)
    past = made.past(index)
    ref = past.head("main")
    origins(past, ref, made.trees[ref])
    asked = made.asked
    assert 0 < asked <= len(made.entries)
    origins(past, ref, made.trees[ref])
    assert made.asked == asked


def test_a_file_in_a_commit_with_more_changes_than_an_index_keeps(index, monkeypatch):
    monkeypatch.setattr("perago.index.tables.MAX_PATHS", 2)
    made = MadeRepository()
    first = made.commit("main", dict.fromkeys(PATHS, 1))
    made.commit("main", dict.fromkeys(PATHS, 1) | {"new": 1})
    past = made.past(index)
    assert {origin.entry.id for origin in origins(past, past.head("main"), PATHS)} == {first.id}
