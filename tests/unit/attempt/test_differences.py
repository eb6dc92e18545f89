"""In what keys differ, in words."""

from __future__ import annotations

from perago.attempt.differences import OTHER_FILES, Difference, KeyFacts, differences, in_words, of_files
from perago.ports import ListedFile

PARTS = {
    "workspace": "w",
    "inputs": "i",
    "params": "p",
    "python": "3.11",
    "sources": {"app.tasks": "1", "app.helper": "2"},
    "libraries": {"numpy": "2.0"},
    "variables": {"RATE": "3"},
}


def facts(params=None, **parts):
    return KeyFacts({**PARTS, **parts}, {"least": 1} if params is None else params)


def test_equal_keys_differ_in_nothing():
    assert differences(facts(), facts()) == []


def test_each_part_is_named():
    now = facts(
        params={"least": 2},
        workspace="W",
        inputs="I",
        python="3.12",
        sources={"app.tasks": "1", "app.other": "2"},
        libraries={"numpy": "2.1"},
        variables={"RATE": "4"},
    )
    now = KeyFacts({**now.parts, "params": "P"}, now.params)
    assert [each.text for each in differences(facts(), now)] == [
        "the declared workspace changed",
        "param least: 1 -> 2",
        "Python: 3.11 -> 3.12",
        "source app.helper gone",
        "source app.other added",
        "library numpy: '2.0' -> '2.1'",
        "variable RATE changed",
    ]


def test_params_that_were_not_kept_are_only_said_to_have_changed():
    before = KeyFacts(PARTS, None)
    assert [each.text for each in differences(before, KeyFacts({**PARTS, "params": "P"}, None))] == ["param changed"]


def test_numbers_and_flags_that_python_takes_for_equal_are_named():
    before, after = (
        facts(params={"a": 1, "b": [1], "c": {"x": 0, "y": 1}}),
        facts(params={"a": 1.0, "b": [True], "c": {"y": 1, "x": 0}}),
    )
    after = KeyFacts({**after.parts, "params": "P"}, after.params)
    assert [each.text for each in differences(before, after)] == ["param a: 1 -> 1.0", "param b: [1] -> [True]"]


def test_files():
    before = {"a": ListedFile(1, False, "md5:1"), "b": ListedFile(1, False, "md5:2")}
    after = {"a": ListedFile(1, True, "md5:1"), "c": ListedFile(1, False, "md5:2")}
    assert [each.text for each in of_files(before, after)] == ["file a changed", "file b gone", "file c added"]


def test_many_are_shortened():
    found = [Difference("source", f"m{number}", "changed") for number in range(9)]
    assert in_words([OTHER_FILES, *found]) == (
        "other files, source m0 changed, source m1 changed, source m2 changed, 6 more"
    )
