"""Content that is kept while it passes: in any order, from any thread; what is given up leaves nothing."""

from __future__ import annotations

import os
import random
import threading

import pytest

from cache_support import MIB, entry_files, has, home, md5, partial_files
from perago.workspace.cache import ObjectCache, Usage
from perago.workspace.cache.room import charge

SIZE = 3 * MIB + 7
CONTENT = random.Random(5).randbytes(SIZE)


@pytest.fixture
def cache(tmp_path):
    with ObjectCache(tmp_path / "cache", 64 * MIB) as cache:
        yield cache


@pytest.fixture
def source(tmp_path):
    """Descriptor of a file that holds the content."""
    (tmp_path / "source").write_bytes(CONTENT)
    with (tmp_path / "source").open("rb") as file:
        yield file.fileno()


def taken(cache):
    """Bytes that all processes have taken."""
    cache.close()
    return int((home(cache) / "usage").read_text())


def test_pieces_may_pass_in_any_order_from_several_threads_and_twice(cache, source, tmp_path):
    copy = cache.begin(source, SIZE)
    starts = list(range(0, SIZE, 100_000))
    random.Random(1).shuffle(starts)

    def send(some):
        for at in some:
            copy.write(CONTENT[at : at + 100_000], at)

    copy.write(b"\0" * 500_000, 700_000)  # a try that was damaged
    threads = [threading.Thread(target=send, args=(starts[number::3] + starts[:4],)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.end(copy, "key", md5(CONTENT))
    assert cache.lay_out("key", SIZE, str(tmp_path / "target")) == md5(CONTENT)
    assert (tmp_path / "target").read_bytes() == CONTENT
    assert partial_files(cache) == []
    assert taken(cache) == charge(SIZE)


def test_what_is_given_up_leaves_nothing_and_takes_no_room(cache, source):
    copy = cache.begin(source, SIZE)
    copy.write(CONTENT, 0)
    assert not cache.end(copy)
    assert entry_files(cache) == partial_files(cache) == []
    assert taken(cache) == 0


def test_the_second_copy_of_one_object_takes_no_room(cache, source):
    copies = [cache.begin(source, SIZE) for _ in range(2)]
    for copy in copies:
        copy.write(CONTENT, 0)
        assert cache.end(copy, "key", md5(CONTENT))
    assert cache.usage() == Usage(1, charge(SIZE))
    assert taken(cache) == charge(SIZE)


def test_a_digest_that_nothing_can_be_checked_by_leaves_nothing(cache, source):
    copy = cache.begin(source, SIZE)
    copy.write(CONTENT, 0)
    with pytest.raises(ValueError, match="cannot be used to check"):
        cache.end(copy, "key", "crc32:12")
    assert entry_files(cache) == partial_files(cache) == []
    assert taken(cache) == 0


def test_copies_give_way_at_once_and_are_not_kept(cache, source, tmp_path):
    copies = [cache.begin(source, SIZE) for _ in range(2)]
    for copy in copies:
        copy.write(CONTENT, 0)
    assert cache.give_way()
    assert sum(path.stat().st_blocks for path in partial_files(cache)) == 0
    for copy in copies:
        copy.write(CONTENT[MIB:], MIB)
        assert not cache.end(copy, "key", md5(CONTENT))
    assert not cache.give_way(), "none is under way"
    assert not has(cache, "key", SIZE, tmp_path)
    assert taken(cache) == 0


def test_a_copy_that_the_disk_has_no_room_for_frees_what_it_took(small_disk, source):
    with ObjectCache(small_disk / "cache", 64 * MIB) as cache:
        copy = cache.begin(source, 200_000)
        copy.write(CONTENT[:50_000], 0)
        with (small_disk / "ballast").open("wb") as ballast:
            ballast.write(b"x" * 100_000)
        copy.write(CONTENT[50_000:200_000], 50_000)
        assert sum(path.stat().st_blocks for path in partial_files(cache)) == 0
        assert not cache.end(copy, "key", md5(CONTENT[:200_000]))


def test_there_is_no_copy_where_nothing_can_be_kept(source, tmp_path):
    assert ObjectCache(tmp_path / "none", 0).begin(source, SIZE) is None
    assert ObjectCache(tmp_path / "small", 4 * MIB).begin(source, SIZE) is None
    (tmp_path / "file").write_bytes(b"")
    assert ObjectCache(tmp_path / "file" / "cache", 64 * MIB).begin(source, SIZE) is None


def test_where_files_are_cloned_nothing_passes_through(cloning_disk, tmp_path):
    (cloning_disk / "source").write_bytes(CONTENT)
    with ObjectCache(cloning_disk / "cache", 64 * MIB) as cache, (cloning_disk / "source").open("rb") as file:
        copy = cache.begin(file.fileno(), SIZE)
        copy.write(os.urandom(1000), 0)
        assert not cache.give_way(), "a clone takes nothing"
        assert cache.end(copy, "key", md5(CONTENT))
        assert cache.lay_out("key", SIZE, str(tmp_path / "target")) == md5(CONTENT)
