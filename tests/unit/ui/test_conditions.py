"""Conditions as a person types them."""

from __future__ import annotations

import pytest

from perago.errors import TaskInputError
from perago.ui.conditions import Condition, conditions_in, field_of


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("a=1", (Condition("a", "=", "1"),)),
        (" params.a >= 0.3 ,b ~ x y", (Condition("params.a", ">=", "0.3"), Condition("b", "~", "x y"))),
        ("a!=", (Condition("a", "!=", ""),)),
    ],
)
def test_they_are_read(text, found):
    assert conditions_in(text) == found


@pytest.mark.parametrize("text", ["a", "= 3", "a 3", "x" * 501])
def test_what_is_none_is_said(text):
    with pytest.raises(TaskInputError):
        conditions_in(text)


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        (Condition("a", ">", "9"), 10, True),
        (Condition("a", ">", "9"), "10", True),
        (Condition("a", "<", "b"), "a", True),
        (Condition("a", "=", "1"), 1.0, True),
        (Condition("a", "=", "true"), True, True),
        (Condition("a", "~", "OSL"), ["oslo"], True),
        (Condition("a", "=", "1"), None, False),
        (Condition("a", "!=", "1"), None, True),
        (Condition("a", "<", "1"), "inf", False),
    ],
)
def test_numbers_are_compared_as_numbers_and_the_rest_as_text(condition, value, holds):
    assert condition.holds(value) is holds


def test_a_field_is_found_by_its_group_or_in_the_first_that_has_it():
    groups = [("params", {"a": 1, "x.y": 5}), ("result", {"a": 2, "b": 3})]
    names = ("a", "result.a", "b", "x.y", "params.b", "c")
    assert [field_of(name, groups) for name in names] == [1, 2, 3, 5, None, None]
