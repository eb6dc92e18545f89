"""Which rows of two states of a table differ."""

from __future__ import annotations

import pytest

from perago.asking.tables import Table, compared_rows, separator_of, table_of

BEFORE = Table(["id", "name"], [["1", "x"], ["2", "y"], ["3", "z"]])
AFTER = Table(["id", "name", "n"], [["3", "z", "0"], ["2", "Y", "0"], ["4", "w", "0"]])


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (
            "id",
            [
                ("changed", "2", ("2", "y"), ("2", "Y")),
                ("added", "4", None, ("4", "w")),
                ("removed", "1", ("1", "x"), None),
            ],
        ),
        (
            None,
            [
                ("changed", "1", ("1", "x"), ("3", "z")),
                ("changed", "2", ("2", "y"), ("2", "Y")),
                ("changed", "3", ("3", "z"), ("4", "w")),
            ],
        ),
    ],
)
def test_rows_are_matched_by_a_key_or_by_position(key, rows):
    found = compared_rows(BEFORE, AFTER, key, limit=10)
    assert [(row.kind, row.name, row.before, row.after) for row in found.rows] == rows
    assert (found.columns, found.counts.columns_added, found.counts.key) == (["id", "name"], ("n",), key)


def test_rows_with_one_key_are_matched_in_their_order():
    twice = Table(["id", "n"], [["1", "a"], ["1", "b"]])
    found = compared_rows(twice, Table(["id", "n"], [["1", "a"], ["1", "c"], ["1", "d"]]), "id", limit=10)
    assert [(row.kind, row.before, row.after) for row in found.rows] == [
        ("changed", ("1", "b"), ("1", "c")),
        ("added", None, ("1", "d")),
    ]


def test_all_are_counted_and_few_are_listed():
    found = compared_rows(Table(["n"], []), Table(["n"], [[str(n)] for n in range(100)]), None, limit=3)
    assert (found.counts.added, [row.name for row in found.rows]) == (100, ["1", "2", "3"])


def test_what_is_no_table_is_none():
    assert table_of(b"\xff\xfe", ",") is None
    assert table_of(b"", ",") is None
    assert [separator_of(name) for name in ("a.CSV", "a.tsv", "a.txt", "csv")] == [",", "\t", None, None]
