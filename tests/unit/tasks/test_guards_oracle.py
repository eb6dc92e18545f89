"""Patterns against pathlib: on any tree without links out, a pattern matches what `Path.glob` finds."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from perago import GuardrailViolation, check_guardrails, forbid_glob, require_glob

NAMES = ("a", "b", "ab", "a.csv", ".h", "ä")
SEGMENTS = (*NAMES, "*", "?", "a*", "*.csv", "[ab]", "[!a]*", ".*", "**", "*b")

name = st.sampled_from(NAMES)
path = st.lists(name, min_size=1, max_size=3).map("/".join)
pattern = st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4).map("/".join)


@st.composite
def trees(draw):
    """Paths of files and of directories, and links within the tree: link -> what it leads to."""
    files, directories = draw(st.sets(path, max_size=8)), draw(st.sets(path, max_size=4))
    target = path if not files | directories else path | st.sampled_from(sorted(files | directories))
    return files, directories, draw(st.dictionaries(path, target, max_size=3))


def build(root, tree):
    files, directories, links = tree
    for directory in directories:
        (root / directory).mkdir(parents=True, exist_ok=True)
    for file in files:
        if not (root / file).exists() and all(not parent.is_file() for parent in (root / file).parents):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text("x")
    for link, target in links.items():
        place = root / link
        if (
            not os.path.lexists(place)
            and place.parent.is_dir()
            and place.parent.resolve().is_relative_to(root.resolve())
        ):
            place.symlink_to(root / target)


def count_of(root, pattern):
    """How many paths a guard takes to match, found from outside: the only count at which it holds."""
    for count in range(200):
        try:
            check_guardrails(root, [require_glob(pattern, min_count=count, max_count=count)], "pre")
        except GuardrailViolation:
            continue
        return count
    return None


@given(tree=trees(), pattern=pattern)
@settings(max_examples=300, deadline=None)
def test_a_pattern_matches_what_pathlib_finds(tree, pattern):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        root.mkdir()
        build(root, tree)
        expected = set(root.glob(pattern))
        event("something matches" if expected else "nothing matches")
        assert count_of(root, pattern) == len(expected)
        if expected:
            with pytest.raises(GuardrailViolation):
                check_guardrails(root, [forbid_glob(pattern)], "post")
        else:
            check_guardrails(root, [forbid_glob(pattern)], "post")


@given(tree=trees(), pattern=pattern, parent=st.sampled_from([".", "a", "b", "a/b"]))
@settings(max_examples=200, deadline=None)
def test_no_pattern_matches_anything_behind_a_link_out(tree, pattern, parent):
    """A tree with a link out matches what the same tree without the link does."""
    with tempfile.TemporaryDirectory() as folder:
        root, outside = Path(folder, "root"), Path(folder, "outside")
        for directory in (root, outside, outside / "a", outside / "b"):
            directory.mkdir()
        (outside / "a" / "a.csv").write_text("x")
        build(root, tree)
        assume((root / parent).is_dir())
        before = count_of(root, pattern)
        (root / parent / "out").symlink_to(outside)
        assert count_of(root, pattern) == before
