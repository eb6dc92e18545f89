"""What a caller asks of an index, by example; test_history_oracle.py compares all of it with plain Python."""

from __future__ import annotations

import platform
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from perago.index.history import HistoryIndex, index_path
from perago.index.standing import Standing
from perago.index.tables import CommitChanges
from perago.values.models import Changes
from servers.machine import slowness
from tests.unit.index.made_history import entry, id_of, line, on_top, since, stamp


@pytest.fixture
def index(tmp_path: Path):
    with HistoryIndex(tmp_path / "a.sqlite", tell=pytest.fail) as opened:
        yield opened


def test_an_empty_index_knows_nothing(index):
    assert index.commit(id_of("x")) is None
    assert index.standing(id_of("x")) is None
    assert index.with_key("key", limit=9) == index.of_task("train", limit=9) == []


def test_results_come_newest_first_and_no_more_than_asked_for(index):
    commits = line(6, key=lambda number: "key")
    index.refresh(since(commits))
    assert index.with_key("key", limit=2) == [commits[5], commits[4]]
    assert index.of_task("train", limit=2) == [commits[5], commits[4]]
    assert index.with_key("key", limit=0) == index.of_task("train", limit=0) == []
    assert index.with_key("another", limit=9) == index.of_task("another", limit=9) == []


def test_publications_and_seals_have_results_and_nothing_else_has(index):
    commits = line(1, key=lambda number: "key")
    on_top(commits, "seal", stamp=stamp("key", completes=commits[0].id))
    on_top(commits, "no key", stamp=stamp())
    on_top(commits, "a person's")
    index.refresh(since(commits))
    assert index.with_key("key", limit=9) == index.of_task("train", limit=9) == commits[1::-1]


def test_what_became_of_a_commit(index):
    commits = line(5)
    on_top(commits, "again", stamp=stamp("key", abandoned=(commits[0].id,)))
    on_top(commits, "revert", message=f"This reverts commit {commits[1].id[:9]}.")
    on_top(commits, "distrust", stamp=stamp(distrusts=commits[2].id))
    on_top(commits, "reverts what is distrusted", subject=f"Revert {commits[2].id}")
    index.refresh(since(commits))
    assert [index.standing(each.id) for each in commits[:5]] == [
        Standing.REPLACED,
        Standing.REVERTED,
        Standing.DISTRUSTED,
        Standing.EFFECTIVE,
        Standing.EFFECTIVE,
    ]
    assert [len(index.with_key(f"key-{number}", limit=9)) for number in range(5)] == [0, 0, 0, 1, 1]
    assert len(index.of_task("train", limit=99)) == 6


def test_it_changes_with_what_comes_later(index):
    commits = line(1)
    standings = []
    for number, changes in enumerate(
        (
            {},
            {"message": f"This reverts commit {commits[0].id}."},
            {"message": f"This reverts commit {id_of('change 1')}."},
            {"stamp": stamp(distrusts=commits[0].id)},
            {"stamp": stamp(trusts=commits[0].id)},
        )
    ):
        on_top(commits, f"change {number}", **changes)
        index.refresh(since(commits))
        standings.append(index.standing(commits[0].id))
    assert standings == ["effective", "reverted", "effective", "distrusted", "effective"]


def test_two_commits_with_one_abbreviation_are_both_reverted(index):
    """A result that is not used again is computed again; the other way round, a wrong one would be used."""
    alike = [entry(name, id="abcdef0" + id_of(name)[7:], stamp=stamp("key")) for name in "ab"]
    index.refresh(since([*alike, entry("revert", alike[0].id, message="This reverts commit abcdef0.")]))
    assert index.with_key("key", limit=9) == []


def test_each_place_repository_host_and_version_has_an_index_of_its_own(monkeypatch, tmp_path):
    one = index_path(tmp_path, "http://lakefs", "data")
    assert one.parent == tmp_path
    assert one == index_path(tmp_path, "http://lakefs", "data")
    others = [index_path(tmp_path, "http://other", "data"), index_path(tmp_path, "http://lakefs", "other")]
    monkeypatch.setattr(platform, "node", lambda: "another host")
    others.append(index_path(tmp_path, "http://lakefs", "data"))
    monkeypatch.undo()
    monkeypatch.setattr("perago.index.history.VERSION", 1)
    others.append(index_path(tmp_path, "http://lakefs", "data"))
    assert len({one, *others}) == 5


COMMITS = 10_000
CPU_SECONDS = 1.5
MOST_BYTES = 30_000_000


def test_ten_thousand_commits_take_seconds_and_megabytes(index, tmp_path):
    parts = {"python": "3.11", "sources": {f"app.module_{number}": id_of(number, 12) for number in range(8)}}
    commits = line(0)
    for number in range(COMMITS):
        digests = {name: f"sha256:{id_of((name, number))}" for name in ("params_digest", "code_digest")}
        before = [commits[-1].id] if commits else []
        stamped = stamp(
            f"sha256:{id_of(('key', number % 9_000))}", cache_parts=parts, input_ref=id_of(number), **digests
        )
        commits.append(entry(number, *before, seconds=number, stamp=stamped))
    begin = time.process_time()
    assert index.refresh(since(reversed(commits))) == COMMITS
    spent = time.process_time() - begin
    assert index.with_key(f"sha256:{id_of(('key', 7))}", limit=9) == [commits[9_007], commits[7]]
    index.close()
    assert spent < CPU_SECONDS * slowness()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < MOST_BYTES
    print(f"{spent:.2f} s")


def test_a_line_is_a_commit_and_its_first_parents_newest_first(index):
    commits = line(7)
    side = entry("side", commits[2].id)
    merge = entry("merge", commits[6].id, side.id, seconds=9)
    index.refresh(since([*commits, side, merge]))
    assert index.line(merge.id, limit=3) == [merge, commits[6], commits[5]]
    assert index.line(merge.id, limit=99) == [merge, *reversed(commits)]
    assert index.line(side.id, limit=99) == [side, commits[2], commits[1], commits[0]]
    assert index.line(id_of("x"), limit=9) == []


def test_what_commits_changed_is_kept_up_to_a_limit(index, monkeypatch):
    commits = line(3)
    index.refresh(since(commits))
    few = CommitChanges.of(Changes(added=("a", "b"), modified=("c",), deleted=("d\udcff",)))
    monkeypatch.setattr("perago.index.tables.MAX_PATHS", 3)
    many = CommitChanges.of(Changes(added=("a", "b", "c", "d"), deleted=("e",)))
    index.keep_changes({commits[0].id: few, commits[1].id: many, id_of("x"): few})
    found = index.changes([*(commit.id for commit in commits), id_of("x")])
    assert found == {commits[0].id: few, commits[1].id: replace(many, written=("a", "b", "c"))}
    assert found[commits[0].id].is_whole
    assert not found[commits[1].id].is_whole


def test_the_commits_of_a_run_come_newest_first(index):
    commits = line(3)
    index.refresh(since(commits))
    assert index.of_run("run-1", limit=1) == [commits[2]]
    assert index.of_run("run-1", limit=9) == commits[::-1]
    assert index.of_run("run-2", limit=9) == []


@pytest.mark.parametrize("body", ['[1,0,0,["b"],[]]', "[]", "rubbish", "[1,0,0,7,7]"])
def test_changes_that_were_damaged_are_forgotten(tmp_path, body):
    told: list[str] = []
    commits, path = line(2), tmp_path / "a.sqlite"
    with HistoryIndex(path, tell=told.append) as index:
        index.refresh(since(commits))
        index.keep_changes({commits[0].id: CommitChanges.of(Changes(added=("a",)))})
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE changes SET body = ?", (body,))
        assert index.changes([commits[0].id]) == {}
    assert len(told) == 1


def test_a_line_ends_at_a_commit_or_does_not_lead_there(index):
    commits = line(7)
    side = entry("side", commits[2].id)
    index.refresh(since([*commits, side]))
    assert index.line_to(commits[6].id, commits[4].id) == [commits[6], commits[5], commits[4]]
    assert index.line_to(commits[6].id, commits[6].id) == [commits[6]]
    assert index.line_to(commits[6].id, side.id) == []
    assert index.line_to(commits[4].id, commits[6].id) == []
    assert index.line_to(id_of("x"), commits[0].id) == []
