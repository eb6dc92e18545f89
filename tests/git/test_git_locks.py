"""Processes that are killed while they hold a lock, and locks of git's that live."""

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from git_support import Bench, publish_in_a_process
from perago.errors import HeadMovedError, StoreError
from perago.ports import SystemClock
from perago.stores.git import GitStore
from perago.stores.git.locks import Patience, hold
from perago.stores.git.refs import References
from perago.stores.git.repository import BareRepository, while_directories_vanish
from servers.machine import slowness

QUICK = Patience(ours=0.3, git=0.3, watch=0.1)
HOLD_THE_LOCK = """
import sys, time
from pathlib import Path
from perago.ports import SystemClock
from perago.stores.git.locks import Patience, hold
from perago.stores.git.repository import BareRepository
with hold(BareRepository(Path(sys.argv[1])), Patience(), SystemClock()) as lock, lock.moving(tuple(sys.argv[2:]), ""):
    for name in sys.argv[2:]:
        (Path(sys.argv[1]) / name).parent.mkdir(parents=True, exist_ok=True)
        (Path(sys.argv[1]) / name).touch()
    print("held", flush=True)
    time.sleep(600)
"""


def impatient(bench, patience=QUICK):
    return Bench(bench.root, GitStore(bench.path, patience=patience))


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def kill_while_holding(bench, *locks):
    """A process takes our lock, leaves these locks of git's, and is killed."""
    command = [sys.executable, "-c", HOLD_THE_LOCK, bench.path, *locks]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "held\n"
        finally:
            child.send_signal(signal.SIGKILL)


def test_our_lock_goes_with_its_killed_owner(bench):
    base = bench.import_files({"a": b"a"})
    kill_while_holding(bench)
    ref = impatient(bench).publish_files(base, {"b": b"b"})
    assert bench.head() == ref


def test_our_lock_is_waited_for_and_then_given_up(bench):
    base = bench.import_files({"a": b"a"})
    with (
        hold(BareRepository(bench.path), QUICK, SystemClock()),
        pytest.raises(StoreError, match=r"publish\.lock has been locked by other"),
    ):
        impatient(bench).publish_files(base, {"b": b"b"})
    assert bench.head() == base


def test_a_process_killed_in_the_swap_leaves_gits_lock_and_the_next_one_removes_it_at_once(bench, syscalls, caplog):
    base = bench.import_files({"a": b"a"})
    killed = publish_in_a_process(bench, {"b": b"b"}, syscalls=syscalls, kill_before="/refs/heads/main")
    lock = bench.path / "refs/heads/main.lock"
    assert killed.code == -signal.SIGKILL
    assert lock.exists()
    assert bench.head() == base
    begun = time.monotonic()
    ref = bench.publish_files(base, {"c": b"c"})
    assert time.monotonic() - begun < (Patience().watch) * slowness()
    assert bench.head() == ref
    assert not lock.exists()
    assert "left" in caplog.text
    assert str(lock) in caplog.text


def test_an_empty_lock_of_a_killed_process_is_removed_after_a_look(bench):
    base = bench.import_files({"a": b"a"})
    kill_while_holding(bench, "refs/heads/main.lock")
    assert bench.publish_files(base, {"b": b"b"}) == bench.head()


def test_a_killed_deletion_leaves_nothing_for_long(bench):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    (work.directory / "b").write_bytes(b"b")
    staged, _ = bench.stage(work)
    bench.git("pack-refs", "--all")
    kill_while_holding(bench, f"{staged.branch}.lock", "packed-refs.lock")
    bench.store.cleanup_staging(staged)
    assert bench.git("for-each-ref", "refs/perago") == ""
    assert [path.name for path in bench.path.rglob("*.lock")] == ["publish.lock"]


def test_what_a_killed_process_left_elsewhere_is_removed_too(bench):
    bench.import_files({"a": b"a"})
    base = bench.import_files({"a": b"a"}, branch="other")
    kill_while_holding(bench, "refs/heads/main.lock")
    bench.publish_files(base, {"b": b"b"}, branch="other")
    assert not (bench.path / "refs/heads/main.lock").exists()


def test_a_lock_of_gits_that_nobody_accounts_for_is_removed_when_old(bench, caplog):
    base = bench.import_files({"a": b"a"})
    lock = bench.path / "refs/heads/main.lock"
    lock.touch()
    age(lock, 61)
    assert impatient(bench).publish_files(base, {"b": b"b"}) == bench.head()
    assert f"removed {lock}" in caplog.text


def test_a_young_lock_of_gits_is_waited_for_and_never_removed(bench, caplog):
    base = bench.import_files({"a": b"a"})
    lock = bench.path / "refs/heads/main.lock"
    lock.touch()
    with pytest.raises(StoreError, match="remove that file"):
        impatient(bench).publish_files(base, {"b": b"b"})
    assert lock.exists()
    assert bench.head() == base
    assert caplog.text.count(f"waiting for git to release {lock}") == 1
    lock.unlink()


def test_an_old_lock_that_somebody_touches_is_not_removed(bench):
    base = bench.import_files({"a": b"a"})
    lock = bench.path / "refs/heads/main.lock"
    lock.touch()
    age(lock, 1000)
    stop = threading.Event()

    def keep_alive():
        for number in itertools.count():
            if stop.wait(0.01):
                return
            age(lock, 1000 + number)

    writer = threading.Thread(target=keep_alive)
    writer.start()
    try:
        with pytest.raises(StoreError, match="remove that file"):
            impatient(bench).publish_files(base, {"b": b"b"})
    finally:
        stop.set()
        writer.join()
    assert lock.exists()
    lock.unlink()


def test_a_living_gits_lock_beside_a_killed_process_is_kept(bench):
    base = bench.import_files({"a": b"a"})
    kill_while_holding(bench, "refs/heads/main.lock")
    lock = bench.path / "refs/heads/main.lock"
    lock.write_text(f"{base}\n")  # a git that came later, about to write this
    with pytest.raises(StoreError, match="remove that file"):
        impatient(bench).publish_files(base, {"b": b"b"})
    assert lock.exists()
    lock.unlink()


def test_publishing_waits_until_git_lets_go(bench):
    base = bench.import_files({"a": b"a"})
    lock = bench.path / "refs/heads/main.lock"
    lock.touch()
    letting_go = threading.Timer(0.3, lock.unlink)
    letting_go.start()
    assert bench.publish_files(base, {"b": b"b"}) == bench.head()
    letting_go.join()


class MeddlingClock(SystemClock):
    """A clock that calls a function at a given look, and so between two steps of the store."""

    def __init__(self):
        self.looks = 0
        self.at = 0
        self.meddle = None

    def next_time(self, look, meddle):
        """Call the function at this look, counted from now."""
        self.looks, self.at, self.meddle = 0, look, meddle

    def monotonic(self):
        self.looks += 1
        if self.looks == self.at:
            self.meddle()
        return super().monotonic()


@pytest.fixture
def meddled(bench):
    """A staged commit, and a store with a meddling clock."""
    base = bench.import_files({"a": b"a"})
    clock = MeddlingClock()
    made = Bench(bench.root, GitStore(bench.path, clock=clock))
    work = made.download(base)
    (work.directory / "b").write_bytes(b"b")
    staged, execution = made.stage(work)
    return made.store, clock, staged, work, execution


# Looks at the clock when a reference is written: for our own lock, for git's on the reference, and where it is deleted
# for git's on packed-refs; then libgit2 does it; and after a deletion for git's on packed-refs again.


@pytest.mark.parametrize("look", [1, 2])
def test_a_person_who_commits_at_the_last_moment_loses_nothing(bench, meddled, look):
    store, clock, staged, work, execution = meddled
    clock.next_time(look, lambda: bench.person_commits({"theirs": b"x"}))
    with pytest.raises(HeadMovedError):
        store.publish_workspace(staged, work.workspace_input, work.spec, execution)
    assert bench.git("log", "--format=%s", "main").split("\n") == ["by hand", "some files"]


def test_a_lock_that_git_takes_at_the_last_moment_is_waited_for(bench, meddled):
    store, clock, staged, *_ = meddled
    lock = bench.path / f"{staged.branch}.lock"
    letting_go = threading.Timer(0.2, lock.unlink)

    def take():
        lock.touch()
        letting_go.start()

    clock.next_time(3, take)
    store.cleanup_staging(staged)
    letting_go.join()
    assert bench.git("for-each-ref", "refs/perago") == ""


def test_a_staging_reference_that_git_packs_while_it_is_removed_does_not_come_back(bench, meddled):
    store, clock, staged, *_ = meddled
    packed = f"# pack-refs with: peeled fully-peeled sorted \n{staged.commit} {staged.branch}\n"
    clock.next_time(4, lambda: (bench.path / "packed-refs").write_text(packed))
    store.cleanup_staging(staged)
    assert clock.looks > 4
    assert bench.git("for-each-ref", "refs/perago") == ""
    assert bench.git("cat-file", "-t", staged.commit) == "commit"


def test_a_call_under_which_a_directory_vanished_is_repeated():
    gone = [OSError("failed to create locked file 'refs/x/y.lock': No such file or directory")] * 3

    def write():
        if gone:
            raise gone.pop()
        return "written"

    assert while_directories_vanish(write) == "written"


@pytest.mark.parametrize("fault", ["No such file or directory", "Permission denied"])
def test_a_call_that_fails_for_good_fails(fault):
    calls = []

    def write():
        calls.append(fault)
        raise OSError(fault)

    with pytest.raises(OSError, match=fault):
        while_directories_vanish(write)
    assert len(calls) < 100


def test_a_staged_commit_that_comes_back_each_time_is_removed_by_the_command_that_is_told(tmp_path, monkeypatch):
    (tmp_path / "my data; x").mkdir()
    bench = Bench(tmp_path / "my data; x")
    head = bench.import_files({"a": b"a"})
    references = References(BareRepository(bench.path), SystemClock(), QUICK)
    name = references.keep_staged("stubborn", head)
    monkeypatch.setattr(References, "_delete", lambda *_: None)
    with pytest.raises(StoreError, match="came back after each of") as told:
        references.drop_staged(name)
    [command] = re.findall(r"`([^`]+)`", str(told.value))
    assert bench.git("for-each-ref", "refs/perago") != ""
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert bench.git("for-each-ref", "refs/perago") == ""
