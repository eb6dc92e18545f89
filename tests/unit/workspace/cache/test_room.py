"""The cache's bound: what goes, what stays, and what is left on a full disk."""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from cache_support import MIB, content_of, entry_files, has, home, keep_file, md5, partial_files
from forks import fork
from perago.workspace.cache import ObjectCache, Usage, room
from perago.workspace.cache.room import EVICT_FROM, EVICT_TO, charge
from servers.machine import slowness

SIZE = 10_000
BOUND = 100 * charge(SIZE)


def fill(cache, numbers, size=SIZE):
    """Add objects; returns how many were kept. Each is a second older than the one after it."""
    kept = 0
    for number in numbers:
        content = content_of(number, size)
        kept += cache.add(f"key {number}", content, md5(content))
    return kept


def age(cache, seconds):
    """Make every entry that is there this much older."""
    for path in entry_files(cache):
        used = path.stat().st_mtime - seconds
        os.utime(path, (used, used))


def test_the_bound_holds_and_what_was_not_used_for_longest_goes_first(tmp_path):
    with ObjectCache(tmp_path / "cache", BOUND) as cache:
        assert fill(cache, range(30)) == 30
        age(cache, 3000)
        assert fill(cache, range(30, 60)) == 30
        age(cache, 3000)
        assert all(has(cache, f"key {number}", SIZE, tmp_path) for number in range(10)), "and so they were just used"
        fill(cache, range(60, 94))
    usage = cache.usage()
    assert usage.bytes <= BOUND
    assert usage.entries >= 75, "no more goes than has to"
    gone = [number for number in range(94) if not has(cache, f"key {number}", SIZE, tmp_path)]
    assert gone
    assert set(gone) <= set(range(10, 30))


def test_it_never_takes_more_than_its_bound_and_goes_on_keeping(tmp_path):
    with ObjectCache(tmp_path / "cache", BOUND) as cache:
        kept = 0
        for begin in range(0, 1000, 20):
            kept += fill(cache, range(begin, begin + 20))
            cache.close()  # which waits for the eviction
            assert cache.usage().bytes <= BOUND
    assert kept > 300
    assert BOUND * EVICT_TO * 0.8 < cache.usage().bytes <= BOUND


def test_an_object_that_would_drive_out_most_others_is_not_kept(tmp_path):
    with ObjectCache(tmp_path / "cache", MIB) as cache:
        assert not fill(cache, [1], MIB // 2 + 1)
        assert fill(cache, [2], MIB // 2)


def test_a_process_that_is_killed_or_forgets_to_close_costs_others_nothing_for_good(tmp_path):
    for number in range(300):
        fill(ObjectCache(tmp_path / "cache", 4 * MIB), [number], 5_000)  # each keeps the room that it took in advance
    with ObjectCache(tmp_path / "cache", 4 * MIB) as cache:
        before = cache.usage()
        assert before.entries == 300, "their content took a third of the room"
        fill(cache, range(300, 310), 5_000)
    with ObjectCache(tmp_path / "cache", 4 * MIB) as cache:
        assert fill(cache, range(310, 320), 5_000) == 10
    assert cache.usage().entries >= before.entries


@pytest.mark.parametrize("text", [b"", b"nonsense", b"9" * 25, b"-0000000000000000001"])
def test_a_damaged_sum_is_counted_anew(tmp_path, text):
    with ObjectCache(tmp_path / "cache", BOUND) as cache:
        fill(cache, range(50))
    (home(cache) / "usage").write_bytes(text)
    with ObjectCache(tmp_path / "cache", BOUND) as cache:
        for begin in range(50, 400, 10):
            fill(cache, range(begin, begin + 10))
            assert cache.usage().bytes <= BOUND
    assert cache.usage().entries > 50


def test_clearing_removes_everything_and_the_cache_goes_on(tmp_path):
    with ObjectCache(tmp_path / "cache", BOUND) as cache:
        assert cache.clear() == Usage(0, 0)
        fill(cache, range(40))
        assert cache.clear() == Usage(40, 40 * charge(SIZE))
        assert cache.usage() == Usage(0, 0)
        assert not has(cache, "key 1", SIZE, tmp_path)
        assert fill(cache, range(90)) == 90, "the room is free again"


def test_what_lies_beside_the_cache_is_not_touched(tmp_path):
    theirs = tmp_path / "cache" / "theirs"
    theirs.parent.mkdir(0o755)
    theirs.write_bytes(b"precious")
    with ObjectCache(tmp_path / "cache", BOUND) as cache:
        fill(cache, range(120))
        cache.clear()
    assert theirs.read_bytes() == b"precious"
    assert theirs.parent.stat().st_mode & 0o777 == 0o755


def test_a_full_disk_keeps_nothing_and_fails_nothing(small_disk, tmp_path):
    with ObjectCache(small_disk / "cache", 64 * MIB) as cache:
        fill(cache, range(60))
        cache.close()  # which waits for the eviction
        kept = cache.usage().entries
        assert 0 < kept < 25, "256 KiB, and a part is left free for others"
        free = os.statvfs(small_disk)
        assert free.f_bavail >= free.f_blocks * 0.04
        with (small_disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        fill(cache, range(100, 110))
        cache.close()
        fill(cache, range(110, 120))
        assert cache.usage().entries < kept, "the disk is short of space, and so it gives some back"
        (tmp_path / "large").write_bytes(content_of(1, 2 * MIB))
        assert not keep_file(cache, "large", tmp_path / "large", 2 * MIB, md5(content_of(1, 2 * MIB)))
    assert partial_files(cache) == []
    assert (small_disk / "ballast").exists()


def test_a_disk_that_is_short_of_space_gets_some_back_whatever_the_sum_says(small_disk):
    with ObjectCache(small_disk / "cache", 64 * MIB) as cache:
        fill(cache, range(12))
    kept = cache.usage().entries
    (home(cache) / "usage").write_bytes(b"%020d" % (60 * MIB))  # as after processes that were killed
    with (small_disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    with ObjectCache(small_disk / "cache", 64 * MIB) as cache:
        fill(cache, [100])
    assert 0 < cache.usage().entries < kept


@pytest.mark.parametrize("size", [20_000, MIB])
def test_a_target_on_a_full_disk_is_an_error_and_leaves_nothing_there(full_disk, tmp_path, size):
    with ObjectCache(tmp_path / "cache", 64 * MIB) as cache:
        fill(cache, [1], size)
        with pytest.raises(OSError, match="No space") as caught:
            cache.lay_out("key 1", size, str(full_disk / "f"))
        assert caught.value.errno == errno.ENOSPC
        assert [path.name for path in full_disk.iterdir()] == ["ballast"]
        assert has(cache, "key 1", size, tmp_path), "the entry is not to blame"


def test_a_filling_process_does_not_wait_for_an_eviction(tmp_path):
    with ObjectCache(tmp_path / "cache", BOUND) as cache:
        fill(cache, range(int(100 * EVICT_FROM)))
        begun = time.monotonic()
        for number in range(1000, 1200):
            content = content_of(number, SIZE)
            cache.add(f"key {number}", content, md5(content))
        assert time.monotonic() - begun < 5 * slowness()


@pytest.mark.parametrize("text", [None, b"nonsense"], ids=["while entries are removed", "while the sum is counted"])
def test_a_fork_that_was_made_while_a_lock_was_held_does_not_keep_it(tmp_path, monkeypatch, text):
    """A body may fork while a thread behind it removes old entries, and what it forked may live for long."""
    children, (reading, writing) = [], os.pipe()
    real_walk = room.walk

    def fork_and_walk(entries):
        if not children:
            child = fork()
            if child == 0:
                try:
                    os.close(writing)
                    os.read(reading, 1)  # until the test is through
                finally:
                    os._exit(0)
            children.append(child)
        return real_walk(entries)

    with ObjectCache(tmp_path / "cache", BOUND) as cache, ThreadPoolExecutor(1) as other:
        fill(cache, range(10))
        if text is not None:
            (home(cache) / "usage").write_bytes(text)
        monkeypatch.setattr(room, "walk", fork_and_walk)
        try:
            for _ in range(2):
                assert other.submit(cache.clear).result(timeout=20 * slowness()).entries == 10
                assert other.submit(fill, cache, range(10)).result(timeout=20 * slowness()) == 10
            assert os.waitpid(children[0], os.WNOHANG) == (0, 0), "it lives"
        finally:
            os.close(writing)
            os.close(reading)
            if children:
                os.waitpid(children[0], 0)
