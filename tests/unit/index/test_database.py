"""The file of an index: made for its user alone, shared by processes and threads, and left alone by forks."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from forks import exit_code_in_fork, fork
from perago.errors import RuntimeConfigError, WorkspaceStorageError
from perago.files.lock import FileLock
from perago.index import database
from perago.index.database import UNUSED_SECONDS, lock_path
from perago.index.history import HistoryIndex
from servers.machine import slowness
from small_disk import small_disk_at
from tests.unit.index.made_history import entry, line, since, stamp

PROGRAM = Path(__file__).with_name("program_refresh.py")
MALLORY = 31337


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "index" / "a.sqlite"


def filled(path: Path, count: int = 5) -> Path:
    with HistoryIndex(path) as index:
        assert index.refresh(since(line(count))) == count
    return path


def started(path: Path, count: int, step: int, *options: str) -> subprocess.Popen:
    command = [sys.executable, PROGRAM, path, str(count), str(step), *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def writing(path: Path, count: int) -> Iterator[subprocess.Popen]:
    """Another process in the middle of a refresh."""
    with started(path, count, count, "hold") as process:
        try:
            assert process.stdout.readline() == "writing\n"
            yield process
        finally:
            process.kill()


def release(process: subprocess.Popen) -> int:
    """Let it finish its refresh. Returns the number of commits that it added."""
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


# ---------------------------------------------------------------- whose it is


def test_it_is_made_for_its_user_alone(path):
    before = os.umask(0)
    try:
        with HistoryIndex(path) as index:
            index.refresh(since(line(1)))
            files = sorted(path.parent.iterdir())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def _linked(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to(path.with_name("other"))


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "plant", [_linked, _fifo, _directory, lambda path: path.chmod(0o620), lambda path: path.chmod(0o606)]
)
def test_a_file_that_others_may_have_made_is_refused(path, plant):
    plant(filled(path))
    with HistoryIndex(path) as index, pytest.raises(RuntimeConfigError, match="remove it"):
        index.commit(line(1)[0].id)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a file of another user")
@pytest.mark.parametrize("ending", ["", "-wal", "-journal", "-shm"])
def test_a_file_of_another_user_is_refused(path, ending):
    planted = path.with_name(f"{filled(path).name}{ending}")
    planted.touch(0o600)
    os.chown(planted, MALLORY, -1)
    with HistoryIndex(path) as index, pytest.raises(RuntimeConfigError, match="no other user can write"):
        index.refresh(since(line(1)))


def test_a_link_in_the_place_of_the_lock_is_not_followed(path, tmp_path):
    lock_path(filled(path)).unlink()
    lock_path(path).symlink_to(tmp_path / "elsewhere")
    with HistoryIndex(path) as index, pytest.raises(WorkspaceStorageError, match="cannot use the history index"):
        index.refresh(since(line(1)))
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_others_can_change_is_refused(path):
    filled(path).parent.chmod(0o777)
    with HistoryIndex(path) as index, pytest.raises(RuntimeConfigError, match="can be written by all users"):
        index.refresh(since(line(1)))


# ---------------------------------------------------------------- what lies below it


def test_a_directory_that_cannot_be_written_means_no_index(as_nobody, open_directory):
    closed = open_directory / "closed"
    closed.mkdir(0o555)

    def refresh():
        with HistoryIndex(closed / "a.sqlite") as index:
            index.refresh(since(line(1)))

    with pytest.raises(WorkspaceStorageError, match=r"Permission denied; give this user permission .* state directory"):
        as_nobody(refresh)


def test_a_full_disk_means_no_index_and_leaves_what_there_was(tmp_path):
    with small_disk_at(tmp_path, "1m") as disk:
        path = filled(disk / "a.sqlite", 5)
        with HistoryIndex(path) as index:
            with pytest.raises(WorkspaceStorageError, match=r"full; free some space, or put the state directory"):
                index.refresh(since(line(2_000)))
            assert index.commit(line(5)[4].id) == line(5)[4]
            assert index.commit(line(6)[5].id) is None
            assert index.refresh(since(line(7))) == 2


def test_a_full_disk_makes_no_index(tmp_path):
    with small_disk_at(tmp_path, "256k") as disk:
        (disk / "other").write_bytes(bytes(240 * 1024))
        with HistoryIndex(disk / "a.sqlite") as index:
            with pytest.raises(WorkspaceStorageError, match="free some space"):
                index.refresh(since(line(3)))
            (disk / "other").unlink()
            assert index.refresh(since(line(3))) == 3


# ---------------------------------------------------------------- others that use it


def test_processes_that_begin_together_add_each_commit_once(path):
    processes = [started(path, 400, 100) for _ in range(4)]
    counts = [[int(text) for text in process.communicate(timeout=60 * slowness())[0].split()] for process in processes]
    assert [sum(column) for column in zip(*counts, strict=True)] == [100, 100, 100, 100]
    with HistoryIndex(path) as index:
        assert index.refresh(since(line(400))) == 0


def test_who_finds_no_index_takes_the_one_that_another_has_made_meanwhile(path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    make = database._make
    with HistoryIndex(path) as other:

        def late(*args):
            monkeypatch.setattr(database, "_make", make)
            assert other.refresh(since(line(3))) == 3  # and keeps it open
            make(*args)

        monkeypatch.setattr(database, "_make", late)
        with HistoryIndex(path) as index:
            assert index.refresh(since(line(3))) == 0


def test_a_second_refresh_waits_and_finds_what_the_first_has_added(path):
    filled(path, 3)
    with writing(path, 50) as process, HistoryIndex(path) as index:
        counts: list[int] = []
        second = threading.Thread(target=lambda: counts.append(index.refresh(since(line(50)))))
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert release(process) == 47
        second.join(60 * slowness())
        assert counts == [0]


def test_who_reads_or_finds_nothing_new_does_not_wait(path):
    filled(path, 3)
    with writing(path, 50), HistoryIndex(path) as index:
        assert index.with_key("key-1", limit=9) == [line(3)[1]]
        assert index.refresh(since(line(3))) == 0
        assert index.commit(line(50)[49].id) is None


def test_who_waits_for_long_goes_on_without(path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    filled(path, 3)
    with writing(path, 50) as process, HistoryIndex(path) as index:
        with pytest.raises(WorkspaceStorageError, match=r"more than 0.1 s; try again later"):
            index.refresh(since(line(50)))
        monkeypatch.undo()
        assert release(process) == 47
        assert index.refresh(since(line(50))) == 0


def test_a_damaged_file_that_others_have_open_is_not_replaced_under_them(path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    filled(path, 3)
    with writing(path, 50), HistoryIndex(path) as index:
        with path.open("r+b") as file:
            file.write(b"no database")
        inode = path.stat().st_ino
        with pytest.raises(WorkspaceStorageError, match="try again later"):
            index.refresh(since(line(3)))
        assert path.stat().st_ino == inode


def test_threads_share_one_index(path):
    commits, found, errors = line(200), [], []

    def work(index):
        try:
            found.append(index.refresh(since(commits)))
            found.extend(0 for each in commits[::20] if index.commit(each.id) != each)
        except BaseException as exc:
            errors.append(exc)

    with HistoryIndex(path) as shared, HistoryIndex(path) as other:
        threads = [threading.Thread(target=work, args=(index,)) for index in (shared, other) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60 * slowness())
    assert not errors
    assert sorted(found) == [0] * 7 + [200]


def test_a_store_may_ask_from_another_thread_what_is_known(path):
    commits = line(4)
    filled(path, 2)

    def commits_since(known):
        answers = []
        for each in commits:
            thread = threading.Thread(target=lambda commit: answers.append(known(commit)), args=(each.id,))
            thread.start()
            thread.join(10)
            assert not thread.is_alive()
        yield from (each for each, is_known in zip(commits, answers, strict=True) if not is_known)

    with HistoryIndex(path) as index:
        assert index.refresh(commits_since) == 2


def test_a_store_may_ask_the_index_itself(path):
    commits = line(3)
    with HistoryIndex(path) as index:

        def commits_since(known):
            for each in commits:
                yield each
                assert index.commit(each.id) is None

        assert index.refresh(commits_since) == 3


# ---------------------------------------------------------------- forks


def test_a_fork_has_a_connection_of_its_own(path):
    commits = line(20)
    with HistoryIndex(path) as index:
        index.refresh(since(commits[:10]))

        def child():
            assert index.commit(commits[9].id) == commits[9]
            assert index.refresh(since(commits[:15])) == 5
            index.close()

        assert exit_code_in_fork(child) == 0
        assert index.commit(commits[14].id) == commits[14]
        assert index.refresh(since(commits)) == 5


def test_a_fork_in_the_middle_of_a_refresh_is_not_in_it(path):
    commits = line(20)
    filled(path, 10)
    with HistoryIndex(path) as index:

        def child():
            assert index.commit(commits[9].id) == commits[9]
            assert index.commit(commits[10].id) is None

        def commits_since(known):
            yield commits[10]
            thread = threading.Thread(target=lambda: codes.append(exit_code_in_fork(child)))
            thread.start()
            thread.join(60)
            yield from commits[11:]

        codes: list[int | None] = []
        assert index.refresh(commits_since) == 10
        assert codes == [0]
        assert index.commit(commits[19].id) == commits[19]


def test_a_fork_does_not_hold_the_file(path):
    """Not even a fork that goes on for longer than its parent's use of the index."""
    begun, begins = os.pipe()
    ends, end = os.pipe()
    with HistoryIndex(path) as index:
        index.refresh(since(line(3)))
        child = fork()
        if child == 0:
            os.close(end)
            os.write(begins, b".")
            os.read(ends, 1)
            os._exit(0)
    try:
        assert os.read(begun, 1)
        with FileLock.try_acquire(lock_path(path)) as lock:
            assert lock is not None
    finally:
        for each in (end, ends, begun, begins):
            os.close(each)
        os.waitpid(child, 0)


# ---------------------------------------------------------------- its end


def test_closed_it_opens_again(path):
    index = HistoryIndex(path)
    index.close()
    assert index.refresh(since(line(2))) == 2
    index.close()
    index.close()
    assert index.commit(line(1)[0].id) == line(1)[0]
    index.close()


def test_an_error_in_the_block_closes_it(path):
    with pytest.raises(ZeroDivisionError), HistoryIndex(path) as index:
        index.refresh(lambda known: [1 / 0])
    with FileLock.try_acquire(lock_path(path)) as lock:
        assert lock is not None


def test_an_unused_index_is_removed_when_another_is_made(path):
    filled(path)
    old = path.with_name("old.sqlite")
    used = path.with_name("used.sqlite")
    for each in (filled(old), filled(used)):
        os.utime(lock_path(each), (time.time() - UNUSED_SECONDS - 60,) * 2)
    (path.parent / "computing-1").touch()
    with FileLock.try_acquire(lock_path(used), shared=True):
        filled(path.with_name("new.sqlite"))
    assert {file.name for file in path.parent.iterdir()} == {
        *(
            "a.sqlite",
            "a.sqlite.lock",
            "used.sqlite",
            "used.sqlite.lock",
            "new.sqlite",
            "new.sqlite.lock",
            "computing-1",
        )
    }


def test_an_index_in_use_does_not_become_old(path):
    os.utime(lock_path(filled(path)), (time.time() - UNUSED_SECONDS - 60,) * 2)
    with HistoryIndex(path) as index:
        index.commit("x")
    filled(path.with_name("new.sqlite"))
    assert path.exists()


def test_where_there_is_no_shared_memory_it_works_without(path):
    """SQLite falls back to a journal by itself, on a file system that cannot have its log."""
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    with HistoryIndex(path) as index:
        assert index.refresh(since([*line(5), entry("more", stamp=stamp("key-1"))])) == 1
        assert len(index.with_key("key-1", limit=9)) == 2
