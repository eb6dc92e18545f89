"""A cache that users, crashes or disks have damaged gives neither wrong content nor an error."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache_support import MIB, content_of, entry_files, has, home, keep_file, md5, partial_files, sha256
from perago.errors import RuntimeConfigError
from perago.workspace.cache import ObjectCache
from perago.workspace.cache.entries import SMALL_BYTES
from perago.workspace.cache.room import charge
from servers.machine import slowness
from waiting import wait_for

SIZES = (3_000, SMALL_BYTES + 1000)


def only_entry(cache) -> Path:
    (path,) = entry_files(cache)
    return path


def assert_damaged(cache, size, tmp_path):
    """It is a miss, the entry is gone, and can be made anew."""
    assert not has(cache, "key", size, tmp_path)
    assert entry_files(cache) == []
    content = content_of(1, size)
    assert cache.add("key", content, md5(content))
    assert has(cache, "key", size, tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.sampled_from(SIZES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_a_miss(tmp_path, size, place, bit):
    with ObjectCache(tmp_path / "cache", 64 * MIB) as cache:
        content = content_of(1, size)
        cache.add("key", content, sha256(content))
        path = only_entry(cache)
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 1 << bit
        path.write_bytes(data)
        assert_damaged(cache, size, tmp_path)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_torn_entry_is_a_miss(tmp_path, size, kept):
    with ObjectCache(tmp_path / "cache", 64 * MIB) as cache:
        cache.add("key", content_of(1, size), md5(content_of(1, size)))
        path = only_entry(cache)
        os.truncate(path, int(path.stat().st_size * kept))
        assert_damaged(cache, size, tmp_path)


@pytest.mark.parametrize("size", SIZES)
def test_anothers_content_under_an_entrys_name_is_a_miss(tmp_path, size):
    with ObjectCache(tmp_path / "cache", 64 * MIB) as cache:
        cache.add("key", content_of(1, size), md5(content_of(1, size)))
        path = only_entry(cache)
        cache.add("other", content_of(2, size), md5(content_of(2, size)))
        next(other for other in entry_files(cache) if other != path).replace(path)
        assert_damaged(cache, size, tmp_path)


@pytest.mark.parametrize("size", SIZES)
def test_a_digest_that_was_wrong_from_the_beginning_is_a_miss(tmp_path, size):
    with ObjectCache(tmp_path / "cache", 64 * MIB) as cache:
        cache.add("key", content_of(1, size), md5(content_of(2, size)))
        assert_damaged(cache, size, tmp_path)


def test_content_that_did_not_pass_whole_is_a_miss(tmp_path):
    (tmp_path / "source").write_bytes(b"abc")
    with ObjectCache(tmp_path / "cache", 64 * MIB) as cache:
        keep_file(cache, "key", tmp_path / "source", 4, md5(b"abcd"))
        assert not has(cache, "key", 4, tmp_path)
        assert entry_files(cache) == partial_files(cache) == []


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_file_in_an_entrys_place_is_a_miss_and_nothing_waits_for_it(tmp_path, make):
    with ObjectCache(tmp_path / "cache", 64 * MIB) as cache:
        cache.add("key", b"abc", md5(b"abc"))
        path = only_entry(cache)
        path.unlink()
        make(path)
        assert not has(cache, "key", 3, tmp_path)


def test_a_cache_that_is_removed_under_a_process_is_made_again(tmp_path):
    with ObjectCache(tmp_path / "cache", 64 * MIB) as cache:
        assert cache.add("key", b"abc", md5(b"abc"))
        shutil.rmtree(tmp_path / "cache")
        assert not has(cache, "key", 3, tmp_path)
        cache.add("key", b"abc", md5(b"abc"))
        assert cache.add("key", b"abc", md5(b"abc")), "the second time at the latest"
        assert has(cache, "key", 3, tmp_path)


def test_the_cache_is_for_its_user_alone(open_directory, as_nobody, tmp_path):
    (open_directory / "cache").mkdir(0o755)
    cache = ObjectCache(open_directory / "cache", 64 * MIB)
    cache.add("key", b"abc", md5(b"abc"))
    cache.close()
    assert home(cache).stat().st_mode & 0o777 == 0o700
    assert only_entry(cache).stat().st_mode & 0o777 == 0o600
    if os.geteuid() == 0:
        with pytest.raises(RuntimeConfigError, match=r"PERAGO_CACHE_DIR.*belongs to user 0.*PERAGO_CACHE_MAX_SIZE=0"):
            as_nobody(lambda: ObjectCache(open_directory / "cache", 64 * MIB))
    assert as_nobody(lambda: ObjectCache(open_directory / "cache", 0).add("key", b"abc", md5(b"abc"))) is False


def test_a_cache_that_others_could_write_to_is_refused(tmp_path):
    """Its entries are checked only by the digests that they contain."""
    cache = ObjectCache(tmp_path / "cache", 64 * MIB)
    cache.add("key", b"abc", md5(b"abc"))
    cache.close()
    home(cache).chmod(0o777)
    with pytest.raises(RuntimeConfigError, match=r"PERAGO_CACHE_DIR: .* can be written by all users .*chmod go-w"):
        ObjectCache(tmp_path / "cache", 64 * MIB)


def test_a_cache_that_cannot_be_written_keeps_nothing(open_directory, as_nobody):
    (open_directory / "cache").mkdir(0o555)
    assert as_nobody(lambda: ObjectCache(open_directory / "cache", MIB).add("key", b"abc", md5(b"abc"))) is False


def test_something_else_in_the_caches_place_is_an_error_that_says_so(tmp_path):
    (tmp_path / "objects-1").write_bytes(b"")
    with pytest.raises(RuntimeConfigError, match=r"PERAGO_CACHE_DIR: .*objects-1 is not a directory"):
        ObjectCache(tmp_path, MIB)


def start(tmp_path, seed, max_bytes=4 * MIB):
    arguments = [str(tmp_path / "cache"), str(max_bytes), str(tmp_path), str(seed)]
    program = Path(__file__).with_name("program_cache.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, program, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_processes_that_fill_read_evict_and_are_killed_at_random_never_get_wrong_content(tmp_path):
    chance = random.Random(20)
    deadline = time.monotonic() + 12 * slowness()
    kills = hits = 0
    with ObjectCache(tmp_path / "cache", 4 * MIB) as cache:
        while time.monotonic() < deadline and (kills < 12 or hits == 0):
            workers = [start(tmp_path, chance.randrange(10**9)) for _ in range(3)]
            for worker in workers:
                worker.stdout.readline()
            time.sleep(chance.uniform(0.05, 0.4))  # at any time: that is what is tested
            for worker in workers:
                assert worker.poll() is None, worker.stderr.read().decode()
                worker.send_signal(signal.SIGKILL)
                out, err = worker.communicate(timeout=30 * slowness())
                assert err == b""
                kills += 1
                whole = [line for line in out.decode().splitlines(keepends=True) if line.endswith("\n")]
                hits += int(whole[-1].split()[1]) if whole else 0
            # An eviction does not count what the three write meanwhile; see `Room`.
            assert cache.usage().bytes <= 4 * MIB + 3 * charge(400_000)
        assert kills >= 6
        assert hits > 0
        cache.sweep()
        assert partial_files(cache) == []
        # What the killed had reserved is given back by the thread that counts the entries.
        wait_for(lambda: cache.add("key", b"abc", md5(b"abc")), "room for an entry")


def test_what_a_process_has_just_begun_is_swept_only_when_it_is_old(tmp_path):
    with ObjectCache(tmp_path / "cache", 4 * MIB) as cache:
        cache.add("key", b"abc", md5(b"abc"))
        begun = home(cache) / "partial" / ".123-new"
        begun.mkdir()
        cache.sweep()
        assert begun.is_dir()
        os.utime(begun, (0, 0))
        cache.sweep()
        assert not begun.exists()


def test_what_a_living_process_has_half_written_is_not_swept(tmp_path):
    worker = start(tmp_path, 1)
    try:
        worker.stdout.readline()
        with ObjectCache(tmp_path / "cache", 4 * MIB) as cache:
            (directory,) = [path for path in (home(cache) / "partial").iterdir() if str(worker.pid) in path.name]
            os.utime(directory, (0, 0))
            cache.sweep()
            assert directory.is_dir()
    finally:
        worker.kill()
        worker.communicate(timeout=30 * slowness())


def test_threads_share_one_cache(tmp_path):
    faults = []

    def work(seed):
        chance = random.Random(seed)
        try:
            for turn in range(200):
                number = chance.randrange(40)
                size = SIZES[number % 2]
                content = content_of(number, size)
                target = tmp_path / f"{seed}-{turn}"
                if cache.lay_out(f"key {number}", size, str(target)) is None:
                    cache.add(f"key {number}", content, md5(content))
                else:
                    assert target.read_bytes() == content
                    target.unlink()
        except BaseException as exc:
            faults.append(exc)

    with ObjectCache(tmp_path / "cache", 4 * MIB) as cache:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert cache.usage().bytes <= 4 * MIB
