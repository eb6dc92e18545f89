"""Adding what is new: all of it or nothing, each commit once, and in an order that time alone does not give."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from random import Random

import pytest

from perago.errors import StoreError
from perago.index.adding import add_new
from perago.index.tables import SCHEMA, CommitChanges, is_known, read, write_changes
from tests.unit.index.made_history import entry, id_of, line, on_top, since, stamp


@pytest.fixture
def tables():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        yield connection


def newest_first(connection):
    return [commit for (commit,) in connection.execute("SELECT id FROM commits ORDER BY rank DESC, id DESC")]


def test_what_is_known_is_not_added_again(tables):
    commits = line(10)
    assert add_new(tables, since(commits[:4])) == 4
    assert add_new(tables, since(commits)) == 6
    assert add_new(tables, since(commits)) == 0


def test_a_store_may_list_a_commit_again_that_is_known_or_was_listed(tables):
    commits = line(3)
    add_new(tables, since(commits[:1]))
    assert add_new(tables, lambda known: [*commits, *commits]) == 2


def test_nothing_of_a_listing_is_known_before_its_end(tables):
    """Known is what has all that came before. A store that lists the newest first has not told that yet."""
    commits = line(3)

    def commits_since(known):
        for each in reversed(commits):
            assert not known(each.id)
            yield each
            assert not known(each.id)

    assert add_new(tables, commits_since) == 3
    assert all(is_known(tables, each.id) for each in commits)


TABLES = ("commits", "bodies", "changes", "parents", "replaced", "reverted", "distrusted")


def rows_of(connection):
    return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


@pytest.fixture
def another():
    """The history of another repository."""
    return [first := entry("first"), entry("second", first.id, seconds=1)]


def test_a_repository_made_anew_in_the_same_place_leaves_nothing_of_the_one_before(tables, another):
    before = line(3)
    judgement = stamp(distrusts=before[0].id, abandoned=(before[1].id,), reverts=(before[2].id,))
    on_top(before, "judgement", stamp=judgement)
    add_new(tables, since(before))
    write_changes(tables, before[0].id, CommitChanges(added=1, modified=0, deleted=0, written=("a",), removed=()))
    assert all(rows_of(tables).values())
    assert add_new(tables, since(another)) == 2
    assert [read(tables, each.id) for each in another] == another
    assert rows_of(tables) == {**dict.fromkeys(TABLES, 0), "commits": 2, "bodies": 2, "parents": 1}


def test_an_unrelated_branch_beside_known_ones_removes_nothing(tables, another):
    add_new(tables, since(line(3)))
    assert add_new(tables, since([*line(3), *another])) == 2
    assert rows_of(tables)["commits"] == 5


def test_an_error_of_the_store_leaves_nothing(tables):
    commits = line(3)

    def commits_since(known):
        yield from commits[1:]
        raise StoreError("the server is gone")

    with pytest.raises(StoreError, match="gone"):
        add_new(tables, commits_since)
    assert not tables.in_transaction
    assert not any(tables.execute(f"SELECT * FROM {table}").fetchall() for table in ("commits", "bodies", "parents"))
    assert add_new(tables, since(commits)) == 3


def test_a_look_that_finds_nothing_new_does_not_write(tables):
    def commits_since(known):
        assert not tables.in_transaction
        return iter(())

    assert add_new(tables, commits_since) == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_commit_is_newer_than_its_parents_whatever_the_clocks_say(tables, seed):
    """Times of git are seconds, and hosts' clocks differ."""
    commits = [entry(0, seconds=100)]
    for number, seconds in enumerate((100, 100, 40, 101, 0), start=1):
        commits.append(entry(number, commits[-1].id, seconds=seconds))
    order = Random(seed)
    add_new(tables, since(commits[:3], order))
    add_new(tables, since(commits, order))
    assert newest_first(tables) == [each.id for each in reversed(commits)]


def test_beside_each_other_the_time_decides(tables):
    root = entry("root")
    early, late = entry("early", root.id, seconds=1), entry("late", root.id, seconds=2)
    add_new(tables, since([late, early, root]))
    assert newest_first(tables) == [late.id, early.id, root.id]


def test_a_parent_that_a_shallow_clone_lacks_is_no_obstacle(tables):
    cut = entry("cut", id_of("not here"), id_of("nor here"), stamp=stamp("key"))
    assert add_new(tables, since([cut])) == 1
    assert read(tables, cut.id) == cut


def test_commits_in_a_circle_are_the_stores_error(tables):
    first, second = entry("a", id_of("b")), entry("b", id_of("a"))
    with pytest.raises(StoreError, match="their own ancestors"):
        add_new(tables, since([first, second]))
