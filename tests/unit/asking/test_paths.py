"""What people name in a question."""

from __future__ import annotations

import pytest

from perago.asking.paths import pattern_of
from perago.workspace.patterns import Selection


@pytest.mark.parametrize("path", [".", "./", "/", "", "/.", "**", "./**"])
def test_everything_has_several_names(path):
    selection = Selection([pattern_of(path)])
    assert selection.selects("a")
    assert selection.selects("a/.b/c")


@pytest.mark.parametrize("path", ["a/b", "./a/b", "/a/b", "a/b/", "a//b", "././a/./b/.", "a/c/../b"])
def test_a_path_may_be_written_as_in_a_shell(path):
    assert pattern_of(path) == "a/b"


def test_patterns_stay_and_what_is_outside_matches_nothing():
    assert pattern_of("./clean/**/*.csv") == "clean/**/*.csv"
    assert not Selection([pattern_of("../a")]).selects("a")
