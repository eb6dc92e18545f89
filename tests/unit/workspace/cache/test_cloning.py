"""On a file system that clones, a large file shares blocks with the cache, and can be changed without the other."""

from __future__ import annotations

import os

from cache_support import MIB, entry_files, keep_file, md5
from perago.workspace.cache import ObjectCache

SIZE = 32 * MIB + 5


def free(disk):
    os.sync()
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize


def test_a_large_file_is_cloned_both_ways_and_can_be_written_in_place(cloning_disk):
    content = os.urandom(SIZE)
    source, target = cloning_disk / "source", cloning_disk / "target"
    source.write_bytes(content)
    with ObjectCache(cloning_disk / "cache", 200 * MIB) as cache:
        before = free(cloning_disk)
        assert keep_file(cache, "key", source, SIZE, md5(content))
        assert cache.lay_out("key", SIZE, str(target), 0o755) == md5(content)
        assert before - free(cloning_disk) < 8 * MIB
        assert target.read_bytes() == source.read_bytes() == content
        assert target.stat().st_mode & 0o777 == 0o755
        for path in (source, target):
            with path.open("r+b") as file:
                file.write(b"written in place")
        target.unlink()
        assert cache.lay_out("key", SIZE, str(target)) == md5(content)


def test_a_damaged_entry_is_no_file_where_it_would_be_cloned_either(cloning_disk):
    content = os.urandom(SIZE)
    with ObjectCache(cloning_disk / "cache", 200 * MIB) as cache:
        cache.add("key", content, md5(content))
        (entry,) = entry_files(cache)
        with entry.open("r+b") as file:
            file.seek(SIZE // 2)
            file.write(b"damage")
        assert cache.lay_out("key", SIZE, str(cloning_disk / "target")) is None
        assert not (cloning_disk / "target").exists()
        assert entry_files(cache) == []


def test_a_cache_that_clones_lays_out_onto_another_file_system_by_copy(cloning_disk, tmp_path):
    content = os.urandom(SIZE)
    with ObjectCache(cloning_disk / "cache", 200 * MIB) as cache:
        cache.add("key", content, md5(content))
        for name in ("one", "two"):
            assert cache.lay_out("key", SIZE, str(tmp_path / name)) == md5(content)
            assert (tmp_path / name).read_bytes() == content
