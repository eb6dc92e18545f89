"""Include and exclude patterns against a naive matcher."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perago import WorkspaceSpec
from perago.workspace.patterns import Selection, may_see, visible_to


def naive_match(segments: list[str], pattern: list[str]) -> bool:
    """One segment after the other; `**` takes none or more."""
    if not pattern:
        return not segments
    if pattern[0] == "**":
        return any(naive_match(segments[taken:], pattern[1:]) for taken in range(len(segments) + 1))
    return bool(segments) and fnmatch.fnmatchcase(segments[0], pattern[0]) and naive_match(segments[1:], pattern[1:])


def naive_matches(path: str, patterns: list[str]) -> bool:
    """The path, or a directory above it."""
    segments = path.split("/")
    return any(
        naive_match(segments[:length], pattern.split("/"))
        for pattern in patterns
        for length in range(1, len(segments) + 1)
    )


def naive_selects(path: str, include: list[str], exclude: list[str]) -> bool:
    return (not include or naive_matches(path, include)) and not naive_matches(path, exclude)


segment = st.text("ab.c-]", min_size=1, max_size=3).filter(lambda text: text not in (".", ".."))
path = st.lists(segment, min_size=1, max_size=5).map("/".join)
piece = st.sampled_from(
    ["a", "b", ".", "c", "-", "*", "?", "[ab]", "[!a]", "[a-b]", "[!b-c]", "[]]", "[!]]", "[a-]", "[", "]", "**"]
)
glob_segment = st.lists(piece, min_size=1, max_size=3).map("".join).filter(lambda text: text not in (".", ".."))
pattern = st.lists(st.one_of(glob_segment, st.just("**"), segment), min_size=1, max_size=5).map("/".join)
patterns = st.lists(pattern, max_size=3)


@given(path, patterns, patterns)
@example("a", ["a/**"], [])
@example("a/b", ["**/b/**"], [])
@example("a/b/c", ["a/**/**/c"], ["**/x"])
@example("a", ["[!b]"], [])
@example("a\nb", ["a?b"], ["[!x]a"])
@example("a/b", ["a[!x]b", "a?b", "a*b", "a[+-9]b"], [])
@example("]", ["[]]"], [])
@example("a", ["[b-a]"], [])
@example("a", ["[!b-a]"], [])
def test_selection_agrees_with_a_naive_matcher(path, include, exclude):
    assert Selection(include, exclude).selects(path) == naive_selects(path, include, exclude)


@given(path, patterns, patterns)
@example("a/b/c", ["a/*/c"], [])
@example("a/b/c", ["a/**"], [])
@example("a/b/c", ["**/c"], [])
@example("a/b/c", ["a"], [])
def test_every_directory_above_a_selected_file_is_entered(path, include, exclude):
    selection = Selection(include, exclude)
    if selection.selects(path):
        above = path.split("/")[:-1]
        assert all(selection.enters("/".join(above[:length])) for length in range(1, len(above) + 1))


@pytest.mark.parametrize(
    ("include", "exclude", "directory", "entered"),
    [
        ([], [], "a", True),
        ([], [".venv"], ".venv", False),
        ([], ["**/cache/**"], "a/cache", False),
        ([], ["**/*.pyc"], "a", True),
        (["data/*.csv"], [], "data", True),
        (["data/*.csv"], [], "other", False),
        (["data/*.csv"], [], "data/deeper", False),
        (["data/*.csv"], [], "data/x.csv", True),
        (["data/*.csv"], [], "data/x.csv/below", True),
        (["a/**/x"], [], "a/b/c", True),
        (["a/**/x"], [], "b", False),
        (["**/x"], [], "b/c", True),
        (["x"], [], "b", False),
        (["x"], [], "x/y", True),
    ],
)
def test_what_cannot_hold_a_selected_file_is_not_entered(include, exclude, directory, entered):
    assert Selection(include, exclude).enters(directory) is entered


@pytest.mark.parametrize(
    ("pattern", "chosen", "left"),
    [
        ("*", ["a", ".hidden", "d/x"], []),
        ("*.csv", ["a.csv", ".csv"], ["d/a.csv", "a.csvx", "A.CSV"]),
        ("**", ["a", "a/b"], []),
        ("**/*.csv", ["a.csv", "d/e/a.csv"], ["d/e/a.txt"]),
        ("data", ["data", "data/x", "data/y/z"], ["data2", "x/data"]),
        ("data/**", ["data/x", "data/y/z", "data"], ["data2/x"]),
        ("a**b", ["ab", "axxb"], ["a/b"]),
        ("[x", ["[x"], ["x"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_patterns_by_example(pattern, chosen, left):
    included, excluded = Selection([pattern], []), Selection([], [pattern])
    for name in chosen:
        assert included.selects(name)
        assert not excluded.selects(name)
    for name in left:
        assert not included.selects(name)
        assert excluded.selects(name)


def test_many_stars_do_not_take_for_ever():
    selection = Selection(["**/a*/**/b*/**/c*/**/d*/**/e"], [])
    assert not selection.selects("/".join(["abcd"] * 40))


@given(path, patterns, patterns, patterns, patterns, st.sampled_from(["/", "a", "a/b"]), st.sampled_from(["/", "a"]))
def test_a_path_in_two_workspaces_is_never_missed(path, include, exclude, other, left_out, prefix, beside):
    spec = WorkspaceSpec(prefix=prefix, include=include, exclude=exclude)
    changed = WorkspaceSpec(prefix=beside, include=other, exclude=left_out)
    if visible_to(spec)(path) and visible_to(changed)(path):
        assert may_see(spec, changed)


@pytest.mark.parametrize(
    ("seen", "changed", "may"),
    [
        ({"include": ["raw/**"]}, {"include": ["clean/**"]}, False),
        ({"include": ["raw/**"], "prefix": "a"}, {"include": ["raw/**"], "prefix": "b"}, False),
        ({"include": ["raw/a.txt"]}, {"include": ["raw/*.txt"]}, True),
        ({"exclude": ["clean/**"]}, {"include": ["clean/x/**"]}, False),
        ({}, {"include": ["clean/**"]}, True),
        ({"include": ["raw/**"]}, {}, True),
    ],
)
def test_workspaces_that_certainly_have_no_file_in_common(seen, changed, may):
    assert may_see(WorkspaceSpec(**seen), WorkspaceSpec(**changed)) is may
