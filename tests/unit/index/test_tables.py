"""A commit in the tables and out of them: whatever people and stores write."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.index.adding import add_new
from perago.index.tables import SCHEMA, DamagedIndexError, read
from perago.ports import CommitEntry
from tests.unit.index.made_history import entry, id_of, since, stamp


def tables() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    return connection


def stored(written: CommitEntry) -> CommitEntry | None:
    with closing(tables()) as connection:
        assert add_new(connection, since([written])) == 1
        return read(connection, written.id)


anything = st.text(st.characters(exclude_categories=()))  # also halves of surrogate pairs


@given(author=anything, subject=anything, message=anything, task=anything, path=anything, key=anything)
def test_any_text_comes_back(author, subject, message, task, path, key):
    stamped = stamp(key, task=task, path=path, params={"text": message})
    written = entry("a", id_of("b"), id_of("c"), author=author, subject=subject, message=message, stamp=stamped)
    assert stored(written) == written


@given(st.datetimes(timezones=st.just(UTC)))
def test_any_time_comes_back(time):
    assert stored(entry("a", time=time)) == entry("a", time=time)


def test_a_time_of_another_zone_is_the_same_time():
    time = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5)))
    assert stored(entry("a", time=time)) == entry("a", time=time)


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 10**5000], ids=["infinite", "no number", "too long"])
def test_a_stamp_that_cannot_be_written_is_none_but_what_it_replaces_is_kept(number):
    written = entry("a", stamp=stamp("key", params={"number": number}, abandoned=(id_of("b"),)))
    with closing(tables()) as connection:
        add_new(connection, since([written]))
        kept = read(connection, written.id)
        assert kept is not None
        assert kept.stamp is None
        assert connection.execute("SELECT task, cache_key FROM commits").fetchall() == [(None, None)]
        assert connection.execute("SELECT * FROM replaced").fetchall() == [(id_of("b"), written.id)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE bodies SET body = replace(body, 'Ada', 'Eve')",
        "UPDATE bodies SET body = NULL",
        "UPDATE bodies SET body = x'00'",
        "UPDATE bodies SET checksum = 'x'",
        "UPDATE parents SET parent = 'x'",
        "UPDATE parents SET parent = 1",
        "UPDATE commits SET time = time + 1",
        "UPDATE commits SET time = 'x'",
        "UPDATE commits SET number = number + 1",
        "DELETE FROM bodies",
        "DELETE FROM parents WHERE position = 1",
    ],
)
def test_what_was_not_written_is_damage(change):
    with closing(tables()) as connection:
        written = entry("a", id_of("b"), id_of("c"))
        add_new(connection, since([written]))
        connection.execute("PRAGMA ignore_check_constraints = 1")
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'bodies'")
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute(change)
        with pytest.raises(DamagedIndexError):
            read(connection, written.id)
