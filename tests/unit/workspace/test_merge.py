"""The merge of `snapshot` isolation against whole trees."""

from __future__ import annotations

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from perago.workspace.merge import merge_paths

PATHS = ["a", "a/b", "a/b/c", "a/x", "d", "e/f"]
VALUES = st.sampled_from(["1", "2", "3"])


def applied(tree, changes):
    result = {**tree, **changes}
    return {path: value for path, value in result.items() if value is not None}


def clashes(tree):
    return {(above, below) for above in tree for below in tree if below.startswith(above + "/")}


def changed(before, after):
    """What a commit changed of its parent."""
    return {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


@st.composite
def consistent_tree(draw):
    """Files at some of the paths, none of them a directory too."""
    tree = {}
    for path in draw(st.permutations(PATHS)):
        if draw(st.booleans()) and not clashes({**tree, path: "x"}):
            tree[path] = draw(VALUES)
    return tree


def below(tree):
    return lambda path: [other for other in tree if other.startswith(path + "/")]


def oracle(base, foreign, own):
    """Whole trees: E, what becomes of them, and the paths at which they do not fit."""
    expected = dict(base)
    for changes in foreign:
        expected = applied(expected, changes)
    result = applied(expected, own)
    conflicts = {
        path for path, value in own.items() if expected.get(path) != base.get(path) and expected.get(path) != value
    }
    for pair in clashes(result):
        of_own = {path for path in pair if own.get(path) is not None}
        of_foreign = {path for path in pair if any(path in changes for changes in foreign)}
        conflicts |= of_own or of_foreign
    return result, conflicts


def check(base, foreign, own):
    merged = merge_paths(foreign, own, base.get, below(base))
    result, conflicts = oracle(base, foreign, own)
    assert list(merged.conflicts) == sorted(conflicts)
    if not conflicts:
        assert applied(base, merged.overlay) == result
        assert not clashes(result)
    return merged


@given(consistent_tree(), st.lists(st.tuples(consistent_tree(), st.booleans()), max_size=4), consistent_tree())
@example({"a/b": "1"}, [({}, True), ({"a": "2"}, False)], {"a/b": "1", "d": "1"})
@example({"a": "1"}, [({}, True), ({"a/b": "2"}, False)], {"a": "1", "d": "1"})
@example({"a": "1"}, [({"a": "2"}, True), ({"a": "1", "d": "1"}, False)], {"a": "3"})
@example({}, [({"a/b": "1"}, False)], {"a": "1"})
@example({}, [({"a": "1"}, False)], {"a/b": "1"})
@example({"a/b": "1"}, [({"a/b": "1", "a/x": "1"}, False)], {"a": "1"})
def test_the_merge_is_what_whole_trees_say(base, history, own_tree):
    """A history of commits on the base, some abandoned; the attempt made its own tree of the base."""
    head, foreign = base, []
    for tree, abandoned in history:
        if not abandoned:
            foreign.append(changed(head, tree))
        head = tree
    merged = check(base, foreign, changed(base, own_tree))
    event("conflict" if merged.conflicts else "merged")


def test_changes_of_different_paths_are_merged():
    merged = check({"a": "1", "d": "1"}, [{"a": "2"}, {"e/f": "1"}], {"d": None})
    assert merged.overlay == {"a": "2", "e/f": "1", "d": None}


def test_the_same_change_on_both_sides_is_no_conflict():
    assert not check({"a": "1"}, [{"a": "2"}], {"a": "2"}).conflicts
    assert not check({"a": "1"}, [{"a": None}], {"a": None}).conflicts


def test_the_first_committer_wins_on_a_path():
    assert check({"a": "1"}, [{"a": "2"}], {"a": "3"}).conflicts == {"a": {"a"}}
    assert check({"a": "1"}, [{"a": None}], {"a": "3"}).conflicts == {"a": {"a"}}
    assert check({"a": "1"}, [{"a": "2"}], {"a": None}).conflicts == {"a": {"a"}}
    assert check({}, [{"a": "2"}], {"a": "3"}).conflicts == {"a": {"a"}}


def test_a_foreign_change_that_was_taken_back_is_no_conflict():
    assert not check({"a": "1"}, [{"a": "2"}, {"a": "1"}], {"a": "3"}).conflicts


@pytest.mark.parametrize(
    ("base", "foreign", "own", "conflicts"),
    [
        ({}, [{"a/b": "1"}], {"a": "1"}, {"a": {"a", "a/b"}}),
        ({}, [{"a": "1"}], {"a/b": "1"}, {"a/b": {"a", "a/b"}}),
        ({}, [{"a/b/c": "1"}], {"a": "1", "d": "1"}, {"a": {"a", "a/b/c"}}),
        ({"a/b": "1"}, [{"a/x": "1"}], {"a/b": None, "a": "1"}, {"a": {"a", "a/x"}}),
        ({"a": "1"}, [{"a": None, "a/b": "1"}], {"a": "2"}, {"a": {"a", "a/b"}}),
        ({"a": "1"}, [{"a": None, "a/b": "1"}], {"d": "1"}, {}),
        ({"a/b": "1"}, [{"a/b": None}], {"a/b": None, "a": "1"}, {}),
        ({"a/b": "1"}, [{"a/b": None, "a": "1"}], {"a/x": "1"}, {"a/x": {"a", "a/x"}}),
    ],
)
def test_no_path_becomes_file_and_directory(base, foreign, own, conflicts):
    assert check(base, foreign, own).conflicts == conflicts


def test_names_that_only_begin_alike_do_not_clash():
    assert not merge_paths([{"a.txt": "1", "ab/c": "1"}], {"a": "1"}, {}.get).conflicts


def test_many_paths_are_merged_in_no_time():
    foreign = [{f"d{index % 100}/e/f{index}": "1" for index in range(50_000)}]
    own = {f"o{index % 100}/e/f{index}": "1" for index in range(50_000)}
    asked = []

    def base(path):
        asked.append(path)

    merged = merge_paths(foreign, own, base)
    assert not merged.conflicts
    assert len(merged.overlay) == 100_000
    assert len(asked) < 60_000  # foreign files once each, directories once each
