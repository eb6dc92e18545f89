"""A damaged index is replaced, and said so once. No question is answered with what was not written."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from perago.errors import WorkspaceStorageError
from perago.index import database
from perago.index.history import HistoryIndex
from perago.index.standing import Standing
from perago.index.tables import SCHEMA, VERSION, DamagedIndexError
from tests.unit.index.made_history import line, on_top, since, stamp

PAGE = 4096


def history() -> list:
    commits = line(40, key="key-{}".format)
    on_top(commits, "again", stamp=stamp("key-3", abandoned=(commits[3].id,)))
    on_top(commits, "revert", message=f"This reverts commit {commits[4].id}.")
    on_top(commits, "distrust", stamp=stamp(distrusts=commits[5].id))
    return commits


COMMITS = history()
KEYED = {each.id: each for each in COMMITS if each.stamp is not None and each.stamp.cache_key is not None}


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("intact") / "a.sqlite"
    with HistoryIndex(path) as index:
        index.refresh(since(COMMITS))
    return path


class Damaged:
    """A copy of the index, its damage, and what was told of it."""

    def __init__(self, intact: Path, path: Path) -> None:
        self.path, self.told = path, []
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        shutil.copy(intact, path)

    def change(self, at: int, how: Callable[[int], int]) -> None:
        with self.path.open("r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([how(byte)]))

    def open(self) -> HistoryIndex:
        return HistoryIndex(self.path, tell=self.told.append)

    def expect_sound_answers(self) -> None:
        """Before the refresh what is lost may be missing; after one, of an index that was replaced, nothing is."""
        with self.open() as index:
            for each in COMMITS:
                assert index.commit(each.id) in (each, None)
                assert index.standing(each.id) in (None, *Standing)
            self.expect_keyed(index)
            index.refresh(since(COMMITS))
            self.expect_keyed(index)
            if self.told:
                self.expect_all(index)
        assert len(self.told) <= 1

    def expect_keyed(self, index: HistoryIndex) -> None:
        for key in ("key-1", "key-3", "key-4", "key-5"):
            for found in index.with_key(key, limit=9):
                assert found == KEYED[found.id]
                assert found.stamp.cache_key == key
        assert all(found == KEYED[found.id] for found in index.of_task("train", limit=99))

    def expect_all(self, index: HistoryIndex) -> None:
        assert [index.commit(each.id) for each in COMMITS] == COMMITS
        assert index.with_key("key-1", limit=9) == [COMMITS[1]]
        assert index.with_key("key-3", limit=9) == [COMMITS[40]]
        assert index.with_key("key-4", limit=9) == index.with_key("key-5", limit=9) == []
        assert index.of_task("train", limit=99) == COMMITS[40::-1]

    def expect_replaced(self, *, told: int = 1) -> None:
        with self.open() as index:
            assert index.refresh(since(COMMITS)) == len(COMMITS)
            self.expect_all(index)
        assert len(self.told) == told
        assert all("was damaged" in each and str(self.path) in each for each in self.told)


@pytest.fixture
def damaged(intact, tmp_path) -> Damaged:
    return Damaged(intact, tmp_path / "a.sqlite")


def test_an_intact_one_is_kept(damaged):
    with damaged.open() as index:
        assert index.refresh(since(COMMITS)) == 0
        damaged.expect_all(index)
    assert damaged.told == []


@pytest.mark.parametrize("how", [lambda byte: byte ^ 0xFF, lambda byte: byte ^ 1], ids=["all bits", "one bit"])
def test_any_byte_of_the_header_may_be_wrong(intact, tmp_path, how):
    for at in range(112):
        damaged = Damaged(intact, tmp_path / "a.sqlite")
        damaged.change(at, how)
        damaged.expect_sound_answers()


@pytest.mark.parametrize("seed", range(4))
def test_any_byte_may_be_wrong(intact, tmp_path, seed):
    """Most of them are in pages of which the first bytes matter most."""
    random, size = Random(seed), intact.stat().st_size
    replaced = 0
    for _ in range(60):
        damaged = Damaged(intact, tmp_path / "a.sqlite")
        for _ in range(random.choice([1, 1, 30])):
            start = random.randrange(0, size, PAGE) if random.random() < 0.3 else 0
            damaged.change(start + random.randrange(PAGE if start else size), lambda _: random.randrange(256))
        damaged.expect_sound_answers()
        replaced += len(damaged.told)
    assert replaced


def test_any_page_may_be_lost(intact, tmp_path):
    for start in range(0, intact.stat().st_size, PAGE):
        for content in (bytes(PAGE), b"\xff" * PAGE, b"perago" * PAGE):
            damaged = Damaged(intact, tmp_path / "a.sqlite")
            with damaged.path.open("r+b") as file:
                file.seek(start)
                file.write(content[:PAGE])
            damaged.expect_sound_answers()


@pytest.mark.parametrize("left", [1, 15, 16, 99, 100, 511, 4095, 4096, 4097, 3 * PAGE, 5 * PAGE + 7])
def test_it_may_be_cut_off(damaged, left):
    with damaged.path.open("r+b") as file:
        file.truncate(left)
    damaged.expect_sound_answers()
    with damaged.open() as index:
        index.refresh(since(COMMITS))
        damaged.expect_all(index)


def test_text_is_replaced(damaged):
    damaged.path.write_text("this is no database\n" * 1_000)
    damaged.expect_replaced()


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE bodies",
        "DROP TABLE reverted",
        "ALTER TABLE commits RENAME COLUMN rank TO something",
        "DELETE FROM bodies WHERE number = 7",
        "UPDATE bodies SET body = replace(body, 'Ada', 'Eve') WHERE number = 7",
        "UPDATE bodies SET body = CAST(x'ff' AS TEXT) WHERE number = 7",
        "UPDATE commits SET id = 7 WHERE number = 7",
        "UPDATE commits SET cache_key = 'key-3' WHERE number = 7",
        "UPDATE commits SET task = 'test', cache_key = 'key-3' WHERE number = 41",
    ],
)
def test_tables_with_something_else_are_replaced(damaged, change):
    with closing(sqlite3.connect(damaged.path)) as connection:
        connection.execute(change)
        connection.commit()
    with damaged.open() as index:
        for each in COMMITS:
            assert index.commit(each.id) in (each, None)
        damaged.expect_keyed(index)
        index.of_task("test", limit=9)
        index.refresh(since(COMMITS))
        damaged.expect_all(index)
    assert len(damaged.told) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE commits SET rank = 'x'",
        "UPDATE commits SET rank = 9223372036854775807",
        "UPDATE commits SET number = 9223372036854775807 WHERE number = 43",
        "UPDATE commits SET id = CAST(x'ff' || id AS BLOB), cache_key = 'key-3' WHERE number = 41",
    ],
)
def test_values_of_another_type_are_damage(damaged, change):
    """One bit decides whether SQLite reads text or bytes."""
    with closing(sqlite3.connect(damaged.path)) as connection:
        connection.execute(change)
        connection.commit()
    commits = list(COMMITS)
    on_top(commits, "one more", stamp=stamp("key-3"))
    with damaged.open() as index:
        index.with_key("key-3", limit=9)
        index.refresh(since(commits))
        assert index.with_key("key-3", limit=9) == [commits[43], commits[40]]
        assert index.standing(commits[4].id) is Standing.REVERTED
    assert len(damaged.told) == 1


def test_another_version_is_replaced_without_a_word(damaged):
    with closing(sqlite3.connect(damaged.path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION - 1}")
    damaged.expect_replaced(told=0)


def test_tables_of_somebody_else_are_replaced(damaged):
    damaged.path.unlink()
    with closing(sqlite3.connect(damaged.path)) as connection:
        connection.executescript(f"CREATE TABLE cookies (host TEXT); PRAGMA user_version = {VERSION};")
    damaged.expect_replaced()


def test_an_empty_file_is_what_a_kill_leaves_and_is_filled_without_a_word(damaged):
    damaged.path.write_bytes(b"")
    damaged.expect_replaced(told=0)


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("content", [b"", b"rubbish" * 2_000, b"\0" * 40_000])
def test_rubbish_beside_it_does_no_harm(damaged, ending, content):
    damaged.path.with_name(f"{damaged.path.name}{ending}").write_bytes(content)
    damaged.expect_sound_answers()
    with damaged.open() as index:
        index.refresh(since(COMMITS))
        damaged.expect_all(index)


def test_a_log_of_a_killed_process_with_a_wrong_byte_is_used_up_to_there(intact, tmp_path):
    """Each frame of SQLite's log has a checksum; what comes after a wrong one never happened."""
    with HistoryIndex(tmp_path / "whole.sqlite") as index:
        for end in range(10, len(COMMITS) + 1, 10):
            index.refresh(since(COMMITS[:end]))
        whole = {file.name: file.read_bytes() for file in tmp_path.glob("whole.sqlite*")}
    log = whole["whole.sqlite-wal"]
    for at in range(0, len(log), len(log) // 40):
        damaged = Damaged(intact, tmp_path / "a.sqlite")
        damaged.path.write_bytes(whole["whole.sqlite"])
        wrong = bytearray(log)
        wrong[at] ^= 0xFF
        damaged.path.with_name("a.sqlite-wal").write_bytes(wrong)
        with damaged.open() as index:
            index.refresh(since(COMMITS))
            damaged.expect_all(index)


def test_several_that_find_the_damage_replace_it_once(damaged):
    damaged.path.write_text("this is no database\n" * 1_000)
    indexes = [damaged.open() for _ in range(3)]
    assert [index.refresh(since(COMMITS)) for index in indexes] == [len(COMMITS), 0, 0]
    for index in indexes:
        index.close()


def test_who_finds_a_damage_that_another_has_replaced_uses_the_new_one(damaged, monkeypatch):
    """Between finding it and replacing it, another process may do both."""
    make = vars(database)["_make"]

    def make_after_another(path, making):
        monkeypatch.setattr(database, "_make", make)
        with damaged.open() as early:
            assert early.refresh(since(COMMITS)) == len(COMMITS)
        make(path, making)

    damaged.path.write_text("this is no database\n" * 1_000)
    monkeypatch.setattr(database, "_make", make_after_another)
    with damaged.open() as late:
        assert late.refresh(since(COMMITS)) == 0
        damaged.expect_all(late)


def test_a_disk_that_damages_each_new_one_is_an_error(damaged, monkeypatch):
    def damage(connection, commits_since):
        raise DamagedIndexError

    monkeypatch.setattr("perago.index.history.add_new", damage)
    with damaged.open() as index:
        for _ in range(2):
            with pytest.raises(WorkspaceStorageError, match="damaged again right after it was rebuilt"):
                index.refresh(since(COMMITS))
    assert len(damaged.told) == 1


def test_a_file_that_vanishes_while_it_is_made_is_an_error(damaged, monkeypatch):
    monkeypatch.setattr(database, "_connect", lambda path: None)
    with damaged.open() as index, pytest.raises(WorkspaceStorageError, match="damaged again"):
        index.refresh(since(COMMITS))


def test_tables_made_by_hand_are_the_schema():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")}
    tables = {"commits", "bodies", "changes", "parents", "replaced", "reverted", "distrusted"}
    assert names == tables | {"by_key", "by_task", "by_run"}
