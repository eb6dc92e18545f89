"""Why no earlier result is taken, in one line."""

from __future__ import annotations

import pytest

from perago.attempt.differences import Difference
from perago.attempt.missed import NO_EARLIER_RESULT, Missed, _why_not_used

COMMIT = "1f2e3d4c5b6a" + "0" * 28


@pytest.mark.parametrize(
    ("missed", "line"),
    [
        (Missed(why=NO_EARLIER_RESULT), NO_EARLIER_RESULT),
        (
            Missed(since=COMMIT, differences=[Difference("param", "top", "changed", "3", "1")]),
            "changed since 1f2e3d4c5b6a: param top: 3 -> 1",
        ),
        (Missed(why="the result is not used", since=COMMIT), "the result is not used"),
    ],
)
def test_the_line_says_what_has_changed_or_else_the_reason(missed, line):
    assert missed.line == line


@pytest.mark.parametrize(("standing", "why"), [("distrusted", ": it is distrusted"), (None, "")])
def test_a_result_that_is_not_used_is_named(standing, why):
    assert _why_not_used(COMMIT, standing) == f"the result of commit 1f2e3d4c5b6a is not used{why}"
